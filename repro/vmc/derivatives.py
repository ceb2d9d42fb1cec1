"""What all curvatures are made of, evaluated once an epoch at the walkers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.curvature.jacobian import Jacobian
from repro.curvature.linearized import LinearizedJacobian, PerSample
from repro.numerics.batching import map_in_batches
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Partition, partition
from repro.vmc.ansatz.trial import TrialState
from repro.vmc.structured import MixedDerivatives, Scores


@dataclass(frozen=True)
class Derivatives:
    """The derivatives of ln|psi| at the walkers, structured where the state's linear maps are known.

    Attributes:
        psi: the state.
        params: where.
        x: walkers, shape ``(W, A)``.
        chunk: walkers differentiated at a time.
        parts: the layer blocks.
        scores: D = d ln|psi| / d theta.
        mixed: d_xk D, or None if they were not asked for.
        layers: the linear maps themselves, or None where they are not known.
    """

    psi: TrialState
    params: Any
    x: Array
    chunk: int
    parts: Partition
    scores: Jacobian
    mixed: Jacobian | None
    layers: tuple[LinearLayer, ...] | None


def partition_of(psi: TrialState, params: Any) -> Partition:
    """The blocks of a state: its linear maps where they are known, else those of its parameters' tree."""
    if psi.structure is not None:
        return Partition(psi.structure.split, psi.structure.join)
    return partition(params)


def derivatives(psi: TrialState, params: Any, x: Array, chunk: int, mixed: bool) -> Derivatives:
    """Evaluates the scores and, if ``mixed``, the mixed derivatives.

    Args:
        psi: the state.
        params: where.
        x: walkers, shape ``(W, A)``.
        chunk: walkers differentiated at a time, a divisor of W; bounds the memory of the evaluation.
        mixed: whether the mixed derivatives are wanted.
    """
    parts = partition_of(psi, params)
    scores: Jacobian
    slopes: Jacobian | None = None
    layers = None
    if (structure := psi.structure) is None:
        scores = LinearizedJacobian(score_function(psi.log_psi), params, x, parts, chunk)
        if mixed:
            slopes = LinearizedJacobian(slope_function(psi.log_psi), params, x, parts, chunk)
    elif mixed:
        layers, tangents = map_in_batches(lambda y: structure.tangents(params, y), x, chunk, axis=-2)
        scores, slopes = Scores(layers), MixedDerivatives(layers, tangents)
    else:
        layers = map_in_batches(lambda y: structure.layers(params, y), x, chunk, axis=-2)
        scores = Scores(layers)
    return Derivatives(psi, params, x, chunk, parts, scores, slopes, layers)


def score_function(log_psi: Callable[[Any, Array], Array]) -> PerSample:
    """ln|psi| as one number a walker."""
    return lambda params, x: log_psi(params, x)[None]


def slope_function(log_psi: Callable[[Any, Array], Array]) -> PerSample:
    """D ln|psi| / d x_k as K numbers a walker, in the order of its coordinates."""

    def slopes(params: Any, x: Array) -> Array:
        return jax.grad(lambda y: jnp.sum(log_psi(params, y)))(x).reshape(x.shape[0], -1).T

    return slopes
