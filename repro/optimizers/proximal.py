"""Proximal decisional gradient descent: an implicit step in decision geometry, held by the Fisher metric.

With g the gradient, G the decision metric, F the Fisher metric, and x0 what is left of the previous update, a step is
the minimum of

    g^T d + 1/2 d^T G d + sigma/2 (d - x0)^T (c F + eta) (d - x0),

with sigma the spread of the local energies, c found along the way, and a small constant eta; ``docs/proximal.md``
derives it, where c sigma is called lambda. Differs from the study's decisional gradient descent in that
1. the momentum is inside of the problem and points downhill (of G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys.
   516, 113351 (2024), who have it for the Fisher metric alone), instead of a start for MINRES;
2. layers are coupled in the direction, too, which is then the step: nothing is left to scale;
3. the damping weighs a change of the state, not of its parameters, and vanishes with the spread of the local energies;
4. a step is judged in its own epoch by the paired change of the energy on the same walkers, with its error
   (:mod:`repro.optimizers.paired`): rejected if the energy rises beyond it, or falls by more than the model can
   explain, while the walkers are kept;
5. the walkers of the next epoch, which had no part in a step, judge it as well: they may take it back, and c is
   lowered only while steps help them, too;
6. MINRES ends by its residual, or after twenty iterations, preconditioned by the diagonal of the system in
   Kronecker-factored eigenbases (:mod:`repro.curvature.eigenbasis`) where the state's linear maps are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.ansatz.trial import Blocks, TrialState
from repro.chunks import map_walkers
from repro.config import ProximalConfig
from repro.curvature.blocks import partition
from repro.curvature.derivatives import derivatives
from repro.curvature.eigenbasis import eigenbases, from_eigenbases, to_eigenbases, turned
from repro.curvature.metric import GramMetric, decision_metric, fisher
from repro.optimizers.optimizer import Optimizer
from repro.optimizers.paired import End, PairedChange, paired_change
from repro.parallel import mean
from repro.physics.local_energy import clip_local_energies
from repro.solvers.minres import minres

MOMENTUM = 0.95
"""zeta: x0 = zeta delta_prev."""
FLOOR = 0.1
"""eta: what holds the directions that no walker sees, in units of the Fisher metric 4 Cov(D, D)."""
ITERATIONS = 20
"""The most of MINRES."""
REDUCTION = 1e-3
"""Of MINRES' residual, at which it ends."""
REACH = 0.3
"""The longest step, d^T F d: the variance of the weights that carry the walkers from one state to the next."""
LEAST_OVERLAP = 0.5
"""A step that leaves fewer walkers in effect cannot be judged by them."""
SIGNIFICANT = 2.0
"""Standard errors by which a rejected step raises the energy, or one that is taken back."""
MOST = 2.0
"""Ratio of actual to predicted change beyond which a step is rejected: a gain that the model cannot explain is that of
these walkers alone, as where a node passes between them."""
POOR, GOOD = 0.25, 0.75
"""Ratios of actual to predicted change beyond which the damping is raised or lowered (Levenberg, Marquardt)."""
NEGLIGIBLE = 0.1
"""Ratio of c sigma d^T F d to d^T G d along a step below which a lower c would change little."""
MEMORY = 0.9
"""Of the evidence, from step to step."""
CHANGE = 2.0
"""What the damping is multiplied with, or divided by, after a step; its square after a rejected one."""
ATTEMPTS = 8


class Evidence(NamedTuple):
    """What steps did for walkers that had no part in them, summed over epochs with :data:`MEMORY`.

    Attributes:
        expected: change of the energy on the walkers that the steps were computed with.
        change: that on the walkers after them.
    """

    expected: Array
    change: Array


class ProximalState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        caution: c of the next step.
        previous: the previous update, by layer blocks.
        expected: the change of the energy that it brought on the walkers that it was computed with.
        evidence: since a step was last undone.
        report: scalars of the last update.
    """

    caution: Array
    previous: Blocks
    expected: Array
    evidence: Evidence
    report: dict[str, Array]


class Attempt(NamedTuple):
    """A step that was tried, as one vector.

    Attributes:
        update: the step.
        predicted: change of the energy by the model without damping.
        measured: the change on the same walkers.
        accepted: whether the step may be made.
        limited: whether it was cut to :data:`REACH`.
        share: of the damping that c scales in the curvature along the step, relative to the decision metric's.
        residual: of MINRES, relative to the first.
        iterations: of MINRES.
    """

    update: Array
    predicted: Array
    measured: PairedChange
    accepted: Array
    limited: Array
    share: Array
    residual: Array
    iterations: Array


FURTHER = ("attempts", "overlap", "retreat")
"""Columns of the curve that other optimisers do not have."""
REPORTED = ("lambda", "rho", "minres_residual", "minres_iterations", *FURTHER)


def proximal(psi: TrialState, config: ProximalConfig, walker_chunk: int | None = None) -> Optimizer:
    """The optimiser for a state.

    Args:
        psi: the state.
        config: which of its parts are left out.
        walker_chunk: walkers differentiated at once, a divisor of their number; all of them when left out.
    """
    without = config.left_out

    def init(params: Any) -> ProximalState:
        blocks = partition(psi, params).split(params)
        zero = jnp.zeros((), blocks[0].dtype)
        previous = jax.tree.map(jnp.zeros_like, blocks)
        return ProximalState(zero + 1.0, previous, zero, Evidence(zero, zero), dict.fromkeys(REPORTED, zero))

    def update(
        grads: Any, state: ProximalState, params: Any = None, *, walkers: Array, local_energies: Array, **_: Any
    ) -> tuple[Any, ProximalState]:
        if params is None:
            raise ValueError("update(grads, state, params, ...): the parameters are needed")
        chunk = walker_chunk or walkers.shape[0]
        found = derivatives(psi, params, walkers, chunk, mixed=True)
        g, restore = ravel_pytree(found.parts.split(grads))
        model = _Quadratic(decision_metric(found), restore, "coupling" not in without)
        information = _Quadratic(fisher(found), restore, "coupling" not in without)
        bases = () if found.layers is None or "basis" in without else eigenbases(found.layers)
        seen = turned(found, bases) if bases else found
        stiffness = _diagonal(decision_metric(seen))
        previous = ravel_pytree(state.previous)[0]
        kinetic = _kinetic(psi, params, walkers, chunk)
        before = clip_local_energies(local_energies)
        # Not less than rounding, or the damping of an exact eigenstate would vanish.
        least = jnp.finfo(before.dtype).eps * jnp.maximum(1.0, jnp.abs(mean(before)))
        spread = jnp.maximum(jnp.sqrt(mean((before - mean(before)) ** 2)), least)

        def measure(step: Array) -> PairedChange:
            by = found.parts.join(restore(step))
            moved = jax.tree.map(jnp.add, params, by)
            # The potential is the same: the walkers do not move.
            after = clip_local_energies(local_energies - kinetic + _kinetic(psi, moved, walkers, chunk))
            ends = []
            for at, energies in ((params, before), (moved, after)):
                log_psi, slopes = jax.jvp(lambda theta: psi.log_psi(theta, walkers), (at,), (by,))
                ends.append(End(log_psi, slopes, energies))
            return paired_change(*ends)

        back = measure(-previous)
        evidence = with_another(state.evidence, state.expected, back)
        retreat = jnp.zeros((), bool) if "retreat" in without else refuted(state.expected, back)
        if "information" in without:
            distance, weights = (lambda v: FLOOR * v), FLOOR * jnp.ones_like(g)
        else:
            distance, weights = information, _diagonal(fisher(seen))

        floor = FLOOR * spread

        def attempt(caution: Array, start: Array) -> Attempt:
            damping = caution * spread
            scale = stiffness + damping * weights + floor

            def preconditioner(v: Array) -> Array:
                scaled = ravel_pytree(to_eigenbases(bases, restore(v)))[0] / scale if bases else v / scale
                return ravel_pytree(from_eigenbases(bases, restore(scaled)))[0] if bases else scaled

            solved = minres(
                lambda v: model(v) + damping * distance(v) + floor * v,
                -g - model(start),
                preconditioner=preconditioner,
                iterations=ITERATIONS,
                tolerance=0.0,
                reduction=REDUCTION,
            )
            step = start + solved.x
            length = step @ information(step)
            factor = jnp.where(length > REACH, jnp.sqrt(REACH / length), 1.0)
            if "limit" in without:
                factor = jnp.ones_like(factor)
            step = factor * step
            curvature = step @ model(step)
            predicted = g @ step + 0.5 * curvature
            share = damping * (step @ distance(step)) / jnp.maximum(curvature, jnp.finfo(curvature.dtype).tiny)
            measured = measure(step)
            accepted = jnp.ones((), bool) if "rejection" in without else acceptable(measured, predicted)
            iterations = solved.iterations.astype(g.dtype)
            return Attempt(step, predicted, measured, accepted, factor < 1.0, share, solved.residual, iterations)

        start = jnp.zeros_like(g) if "momentum" in without else MOMENTUM * previous
        caution, made, tried = first_accepted(attempt, state.caution, start)
        onward = jnp.where(tried.accepted, tried.update, 0.0)
        step = jnp.where(retreat, -previous, onward)
        following = caution if "adaptation" in without else adapted(caution, tried, evidence)
        following = jnp.where(retreat, CHANGE**2 * state.caution, following)
        # What led to a step that is undone says nothing of those to come.
        evidence = Evidence(*(jnp.where(retreat, 0.0, part) for part in evidence))
        report = {
            "lambda": caution * spread,
            "rho": tried.measured.change / tried.predicted,
            "minres_residual": jnp.where(tried.accepted, tried.residual, 1.0),
            "minres_iterations": tried.iterations,
            "attempts": made.astype(g.dtype),
            "overlap": jnp.where(tried.accepted, tried.measured.overlap, 0.0),
            "retreat": retreat.astype(g.dtype),
        }
        # Of a step back nothing is expected, and it is not gone on with.
        expected = jnp.where(tried.accepted & ~retreat, tried.measured.change, 0.0)
        kept = restore(jnp.where(retreat, 0.0, step))
        return found.parts.join(restore(step)), ProximalState(following, kept, expected, evidence, report)

    return Optimizer(init, update, lambda state: state.report, further=FURTHER)


def _usable(measured: PairedChange) -> Array:
    """Whether the walkers can judge a step: finite, and enough of them left in effect."""
    return jnp.isfinite(measured.change) & (measured.overlap > LEAST_OVERLAP)


def _judged(expected: Array, back: PairedChange) -> Array:
    """Whether there was a step that was expected to help, and the walkers after it can judge it."""
    return (expected < 0) & _usable(back)


def acceptable(measured: PairedChange, predicted: Array) -> Array:
    """Whether a step may be made: close enough to be judged, not uphill beyond its error, no better than explained."""
    explained = measured.change >= jnp.minimum(MOST * predicted, 0.0) - measured.rounding
    return _usable(measured) & explained & (measured.change <= SIGNIFICANT * measured.error)


def refuted(expected: Array, back: PairedChange) -> Array:
    """Whether a step is to be taken back: for walkers that had no part in it, that is downhill beyond its error.

    Args:
        expected: change of the energy by the step, on the walkers that it was computed with.
        back: what undoing it does, on walkers of the state that it led to.
    """
    return _judged(expected, back) & (back.change < -SIGNIFICANT * back.error)


def first_accepted(
    attempt: Callable[[Array, Array], Attempt], caution: Array, start: Array
) -> tuple[Array, Array, Attempt]:
    """Steps until one is accepted: first without what the past suggests, then with ever more damping.

    Args:
        attempt: ``(caution, start) -> `` a step.
        caution: c.
        start: x0.

    Returns:
        The caution and the number of the last attempt, and that attempt, accepted or not.
    """

    def another(carry: tuple[Array, Array, Attempt]) -> tuple[Array, Array, Attempt]:
        caution, made, _ = carry
        caution = jnp.where(made > 1, CHANGE**2 * caution, caution)
        return caution, made + 1, attempt(caution, jnp.where(made > 0, 0.0, start))

    # Nothing tried is a rejected attempt: what is in the loop is compiled once.
    shapes = jax.eval_shape(attempt, caution, start)
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    begin = (caution, jnp.zeros((), jnp.int32), nothing)
    return jax.lax.while_loop(lambda carry: ~carry[2].accepted & (carry[1] < ATTEMPTS), another, begin)


def poor(tried: Attempt) -> Array:
    """Whether the model does not hold as far as a step goes.

    Both changes are of the same walkers and share their noise; nothing follows from what rounding leaves open.
    """
    return tried.measured.change - tried.measured.rounding > POOR * tried.predicted


def with_another(evidence: Evidence, expected: Array, back: PairedChange) -> Evidence:
    """The evidence with one more step, if the walkers after it can judge it.

    Args:
        evidence: so far.
        expected: change of the energy by the last step, on the walkers that it was computed with.
        back: what undoing it does, on walkers of the state that it led to.
    """
    further = Evidence(
        MEMORY * evidence.expected + expected,
        MEMORY * evidence.change - back.change,
    )
    judged = _judged(expected, back)
    return Evidence(*(jnp.where(judged, new, old) for old, new in zip(evidence, further, strict=True)))


def adapted(caution: Array, tried: Attempt, evidence: Evidence) -> Array:
    """The next c: raised where the model does not hold so far; lowered where it does, for other walkers as well.

    A step that follows the noise of its walkers lowers their energy and no other's. c is not lowered where it hardly
    matters any more.
    """
    good = (tried.measured.change + tried.measured.rounding < GOOD * tried.predicted) & ~tried.limited
    judged = tried.accepted & (tried.predicted < 0)
    helped = evidence.change <= POOR * evidence.expected
    lowered = jnp.where(good & helped & (tried.share > NEGLIGIBLE), caution / CHANGE, caution)
    return jnp.where(judged, jnp.where(poor(tried), CHANGE * caution, lowered), caution)


def _diagonal(metric: GramMetric) -> Array:
    """Of a metric, on flat vectors."""
    return ravel_pytree(tuple(metric.diagonal(index) for index in range(metric.jacobian.blocks)))[0]


class _Quadratic:
    """A metric on flat vectors, with or without what couples different layers."""

    def __init__(self, metric: GramMetric, restore: Any, coupled: bool) -> None:
        self._product = metric.matvec if coupled else metric.block_diagonal
        self._restore = restore

    def __call__(self, v: Array) -> Array:
        return ravel_pytree(self._product(self._restore(v)))[0]


def _kinetic(psi: TrialState, params: Any, walkers: Array, chunk: int) -> Array:
    """Kinetic part of the local energies."""
    return map_walkers(lambda x: -0.5 * psi.laplacian_ratio(params, x), walkers, chunk)
