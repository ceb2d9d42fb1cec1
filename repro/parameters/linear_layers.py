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

from repro.numerics.sharding import mean_from_sums


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


def squared_gradients(layer: LinearLayer) -> Array:
    """E[(a e^T)^2], entry by entry: the mean over the samples of the squared gradients of single ones.

    Args:
        layer: of one particle, so that a single product a e^T is the gradient of a sample.

    Returns:
        Of the shape of the matrix, ``(I + S, O)``.
    """
    (inputs,), (sensitivity,) = layer.inputs, layer.sensitivity
    return mean_from_sums((inputs**2).T @ sensitivity**2, inputs.shape[0])
