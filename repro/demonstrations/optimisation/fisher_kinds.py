"""The three matrices that are called "Fisher", told apart: exact, of drawn targets, or of the data's targets.

All are E_x E_y[s s^T] with s = d ln p(y | x) / d theta. They differ in where y comes from: the model, in closed form;
the model, drawn; or the data. Only the first two are the Fisher matrix and its estimate (F. Kunstner, L. Balles, P.
Hennig, NeurIPS 2019). The exact one is the Gauss-Newton matrix of :mod:`repro.problems.loss_geometry`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.curvature.linearized import LinearizedJacobian
from repro.curvature.output_metrics import Euclidean
from repro.curvature.pullback import Curvature, Pullback
from repro.parameters.partition import Partition
from repro.problems.supervised import Supervised
from repro.problems.terms import Term


class FisherKind(StrEnum):
    """Where the targets come from; every figure with one of these matrices prints :attr:`told`."""

    EXACT = "exact"
    MC = "mc"
    EMPIRICAL = "empirical"

    @property
    def told(self) -> str:
        """For a legend or a title."""
        return {
            FisherKind.EXACT: "Fisher matrix, exact",
            FisherKind.MC: "Fisher matrix, mc (drawn targets)",
            FisherKind.EMPIRICAL: "empirical Fisher matrix (targets of the data)",
        }[self]


def whole(params: Any) -> Partition:
    """All parameters as one flat block, in the order of ``ravel_pytree``."""
    _, restore = ravel_pytree(params)
    return Partition(lambda tree: (ravel_pytree(tree)[0],), lambda blocks: restore(blocks[0]))


def fisher(
    kind: FisherKind,
    problem: Supervised,
    params: Any,
    data: tuple[Array, Array],
    *,
    draws: int = 1,
    key: Array | None = None,
) -> Curvature:
    """One of the three as an operator over a single block; :func:`dense` makes it a matrix.

    Args:
        kind: which.
        problem: a model and its loss.
        params: where, P numbers.
        data: inputs ``(S, ...)`` and targets of all samples.
        draws: targets drawn for each input, for :attr:`FisherKind.MC`.
        key: of these targets.

    Raises:
        InputError: if the targets are not as the loss takes them.
    """
    inputs, targets = data
    (term,) = problem.terms_of({"inputs": inputs, "targets": targets})
    if kind is FisherKind.EXACT:
        return term.gauss_newton(params, whole(params))
    if kind is FisherKind.EMPIRICAL:
        return term.empirical_fisher(params, whole(params))
    return _drawn(term, params, draws, jax.random.key(0) if key is None else key)


def _drawn(term: Term, params: Any, draws: int, key: Array) -> Pullback:
    """The mean of s s^T over targets drawn from the model: s = J^T u, with u the loss's slope at a drawn target."""
    inputs = jnp.repeat(term.x, draws, axis=0)
    outputs = jnp.repeat(term.at(params), draws, axis=1)
    slopes = term.loss.metric(outputs).sample(key, outputs)

    def along(theta: Any, index: Array) -> Array:
        return jnp.sum(term.outputs(theta, inputs[index]) * slopes[:, index], axis=0, keepdims=True)

    numbers = jnp.arange(inputs.shape[0])
    return Pullback(LinearizedJacobian(along, params, numbers, whole(params), inputs.shape[0]), Euclidean())


def dense(curvature: Curvature, size: int) -> Array:
    """The matrix of an operator over a single block of ``size`` numbers, from its products with unit vectors."""
    return jax.vmap(lambda unit: curvature.matvec((unit,))[0])(jnp.eye(size))
