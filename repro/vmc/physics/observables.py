"""What a sample of |psi|^2 tells besides the energy: densities, the one-body density matrix, the virial theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.vmc.physics.hamiltonian import System, gaussian_interaction

SignLogPsi = Callable[[Array], tuple[Array, Array]]
"""Walkers ``(W, A)`` to the sign of psi and ln|psi|, each ``(W,)``."""


class Histogram(NamedTuple):
    """Equal bins from -extent to extent.

    Attributes:
        bins: how many.
        extent: in oscillator lengths.
    """

    bins: int
    extent: float

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0 * self.extent / self.bins

    @property
    def centres(self) -> np.ndarray:
        """Of the bins, shape ``(bins,)``."""
        return (np.arange(self.bins) + 0.5) * self.width - self.extent

    def places(self, x: Array) -> Array:
        """The bin of each position; ``bins`` for those outside."""
        found = jnp.floor((x + self.extent) / self.width).astype(jnp.int32)
        return jnp.where((found < 0) | (found >= self.bins), self.bins, found)


def one_body_density(x: Array, histogram: Histogram) -> Array:
    """n(x) = < sum_i delta(x - x_i) >, averaged over each bin; its integral is A less what lies outside.

    Args:
        x: walkers, shape ``(W, A)``.
        histogram: the bins.

    Returns:
        Shape ``(bins,)``, in inverse oscillator lengths.
    """
    counts = jnp.zeros(histogram.bins + 1, x.dtype).at[histogram.places(x).ravel()].add(1.0)
    return counts[:-1] / (x.shape[0] * histogram.width)


def pair_density(x: Array, histogram: Histogram) -> Array:
    """n_2(x, y) = < sum_{i != j} delta(x - x_i) delta(y - x_j) >, averaged over each bin; its integral is A(A - 1).

    Args:
        x: walkers, shape ``(W, A)``.
        histogram: the bins of x and of y.

    Returns:
        Shape ``(bins, bins)``, symmetric.
    """
    places = histogram.places(x)
    first, second = np.triu_indices(x.shape[1], k=1)
    counts = jnp.zeros((histogram.bins + 1,) * 2, x.dtype)
    counts = counts.at[places[:, first].ravel(), places[:, second].ravel()].add(1.0)[:-1, :-1]
    return (counts + counts.T) / (x.shape[0] * histogram.width**2)


def one_body_density_matrix(
    sign_log_psi: SignLogPsi, x: Array, nodes: Array, weights: Array, orbitals: Callable[[Array], Array]
) -> Array:
    """rho_ij = integral phi_i(x) rho(x, x') phi_j(x') dx dx', rho(x, x') = < psi^t(x) psi(x') >.

    One particle of a walker at a time is moved to every node x',

        rho_ij = E[ sum_m phi_i(x_m) sum_g w_g phi_j(x_g) psi(.. x_g ..) / psi(.. x_m ..) ].

    Args:
        sign_log_psi: the state.
        x: walkers, shape ``(W, A)``.
        nodes: x_g, shape ``(G,)``.
        weights: w_g of the quadrature over them.
        orbitals: positions of any shape to M functions phi, on a further last axis.

    Returns:
        Shape ``(M, M)``; its expectation is symmetric, and its trace A where the M functions hold the whole state.
    """
    sign, log = sign_log_psi(x)

    def of_particle(particle: Array) -> Array:
        def amplitude(node: Array) -> Array:
            moved_sign, moved_log = sign_log_psi(x.at[:, particle].set(node))
            return sign * moved_sign * jnp.exp(moved_log - log)

        ratios = jax.lax.map(amplitude, nodes)  # (G, W)
        return orbitals(x[:, particle]).T @ (ratios.T @ (weights[:, None] * orbitals(nodes)))

    return jnp.sum(jax.lax.map(of_particle, jnp.arange(x.shape[1])), axis=0) / x.shape[0]


def energy_parts(laplacian_ratio: Array, x: Array, system: System) -> dict[str, Array]:
    """Kinetic, trap and interaction energy of each walker, and the virial, whose mean vanishes in an eigenstate.

    The virial theorem, 2 <T> = < sum_i x_i d(U + V)/dx_i >, reads here

        2 <T> - 2 <U> + < sum_{i<j} r_ij^2 / sigma0^2 V(r_ij) > = 0.

    Args:
        laplacian_ratio: (sum_i d^2 psi / dx_i^2) / psi, shape ``(W,)``.
        x: walkers, shape ``(W, A)``.
        system: the couplings.

    Returns:
        "kinetic", "trap", "interaction", "virial", each of shape ``(W,)``.
    """
    first, second = np.triu_indices(x.shape[1], k=1)
    distance = x[:, first] - x[:, second]
    pairs = gaussian_interaction(distance, system.v0, system.sigma0)
    kinetic, trap = -0.5 * laplacian_ratio, 0.5 * jnp.sum(x**2, axis=1)
    force = jnp.sum((distance / system.sigma0) ** 2 * pairs, axis=1)
    return {
        "kinetic": kinetic,
        "trap": trap,
        "interaction": jnp.sum(pairs, axis=1),
        "virial": 2.0 * kinetic - 2.0 * trap + force,
    }
