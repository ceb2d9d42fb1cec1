"""Derivatives of ln|psi| in other coordinates of the layers."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from repro.curvature.eigenbasis import Eigenbasis, turned_layer
from repro.parameters.linear_layers import LinearLayer
from repro.vmc.ansatz.tangents import LinearTangents
from repro.vmc.derivatives import Derivatives
from repro.vmc.structured import MixedDerivatives, Scores, dense


def turned(found: Derivatives, bases: tuple[Eigenbasis, ...]) -> Derivatives:
    """The derivatives in other coordinates, as if each layer's matrix were written in them.

    Raises:
        ValueError: if the linear maps are not known, or there are no mixed derivatives.
    """
    if found.layers is None or not isinstance(found.mixed, MixedDerivatives):
        raise ValueError("turned(...) needs derivatives(..., mixed=True) of a state whose linear maps are known")
    layers = tuple(turned_layer(*pair) for pair in zip(found.layers, bases, strict=True))
    tangents = tuple(_turned_tangents(*three) for three in zip(found.layers, found.mixed.tangents, bases, strict=True))
    return replace(found, layers=layers, scores=Scores(layers), mixed=MixedDerivatives(layers, tangents))


def _turned_tangents(layer: LinearLayer, tangents: LinearTangents, basis: Eigenbasis) -> LinearTangents:
    # The constant does not move. What all particles share is turned once, not once for each of them.
    count, moving = layer.own.shape[-1], tangents.mean.shape[-1]
    of_own, of_mean = basis.inputs[:count], basis.inputs[count : count + moving]
    mean = (tangents.mean @ of_mean)[:, None]
    own = dense(jax.tree.map(lambda part: part @ of_own, tangents.own))
    none = jnp.zeros((own.shape[0], own.shape[2], 0), own.dtype)
    return LinearTangents(own + mean, none, tangents.sensitivity @ basis.sensitivities)
