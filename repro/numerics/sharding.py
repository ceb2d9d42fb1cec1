"""Walkers spread over devices: sums and means over all of them.

Inside of a map over the axis :data:`WALKERS` every device runs the same program on the walkers that it holds, and what
is summed over walkers has to be summed over devices as well. Anywhere else these functions are plain sums and means, so
that what is written with them runs either way.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

WALKERS = "walkers"

Tree = TypeVar("Tree")


def sharing_devices() -> int:
    """How many devices share the walkers."""
    try:
        return jax.lax.axis_size(WALKERS)
    except NameError:  # JAX's answer outside of a map over that axis
        return 1


def psum(sums: Tree) -> Tree:
    """Sums over the walkers of all devices, from those over each one's own."""
    return jax.lax.psum(sums, WALKERS) if sharing_devices() > 1 else sums


def pmean(values: Array, axis: int = -1, keepdims: bool = False) -> Array:
    """Mean over all walkers, which are on one axis."""
    own = jnp.mean(values, axis=axis, keepdims=keepdims)
    return jax.lax.pmean(own, WALKERS) if sharing_devices() > 1 else own


def all_gather(values: Array, axis: int = 0) -> Array:
    """Values of all walkers, which are on one axis, from each device's own."""
    return jax.lax.all_gather(values, WALKERS, axis=axis, tiled=True) if sharing_devices() > 1 else values


def global_count(own: int) -> int:
    """The number of walkers on all devices, from that on each."""
    return own * sharing_devices()


def mean_from_sums(sums: Tree, own: int) -> Tree:
    """Means over all walkers, from the sums over ``own`` walkers of each device."""
    return jax.tree.map(lambda part: part / global_count(own), psum(sums))


def first_local_index(own: int) -> Array | int:
    """How many of something lie on the devices before this one, where each has ``own``."""
    return jax.lax.axis_index(WALKERS) * own if sharing_devices() > 1 else 0
