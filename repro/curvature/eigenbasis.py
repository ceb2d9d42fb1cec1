"""Kronecker-factored eigenbases: coordinates of each layer in which its block of a metric is close to diagonal.

A layer's block of the Fisher metric is close to A (x) S with the factors of :mod:`repro.curvature.kronecker`, whose
eigenvectors U and V make U^T (.) V of a block. In these coordinates the diagonal of the metric itself, exact, serves
better than the eigenvalues of A and S (T. George, C. Laurent, X. Bouthillier, N. Ballas, P. Vincent, NeurIPS 2018). The
decision metric, whose derivatives are the same inputs and sensitivities moved along, is close to diagonal in them, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.ansatz.linear import LinearLayer, LinearTangents
from repro.ansatz.trial import Blocks
from repro.curvature.derivatives import Derivatives
from repro.curvature.kronecker import kronecker_factors, spectrum
from repro.curvature.structured import MixedDerivatives, Scores, dense


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


def turned(found: Derivatives, bases: tuple[Eigenbasis, ...]) -> Derivatives:
    """The derivatives in other coordinates, as if each layer's matrix were written in them.

    Raises:
        ValueError: if the linear maps are not known, or there are no mixed derivatives.
    """
    if found.layers is None or not isinstance(found.mixed, MixedDerivatives):
        raise ValueError("turned(...) needs derivatives(..., mixed=True) of a state whose linear maps are known")
    layers = tuple(_turned_layer(*pair) for pair in zip(found.layers, bases, strict=True))
    tangents = tuple(_turned_tangents(*three) for three in zip(found.layers, found.mixed.tangents, bases, strict=True))
    return replace(found, layers=layers, scores=Scores(layers), mixed=MixedDerivatives(layers, tangents))


def to_eigenbases(bases: tuple[Eigenbasis, ...], v: Blocks) -> Blocks:
    """A vector in these coordinates."""
    return tuple(basis.to(block) for basis, block in zip(bases, v, strict=True))


def from_eigenbases(bases: tuple[Eigenbasis, ...], v: Blocks) -> Blocks:
    """A vector in the parameters' own coordinates."""
    return tuple(basis.back(block) for basis, block in zip(bases, v, strict=True))


def _turned_layer(layer: LinearLayer, basis: Eigenbasis) -> LinearLayer:
    """Every input is mixed with every other: all are those of single particles now."""
    count = layer.own.shape[-1]
    inputs = layer.own @ basis.inputs[:count] + layer.shared @ basis.inputs[count:]
    none = jnp.zeros((inputs.shape[1], 0), inputs.dtype)
    return LinearLayer(inputs, none, none, layer.sensitivity @ basis.sensitivities)


def _turned_tangents(layer: LinearLayer, tangents: LinearTangents, basis: Eigenbasis) -> LinearTangents:
    # The constant does not move. What all particles share is turned once, not once for each of them.
    count, moving = layer.own.shape[-1], tangents.mean.shape[-1]
    of_own, of_mean = basis.inputs[:count], basis.inputs[count : count + moving]
    mean = (tangents.mean @ of_mean)[:, None]
    own = dense(jax.tree.map(lambda part: part @ of_own, tangents.own))
    none = jnp.zeros((own.shape[0], own.shape[2], 0), own.dtype)
    return LinearTangents(own + mean, none, tangents.sensitivity @ basis.sensitivities)
