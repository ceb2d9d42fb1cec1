"""Kronecker-factored eigenbases: coordinates of each layer in which its block of a metric is close to diagonal.

A layer's block of the Fisher metric is close to A (x) S with the factors of :mod:`repro.curvature.kronecker`, whose
eigenvectors U and V make U^T (.) V of a block. In these coordinates the diagonal of the metric itself, exact, serves
better than the eigenvalues of A and S (T. George, C. Laurent, X. Bouthillier, N. Ballas, P. Vincent, NeurIPS 2018). The
decision metric, whose derivatives are the same inputs and sensitivities moved along, is close to diagonal in them, too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from repro.curvature.kronecker import kronecker_factors, spectrum
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Blocks


class Eigenbasis(NamedTuple):
    """Orthogonal coordinates of one layer.

    Attributes:
        inputs: U, shape ``(I + S, I + S)``.
        sensitivities: V, shape ``(O, O)``.
    """

    inputs: Array
    sensitivities: Array

    def to(self, block: Array) -> Array:
        """U^T block V."""
        return self.inputs.T @ block @ self.sensitivities

    def back(self, block: Array) -> Array:
        """U block V^T."""
        return self.inputs @ block @ self.sensitivities.T


def eigenbases(layers: tuple[LinearLayer, ...]) -> tuple[Eigenbasis, ...]:
    """Of every layer, at the walkers."""
    factors = kronecker_factors(layers, centred=False, scale=1.0)
    return tuple(Eigenbasis(spectrum(a).vectors, spectrum(s).vectors) for a, s in factors)


def to_eigenbases(bases: tuple[Eigenbasis, ...], v: Blocks) -> Blocks:
    """A vector in these coordinates."""
    return tuple(basis.to(block) for basis, block in zip(bases, v, strict=True))


def from_eigenbases(bases: tuple[Eigenbasis, ...], v: Blocks) -> Blocks:
    """A vector in the parameters' own coordinates."""
    return tuple(basis.back(block) for basis, block in zip(bases, v, strict=True))


def turned_layer(layer: LinearLayer, basis: Eigenbasis) -> LinearLayer:
    """The layer as if its matrix were written in these coordinates.

    Every input is mixed with every other: all are those of single particles now, shape ``(A, W, I + S)``.
    """
    count = layer.own.shape[-1]
    inputs = layer.own @ basis.inputs[:count] + layer.shared @ basis.inputs[count:]
    none = jnp.zeros((inputs.shape[1], 0), inputs.dtype)
    return LinearLayer(inputs, none, none, layer.sensitivity @ basis.sensitivities)
