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
from repro.curvature.pullback import Pullback
from repro.numerics.batching import map_in_batches
from repro.numerics.loops import traced_once
from repro.numerics.sharding import pmean
from repro.optimizers.base import Optimizer
from repro.parameters.partition import Blocks
from repro.solvers.minres import minres
from repro.vmc.ansatz.trial import TrialState
from repro.vmc.derivatives import derivatives, partition_of
from repro.vmc.eigenbasis import turned
from repro.vmc.energy_change import End, PairedChange, paired_change
from repro.vmc.metrics import decision_metric, fisher
from repro.vmc.physics.local_energy import clip_local_energies

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
    """

    previous: Blocks
    report: dict[str, Array]


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
    measured: PairedChange
    accepted: Array
    residual: Array
    iterations: Array


FURTHER = ("attempts", "overlap")
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
        blocks = partition_of(psi, params).split(params)
        zero = jnp.zeros((), blocks[0].dtype)
        return ProximalState(jax.tree.map(jnp.zeros_like, blocks), dict.fromkeys(REPORTED, zero))

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
        stiffness, held = _diagonal(decision_metric(seen)), jnp.full_like(g, FLOOR)
        if "information" not in without:
            held += _diagonal(fisher(seen))
        kinetic = _kinetic(psi, params, walkers, chunk)
        before = clip_local_energies(local_energies)

        def distance(v: Array) -> Array:
            return FLOOR * v if "information" in without else information(v) + FLOOR * v

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

        def attempt(damping: Array, start: Array) -> Attempt:
            scale = stiffness + damping * held

            def preconditioner(v: Array) -> Array:
                scaled = ravel_pytree(to_eigenbases(bases, restore(v)))[0] / scale if bases else v / scale
                return ravel_pytree(from_eigenbases(bases, restore(scaled)))[0] if bases else scaled

            solved = minres(
                lambda v: model(v) + damping * distance(v),
                -g - model(start),
                preconditioner=preconditioner,
                iterations=ITERATIONS,
                tolerance=0.0,
                reduction=REDUCTION,
            )
            step = start + solved.x
            if "limit" not in without:
                length = step @ information(step)
                step = jnp.where(length > REACH, jnp.sqrt(REACH / length), 1.0) * step
            predicted = g @ step + 0.5 * (step @ model(step))
            measured = measure(step)
            accepted = jnp.ones((), bool) if "rejection" in without else acceptable(measured, predicted)
            return Attempt(step, predicted, measured, accepted, solved.residual, solved.iterations.astype(g.dtype))

        start = jnp.zeros_like(g) if "momentum" in without else MOMENTUM * ravel_pytree(state.previous)[0]
        particles = walkers.shape[1]
        first = energy_scale(before, jnp.zeros_like(kinetic) if "kinetic" in without else kinetic / particles)
        damping, made, tried = first_accepted(attempt, first, start)
        step = restore(jnp.where(tried.accepted, tried.update, 0.0))
        report = {
            "lambda": damping,
            "rho": tried.measured.change / tried.predicted,
            "minres_residual": jnp.where(tried.accepted, tried.residual, 1.0),
            "minres_iterations": tried.iterations,
            "attempts": made.astype(g.dtype),
            "overlap": jnp.where(tried.accepted, tried.measured.overlap, 0.0),
        }
        return found.parts.join(step), ProximalState(step, report)

    return Optimizer(init, update, lambda state: state.report, further=FURTHER)


def energy_scale(energies: Array, kinetic: Array) -> Array:
    """Lambda of a first attempt: the spread of the local energies, and the mean kinetic energy per particle.

    Args:
        energies: local energies, clipped, shape ``(W,)``.
        kinetic: their kinetic part per particle, shape ``(W,)``.
    """
    # Not less than rounding, or nothing would hold an exact eigenstate without kinetic energy.
    least = jnp.finfo(energies.dtype).eps * jnp.maximum(1.0, jnp.abs(pmean(energies)))
    spread = jnp.maximum(jnp.sqrt(pmean((energies - pmean(energies)) ** 2)), least)
    return spread + jnp.maximum(pmean(clip_local_energies(kinetic)), 0.0)


def acceptable(measured: PairedChange, predicted: Array) -> Array:
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


def _diagonal(metric: Pullback) -> Array:
    """Of a metric, on flat vectors."""
    return ravel_pytree(tuple(metric.diagonal(index) for index in range(metric.jacobian.blocks)))[0]


class _Quadratic:
    """A metric on flat vectors, with or without what couples different layers."""

    def __init__(self, metric: Pullback, restore: Any, coupled: bool) -> None:
        self._product = metric.matvec if coupled else metric.block_diagonal
        self._restore = restore

    def __call__(self, v: Array) -> Array:
        return ravel_pytree(self._product(self._restore(v)))[0]


def _kinetic(psi: TrialState, params: Any, walkers: Array, chunk: int) -> Array:
    """Kinetic part of the local energies."""
    return map_in_batches(lambda x: -0.5 * psi.laplacian_ratio(params, x), walkers, chunk)
