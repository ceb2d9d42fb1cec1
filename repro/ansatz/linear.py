"""What the linear maps of a network see: their inputs, their sensitivities, and the tangents of both.

For one linear map s_m = a_m V of every particle m, with the sensitivities e_m = d ln|psi| / d s_m,

    d ln|psi| / dV = sum_m a_m^T e_m,
    d/dx_k of it   = sum_m [ (d_k a_m)^T e_m + a_m^T (d_k e_m) ],

so that a, e and their tangents determine every product with the derivatives of ln|psi| (J. Martens, R. Grosse, ICML
2015, section 2, for the first line).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class LinearLayer(NamedTuple):
    """One linear map, at all walkers.

    The rows of its matrix V are ordered as the inputs: first those of each particle, then those that all particles
    share: the mean of the former, and the constant 1 whose row is the bias. Either may be missing.

    Attributes:
        own: inputs of each particle, shape ``(A, W, I)``.
        mean: their mean over the particles, shape ``(W, I)``, or ``(W, 0)`` where the map does not see it.
        constant: ones, shape ``(W, 1)``, or ``(W, 0)`` where there is no bias.
        sensitivity: d ln|psi| / d s, shape ``(A, W, O)``.
    """

    own: Array
    mean: Array
    constant: Array
    sensitivity: Array

    @property
    def shared(self) -> Array:
        """The inputs that are the same for all particles, shape ``(W, S)``, S may be 0."""
        return jnp.concatenate([self.mean, self.constant], axis=-1)

    @property
    def inputs(self) -> Array:
        """All inputs of each particle, in the order of the rows, shape ``(A, W, I + S)``."""
        shared = self.shared
        return jnp.concatenate([self.own, jnp.broadcast_to(shared, (self.own.shape[0], *shared.shape))], axis=-1)


class LocalTangents(NamedTuple):
    """Derivatives d_k a_m = delta_km local_m + common_m, of features that see their own particle and the mean of all.

    They take the place of an array ``(K, A, W, I)`` and are A/2 times smaller.

    Attributes:
        local: shape ``(A, W, I)``.
        common: shape ``(A, W, I)``.
    """

    local: Array
    common: Array

    @classmethod
    def of(cls, tangents: Array) -> LocalTangents:
        """The two parts of an array ``(K, A, W, I)`` known to be of this form."""
        particles = tangents.shape[0]
        own = jnp.stack([tangents[m, m] for m in range(particles)])
        if particles == 1:
            return cls(own, jnp.zeros_like(own))
        common = jnp.stack([tangents[(m + 1) % particles, m] for m in range(particles)])
        return cls(own - common, common)


class LinearTangents(NamedTuple):
    """Derivatives of a :class:`LinearLayer` in the K = A positions.

    Attributes:
        own: shape ``(K, A, W, I)``, or in two parts where it is of that form.
        mean: shape ``(K, W, I)`` or ``(K, W, 0)``.
        sensitivity: shape ``(K, A, W, O)``.
    """

    own: Array | LocalTangents
    mean: Array
    sensitivity: Array
