"""What a step does to the energy, from the walkers that it was computed with, or from any others.

Two independent walks differ in energy by more than most steps change it, and so does the mean of E_L' - E_L over the
same walkers: a step changes single local energies much more than their mean, most of all near nodes. Along a step d,
though, dE = 2 E[(E_L - E) D . d] holds at either end with no derivative of E_L in it, so that by the trapezoidal rule

    E' - E = E[(E_L - E) D . d] + E_p'[(E_L' - E') D' . d] + O(d^3),

where E_p' is an average over the same walkers, reweighted to the new state (correlated sampling: C. Filippi, C. J.
Umrigar, Phys. Rev. B 61, R16291 (2000)).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from repro.numerics.sharding import all_gather, global_count, pmean
from repro.problems.base import ROUNDING, MeasuredChange


class End(NamedTuple):
    """What is known of a state at the walkers.

    Attributes:
        log_psi: ln|psi|, shape ``(W,)``.
        slopes: D . d, shape ``(W,)``.
        energies: local energies, shape ``(W,)``.
    """

    log_psi: Array
    slopes: Array
    energies: Array


def paired_change(before: End, after: End) -> MeasuredChange:
    """E' - E with w = |psi'/psi|^2 / E[|psi'/psi|^2] by the trapezoidal rule.

    The error is that of the means of (E_L - E) (D - E[D]) . d at both ends, with the influence of a walker on both.

    Args:
        before: the state that the walkers are drawn from.
        after: the other state, at the same walkers.
    """
    log_ratios = 2.0 * (after.log_psi - before.log_psi)
    weights = jnp.exp(log_ratios - jnp.max(all_gather(log_ratios)))
    weights = weights / pmean(weights)
    here, there = _products(before, jnp.ones_like(weights)), _products(after, weights)
    first, second = pmean(here), pmean(weights * there)
    influence = (here - first) + weights * (there - second)
    unit = jnp.finfo(here.dtype).eps * jnp.abs(pmean(before.energies))
    rounding = ROUNDING * unit * jnp.sqrt(pmean(before.slopes**2))
    error = jnp.sqrt(pmean(influence**2) / global_count(here.shape[0]) + rounding**2)
    return MeasuredChange(first + second, error, rounding, 1.0 / pmean(weights**2))


def _products(end: End, weights: Array) -> Array:
    """Of every walker, (E_L - E) (D - E[D]) . d."""
    return (end.energies - pmean(weights * end.energies)) * (end.slopes - pmean(weights * end.slopes))
