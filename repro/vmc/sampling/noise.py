"""Random numbers for walkers that may be spread over devices: each draws its own part of one and the same sequence.

``jax.random`` draws number i of a sequence from count i of a counter-based generator (J. Salmon et al., SC 2011), but
offers no way to begin in the middle. So where walkers are spread, the same steps are taken here from counts that begin
there: Threefry, bits to a uniform number, uniform to normal by the inverse error function.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.random import threefry_2x32

from repro.numerics.sharding import first_local_index, sharing_devices


def normal(key: Array, count: int, dtype: jnp.dtype) -> Array:
    """This device's part of ``jax.random.normal(key, (count of all,), dtype)``, ``count`` numbers."""
    if sharing_devices() == 1:
        return jax.random.normal(key, (count,), dtype)
    lowest = np.nextafter(np.array(-1.0, dtype), np.array(0.0, dtype), dtype=dtype)
    return jnp.asarray(np.sqrt(2.0), dtype) * jax.lax.erf_inv(_between(key, count, lowest, np.array(1.0, dtype)))


def uniform(key: Array, count: int, dtype: jnp.dtype) -> Array:
    """This device's part of ``jax.random.uniform(key, (count of all,), dtype)``, ``count`` numbers."""
    if sharing_devices() == 1:
        return jax.random.uniform(key, (count,), dtype)
    return _between(key, count, np.array(0.0, dtype), np.array(1.0, dtype))


def _between(key: Array, count: int, low: np.ndarray, high: np.ndarray) -> Array:
    """Uniform numbers in [low, high): random bits as the mantissa of numbers in [1, 2)."""
    info = jnp.finfo(low.dtype)
    one = np.array(1.0, low.dtype)
    bits = _bits(key, count, info.bits)
    shifted = jax.lax.shift_right_logical(bits, np.array(info.bits - info.nmant, bits.dtype))
    floats = jax.lax.bitcast_convert_type(shifted | one.view(bits.dtype), low.dtype) - one
    return jnp.maximum(low, floats * (high - low) + low)


def _bits(key: Array, count: int, width: int) -> Array:
    counts = jnp.arange(count, dtype=jnp.uint32) + jnp.asarray(first_local_index(count), jnp.uint32)
    hashed = threefry_2x32(jax.random.key_data(key), jnp.concatenate([jnp.zeros_like(counts), counts]))
    high, low = jnp.split(hashed, 2)
    return high ^ low if width == 32 else (high.astype(jnp.uint64) << np.uint64(32)) | low.astype(jnp.uint64)
