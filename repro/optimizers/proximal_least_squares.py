"""The proximal step for losses: SPRING's momentum in the problem's own metric, damped and rejected by itself.

With O the rows and e the residuals of the linearised problem (:class:`repro.problems.base.SampleSpace`), so that the
metric is G = O^T O and the gradient O^T e, a step is the minimum of

    1/2 |O d + e|^2 + lambda/2 |d - x0|^2,    x0 = zeta delta_prev,

which is d = x0 - (G + lambda)^-1 O^T (e + O x0): G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516, 113351
(2024), have it with a fixed lambda and a rate. Here the step is judged on the samples that it was made from. Where the
loss rises, nothing is left of x0 and lambda is multiplied by 4, until it falls. Lambda then follows the ratio of actual
to predicted change. With zeta = 0 this is the method of K. Levenberg (1944) and D. Marquardt (1963).

Differs from :mod:`repro.optimizers.proximal_step` in that the damping weighs parameters and not states, and in that the
system is solved exactly, by the singular values of O: for few parameters, and where MINRES would need many iterations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config.optimizers import ProximalLeastSquaresConfig
from repro.errors import InputError
from repro.numerics.loops import traced_once
from repro.optimizers.base import Optimizer, checked_params, distinct_zeros
from repro.problems.base import Problem, SampleSpace, StepTrial, rows_of
from repro.solvers.sample_space import thin_factors

GOOD, POOR = 0.75, 0.25
"""Ratios of actual to predicted change above which lambda falls, and below which it grows."""
FALL, GROWTH, REJECTED = 1.0 / 3.0, 2.0, 4.0
"""What lambda is multiplied by: where the model was right, where it was not, and after a rejected step."""
LEAST, MOST = 1e-20, 1e20
"""Of lambda, in units of the largest eigenvalue of G."""
ATTEMPTS = 12
SIGNIFICANT = 2.0
"""Standard errors by which the loss of drawn samples may rise."""
FURTHER = ("attempts",)
REPORTED = ("lambda", "rho", *FURTHER)


class LeastSquaresState(NamedTuple):
    """Carried from step to step.

    Attributes:
        previous: the last update, as one vector.
        damping: lambda of the next step; 0 before the first one.
        report: scalars of the last update.
    """

    previous: Array
    damping: Array
    report: dict[str, Array]


class _Attempt(NamedTuple):
    damping: Array
    step: Array
    ratio: Array
    accepted: Array
    made: Array


def proximal_least_squares(problem: Problem, config: ProximalLeastSquaresConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised, a mean of losses.
        config: momentum, and the damping of the first step.

    Raises:
        InputError: if the objective is an energy, whose residuals are not those of a least-squares problem.
    """
    if problem.tells_damping:
        raise InputError(f"optimizer = {config.name!r}: is for losses; an energy has proximal-dgd")
    return _with_settings(problem, config.name, config.momentum, config.damping)


def _with_settings(problem: Problem, name: str, momentum: Array | float, damping: Array | float) -> Optimizer:
    """The same with numbers that JAX may trace."""

    def init(params: Any) -> LeastSquaresState:
        flat = ravel_pytree(checked_params(params, name))[0]
        return LeastSquaresState(jnp.zeros_like(flat), jnp.zeros((), flat.dtype), distinct_zeros(REPORTED, flat.dtype))

    def update(grads: Any, state: LeastSquaresState, params: Any = None, **batch: Any) -> tuple[Any, LeastSquaresState]:
        del grads  # the residuals say more
        restore = ravel_pytree(checked_params(params, name))[1]
        geometry = problem.geometry(params, (), batch)
        tried = _first_accepted(rows_of(geometry, name), geometry.trial(), restore, state, momentum, damping)
        step = jnp.where(tried.accepted, tried.step, 0.0)
        report = {"lambda": tried.damping, "rho": tried.ratio, "attempts": tried.made.astype(step.dtype)}
        factor = jnp.where(tried.ratio > GOOD, FALL, jnp.where(tried.ratio < POOR, GROWTH, 1.0))
        following = jnp.where(tried.accepted, factor, REJECTED) * tried.damping
        return restore(step), LeastSquaresState(step, following, report)

    return Optimizer(init, update, lambda state: state.report, further=FURTHER)


def _first_accepted(
    space: SampleSpace,
    trial: StepTrial,
    restore: Any,
    state: LeastSquaresState,
    momentum: Array | float,
    first_damping: Array | float,
) -> _Attempt:
    """Steps with ever more damping until one is accepted; the first of them has the momentum."""
    factors = thin_factors(space.rows)
    largest = factors.values[0] ** 2
    started = jnp.where(state.damping > 0.0, state.damping, first_damping * largest)

    def attempt(damping: Array, start: Array) -> tuple[Array, Array, Array]:
        step = start - factors.damped(space.residuals + space.rows @ start, damping)
        seen = space.rows @ step
        predicted = space.residuals @ seen + 0.5 * (seen @ seen)
        measured = trial.change(restore(step))
        bound = SIGNIFICANT * measured.error + measured.rounding
        return step, measured.change / predicted, jnp.isfinite(measured.change) & (measured.change <= bound)

    attempt, _ = traced_once(attempt, started, state.previous)
    zero, none = jnp.zeros_like(state.previous), jnp.zeros((), state.previous.dtype)
    begin = _Attempt(started, zero, none, jnp.zeros((), bool), jnp.zeros((), jnp.int32))

    def another(last: _Attempt) -> _Attempt:
        damping = jnp.where(last.made > 0, REJECTED * last.damping, last.damping)
        damping = jnp.clip(damping, LEAST * largest, MOST * largest)
        start = jnp.where(last.made > 0, 0.0, momentum) * state.previous
        return _Attempt(damping, *attempt(damping, start), last.made + 1)

    return jax.lax.while_loop(lambda last: ~last.accepted & (last.made < ATTEMPTS), another, begin)
