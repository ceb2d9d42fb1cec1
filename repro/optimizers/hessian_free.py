"""Hessian-free optimisation: the damped Gauss-Newton model minimised by conjugate gradients, without a matrix.

With g the gradient over all samples of the epoch, G the Gauss-Newton matrix over a part of them, and lambda the
damping, one update (J. Martens, ICML 2010, sections 4 and 5) is this:

1. (G + lambda) p = -g is solved by conjugate gradients. They start from a multiple of the last solution, are
   preconditioned by (D + lambda)^xi with D = E[g_s^2] from the gradients g_s of single samples, and the strength of a
   penalty if there is one, and end when the model hardly improves (:mod:`repro.solvers.cg`).
2. Of the iterates on the way, that one is taken which lowers the objective most: they are gone through from the last to
   the first, as long as the objective falls.
3. The step is shortened until it lowers the objective by a part of what its slope says; if it never does, no step is
   made.
4. Lambda grows where the quadratic model promised too much and shrinks where it was right. The ratio compares with
   the model without lambda.

Here the objective is a mean over samples, and so are G and D; the paper's sums over samples differ by their number. The
objective in steps 2 and 3 is that of all samples of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config.optimizers import HessianFreeConfig
from repro.curvature.pullback import Curvature
from repro.numerics.loops import traced_once
from repro.optimizers.base import Optimizer, checked_grads, checked_params, distinct_zeros
from repro.optimizers.second_order import damping_judge
from repro.problems.base import Problem, require_curvatures
from repro.problems.loss_geometry import EMPIRICAL
from repro.solvers.cg import CGResult, conjugate_gradients

MODEL = "gauss-newton"
WANTED = (MODEL, EMPIRICAL)
SPACING = 1.3
"""Ratio of the numbers of two iterations whose iterates are kept."""
SUFFICIENT = 1e-2
"""Part of what the slope says that a step must lower the objective by (L. Armijo, Pacific J. Math. 16, 1 (1966))."""
SHORTER, MOST_SHORTENINGS = 0.8, 60
REPORTED = ("lambda", "cg_iterations", "cg_kept", "length")
FURTHER = ("cg_iterations", "cg_kept", "length")
"""Columns of the curve that other optimisers do not have: iterations done, number of the iterate that was taken, and
what it was multiplied with."""

Change = Callable[[Array], Array]
"""From a step, as one vector, to the change of the objective."""


class HessianFreeState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        epoch: updates made, int32.
        damping: lambda of the next step.
        solution: the last iterate of conjugate gradients, as one vector.
        predicted: change of the objective that the model without damping predicts for the last step.
        report: scalars of the last update.
    """

    epoch: Array
    damping: Array
    solution: Array
    predicted: Array
    report: dict[str, Array]


def free_of_matrices(problem: Problem, config: HessianFreeConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised; its curvature "gauss-newton" is the model, and the diagonal of its
            "empirical-fisher" the preconditioner.
        config: the damping and its rule, and the settings of conjugate gradients.

    Raises:
        InputError: if the problem does not have these curvatures.
    """
    require_curvatures(problem, WANTED, config.name)
    numbers = kept_iterations(config.cg_iterations)

    def init(params: Any) -> HessianFreeState:
        flat = ravel_pytree(problem.partition(checked_params(params, config.name)).split(params))[0]
        damping, zero = (jnp.asarray(value, flat.dtype) for value in (config.damping.initial, 0.0))
        report = distinct_zeros(REPORTED, flat.dtype)
        return HessianFreeState(jnp.zeros((), jnp.int32), damping, jnp.zeros_like(flat), zero, report)

    def update(grads: Any, state: HessianFreeState, params: Any = None, **batch: Any) -> tuple[Any, HessianFreeState]:
        everything = problem.geometry(checked_params(params, config.name), WANTED, batch)
        part = problem.part(batch, config.curvature_fraction, 0) if config.curvature_fraction < 1 else batch
        geometry = problem.geometry(params, WANTED, part)
        parts, trial = geometry.partition, everything.trial()
        g, restore = ravel_pytree(parts.split(checked_grads(grads, params, config.name)))
        model = geometry.curvature(MODEL)

        def product(v: Array) -> Array:
            return ravel_pytree(model.matvec(restore(v)))[0]

        def change(step: Array) -> Array:
            return trial.change(parts.join(restore(step))).change

        squares = _diagonal(everything.curvature(EMPIRICAL), len(parts.split(params)))
        scale = (squares + state.damping) ** config.cg_preconditioner_power
        solved = conjugate_gradients(
            product,
            -g,
            x0=config.cg_start_decay * state.solution,
            shift=state.damping,
            preconditioner=lambda v: v / scale,
            iterations=config.cg_iterations,
            progress=config.cg_progress,
            keep=numbers,
        )
        taken, chosen = best_iterate(change, solved)
        length = step_length(change, chosen, g @ chosen)
        step = length * chosen
        # Without a step the ratio is 0 over what was promised, and lambda grows.
        promised = jnp.where(length > 0, step, chosen)
        predicted = g @ promised + 0.5 * (promised @ product(promised))
        last = jnp.minimum(jnp.asarray((*numbers, config.cg_iterations))[taken], solved.iterations)
        found = (state.damping, solved.iterations, last, length)
        report = {name: jnp.copy(value).astype(g.dtype) for name, value in zip(REPORTED, found, strict=True)}
        following = HessianFreeState(state.epoch + 1, state.damping, solved.x, predicted, report)
        return parts.join(restore(step)), following

    return Optimizer(init, update, lambda state: state.report, damping_judge(problem, config.damping), further=FURTHER)


def kept_iterations(most: int) -> tuple[int, ...]:
    """Numbers of iterations, each :data:`SPACING` times the one before, rounded up, below the most."""
    found, number = [], 1.0
    while number < most:
        if (rounded := -int(-number // 1)) < most and rounded not in found:
            found.append(rounded)
        number *= SPACING
    return tuple(found)


def best_iterate(change: Change, solved: CGResult) -> tuple[Array, Array]:
    """From the last kept iterate back, as long as the objective falls.

    Args:
        change: of the objective.
        solved: with kept iterates.

    Returns:
        The place of the iterate that was taken among those that were kept, and the iterate.
    """
    traced, _ = traced_once(change, solved.x)

    def back(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, best, _ = carry
        earlier = traced(solved.kept[place - 1])
        falls = (earlier < best) | ~jnp.isfinite(best)
        return jnp.where(falls, place - 1, place), jnp.where(falls, earlier, best), falls

    begin = (solved.last_kept, traced(solved.x), jnp.ones((), bool))
    place, _, _ = jax.lax.while_loop(lambda carry: carry[2] & (carry[0] > 0), back, begin)
    return place, solved.kept[place]


def step_length(change: Change, step: Array, slope: Array) -> Array:
    """The first of 1, 0.8, 0.8^2, ... that lowers the objective enough, or 0.

    Args:
        change: of the objective.
        step: at length 1.
        slope: g^T step.
    """
    traced, _ = traced_once(change, step)

    def enough(length: Array) -> Array:
        return traced(length * step) <= SUFFICIENT * length * jnp.minimum(slope, 0.0)

    def shorter(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        length, made, _ = carry
        return SHORTER * length, made + 1, enough(SHORTER * length)

    one = jnp.ones((), step.dtype)
    begin = (one, jnp.zeros((), jnp.int32), enough(one))
    length, _, found = jax.lax.while_loop(lambda carry: ~carry[2] & (carry[1] < MOST_SHORTENINGS), shorter, begin)
    return jnp.where(found, length, 0.0)


def _diagonal(curvature: Curvature, blocks: int) -> Array:
    """As one vector."""
    return ravel_pytree(tuple(curvature.diagonal(index) for index in range(blocks)))[0]
