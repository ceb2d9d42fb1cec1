"""Random-walk Metropolis over all particles of every walker at once, with a self-tuning proposal.

Proposal and acceptance satisfy detailed balance with the target p,

    p(x) q(x -> y) min(1, p(y)/p(x)) = p(y) q(y -> x) min(1, p(x)/p(y)),      q(x -> y) = q(y -> x),

within a sweep; between sweeps the width of q moves towards an acceptance of one half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.chunks import largest_divisor
from repro.parallel import mean
from repro.sampling.noise import normal, uniform

LogDensity = Callable[[Array], Array]
"""Walkers ``(W, A)`` to ln p, ``(W,)``; p need not be normalised."""

TARGET_ACCEPTANCE = 0.5
LEAST_ACCEPTANCE = 0.05
WIDTH_BOUNDS = (0.01, 10.0)
DRAWN_SWEEPS = 50


class Chain(NamedTuple):
    """Parallel Markov chains, which persist from epoch to epoch.

    Attributes:
        walkers: positions, shape ``(W, A)``.
        width: standard deviation of the Gaussian proposal in oscillator lengths, a scalar shared by all walkers.
    """

    walkers: Array
    width: Array


def initial_chain(key: Array, walkers: int, particles: int, dtype: str) -> Chain:
    """Walkers drawn from N(0, 1), proposal width 1."""
    return Chain(jax.random.normal(key, (walkers, particles), jnp.dtype(dtype)), jnp.ones((), jnp.dtype(dtype)))


def adapted_width(width: Array, acceptance: Array) -> Array:
    """The next proposal width: width * max(acceptance, 0.05) / 0.5, clamped to [0.01, 10]."""
    return jnp.clip(width * jnp.maximum(acceptance, LEAST_ACCEPTANCE) / TARGET_ACCEPTANCE, *WIDTH_BOUNDS)


def walk(log_density: LogDensity, chain: Chain, key: Array, sweeps: int) -> tuple[Chain, Array]:
    """Propagates the chains by a number of sweeps.

    Equivalent to the loop

        for s in range(sweeps):
            y = x + width * normal(key_s)
            accept = log(uniform(key_s)) < ln p(y) - ln p(x)      # one decision per walker
            x = where(accept, y, x)
            width = adapted_width(width, mean(accept))

    A proposal whose density is not a number is rejected.

    Args:
        log_density: the target.
        chain: where to start.
        key: PRNG key of this walk; sweep s uses ``fold_in(key, s)``.
        sweeps: how many, at least 1.

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
        x = jnp.where(accept[:, None], proposal, x)
        log_p = jnp.where(accept, proposal_log_p, log_p)
        acceptance = mean(accept.astype(dtype))
        return (x, log_p, adapted_width(width, acceptance)), acceptance

    start = (chain.walkers, log_density(chain.walkers), chain.width)
    # Random numbers of many sweeps at once: a sweep's own are too few to keep two cores busy.
    batches = jnp.arange(sweeps).reshape(-1, largest_divisor(sweeps, DRAWN_SWEEPS))
    (walkers, _, width), acceptance = jax.lax.scan(
        lambda state, indices: jax.lax.scan(sweep, state, jax.vmap(noise)(indices)), start, batches
    )
    return Chain(walkers, width), jnp.mean(acceptance)
