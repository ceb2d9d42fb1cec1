"""Natural gradients of Helmholtz machines: the Fisher matrix of a sigmoid belief net has a block for each unit.

The block of a unit j with the inputs h and the activation a_j is F_j = E[sigma'(a_j) h h^T] over the samples of its own
net (N. Ay, 2002; C. Varady, R. Volpi, L. Malago, N. Ay, arXiv:2008.06687). A step of a unit's weights is

    -rate (1 + alpha) (F_j + alpha)^-1 g_j,

so that with a large damping alpha it is gradient descent. The inverses are made anew in every T-th step and kept in
between. With S samples and blocks of I inputs they come from Cholesky's factors where S >= I, and else from the
Sherman-Morrison-Woodbury identity, whose system has S equations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.config.optimizers import UnitFisherConfig
from repro.errors import InputError
from repro.optimizers.base import Optimizer, checked_params
from repro.problems.base import Problem, required
from repro.problems.helmholtz import UnitLayer, WakeSleep


class UnitFisherState(NamedTuple):
    """Carried from step to step.

    Attributes:
        step: steps done.
        inverses: (F_j + alpha)^-1 of every layer, shapes ``(J, I, I)``, of the structure of the parameters.
    """

    step: Array
    inverses: Any


def fisher_blocks(layer: UnitLayer) -> Array:
    """F_j of every unit of a layer, shape ``(J, I, I)``."""
    scaled = jnp.einsum("sj,si->jsi", layer.variances, layer.inputs) / layer.inputs.shape[0]
    return jnp.einsum("jsi,sk->jik", scaled, layer.inputs)


def inverse_by_cholesky(layer: UnitLayer, damping: Array | float) -> Array:
    """(F_j + alpha)^-1 of every unit, shape ``(J, I, I)``."""
    blocks = fisher_blocks(layer)
    identity = jnp.eye(blocks.shape[-1], dtype=blocks.dtype)

    def inverse(block: Array) -> Array:
        factor = jnp.linalg.cholesky(block + damping * identity)
        half = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
        return half.T @ half

    # One after the other: batches of factorisations have been seen to wait for each other for ever on two threads.
    return jax.lax.map(inverse, blocks)


def inverse_by_woodbury(layer: UnitLayer, damping: Array | float) -> Array:
    """The same, (1 - U^T (alpha + U U^T)^-1 U) / alpha with the rows U = sqrt(sigma' / S) h of the samples."""
    samples, size = layer.inputs.shape
    identity = jnp.eye(size, dtype=layer.inputs.dtype)

    def inverse(variances: Array) -> Array:
        rows = jnp.sqrt(variances / samples)[:, None] * layer.inputs
        inner = rows @ rows.T + damping * jnp.eye(samples, dtype=rows.dtype)
        half = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(inner), rows, lower=True)
        return (identity - half.T @ half) / damping

    return jax.lax.map(inverse, layer.variances.T)


def inverse_by_updates(layer: UnitLayer, damping: Array | float) -> Array:
    """The same, sample by sample: J. Sherman and W. Morrison's update of an inverse by one product u u^T."""
    size, count = layer.inputs.shape[1], layer.inputs.shape[0]
    begin = jnp.broadcast_to(jnp.eye(size, dtype=layer.inputs.dtype) / damping, (layer.variances.shape[1], size, size))

    def update(inverse: Array, sample: tuple[Array, Array]) -> tuple[Array, None]:
        h, variances = sample
        product = inverse @ h
        weight = variances / count
        scale = weight / (1.0 + weight * (product @ h))
        return inverse - scale[:, None, None] * product[:, :, None] * product[:, None, :], None

    return jax.lax.scan(update, begin, (layer.inputs, layer.variances))[0]


def inverse_of(layer: UnitLayer, damping: Array | float) -> Array:
    """By the way that is cheaper for the sizes at hand."""
    samples, size = layer.inputs.shape
    return (inverse_by_woodbury if samples < size else inverse_by_cholesky)(layer, damping)


def unit_fisher(problem: Problem, config: UnitFisherConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: a Helmholtz machine.
        config: learning rate, damping, and how often the inverses are made.

    Raises:
        InputError: for another problem.
    """
    if not isinstance(problem, WakeSleep):
        raise InputError(f"optimizer = {config.name!r}: is for Helmholtz machines; take kfac or ngd for this problem")

    def init(params: Any) -> UnitFisherState:
        checked_params(params, config.name)
        like = jax.tree.map(lambda w: jnp.zeros((w.shape[1], w.shape[0], w.shape[0]), w.dtype), params)
        return UnitFisherState(jnp.zeros((), jnp.int32), like)

    def update(grads: Any, state: UnitFisherState, params: Any = None, **batch: Any) -> tuple[Any, UnitFisherState]:
        del params
        (layers,) = required(batch, "unit_layers")

        def made_anew() -> Any:
            return jax.tree.map(
                lambda layer: inverse_of(layer, config.damping),
                layers,
                is_leaf=lambda part: isinstance(part, UnitLayer),
            )

        due = state.step % config.interval == 0
        inverses = jax.lax.cond(due, made_anew, lambda: state.inverses)
        scale = -config.learning_rate * (1.0 + config.damping)
        steps = jax.tree.map(lambda g, inverse: scale * jnp.einsum("jik,kj->ij", inverse, g), grads, inverses)
        return steps, UnitFisherState(state.step + 1, inverses)

    return Optimizer(init, update)
