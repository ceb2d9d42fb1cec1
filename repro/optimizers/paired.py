"""What a step does to the energy, from the walkers that it was computed with.

Two independent walks differ in energy by more than most steps change it. On the same walkers, reweighted to the new
state, the noise that both states share drops out (correlated sampling: C. Filippi, C. J. Umrigar, Phys. Rev. B 61,
R16291 (2000)).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from repro.parallel import gathered, mean, walkers_of_all

ROUNDING = 4.0
"""Units of the last place of the energy that its rounding may be off by."""


class PairedChange(NamedTuple):
    """A change of the energy.

    Attributes:
        change: E' - E.
        error: its standard error; at least the rounding of E.
        overlap: effective number of walkers, as a fraction of all: 1 / E[w^2] with weights of mean one. The variance of
            the weights, 1 / overlap - 1, is to leading order the Fisher distance d^T F d between the two states.
    """

    change: Array
    error: Array
    overlap: Array


def paired_change(log_ratios: Array, before: Array, after: Array) -> PairedChange:
    """E' - E with w = |psi'/psi|^2 / E[|psi'/psi|^2], E' = E[w E_L'] and E = E[E_L].

    The error is that of the mean of w (E_L' - E') - (E_L - E), the influence of a walker on the difference.

    Args:
        log_ratios: ln|psi'/psi|^2 at walkers drawn from |psi|^2, shape ``(W,)``.
        before: their local energies E_L, shape ``(W,)``.
        after: the local energies E_L' in the new state at the same walkers, shape ``(W,)``.
    """
    weights = jnp.exp(log_ratios - jnp.max(gathered(log_ratios)))
    weights = weights / mean(weights)
    old, new = mean(before), mean(weights * after)
    influence = weights * (after - new) - (before - old)
    rounding = ROUNDING * jnp.finfo(before.dtype).eps * jnp.abs(old)
    error = jnp.sqrt(mean(influence**2) / walkers_of_all(before.shape[0]) + rounding**2)
    return PairedChange(new - old, error, 1.0 / mean(weights**2))
