"""The second-order optimisers as compositions: a direction, a quadratic model that scales it, regulators.

One update, with g the gradient of the energy and delta_prev the previous update:

1. a direction Delta ~ (C + damping)^-1 g, by inverting Kronecker factors, by MINRES, or by MINRES from the first;
2. delta = alpha Delta + mu delta_prev with (alpha, mu) at the minimum of 1/2 d^T (M + lambda) d + g^T d in that plane;
3. every few epochs the greedy choice of gamma before, and the Levenberg-Marquardt rule for lambda after the step.

Delta points uphill, as C^-1 g does; alpha comes out negative. (J. Martens, R. Grosse, ICML 2015, sections 6 and 7;
M. Drissi et al., arXiv:2401.17550.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.config import MEDIAN, SecondOrderConfig, deck_points
from repro.curvature.kronecker import (
    KroneckerFactors,
    Spectrum,
    kronecker_factors,
    kronecker_solve,
    moving_average,
    spectrum,
)
from repro.curvature.pullback import Curvature, Pullback
from repro.errors import InputError
from repro.numerics.loops import traced_once
from repro.numerics.sharding import pmean
from repro.optimizers.base import Optimizer, Trial
from repro.optimizers.levenberg_marquardt import (
    adapted_damping,
    adapted_damping_released,
    energy_ratio,
    gamma_candidates,
)
from repro.optimizers.scaling import plane_minimum
from repro.parameters.partition import Blocks, combine, inner
from repro.solvers.minres import minres
from repro.vmc.ansatz.trial import TrialState
from repro.vmc.derivatives import Derivatives, derivatives, partition_of
from repro.vmc.metrics import decision_metric, fisher
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.quasi_hessian import quasi_hessian

ASSEMBLED_WEIGHTS = 512
"""The most weights of a layer whose block is assembled for MINRES. Its matrix is then smaller than the derivatives that
fifty products would read from memory fifty times; the hidden layers' blocks never exist as matrices."""


class Composition(NamedTuple):
    """One row of the study's table; what else it has follows from its configuration.

    Attributes:
        metric: whose layer blocks MINRES inverts: "fisher", "decision", or None for Kronecker factors alone.
        model: the quadratic model that scales the step.
    """

    metric: Literal["fisher", "decision"] | None
    model: Literal["fisher", "quasi-hessian", "decision"]

    @property
    def mixed(self) -> bool:
        """Whether mixed derivatives are needed."""
        return "decision" in (self.metric, self.model)


class SecondOrderState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        epoch: updates made, int32.
        damping: lambda.
        gamma: strength of the factored Tikhonov regularisation, or () where there are no factors.
        previous: delta_prev, by layer blocks.
        factors: moving averages of the Kronecker factors, or ().
        predicted: change of the energy that the model predicts for the last update.
        report: scalars of the last update.
    """

    epoch: Array
    damping: Array
    gamma: Any
    previous: Blocks
    factors: tuple[KroneckerFactors, ...]
    predicted: Array
    report: dict[str, Array]


class _Direction(NamedTuple):
    delta: Blocks
    residual: Array
    iterations: Array


class _Step(NamedTuple):
    """A scaled direction: the update, its weights, and the change that the regularised model predicts."""

    update: Blocks
    weights: Array
    value: Array
    curvature: Array
    square: Array
    gamma: Array
    residual: Array
    iterations: Array


def second_order(
    psi: TrialState, composition: Composition, config: SecondOrderConfig, walker_chunk: int | None = None
) -> Optimizer:
    """A second-order optimiser for a state.

    Args:
        psi: the state.
        composition: the row of the table.
        config: its protocol and regulators.
        walker_chunk: walkers differentiated at once, a divisor of their number; all of them when left out.

    Raises:
        InputError: if the row needs Kronecker factors and the state's linear maps are not known.
    """
    deck = deck_points(config.protocol)
    if config.factors is not None and psi.structure is None:
        raise InputError(
            f"optimizer = {config.name!r}: needs the linear maps of the state for its Kronecker factors, and those of "
            "this state are not known; use ngd or dgd, which need ln|psi| only"
        )

    def init(params: Any) -> SecondOrderState:
        blocks = partition_of(psi, params).split(params)
        dtype = blocks[0].dtype
        zero = jnp.zeros((), dtype)
        damping = jnp.asarray(config.damping.initial, dtype)
        names = ["lambda", "alpha", "mu"]
        gamma: Any = ()
        factors: tuple[KroneckerFactors, ...] = ()
        if config.factors is not None:
            initial = config.factors.initial
            gamma = jnp.sqrt(damping) if initial is None else jnp.asarray(initial, dtype)
            gamma = jnp.clip(gamma, config.factors.least, config.factors.most)
            factors = tuple(
                KroneckerFactors(*(jnp.zeros((size, size), dtype) for size in block.shape)) for block in blocks
            )
            names.append("gamma")
        if config.minres is not None:
            names += ["minres_residual", "minres_iterations"]
        report = dict.fromkeys(names, zero)
        previous = jax.tree.map(jnp.zeros_like, blocks)
        return SecondOrderState(jnp.zeros((), jnp.int32), damping, gamma, previous, factors, zero, report)

    def averaged(state: SecondOrderState, found: Derivatives) -> tuple[KroneckerFactors, ...]:
        if config.factors is None or found.layers is None:
            return ()
        # The released factors leave out the 4 of F = 4 Cov(D, D) and centre a and e instead of D.
        printed = "factors" in deck
        now = kronecker_factors(found.layers, centred=not printed, scale=4.0 if printed else 1.0)
        return moving_average(state.factors, now, state.epoch, config.factors.memory)

    def solve_minres(systems: tuple[_LayerSystem, ...], grads: Blocks, start: Blocks, damping: Array) -> _Direction:
        settings = config.minres
        assert settings is not None
        kappa, xi = settings.preconditioner_shift, settings.preconditioner_power
        results = []
        for system, block, x0 in zip(systems, grads, start, strict=True):
            scale = (system.diagonal + kappa) ** xi
            found = minres(
                system.matvec,
                block,
                x0=x0,
                shift=damping,
                preconditioner=lambda v, scale=scale: v / scale,  # type: ignore[misc]
                iterations=settings.iterations,
                tolerance=settings.tolerance,
                # The released residual leaves the shift out and solves (C + lambda)(x - x0) = g - C x0.
                shifted_start="residual" in deck,
            )
            results.append(found)
        residual = jnp.max(jnp.stack([result.residual for result in results]))
        iterations = jnp.max(jnp.stack([result.iterations for result in results]))
        return _Direction(tuple(result.x for result in results), residual, iterations.astype(residual.dtype))

    def update(
        grads: Any, state: SecondOrderState, params: Any = None, *, walkers: Array, local_energies: Array, **_: Any
    ) -> tuple[Any, SecondOrderState]:
        if params is None:
            raise ValueError("update(grads, state, params, ...): the parameters are needed")
        chunk = walker_chunk or walkers.shape[0]
        found = derivatives(psi, params, walkers, chunk, composition.mixed)
        g = found.parts.split(grads)
        damping, previous, zero = state.damping, state.previous, jnp.zeros((), g[0].dtype)
        factors = averaged(state, found)
        spectra = tuple((spectrum(a), spectrum(s)) for a, s in factors)
        model = quadratic_model(composition, config, found, local_energies)
        systems: tuple[_LayerSystem, ...] = ()
        if composition.metric is not None:
            metric = decision_metric(found) if composition.metric == "decision" else fisher(found)
            systems = tuple(_layer_system(metric, index, block) for index, block in enumerate(g))

        def direction(gamma: Array) -> _Direction:
            start: Blocks
            if spectra:
                start = _kronecker_direction(spectra, g, gamma)
            else:
                assert config.start is not None
                factor = config.start.decay if config.start.sign == "anti-aligned" else -config.start.decay
                start = jax.tree.map(lambda part: factor * part, previous)
            return solve_minres(systems, g, start, damping) if systems else _Direction(start, zero, zero)

        def step_of(gamma: Array) -> _Step:
            found = direction(gamma)
            vectors = (found.delta, previous)
            curvature = model.gram(vectors)
            square = jnp.stack([jnp.stack([inner(v, w) for w in vectors]) for v in vectors])
            slope = jnp.stack([inner(g, v) for v in vectors])
            damped = curvature + damping * square
            weights = plane_minimum(damped, slope)
            return _Step(
                combine(weights, vectors),
                weights,
                0.5 * weights @ damped @ weights + slope @ weights,
                weights @ curvature @ weights,
                weights @ square @ weights,
                gamma,
                found.residual,
                found.iterations,
            )

        def best_of(candidates: Array, count: Array) -> _Step:
            """The step of least predicted energy among the first candidates for gamma; NaN counts as infinite."""
            candidate, shapes = traced_once(step_of, candidates[0])

            def better(n: Array, best: _Step) -> _Step:
                step = candidate(candidates[n])
                least, value = (jnp.where(jnp.isnan(one.value), jnp.inf, one.value) for one in (best, step))
                chosen = (n == 0) | (value < least)
                return jax.tree.map(lambda old, new: jnp.where(chosen, new, old), best, step)

            return jax.lax.fori_loop(0, count, better, jax.tree.map(jnp.zeros_like, shapes))

        if config.factors is None:
            step = step_of(zero)
        else:
            # One loop over three candidates or one, not two branches: what is in it is compiled once.
            compare = state.epoch % config.factors.interval == 0
            candidates = jnp.where(compare, gamma_candidates(state.gamma, config.factors), state.gamma)
            step = best_of(candidates, jnp.where(compare, len(candidates), 1))
        # The released prediction is |1/2 delta^T M delta + lambda |delta|^2|, of a decrease.
        released = -jnp.abs(0.5 * step.curvature + damping * step.square)
        predicted = step.value if "ratio" in deck else released
        report = {"lambda": damping, "alpha": step.weights[0], "mu": step.weights[1]}
        if config.factors is not None:
            report["gamma"] = step.gamma
        if config.minres is not None:
            report |= {"minres_residual": step.residual, "minres_iterations": step.iterations}
        following = state._replace(
            epoch=state.epoch + 1,
            gamma=() if config.factors is None else step.gamma,
            previous=step.update,
            factors=factors,
            predicted=predicted,
            report=report,
        )
        return found.parts.join(step.update), following

    def due(state: SecondOrderState) -> Array:
        return (state.epoch - 1) % config.damping.interval == 0

    def judge(state: SecondOrderState, before: Array, after: Array) -> tuple[SecondOrderState, Array]:
        new = pmean(after)
        # The released difference mixes clipped local energies before with unclipped ones after.
        old = pmean(before if "energies" in deck else clip_local_energies(before, MEDIAN in deck))
        ratio = energy_ratio(old, new, state.predicted)
        if "ratio" in deck:
            damping = adapted_damping(state.damping, ratio, config.damping)
        else:
            damping = adapted_damping_released(state.damping, old, new, ratio, config.damping)
        return state._replace(damping=damping), ratio

    return Optimizer(init, update, lambda state: state.report, Trial(due, judge))


def quadratic_model(
    composition: Composition, config: SecondOrderConfig, found: Derivatives, local_energies: Array
) -> Curvature:
    """M of the quadratic model that scales the step, in the protocol of the configuration.

    Args:
        composition: the row of the table.
        config: its protocol.
        found: derivatives at the walkers.
        local_energies: unclipped, shape ``(W,)``.
    """
    deck = deck_points(config.protocol)
    if composition.model == "quasi-hessian":
        # The released E is the mean of clipped local energies; with it E_L - E is taken of the clipped ones.
        # Unclipped, single walkers can make the model so indefinite that runs diverge.
        clipped = "clipping" not in deck
        return quasi_hessian(found, clip_local_energies(local_energies, MEDIAN in deck) if clipped else local_energies)
    if composition.model == "decision":
        return decision_metric(found)
    # The released quadratic model has E[D D^T] for the Fisher metric.
    printed = "fisher" in deck
    return fisher(found, centred=printed, scale=4.0 if printed else 1.0)


def _kronecker_direction(spectra: tuple[tuple[Spectrum, Spectrum], ...], grads: Blocks, gamma: Array) -> Blocks:
    return tuple(kronecker_solve(a, s, block, gamma) for (a, s), block in zip(spectra, grads, strict=True))


class _LayerSystem(NamedTuple):
    """The block of a metric that belongs to one layer."""

    matvec: Callable[[Array], Array]
    diagonal: Array


def _layer_system(metric: Pullback, index: int, block: Array) -> _LayerSystem:
    if block.size > ASSEMBLED_WEIGHTS:
        return _LayerSystem(lambda v: metric.block_matvec(index, v), metric.diagonal(index))
    matrix = metric.block_matrix(index)
    return _LayerSystem(lambda v: (matrix @ v.ravel()).reshape(v.shape), jnp.diagonal(matrix).reshape(block.shape))
