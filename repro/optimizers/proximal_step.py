"""Proximal decisional gradient descent: an implicit step in decision geometry, held by the Fisher metric.

With g the gradient, G the decision metric, F the Fisher metric, and x0 what is left of the previous update, a step is
the minimum of

    g^T d + 1/2 d^T G d + lambda/2 (d - x0)^T (F + eta) (d - x0),

with lambda an energy that the walkers tell, the spread of their local energies and their kinetic energy per particle,
and a small constant eta; ``docs/proximal.md`` derives it. Differs from the study's decisional gradient descent in that
1. the momentum is inside of the problem and points downhill (of G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys.
   516, 113351 (2024), who have it for the Fisher metric alone), instead of a start for MINRES;
2. layers are coupled in the direction, too, which is then the step: nothing is left to scale;
3. the damping weighs a change of the state, not of its parameters, and is known before the step: nothing adapts it;
4. a step is judged in its own epoch by the paired change of the energy on the same walkers, with its error
   (:mod:`repro.vmc.energy_change`): rejected if the energy rises beyond it, or falls by more than the model can
   explain, while the walkers are kept;
5. MINRES ends by its residual, or after ten iterations, preconditioned by the diagonal of the system in
   Kronecker-factored eigenbases (:mod:`repro.curvature.eigenbasis`) where the state's linear maps are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import ProximalConfig
from repro.curvature.eigenbasis import eigenbases, from_eigenbases, to_eigenbases
from repro.curvature.pullback import Curvature
from repro.numerics.loops import traced_once
from repro.optimizers.base import Optimizer, checked_grads, checked_params, distinct_zeros
from repro.parameters.partition import Blocks
from repro.problems.base import Geometry, MeasuredChange, Problem, require_curvatures
from repro.solvers.minres import minres

MOMENTUM = 0.99
"""zeta: x0 = zeta delta_prev."""
FLOOR = 0.1
"""eta: what holds the directions that no walker sees, in units of the Fisher metric 4 Cov(D, D)."""
ITERATIONS = 10
"""The most of MINRES."""
REDUCTION = 1e-3
"""Of MINRES' residual, at which it ends."""
REACH = 0.3
"""The longest step, d^T F d: the variance of the weights that carry the walkers from one state to the next."""
LEAST_OVERLAP = 0.5
"""A step that leaves fewer walkers in effect cannot be judged by them."""
SIGNIFICANT = 2.0
"""Standard errors by which a rejected step raises the energy."""
MOST = 2.0
"""Ratio of actual to predicted change beyond which a step is rejected: a gain that the model cannot explain is that of
these walkers alone, as where a node passes between them."""
CHANGE = 4.0
"""What the damping is multiplied with after a rejected step."""
ATTEMPTS = 8


class ProximalState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        previous: the previous update, by layer blocks.
        report: scalars of the last update.
        damping: lambda of the next first attempt where the problem does not tell it; () where it does.
    """

    previous: Blocks
    report: dict[str, Array]
    damping: Any = ()


class Attempt(NamedTuple):
    """A step that was tried, as one vector.

    Attributes:
        update: the step.
        predicted: change of the energy by the model without damping.
        measured: the change on the same walkers.
        accepted: whether the step may be made.
        residual: of MINRES, relative to the first.
        iterations: of MINRES.
    """

    update: Array
    predicted: Array
    measured: MeasuredChange
    accepted: Array
    residual: Array
    iterations: Array


MODEL, HELD_BY = WANTED = ("decision", "fisher")
"""Curvatures: of the quadratic model, and what the damping weighs a step by."""
INITIAL_DAMPING = 1.0
"""Lambda of the first attempt where the problem does not tell it, in units of its curvature."""
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e12
FURTHER = ("attempts", "overlap")
"""Columns of the curve that other optimisers do not have."""
REPORTED = ("lambda", "rho", "minres_residual", "minres_iterations", *FURTHER)


def proximal(problem: Problem, config: ProximalConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised; its curvature "decision" is the model, its "fisher" holds the step.
        config: which of its parts are left out.

    Raises:
        InputError: if the problem does not have these curvatures.
    """
    without = config.left_out
    require_curvatures(problem, WANTED, config.name)

    def init(params: Any) -> ProximalState:
        blocks = problem.partition(checked_params(params, config.name)).split(params)
        dtype = blocks[0].dtype
        damping = () if problem.tells_damping else jnp.asarray(INITIAL_DAMPING, dtype)
        return ProximalState(jax.tree.map(jnp.zeros_like, blocks), distinct_zeros(REPORTED, dtype), damping)

    def update(grads: Any, state: ProximalState, params: Any = None, **batch: Any) -> tuple[Any, ProximalState]:
        geometry = problem.geometry(checked_params(params, config.name), WANTED, batch)
        system = _System(geometry, geometry.partition.split(checked_grads(grads, params, config.name)), without)
        g, restore, trial = system.gradient, system.restore, system.trial
        start = jnp.zeros_like(g) if "momentum" in without else MOMENTUM * ravel_pytree(state.previous)[0]
        first = trial.damping(state.damping, without)
        damping, made, tried = first_accepted(system.attempt, first, start)
        step = restore(jnp.where(tried.accepted, tried.update, 0.0))
        report = {
            "lambda": damping,
            "rho": tried.measured.change / tried.predicted,
            "minres_residual": jnp.where(tried.accepted, tried.residual, 1.0),
            "minres_iterations": tried.iterations,
            "attempts": made.astype(g.dtype),
            "overlap": jnp.where(tried.accepted, tried.measured.overlap, 0.0),
        }
        following = () if problem.tells_damping else followed_damping(damping, report["rho"], tried.accepted)
        return geometry.partition.join(step), ProximalState(step, report, following)

    return Optimizer(init, update, lambda state: state.report, further=FURTHER)


class _System:
    """The implicit step's equations at one place, for any damping and start.

    Args:
        geometry: of the problem, there.
        grads: the gradient, by blocks.
        without: parts that are left out.
    """

    def __init__(self, geometry: Geometry, grads: Blocks, without: frozenset[str]) -> None:
        self._without, self._join = without, geometry.partition.join
        self.gradient, self.restore = ravel_pytree(grads)
        self._model = _Quadratic(geometry.curvature(MODEL), self.restore, "coupling" not in without)
        self._information = _Quadratic(geometry.curvature(HELD_BY), self.restore, "coupling" not in without)
        layers = geometry.layers
        self._bases = () if layers is None or "basis" in without else eigenbases(layers)
        seen = geometry.turned(self._bases) if self._bases else geometry
        self._stiffness = _diagonal(seen.curvature(MODEL), len(grads))
        self._held = jnp.full_like(self.gradient, FLOOR)
        if "information" not in without:
            self._held += _diagonal(seen.curvature(HELD_BY), len(grads))
        self.trial = geometry.trial()

    def attempt(self, damping: Array, start: Array) -> Attempt:
        """The step for a damping lambda and a start x0, cut to the reach, and what it does."""
        g = self.gradient
        preconditioner = self._preconditioner(self._stiffness + damping * self._held)
        solved = minres(
            lambda v: self._model(v) + damping * self._distance(v),
            -g - self._model(start),
            preconditioner=preconditioner,
            iterations=ITERATIONS,
            tolerance=0.0,
            reduction=REDUCTION,
        )
        step = start + solved.x
        if "limit" not in self._without:
            length = step @ self._information(step)
            step = jnp.where(length > REACH, jnp.sqrt(REACH / length), 1.0) * step
        predicted = g @ step + 0.5 * (step @ self._model(step))
        measured = self.trial.change(self._join(self.restore(step)))
        accepted = jnp.ones((), bool) if "rejection" in self._without else acceptable(measured, predicted)
        return Attempt(step, predicted, measured, accepted, solved.residual, solved.iterations.astype(g.dtype))

    def _distance(self, v: Array) -> Array:
        """(F + eta) v."""
        return FLOOR * v if "information" in self._without else self._information(v) + FLOOR * v

    def _preconditioner(self, scale: Array) -> Callable[[Array], Array]:
        """Divides by the system's diagonal in the layers' eigenbases, where there are any."""
        bases, restore = self._bases, self.restore

        def preconditioner(v: Array) -> Array:
            if not bases:
                return v / scale
            scaled = ravel_pytree(to_eigenbases(bases, restore(v)))[0] / scale
            return ravel_pytree(from_eigenbases(bases, restore(scaled)))[0]

        return preconditioner


def acceptable(measured: MeasuredChange, predicted: Array) -> Array:
    """Whether a step may be made: close enough to be judged, not uphill beyond its error, no better than explained."""
    usable = jnp.isfinite(measured.change) & (measured.overlap > LEAST_OVERLAP)
    explained = measured.change >= jnp.minimum(MOST * predicted, 0.0) - measured.rounding
    return usable & explained & (measured.change <= SIGNIFICANT * measured.error)


def first_accepted(
    attempt: Callable[[Array, Array], Attempt], damping: Array, start: Array
) -> tuple[Array, Array, Attempt]:
    """Steps until one is accepted: first without what the past suggests, then with ever more damping.

    Args:
        attempt: ``(damping, start) -> `` a step.
        damping: lambda of the first.
        start: x0.

    Returns:
        The damping and the number of the last attempt, and that attempt, accepted or not.
    """
    # Nothing tried is a rejected attempt: what is in the loop is compiled once.
    attempt, shapes = traced_once(attempt, damping, start)
    begin = (damping, jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, shapes))

    def another(carry: tuple[Array, Array, Attempt]) -> tuple[Array, Array, Attempt]:
        damping, made, _ = carry
        damping = jnp.where(made > 1, CHANGE * damping, damping)
        return damping, made + 1, attempt(damping, jnp.where(made > 0, 0.0, start))

    return jax.lax.while_loop(lambda carry: ~carry[2].accepted & (carry[1] < ATTEMPTS), another, begin)


def followed_damping(damping: Array, ratio: Array, accepted: Array) -> Array:
    """Levenberg and Marquardt's rule where the problem does not tell the damping.

    Lambda / 2 where the model was right (ratio above 3/4), 2 lambda where it was not (below 1/4), clamped; after
    rejected steps alone, what the last of them had.

    Args:
        damping: lambda of the step that was made.
        ratio: actual over predicted change.
        accepted: whether a step was made.
    """
    factor = jnp.where(ratio > 0.75, 0.5, jnp.where(ratio < 0.25, 2.0, 1.0))
    return jnp.clip(jnp.where(accepted, factor, 1.0) * damping, LEAST_DAMPING, MOST_DAMPING)


def _diagonal(metric: Curvature, blocks: int) -> Array:
    """Of a metric, on flat vectors."""
    return ravel_pytree(tuple(metric.diagonal(index) for index in range(blocks)))[0]


class _Quadratic:
    """A metric on flat vectors, with or without what couples different layers."""

    def __init__(self, metric: Curvature, restore: Any, coupled: bool) -> None:
        self._product = metric.matvec if coupled else metric.block_diagonal
        self._restore = restore

    def __call__(self, v: Array) -> Array:
        return ravel_pytree(self._product(self._restore(v)))[0]
