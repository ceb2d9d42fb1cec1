"""The neural-network quantum state as pure functions of (parameters, positions)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import haiku as hk
import jax.numpy as jnp
from jax import Array

from repro.ansatz.determinant import log_sum_determinants, sum_laplacian_ratio
from repro.ansatz.jet import F, Jet, position_jet
from repro.ansatz.layers import EquivariantOrbitals

Params = Mapping[str, Mapping[str, Array]]
"""Parameters by module and name."""


class Wavefunction(NamedTuple):
    """A trial state; every function takes walkers of shape ``(W, A)``.

    Attributes:
        init: ``key -> params``.
        orbitals: ``(params, x) -> (A, A, D, W)``: particle i, orbital j, determinant, walker; with envelope.
        sign_log_psi: ``(params, x) -> (sign, ln|psi|)``, each ``(W,)``.
        log_psi: ``(params, x) -> ln|psi|``, ``(W,)``.
        laplacian_ratio: ``(params, x) -> (sum_i d^2 psi / dx_i^2) / psi``, ``(W,)``.
    """

    init: Callable[[Array], Params]
    orbitals: Callable[[Params, Array], Array]
    sign_log_psi: Callable[[Params, Array], tuple[Array, Array]]
    log_psi: Callable[[Params, Array], Array]
    laplacian_ratio: Callable[[Params, Array], Array]


def slater_wavefunction(
    particles: int, layers: int = 2, hidden: int = 64, determinants: int = 1, dtype: str = "float32"
) -> Wavefunction:
    """psi(x) = sum_d det_d / sqrt(A!) with permutation-equivariant orbitals (Phys. Rev. A 108, 063320).

    Args:
        particles: A >= 1.
        layers: number L >= 1 of equivariant layers.
        hidden: units H >= 1 of each.
        determinants: number D >= 1.
        dtype: "float32" or "float64" (the latter needs ``jax.enable_x64``).

    Returns:
        The state as pure functions, see :class:`Wavefunction`.
    """
    float_dtype = jnp.dtype(dtype)

    def network(x: F) -> F:
        return EquivariantOrbitals(layers, hidden, determinants, float_dtype)(x, particles)

    transformed = hk.without_apply_rng(hk.transform(network))
    normalisation = 0.5 * math.lgamma(particles + 1)

    def columns(x: Array) -> Array:
        return x.T[:, :, None]

    def matrices(orbitals: Array) -> Array:
        # (..., A, W, D A) -> (..., A, A, D, W): walkers last, for the elimination.
        split = orbitals.reshape(*orbitals.shape[:-1], determinants, particles)
        return jnp.moveaxis(split, (-3, -2, -1), (-1, -2, -3))

    def init(key: Array) -> Params:
        return transformed.init(key, jnp.zeros((particles, 1, 1), float_dtype))

    def orbitals(params: Params, x: Array) -> Array:
        return matrices(transformed.apply(params, columns(x)))

    def sign_log_psi(params: Params, x: Array) -> tuple[Array, Array]:
        sign, log = log_sum_determinants(orbitals(params, x))
        return sign, log - normalisation

    def log_psi(params: Params, x: Array) -> Array:
        return sign_log_psi(params, x)[1]

    def laplacian_ratio(params: Params, x: Array) -> Array:
        jet: Jet = transformed.apply(params, position_jet(columns(x)))
        return sum_laplacian_ratio(matrices(jet.value), matrices(jet.jacobian), matrices(jet.laplacian))

    return Wavefunction(init, orbitals, sign_log_psi, log_psi, laplacian_ratio)
