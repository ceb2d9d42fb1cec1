"""The second-order optimisers as compositions: a direction, a quadratic model that scales it, regulators.

One update, with g the gradient of the energy and delta_prev the previous update:

1. a direction Delta ~ (C + damping)^-1 g, by inverting Kronecker factors, by MINRES, or by MINRES from the first;
2. delta = alpha Delta + mu delta_prev with (alpha, mu) at the minimum of 1/2 d^T (M + lambda) d + g^T d in that plane;
3. every few epochs the greedy choice of gamma before, and the Levenberg-Marquardt rule for lambda after the step.

Delta points uphill, as C^-1 g does; alpha comes out negative. (J. Martens, R. Grosse, ICML 2015, sections 6 and 7;
M. Drissi et al., arXiv:2401.17550.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.config import DampingConfig, FactorsConfig, MinresConfig, SecondOrderConfig
from repro.curvature.kronecker import (
    KroneckerFactors,
    kronecker_factors,
    moving_average,
)
from repro.curvature.pullback import Curvature, Pullback
from repro.errors import InputError
from repro.numerics.loops import traced_once
from repro.numerics.sharding import pmean
from repro.optimizers.base import Optimizer, StepJudge, checked_grads, checked_params, distinct_zeros
from repro.optimizers.factor_inverses import FactorInverses, compares_gammas, initial_inverses
from repro.optimizers.regulators import (
    adapted_damping,
    adapted_damping_released,
    gamma_candidates,
    reduction_ratio,
)
from repro.optimizers.scaling import plane_minimum
from repro.parameters.partition import Blocks, combine, inner
from repro.problems.base import Geometry, Problem, require_curvatures
from repro.solvers.minres import minres

ASSEMBLED_WEIGHTS = 512
"""The most weights of a layer whose block is assembled for MINRES. Its matrix is then smaller than the derivatives that
fifty products would read from memory fifty times; the hidden layers' blocks never exist as matrices."""


class Composition(NamedTuple):
    """What distinguishes one second-order optimiser from another, besides its regulators.

    Attributes:
        metric: the curvature whose layer blocks MINRES inverts; None for Kronecker factors alone.
        model: the curvature of the quadratic model that scales the step.
        centred_factors: whether the Kronecker factors are those of centred inputs and sensitivities.
        factor_scale: factor of the metric that the Kronecker factors stand for.
        shifted_start: whether MINRES' first residual contains the damping, see :func:`repro.solvers.minres.minres`.
        signed_ratio: True compares actual and predicted change with their signs; False as the released implementation
            does, which compares logarithms of their absolute values.
        robust_reference: whether the objective before the step is the mean of values without their outliers.
    """

    metric: str | None
    model: str
    centred_factors: bool = False
    factor_scale: float = 1.0
    shifted_start: bool = True
    signed_ratio: bool = True
    robust_reference: bool = False

    @property
    def curvatures(self) -> tuple[str, ...]:
        """All that are needed."""
        return (self.model,) if self.metric is None else (self.metric, self.model)


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
        inverses: of the factors, where not every epoch makes them anew; else ().
    """

    epoch: Array
    damping: Array
    gamma: Any
    previous: Blocks
    factors: tuple[KroneckerFactors, ...]
    predicted: Array
    report: dict[str, Array]
    inverses: Any = ()


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


def second_order(problem: Problem, composition: Composition, config: SecondOrderConfig) -> Optimizer:
    """A second-order optimiser for a problem.

    Args:
        problem: what is optimised.
        composition: its curvatures and variants.
        config: its regulators.

    Raises:
        InputError: if the problem does not have the curvatures, or if Kronecker factors are needed and the linear maps
            of the problem are not known.
    """
    name = config.name
    _require_factors(problem, config)
    require_curvatures(problem, composition.curvatures, name)

    def init(params: Any) -> SecondOrderState:
        blocks = problem.partition(checked_params(params, name)).split(params)
        return _initial_state(blocks, config, problem.strength)

    def update(grads: Any, state: SecondOrderState, params: Any = None, **batch: Any) -> tuple[Any, SecondOrderState]:
        geometry = problem.geometry(checked_params(params, name), composition.curvatures, batch)
        parts = geometry.partition
        g = parts.split(checked_grads(grads, params, name))
        damping, previous, zero = state.damping, state.previous, jnp.zeros((), g[0].dtype)
        factors: tuple[KroneckerFactors, ...] = ()
        inverses = None
        if config.factors is not None:
            part = _part(problem, geometry, params, batch, config.factors.factor_fraction, 0)
            factors = _averaged_factors(state, part, composition, config.factors)
            inverses = FactorInverses(factors, state.inverses, state.epoch, config.factors)
        model = _model(problem, geometry, params, batch, composition, config)
        systems: tuple[_LayerSystem, ...] = ()
        if composition.metric is not None:
            metric = geometry.curvature(composition.metric)
            systems = tuple(_layer_system(metric, index, block) for index, block in enumerate(g))

        def direction(gamma: Array) -> _Direction:
            start = _momentum(previous, config) if inverses is None else inverses.solve(g, gamma)
            if not systems:
                return _Direction(start, zero, zero)
            assert config.minres is not None
            return _minres_direction(systems, g, start, damping, config.minres, composition.shifted_start)

        def step_of(gamma: Array) -> _Step:
            return _scaled_step(direction(gamma), g, previous, model, damping, gamma)

        step = _chosen_step(step_of, state, config, zero)
        # The released prediction is |1/2 delta^T M delta + lambda |delta|^2|, of a decrease.
        released = -jnp.abs(0.5 * step.curvature + damping * step.square)
        report = _report(step, damping, config)
        following = state._replace(
            epoch=state.epoch + 1,
            gamma=() if config.factors is None else step.gamma,
            previous=step.update,
            factors=factors,
            predicted=step.value if composition.signed_ratio else released,
            report=report,
            inverses=() if inverses is None else inverses.to_keep(step.gamma),
        )
        return parts.join(step.update), following

    judge = damping_judge(
        problem,
        config.damping,
        signed_ratio=composition.signed_ratio,
        robust_reference=composition.robust_reference,
    )
    return Optimizer(init, update, lambda state: state.report, judge)


def damping_judge(
    problem: Problem, settings: DampingConfig, *, signed_ratio: bool = True, robust_reference: bool = False
) -> StepJudge:
    """Every few epochs, by the ratio of actual to predicted change, after which the damping follows.

    The optimiser's state has ``epoch``, ``damping`` and ``predicted``.

    Args:
        problem: what is optimised.
        settings: of the damping and its rule.
        signed_ratio: as :attr:`Composition.signed_ratio`.
        robust_reference: as :attr:`Composition.robust_reference`.
    """

    def due(state: Any) -> Array:
        return (state.epoch - 1) % settings.interval == 0

    def judge(state: Any, before: Array, after: Array) -> tuple[Any, Array]:
        new = pmean(after)
        # The released difference mixes clipped local energies before with unclipped ones after.
        old = pmean(problem.robust(before) if robust_reference else before)
        ratio = reduction_ratio(old, new, state.predicted)
        if signed_ratio:
            damping = adapted_damping(state.damping, ratio, settings)
        else:
            damping = adapted_damping_released(state.damping, old, new, ratio, settings)
        return state._replace(damping=damping), ratio

    return StepJudge(due, judge)


def _initial_state(blocks: Blocks, config: SecondOrderConfig, penalty: float) -> SecondOrderState:
    dtype = blocks[0].dtype
    damping = jnp.asarray(config.damping.initial, dtype)
    gamma: Any = ()
    factors: tuple[KroneckerFactors, ...] = ()
    if config.factors is not None:
        initial = config.factors.initial
        gamma = jnp.sqrt(damping + penalty) if initial is None else jnp.asarray(initial, dtype)
        gamma = jnp.clip(gamma, config.factors.least, config.factors.most)
        factors = tuple(KroneckerFactors(*(jnp.zeros((size, size), dtype) for size in block.shape)) for block in blocks)
    report = distinct_zeros(_reported(config), dtype)
    previous = jax.tree.map(jnp.zeros_like, blocks)
    inverses = () if config.factors is None else initial_inverses(blocks, config.factors)
    predicted = jnp.zeros((), dtype)
    return SecondOrderState(jnp.zeros((), jnp.int32), damping, gamma, previous, factors, predicted, report, inverses)


def _reported(config: SecondOrderConfig) -> tuple[str, ...]:
    """Names of the scalars of an update."""
    return (
        *("lambda", "alpha", "mu"),
        *(("gamma",) if config.factors is not None else ()),
        *(("minres_residual", "minres_iterations") if config.minres is not None else ()),
    )


def _report(step: _Step, damping: Array, config: SecondOrderConfig) -> dict[str, Array]:
    known = {
        "lambda": damping,
        "alpha": step.weights[0],
        "mu": step.weights[1],
        "gamma": step.gamma,
        "minres_residual": step.residual,
        "minres_iterations": step.iterations,
    }
    # Copies: eagerly, these would share their buffers with the state's own entries, and could not be donated.
    return {name: jnp.copy(known[name]) for name in _reported(config)}


def _require_factors(problem: Problem, config: SecondOrderConfig) -> None:
    """Refuses a problem that does not have the Kronecker factors of a configuration."""
    if config.factors is None:
        return
    if not problem.layered:
        raise InputError(
            f"optimizer = {config.name!r}: needs the linear maps of the state for its Kronecker factors, and those of "
            "this state are not known; use ngd or dgd, which do without"
        )
    if config.factors.targets != "sampled" and config.factors.targets not in problem.factor_targets:
        raise InputError(
            f"factor_targets = {config.factors.targets!r}: this problem has {', '.join(problem.factor_targets)}"
        )


def _part(
    problem: Problem, whole: Geometry, params: Any, batch: Mapping[str, Any], fraction: float, number: int, *names: str
) -> Geometry:
    """The geometry at a part of the batch, for the named curvatures."""
    return whole if fraction == 1.0 else problem.geometry(params, names, problem.part(batch, fraction, number))


def _averaged_factors(
    state: SecondOrderState, geometry: Geometry, composition: Composition, config: FactorsConfig
) -> tuple[KroneckerFactors, ...]:
    layers = geometry.factor_layers(config.targets)
    assert layers is not None
    now = kronecker_factors(layers, centred=composition.centred_factors, scale=composition.factor_scale)
    return moving_average(state.factors, now, state.epoch, config.memory)


def _model(
    problem: Problem,
    whole: Geometry,
    params: Any,
    batch: Mapping[str, Any],
    composition: Composition,
    config: SecondOrderConfig,
) -> Curvature:
    """The curvature of the quadratic model."""
    fraction = 1.0 if config.factors is None else config.factors.model_fraction
    return _part(problem, whole, params, batch, fraction, 1, composition.model).curvature(composition.model)


def _momentum(previous: Blocks, config: SecondOrderConfig) -> Blocks:
    """Where MINRES starts from without Kronecker factors: a multiple of the previous update."""
    assert config.start is not None
    factor = config.start.decay if config.start.sign == "anti-aligned" else -config.start.decay
    return jax.tree.map(lambda part: factor * part, previous)


def _minres_direction(
    systems: tuple[_LayerSystem, ...],
    grads: Blocks,
    start: Blocks,
    damping: Array,
    settings: MinresConfig,
    shifted_start: bool,
) -> _Direction:
    """(C + damping)^-1 g, layer by layer."""
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
            shifted_start=shifted_start,
        )
        results.append(found)
    residual = jnp.max(jnp.stack([result.residual for result in results]))
    iterations = jnp.max(jnp.stack([result.iterations for result in results]))
    return _Direction(tuple(result.x for result in results), residual, iterations.astype(residual.dtype))


def _scaled_step(
    found: _Direction, grads: Blocks, previous: Blocks, model: Curvature, damping: Array, gamma: Array
) -> _Step:
    """Alpha Delta + mu delta_prev at the minimum of the damped model over that plane."""
    vectors = (found.delta, previous)
    curvature = model.gram(vectors)
    square = jnp.stack([jnp.stack([inner(v, w) for w in vectors]) for v in vectors])
    slope = jnp.stack([inner(grads, v) for v in vectors])
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


def _chosen_step(
    step_of: Callable[[Array], _Step], state: SecondOrderState, config: SecondOrderConfig, zero: Array
) -> _Step:
    """The step, after the greedy choice of gamma where there are factors."""
    if config.factors is None:
        return step_of(zero)
    # One loop over three candidates or one, not two branches: what is in it is compiled once.
    compare = compares_gammas(state.epoch, config.factors)
    candidates = jnp.where(compare, gamma_candidates(state.gamma, config.factors), state.gamma)
    return _best_of(step_of, candidates, jnp.where(compare, len(candidates), 1))


def _best_of(step_of: Callable[[Array], _Step], candidates: Array, count: Array) -> _Step:
    """The step of least predicted objective among the first candidates for gamma; NaN counts as infinite."""
    candidate, shapes = traced_once(step_of, candidates[0])

    def better(n: Array, best: _Step) -> _Step:
        step = candidate(candidates[n])
        least, value = (jnp.where(jnp.isnan(one.value), jnp.inf, one.value) for one in (best, step))
        chosen = (n == 0) | (value < least)
        return jax.tree.map(lambda old, new: jnp.where(chosen, new, old), best, step)

    return jax.lax.fori_loop(0, count, better, jax.tree.map(jnp.zeros_like, shapes))


class _LayerSystem(NamedTuple):
    """The block of a metric that belongs to one layer."""

    matvec: Callable[[Array], Array]
    diagonal: Array


def _layer_system(metric: Curvature, index: int, block: Array) -> _LayerSystem:
    if block.size > ASSEMBLED_WEIGHTS or not isinstance(metric, Pullback):
        return _LayerSystem(lambda v: metric.block_matvec(index, v), metric.diagonal(index))
    matrix = metric.block_matrix(index)
    return _LayerSystem(lambda v: (matrix @ v.ravel()).reshape(v.shape), jnp.diagonal(matrix).reshape(block.shape))
