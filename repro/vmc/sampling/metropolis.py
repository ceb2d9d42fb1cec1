"""Random-walk Metropolis over all particles of every walker at once, with a self-tuning proposal.

Proposal and acceptance satisfy detailed balance with the target p,

    p(x) q(x -> y) min(1, p(y)/p(x)) = p(y) q(y -> x) min(1, p(x)/p(y)),      q(x -> y) = q(y -> x),

within a sweep; between sweeps the width of q moves towards an acceptance of one half. So may, between walks, the number
of sweeps towards what it takes to forget where a walk began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.config import AUTO, Sweeps
from repro.numerics.batching import largest_divisor
from repro.numerics.sharding import pmean
from repro.vmc.sampling.noise import normal, uniform

LogDensity = Callable[[Array], Array]
"""Walkers ``(W, A)`` to ln p, ``(W,)``; p need not be normalised."""

TARGET_ACCEPTANCE = 0.5
LEAST_ACCEPTANCE = 0.05
WIDTH_BOUNDS = (0.01, 10.0)
DRAWN_SWEEPS = 50
UNROLLING = 40
"""On a GPU, where beginning a sweep's small kernels takes as long as running them, 40 / A^2 sweeps are written out in a
row; with more particles kernels are larger, and the compiler has more to do."""

# Where the number of sweeps is found by the chains themselves:
LEFT_CORRELATION = 0.1
"""What is to be left between the beginning and the end of a walk."""
STRIDE = 10
"""Sweeps come in multiples of this."""
LENGTH_BOUNDS = (10.0, 1000.0)
INITIAL_LENGTH = 40.0
LENGTH_RATE = 0.2
"""How far a walk moves the next one's length, so that the noise of some five measurements averages out."""
MEASURABLE_CORRELATION = (0.02, 0.98)


class Chain(NamedTuple):
    """Parallel Markov chains, which persist from epoch to epoch.

    Attributes:
        walkers: positions, shape ``(W, A)``.
        width: standard deviation of the Gaussian proposal in oscillator lengths, a scalar shared by all walkers.
        length: how many sweeps the next walk is to have, a real number; () where their number is fixed.
    """

    walkers: Array
    width: Array
    length: Any = ()


def initial_chain(
    key: Array, walkers: int, particles: int | tuple[int, ...], dtype: str = "float32", sweeps: Sweeps = 1
) -> Chain:
    """Walkers drawn from N(0, 1), proposal width 1.

    Args:
        key: of the draw.
        walkers: how many, W.
        particles: on a line, A; or the shape of a walker, such as (n, d) for n particles in d dimensions.
        dtype: "float32" or "float64".
        sweeps: as for :func:`walk`.
    """
    shape = particles if isinstance(particles, tuple) else (particles,)
    kind = jnp.dtype(dtype)
    length = jnp.asarray(INITIAL_LENGTH, kind) if sweeps == AUTO else ()
    return Chain(jax.random.normal(key, (walkers, *shape), kind), jnp.ones((), kind), length)


def adapted_width(width: Array, acceptance: Array) -> Array:
    """The next proposal width: width * max(acceptance, 0.05) / 0.5, clamped to [0.01, 10]."""
    return jnp.clip(width * jnp.maximum(acceptance, LEAST_ACCEPTANCE) / TARGET_ACCEPTANCE, *WIDTH_BOUNDS)


def adapted_length(length: Array, sweeps: Array, correlation: Array) -> Array:
    """The next number of sweeps: a fifth of the way, in its logarithm, to n ln(left) / ln(c).

    That is the number that would leave :data:`LEFT_CORRELATION`, if correlations decay exponentially.

    Args:
        length: the present one.
        sweeps: n, those of the last walk.
        correlation: c, what they left. Below 0.02 it is noise; if it is not a number, nothing changes.
    """
    wanted = sweeps * jnp.log(LEFT_CORRELATION) / jnp.log(jnp.clip(correlation, *MEASURABLE_CORRELATION))
    adapted = jnp.clip(length * (wanted / length) ** LENGTH_RATE, *LENGTH_BOUNDS)
    return jnp.where(jnp.isnan(correlation), length, adapted)


def planned_sweeps(chain: Chain) -> Array:
    """How many sweeps a walk from here has, where their number is not fixed: a multiple of :data:`STRIDE`."""
    return STRIDE * jnp.ceil(chain.length / STRIDE).astype(jnp.int32)


def most_sweeps(sweeps: Sweeps) -> int:
    """The most sweeps that a walk can have."""
    return int(LENGTH_BOUNDS[1]) if sweeps == AUTO else sweeps


def left_correlation(before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
    """The largest correlation between two times of what is slow in the walk.

    These are ln p, the centre of mass and the mean square distance from the origin. The walkers, independent of each
    other, are the sample: with W of them the error is 1 / sqrt(W).

    Args:
        before: walkers ``(W, A)`` and ln p ``(W,)``.
        after: the same, later.
    """

    def centred(x: Array, log_p: Array) -> Array:
        own = tuple(range(1, x.ndim))
        values = jnp.stack([log_p, jnp.mean(x, axis=own), jnp.mean(x**2, axis=own)])
        return values - pmean(values, keepdims=True)

    a, b = centred(*before), centred(*after)
    return jnp.max(pmean(a * b) / jnp.sqrt(pmean(a**2) * pmean(b**2)))


def unrolled_sweeps(particles: int, platform: str) -> int:
    """How many sweeps in a row a program for ``particles`` particles is to have written out."""
    return largest_divisor(DRAWN_SWEEPS, max(1, UNROLLING // particles**2)) if platform == "gpu" else 1


def walk(log_density: LogDensity, chain: Chain, key: Array, sweeps: Sweeps, unroll: int = 1) -> tuple[Chain, Array]:
    """Propagates the chains by a number of sweeps.

    Equivalent to the loop

        for s in range(sweeps):
            y = x + width * normal(key_s)
            accept = log(uniform(key_s)) < ln p(y) - ln p(x)      # one decision per walker
            x = where(accept, y, x)
            width = adapted_width(width, pmean(accept))

    A proposal whose density is not a number is rejected.

    Args:
        log_density: the target.
        chain: where to start.
        key: PRNG key of this walk; sweep s uses ``fold_in(key, s)``.
        sweeps: how many, at least 1; "auto" for as many as the chains' earlier walks have shown to be needed.
        unroll: how many of them are written out in a row, which changes nothing but the time.

    Returns:
        The chains after the walk and the acceptance, averaged over walkers and sweeps.
    """
    dtype = chain.walkers.dtype

    def noise(index: Array) -> tuple[Array, Array]:
        move_key, accept_key = jax.random.split(jax.random.fold_in(key, index))
        moves = normal(move_key, chain.walkers.size, dtype)
        return moves, jnp.log(uniform(accept_key, chain.walkers.shape[0], dtype))

    def sweep(
        carry: tuple[Array, Array, Array], drawn: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array, Array], Array]:
        x, log_p, width = carry
        moves, log_uniform = drawn
        proposal = x + width * moves.reshape(x.shape)
        proposal_log_p = log_density(proposal)
        accept = log_uniform < proposal_log_p - log_p
        x = jnp.where(jnp.expand_dims(accept, range(1, x.ndim)), proposal, x)
        log_p = jnp.where(accept, proposal_log_p, log_p)
        acceptance = pmean(accept.astype(dtype))
        return (x, log_p, adapted_width(width, acceptance)), acceptance

    start = (chain.walkers, log_density(chain.walkers), chain.width)
    if sweeps == AUTO:
        # The number of this walk was fixed before it began: one that depended on where it leads would bias the sample.
        count = planned_sweeps(chain)

        def stretch(index: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            indices = STRIDE * index + jnp.arange(STRIDE)
            state, acceptance = jax.lax.scan(sweep, carry[0], jax.vmap(noise)(indices), unroll=unroll)
            return state, carry[1] + jnp.sum(acceptance)

        (walkers, log_p, width), accepted = jax.lax.fori_loop(
            0, count // STRIDE, stretch, (start, jnp.zeros((), dtype))
        )
        left = left_correlation(start[:2], (walkers, log_p))
        return Chain(walkers, width, adapted_length(chain.length, count.astype(dtype), left)), accepted / count
    # Random numbers of many sweeps at once: a sweep's own are too few to keep two cores busy.
    batches = jnp.arange(sweeps).reshape(-1, largest_divisor(sweeps, DRAWN_SWEEPS))
    (walkers, _, width), acceptance = jax.lax.scan(
        lambda state, indices: jax.lax.scan(sweep, state, jax.vmap(noise)(indices), unroll=unroll), start, batches
    )
    return Chain(walkers, width), jnp.mean(acceptance)
