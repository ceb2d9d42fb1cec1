"""One epoch as a pure function, and chunks of epochs as one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from repro.errors import InputError
from repro.numerics.loops import traced_once
from repro.optimizers import Optimizer
from repro.problems.base import Problem
from repro.training.state import Metrics, TrainState, stream_key

Epoch = Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]]
"""(state, key of this epoch, coefficients of the objective) -> (state, metrics)."""

Chunk = Callable[[TrainState, Array, Any, Array], tuple[TrainState, Metrics]]
"""(state, seed, coefficients, number of epochs) -> (state, metrics with a leading axis of the chunk's capacity)."""


def training_epoch(problem: Problem, optimizer: Optimizer) -> Epoch:
    """Draw, evaluate, update; then, where the optimiser wants its step judged, draw and evaluate again.

    The metrics describe the parameters before the update: those of the problem, the norms of the gradient and of the
    step, and what the optimiser reports. ``rho`` is NaN in epochs whose step was not judged. The samples go on from
    those that the step was judged by.

    Raises:
        InputError: if the optimiser is one that optax has made, and does not say how its steps are judged.
    """
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            "optimizer: a transformation of optax as it is: give from_optax(...) of it; its steps are then not judged, "
            "so that a damping stays what it is"
        )

    def epoch(state: TrainState, key: Array, coefficients: Any) -> tuple[TrainState, Metrics]:
        params = state.params
        data, drawn = problem.draw(params, state.data, key, coefficients)
        evaluation = problem.evaluate(params, data, coefficients)
        updates, opt_state = optimizer.update(evaluation.gradient, state.opt_state, params, **evaluation.batch)
        metrics = {
            **problem.metrics(evaluation, data, drawn),
            "grad_norm": optax.tree.norm(evaluation.gradient),
            "step_norm": optax.tree.norm(updates),
            **optimizer.report(opt_state),
        }
        new_params: Any = optax.apply_updates(params, updates)
        if (judge := optimizer.judge) is not None:

            def judged(opt_state: Any, data: Any) -> tuple[Any, Any, Array]:
                data, after = problem.advance(new_params, data, key, coefficients)
                opt_state, ratio = judge.judge(opt_state, evaluation.values, after)
                return opt_state, data, ratio

            def unjudged(opt_state: Any, data: Any) -> tuple[Any, Any, Array]:
                return opt_state, data, jnp.full((), jnp.nan, evaluation.values.dtype)

            opt_state, data, metrics["rho"] = jax.lax.cond(judge.due(opt_state), judged, unjudged, opt_state, data)
        return TrainState(new_params, opt_state, data, state.epoch + 1), metrics

    return epoch


def chunk_of_epochs(epoch: Epoch, stream: int, capacity: int) -> Chunk:
    """Up to ``capacity`` epochs as one loop inside one compiled function.

    The number of epochs is data, not a constant of the compiled program: however a run is cut into chunks, by its
    length, by the clock or by a crash, every epoch is computed by the same machine code and gives the same bits. (A
    ``lax.scan`` of another length is another program.) Rows of the metrics beyond the number asked for are NaN.
    """

    def chunk(state: TrainState, seed: Array, coefficients: Any, count: Array) -> tuple[TrainState, Metrics]:
        root = stream_key(seed, stream)
        traced, (_, shapes) = traced_once(epoch, state, root, coefficients)

        def body(row: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            current, rows = carry
            following, metrics = traced(current, jax.random.fold_in(root, current.epoch), coefficients)
            return following, {name: rows[name].at[row].set(metrics[name]) for name in rows}

        empty = {name: jnp.full((capacity, *shape.shape), jnp.nan, shape.dtype) for name, shape in shapes.items()}
        return jax.lax.fori_loop(0, count, body, (state, empty))

    return chunk
