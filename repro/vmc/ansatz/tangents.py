"""Derivatives of the linear maps' inputs and sensitivities in the positions of the particles."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


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
