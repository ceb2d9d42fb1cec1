"""Averages of the parameters along a run: what an optimiser with minibatches is evaluated at.

A minibatch moves the minimum of the objective, and the parameters follow it to and fro. Their exponential average does
so much less (B. Polyak, A. Juditsky, SIAM J. Control Optim. 30, 838 (1992), for plain averages; J. Martens, R. Grosse,
ICML 2015, section 13, for this one).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from repro.config.checks import shown
from repro.errors import InputError
from repro.optimizers.base import Optimizer, StepJudge, checked_params

DECAY = 0.99


class AveragedState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        inner: of the optimiser that makes the steps.
        average: of the parameters, of their structure; the first parameters before the first update.
        updates: made so far, int32.
    """

    inner: Any
    average: Any
    updates: Array


def averaged(optimizer: Optimizer, decay: float = DECAY) -> Optimizer:
    """Any optimiser, which besides averages the parameters that its updates lead to; its steps are the same.

    With theta_k the parameters after update k = 1, 2, ...,

        average_k = xi_k average_(k-1) + (1 - xi_k) theta_k,     xi_k = min(1 - 1/k, decay),

    the plain mean at first, so that the start has no weight. :func:`averaged_params` finds it in the state.

    Args:
        optimizer: what makes the steps, an :class:`Optimizer`; for a transformation of optax ``from_optax`` of it.
        decay: the largest weight of the past. Bounds: at least 0 and below 1. Unit: 1. Default: 0.99. (J. Martens, R.
            Grosse, ICML 2015, section 13)

    Raises:
        InputError: for a decay out of bounds.
    """
    known = isinstance(decay, float | int) and not isinstance(decay, bool)
    if not known or not 0.0 <= decay < 1.0:
        raise InputError(f"decay = {shown(decay)}: must be at least 0 and below 1")

    def init(params: Any) -> AveragedState:
        start = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
        return AveragedState(optimizer.init(params), start, jnp.zeros((), jnp.int32))

    def update(grads: Any, state: AveragedState, params: Any = None, **batch: Any) -> tuple[Any, AveragedState]:
        checked_params(params, "averaged")
        steps, inner = optimizer.update(grads, state.inner, params, **batch)
        updates = state.updates + 1
        weight = jnp.minimum(1.0 - 1.0 / updates, decay)

        def mixed(average: Array, here: Array, step: Array) -> Array:
            # In this form a parameter that rests stays what it is, to the last bit.
            return average + (1.0 - weight).astype(average.dtype) * (here + step - average)

        return steps, AveragedState(inner, jax.tree.map(mixed, state.average, params, steps), updates)

    return Optimizer(
        init, update, lambda state: optimizer.report(state.inner), _of_inner(optimizer.judge), optimizer.further
    )


def averaged_params(opt_state: Any) -> Any:
    """The averaged parameters, from the state of an optimiser that :func:`averaged` made.

    Raises:
        InputError: if the state is of another optimiser.
    """
    if not isinstance(opt_state, AveragedState):
        raise InputError(f"opt_state is a {type(opt_state).__name__}: give that of averaged(optimizer)")
    return opt_state.average


def _of_inner(judge: StepJudge | None) -> StepJudge | None:
    if judge is None:
        return None

    def judged(state: AveragedState, before: Array, after: Array) -> tuple[AveragedState, Array]:
        inner, ratio = judge.judge(state.inner, before, after)
        return state._replace(inner=inner), ratio

    return StepJudge(lambda state: judge.due(state.inner), judged)
