"""The Haiku modules of the ansatz: equivariant layers, orbitals and their envelope (Phys. Rev. A 108, 063320).

Features are laid out ``(A, W, F)``, particles first: the mean over particles is then a sum of contiguous blocks.
Every module takes plain features or jets, and lets a :class:`Tap` see and perturb what its linear map computes.
"""

from __future__ import annotations

import math
from typing import Protocol

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array

from repro.vmc.ansatz.forward_laplacian import F, Jet, gaussian, over_particles, particle_mean, tanh


class Tap(Protocol):
    """Stands between a linear map and what follows it.

    For s = W_own own + W_shared shared + b it is called with the name of the layer, what enters for each particle,
    ``own`` ``(A, W, I)``, what enters for all of them alike, ``shared`` ``(1, W, S)`` or None, and s ``(A, W, O)``; its
    answer takes the place of s.
    """

    def __call__(self, layer: str, own: F, shared: F | None, s: F) -> F:
        """What follows the linear map."""


ENVELOPE = "envelope"


def untapped(layer: str, own: F, shared: F | None, s: F) -> F:
    """Leaves everything as it is."""
    del layer, own, shared
    return s


def _linear_parameters(fan_in: int, fan_out: int, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Weights ``(fan_in, fan_out)`` and biases ``(fan_out,)``, uniform in +-1/sqrt(fan_in)."""
    initial = hk.initializers.RandomUniform(-1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))
    return (
        hk.get_parameter("w", (fan_in, fan_out), dtype, initial),
        hk.get_parameter("b", (fan_out,), dtype, initial),
    )


def _mixed(h: F, own: Array, shared: Array, b: Array) -> F:
    """W [h_m, mean h] + b = W_own h_m + W_shared mean h + b; the second product is the same for all particles."""
    particles = (h.value if isinstance(h, Jet) else h).shape[0]
    return h @ own + over_particles(particle_mean(h) @ shared + b, particles)


@jax.custom_jvp
def _mixed_pair(h: Array, own: Array, shared: Array, b: Array) -> Array:
    """The same for two particles, in two products instead of three: of their mean, and of half their difference.

    For the walk, which is most of an epoch; what is differentiated is computed as for any number of particles. (With
    more particles the further sums cost as much as the one product less.)
    """
    centre = particle_mean(h) @ (own + shared) + b
    half = (0.5 * (h[:1] - h[1:])) @ own
    return jnp.concatenate([centre + half, centre - half])


@_mixed_pair.defjvp
def _mixed_pair_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    return jax.jvp(_mixed, primals, tangents)


class EquivariantLayer(hk.Module):
    """h_m -> tanh(W [h_m, mean_m' h_m'] + b), plus h_m when ``skip``.

    Permuting the particles permutes the output in the same way.
    """

    def __init__(self, units: int, skip: bool, dtype: jnp.dtype, name: str):
        super().__init__(name=name)
        self.units, self.skip, self.dtype = units, skip, dtype

    def __call__(self, h: F, features: int, particles: int, tap: Tap = untapped) -> F:
        """Maps ``(A, W, features)`` to ``(A, W, units)``."""
        w, b = _linear_parameters(2 * features, self.units, self.dtype)
        mixed = _mixed_pair if particles == 2 and not isinstance(h, Jet) else _mixed
        s = mixed(h, w[:features], w[features:], b)
        out = tanh(tap(self.name, h, particle_mean(h), s))
        return h + out if self.skip else out


class SlaterOrbitals(hk.Module):
    """Orbital matrices of D determinants: a linear map of the features times Gaussian envelopes exp(-(w_j x_i)^2)."""

    def __init__(self, determinants: int, dtype: jnp.dtype, name: str = "orbitals"):
        super().__init__(name=name)
        self.determinants, self.dtype = determinants, dtype

    def __call__(self, h: F, x: F, features: int, particles: int, tap: Tap = untapped) -> F:
        """Maps features ``(A, W, features)`` and positions ``(A, W, 1)`` to orbitals ``(A, W, D * A)``."""
        count = self.determinants * particles
        w, b = _linear_parameters(features, count, self.dtype)
        width = hk.get_parameter(ENVELOPE, (count,), self.dtype, hk.initializers.Constant(math.sqrt(0.5)))
        return tap(self.name, h, None, h @ w + b) * gaussian(tap(ENVELOPE, x, None, x * width))


class EquivariantOrbitals(hk.Module):
    """The whole network, from positions to orbital matrices."""

    def __init__(self, layers: int, hidden: int, determinants: int, dtype: jnp.dtype, name: str = "ansatz"):
        super().__init__(name=name)
        self.layers, self.hidden, self.determinants, self.dtype = layers, hidden, determinants, dtype

    def __call__(self, x: F, particles: int, tap: Tap = untapped) -> F:
        """Maps positions ``(A, W, 1)`` to orbitals ``(A, W, D * A)``; entry (i, w, d A + j) is orbital j at i."""
        h, features = x, 1
        for index in range(self.layers):
            layer = EquivariantLayer(self.hidden, skip=index > 0, dtype=self.dtype, name=f"equivariant_{index + 1}")
            h, features = layer(h, features, particles, tap), self.hidden
        return SlaterOrbitals(self.determinants, self.dtype)(h, x, features, particles, tap)
