"""The local energy E_L(x) = (H psi)(x) / psi(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.numerics.sharding import all_gather
from repro.vmc.physics.hamiltonian import potential_energy

Potential = Callable[[Array, Any], Array]
"""(walkers (W, ...), couplings) -> potential energy, (W,)."""


def local_energy(laplacian_ratio: Array, x: Array, couplings: Any, potential: Potential = potential_energy) -> Array:
    """E_L = -1/2 (sum_i d^2 psi / dx_i^2) / psi + V(x).

    With L = ln|psi| the ratio equals sum_i [ d^2 L/dx_i^2 + (dL/dx_i)^2 ]; near a node these two terms are huge and
    opposite, so a wavefunction that can supply the ratio itself should (see ``repro.vmc.ansatz.determinant``).

    Args:
        laplacian_ratio: (sum_i d^2 psi / dx_i^2) / psi, shape ``(...)``.
        x: positions, shape ``(..., A)``.
        couplings: of the potential.
        potential: V, in units in which the kinetic energy is -1/2 Laplacian.

    Returns:
        Local energies in hbar omega, shape ``(...)``.
    """
    return -0.5 * laplacian_ratio + potential(x, couplings)


CLIP_WIDTH = 5.0


def clip_local_energies(energies: Array, lower_median: bool = False) -> Array:
    """Local energies clipped to median +- 5 mean|E_L - median|.

    Args:
        energies: of this device's walkers, shape ``(W,)``.
        lower_median: whether the median of an even number of values is the lower of the two in the middle, as in
            PyTorch, in place of their mean.
    """
    everyone = all_gather(energies)
    median = jnp.sort(everyone)[(everyone.shape[0] - 1) // 2] if lower_median else jnp.median(everyone)
    spread = CLIP_WIDTH * jnp.mean(jnp.abs(everyone - median))
    return jnp.clip(energies, median - spread, median + spread)


def log_laplacian_ratio(log_psi: Callable[[Array], Array], x: Array) -> Array:
    """(sum_i d^2 psi / dx_i^2) / psi from any function ln|psi|, by forward-over-forward differentiation.

    Args:
        log_psi: maps one walker to ln|psi|, a scalar.
        x: one walker, of any shape, such as ``(A,)`` or ``(n, d)``; ``jax.vmap`` over walkers.

    Returns:
        sum_i [ d^2 L/dx_i^2 + (dL/dx_i)^2 ] with L = ln|psi|, a scalar.
    """

    def along(direction: Array) -> Array:
        def slope(y: Array) -> Array:
            return jax.jvp(log_psi, (y,), (direction,))[1]

        first, second = jax.jvp(slope, (x,), (direction,))
        return second + first**2

    return jnp.sum(jax.vmap(along)(jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)))
