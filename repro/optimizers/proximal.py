"""Proximal decisional gradient descent: an implicit step in decision geometry, held by the Fisher metric.

With g the gradient, G the decision metric, F the Fisher metric, and x0 what is left of the previous update, a step is
the minimum of

    g^T d + 1/2 d^T G d + lambda/2 (d - x0)^T (F + eta) (d - x0),      eta = 4 b E[D^T D] (1/sqrt(W) + 1/sqrt(P))^2,

for W walkers with scores D and P parameters, with lambda = c sigma, sigma the spread of the local energies, c and
b <= 1 found along the way; ``docs/proximal.md`` derives it. Differs from the study's decisional gradient descent in
that
1. the momentum is inside of the problem and points downhill (of G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys.
   516, 113351 (2024), who have it for the Fisher metric alone), instead of a start for MINRES;
2. layers are coupled in the direction, too, which is then the step: nothing is left to scale;
3. the damping weighs a change of the state, not of its parameters, and vanishes with the spread of the local energies;
4. a step is judged in its own epoch by the paired change of the energy on the same walkers, with its error
   (:mod:`repro.optimizers.paired`): rejected if the energy rises beyond it, or falls by more than the model can
   explain, while the walkers are kept;
5. the walkers of the next epoch, which had no part in a step, judge it as well: they may take it back, and they tell
   how far directions that few walkers see may be trusted: that is b;
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
from repro.parallel import mean, walkers_of_all
from repro.physics.local_energy import clip_local_energies
from repro.solvers.minres import minres

MOMENTUM = 0.95
"""zeta: x0 = zeta delta_prev."""
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
"""Share of the damping in the curvature along a step below which less of it would change little."""
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
        variance: of the latter, fading with its square.
    """

    expected: Array
    change: Array
    variance: Array


class ProximalState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        caution: c of the next step.
        floor: b of the last step.
        previous: the previous update, by layer blocks.
        carried: one if the next step goes on with it, zero if the model did not hold so far.
        expected: the change of the energy that it brought on the walkers that it was computed with.
        evidence: since b was last changed.
        report: scalars of the last update.
    """

    caution: Array
    floor: Array
    previous: Blocks
    carried: Array
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
        share: of the damping in the curvature along the step, relative to the metric's.
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


FURTHER = ("attempts", "overlap", "floor", "retreat")
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
        evidence = Evidence(zero, zero, zero)
        return ProximalState(zero + 1.0, zero + 1.0, previous, zero, zero, evidence, dict.fromkeys(REPORTED, zero))

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
        floor = state.floor if "floor" in without else generalised(state.floor, evidence)
        retreat = jnp.zeros((), bool) if "retreat" in without else refuted(state.expected, back)
        moments = _diagonal(fisher(seen, centred=False)).sum()
        noise = moments * (walkers_of_all(walkers.shape[0]) ** -0.5 + g.size**-0.5) ** 2
        regulator = _Regulator(information, _diagonal(fisher(seen)), floor * noise, "information" in without)

        def attempt(caution: Array, start: Array) -> Attempt:
            damping = caution * spread
            scale = stiffness + damping * regulator.diagonal

            def preconditioner(v: Array) -> Array:
                scaled = ravel_pytree(to_eigenbases(bases, restore(v)))[0] / scale if bases else v / scale
                return ravel_pytree(from_eigenbases(bases, restore(scaled)))[0] if bases else scaled

            solved = minres(
                lambda v: model(v) + damping * regulator(v),
                -g - model(start),
                preconditioner=preconditioner,
                iterations=ITERATIONS,
                tolerance=0.0,
                reduction=REDUCTION,
            )
            step = start + solved.x
            length = step @ regulator.information(step)
            factor = jnp.where(length > REACH, jnp.sqrt(REACH / length), 1.0)
            if "limit" in without:
                factor = jnp.ones_like(factor)
            step = factor * step
            curvature = step @ model(step)
            predicted = g @ step + 0.5 * curvature
            share = damping * (step @ regulator(step)) / jnp.maximum(curvature, jnp.finfo(curvature.dtype).tiny)
            measured = measure(step)
            accepted = jnp.ones((), bool) if "rejection" in without else acceptable(measured, predicted)
            iterations = solved.iterations.astype(g.dtype)
            return Attempt(step, predicted, measured, accepted, factor < 1.0, share, solved.residual, iterations)

        start = jnp.zeros_like(g) if "momentum" in without else MOMENTUM * state.carried * previous
        caution, made, tried = first_accepted(attempt, state.caution, start)
        onward = jnp.where(tried.accepted, tried.update, 0.0)
        step = jnp.where(retreat, -previous, onward)
        useless = fruitless(state.floor, evidence)
        following = caution if "adaptation" in without else adapted(caution, tried, evidence, useless)
        following = jnp.where(retreat, CHANGE**2 * state.caution, following)
        # Of steps with another regulator, or of one that is undone, nothing is known.
        told = retreat | useless | (floor != state.floor)
        evidence = Evidence(*(jnp.where(told, 0.0, part) for part in evidence))
        report = {
            "lambda": caution * spread,
            "rho": tried.measured.change / tried.predicted,
            "minres_residual": jnp.where(tried.accepted, tried.residual, 1.0),
            "minres_iterations": tried.iterations,
            "attempts": made.astype(g.dtype),
            "overlap": jnp.where(tried.accepted, tried.measured.overlap, 0.0),
            "floor": floor,
            "retreat": retreat.astype(g.dtype),
        }
        # Of a step back nothing is expected, and it is not gone on with.
        expected = jnp.where(tried.accepted & ~retreat, tried.measured.change, 0.0)
        kept = restore(jnp.where(retreat, 0.0, step))
        carried = jnp.where(poor(tried), jnp.zeros_like(caution), 1.0)
        return found.parts.join(restore(step)), ProximalState(
            following, floor, kept, carried, expected, evidence, report
        )

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
        MEMORY**2 * evidence.variance + back.error**2,
    )
    judged = _judged(expected, back)
    return Evidence(*(jnp.where(judged, new, old) for old, new in zip(evidence, further, strict=True)))


def adapted(caution: Array, tried: Attempt, evidence: Evidence, useless: Array) -> Array:
    """The next c: raised where the model does not hold so far; lowered where it does, for other walkers as well.

    It is not lowered where it hardly matters any more. Where steps are useless to other walkers it is raised, but not
    above one, where it began: of many steps that are mostly noise the noise averages out, and of none nothing.
    """
    good = (tried.measured.change + tried.measured.rounding < GOOD * tried.predicted) & ~tried.limited
    judged = tried.accepted & (tried.predicted < 0)
    helped = evidence.change <= POOR * evidence.expected
    lowered = jnp.where(good & helped & (tried.share > NEGLIGIBLE), caution / CHANGE, caution)
    following = jnp.where(judged, jnp.where(poor(tried), CHANGE * caution, lowered), caution)
    return jnp.where(useless, jnp.maximum(following, jnp.minimum(CHANGE * following, 1.0)), following)


def generalised(floor: Array, evidence: Evidence) -> Array:
    """The next b: raised where steps did less for other walkers than for their own, lowered where they did as much.

    A step that follows the noise of its walkers lowers their energy and no other's. Single steps are lost in the error
    where there are many particles, or little is left to gain: b waits until their sum is clear. b = 1 is the edge of
    pure noise, and its end: beyond, c is raised.
    """
    good = evidence.change + jnp.sqrt(evidence.variance) < GOOD * evidence.expected
    raised = jnp.minimum(CHANGE * floor, 1.0)
    return jnp.where(_less(evidence), raised, jnp.where(good, floor / CHANGE, floor))


def fruitless(floor: Array, evidence: Evidence) -> Array:
    """Whether steps did less for other walkers than for their own, although b is at its end."""
    return (floor >= 1.0) & _less(evidence)


def _less(evidence: Evidence) -> Array:
    return evidence.change - jnp.sqrt(evidence.variance) > POOR * evidence.expected


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


class _Regulator:
    """F + eta, or eta alone, with eta = b tr 4 E[D D^T] (1/sqrt(W) + 1/sqrt(P))^2.

    Were all P directions alike, W walkers would still find eigenvalues up to that, with b = 1, in some: the edge of V.
    A. Marchenko and L. A. Pastur (Math. USSR Sbornik 1, 457 (1967)), below which a spectrum is noise.
    """

    def __init__(self, information: _Quadratic, diagonal: Array, floor: Array, plain: bool) -> None:
        self.information, self._floor, self._plain = information, floor, plain
        self.diagonal = jnp.where(plain, 0.0, diagonal) + floor

    def __call__(self, v: Array) -> Array:
        return self._floor * v if self._plain else self.information(v) + self._floor * v


def _kinetic(psi: TrialState, params: Any, walkers: Array, chunk: int) -> Array:
    """Kinetic part of the local energies."""
    return map_walkers(lambda x: -0.5 * psi.laplacian_ratio(params, x), walkers, chunk)
