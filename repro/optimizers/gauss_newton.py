"""Plain damped Gauss-Newton: the damped quadratic model minimised exactly, for problems of few parameters.

With g the gradient of the objective and M the problem's curvature "decision", the Gauss-Newton matrix where the
objective is a sum of squares, a step is the minimum of 1/2 d^T (M + lambda) d + g^T d over all d,

    (M + lambda) d = -g,

with M assembled as a dense matrix. Lambda follows Levenberg and Marquardt's rule from the ratio of actual to predicted
change, with their signs. Nothing is approximated: what the study's optimisers do to avoid a dense matrix, layer blocks,
MINRES and a scale along two directions, can be compared with this. (J. Martens, R. Grosse, ICML 2015, section 6.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config.optimizers import GaussNewtonConfig
from repro.errors import InputError
from repro.optimizers.base import Optimizer, checked_grads, checked_params, distinct_zeros
from repro.optimizers.second_order import damping_judge
from repro.parameters.partition import Blocks
from repro.problems.base import Problem, require_curvatures

MODEL = "decision"
MOST_PARAMETERS = 5000
"""A matrix of that size takes 100 MB in single precision, and its factorisation some seconds of a processor."""
COLUMNS_AT_ONCE = 64


class GaussNewtonState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        epoch: updates made, int32.
        damping: lambda of the next step.
        predicted: change of the objective that the damped model predicts for the last step.
        report: scalars of the last update.
    """

    epoch: Array
    damping: Array
    predicted: Array
    report: dict[str, Array]


def dense_gauss_newton(problem: Problem, config: GaussNewtonConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised; its curvature "decision" is the model.
        config: the damping and its rule.

    Raises:
        InputError: if the problem does not have this curvature; by ``init``, for more parameters than
            :data:`MOST_PARAMETERS`.
    """
    require_curvatures(problem, (MODEL,), config.name)

    def init(params: Any) -> GaussNewtonState:
        blocks = problem.partition(checked_params(params, config.name)).split(params)
        _refuse_size(sum(block.size for block in blocks), config.name)
        dtype = blocks[0].dtype
        damping, predicted = jnp.asarray(config.damping.initial, dtype), jnp.zeros((), dtype)
        return GaussNewtonState(jnp.zeros((), jnp.int32), damping, predicted, distinct_zeros(("lambda",), dtype))

    def update(grads: Any, state: GaussNewtonState, params: Any = None, **batch: Any) -> tuple[Any, GaussNewtonState]:
        geometry = problem.geometry(checked_params(params, config.name), (MODEL,), batch)
        # Made here, not in the loop over columns: what a geometry has made it keeps, and a loop may be traced twice.
        parts, model = geometry.partition, geometry.curvature(MODEL)
        g, restore = ravel_pytree(parts.split(checked_grads(grads, params, config.name)))

        def column(v: Array) -> Array:
            product: Blocks = model.matvec(restore(v))
            return ravel_pytree(product)[0]

        identity = jnp.eye(g.size, dtype=g.dtype)
        damped = jax.lax.map(column, identity, batch_size=COLUMNS_AT_ONCE) + state.damping * identity
        step = -jnp.linalg.solve(damped, g)
        predicted = g @ step + 0.5 * (step @ (damped @ step))
        report = {"lambda": jnp.copy(state.damping)}  # states are donated leaf by leaf
        following = GaussNewtonState(state.epoch + 1, state.damping, predicted, report)
        return parts.join(restore(step)), following

    return Optimizer(init, update, lambda state: state.report, damping_judge(problem, config.damping))


def _refuse_size(parameters: int, optimizer: str) -> None:
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"{optimizer}: {parameters:,} parameters, and it solves with a dense matrix of at most "
            f"{MOST_PARAMETERS:,}; take fewer parameters, or an optimiser that assembles no matrix, as dgd"
        )
