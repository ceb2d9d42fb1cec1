"""Spinless fermions in a harmonic trap with a Gaussian two-body interaction.

    H = sum_i ( -1/2 d^2/dx_i^2 + 1/2 x_i^2 )
        + sum_{i<j} V0 / (sqrt(2 pi) sigma0) exp( -(x_i - x_j)^2 / (2 sigma0^2) )

Units hbar = m = omega = 1: energies in hbar omega, lengths in the oscillator length (Phys. Rev. A 108, 063320).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


class System(NamedTuple):
    """The couplings that distinguish one Hamiltonian from another; scalars that a compiled epoch takes as data.

    Attributes:
        v0: interaction strength V0, in hbar omega times the oscillator length; negative attracts.
        sigma0: interaction range sigma0 in oscillator lengths, positive.
    """

    v0: ArrayLike
    sigma0: ArrayLike


def gaussian_interaction(distance: Any, v0: Any, sigma0: Any) -> Any:
    """Pair potential V(r) = V0 / (sqrt(2 pi) sigma0) exp(-r^2 / (2 sigma0^2)), elementwise, NumPy or JAX."""
    xp = distance.__array_namespace__()
    return v0 / (math.sqrt(2.0 * math.pi) * sigma0) * xp.exp(-(distance**2) / (2.0 * sigma0**2))


def potential_energy(x: Array, system: System) -> Array:
    """Trap and interaction energy of each walker.

    Args:
        x: positions, shape ``(..., A)``.
        system: the couplings.

    Returns:
        Energies in hbar omega, shape ``(...)``.
    """
    trap = 0.5 * jnp.sum(x**2, axis=-1)
    first, second = np.triu_indices(x.shape[-1], k=1)
    pairs = gaussian_interaction(x[..., first] - x[..., second], system.v0, system.sigma0)
    # The couplings may be strongly typed float64 data beside float32 walkers: the walkers decide.
    return (trap + jnp.sum(pairs, axis=-1)).astype(x.dtype)
