"""What all curvatures are made of, evaluated once an epoch at the walkers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jax import Array

from repro.ansatz.linear import LinearLayer
from repro.ansatz.trial import TrialState
from repro.chunks import map_walkers
from repro.curvature.blocks import Partition, partition
from repro.curvature.generic import GenericJacobian, score_function, slope_function
from repro.curvature.jacobian import Jacobian
from repro.curvature.structured import MixedDerivatives, Scores


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


def derivatives(psi: TrialState, params: Any, x: Array, chunk: int, mixed: bool) -> Derivatives:
    """Evaluates the scores and, if ``mixed``, the mixed derivatives.

    Args:
        psi: the state.
        params: where.
        x: walkers, shape ``(W, A)``.
        chunk: walkers differentiated at a time, a divisor of W; bounds the memory of the evaluation.
        mixed: whether the mixed derivatives are wanted.
    """
    parts = partition(psi, params)
    scores: Jacobian
    slopes: Jacobian | None = None
    layers = None
    if (structure := psi.structure) is None:
        scores = GenericJacobian(score_function(psi.log_psi), params, x, parts, chunk)
        if mixed:
            slopes = GenericJacobian(slope_function(psi.log_psi), params, x, parts, chunk)
    elif mixed:
        layers, tangents = map_walkers(lambda y: structure.tangents(params, y), x, chunk, axis=-2)
        scores, slopes = Scores(layers), MixedDerivatives(layers, tangents)
    else:
        layers = map_walkers(lambda y: structure.layers(params, y), x, chunk, axis=-2)
        scores = Scores(layers)
    return Derivatives(psi, params, x, chunk, parts, scores, slopes, layers)
