"""Trains any problem with any optimiser in memory, without writing files: a loop for problems of one's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from repro.config.checks import integer
from repro.errors import DivergedError
from repro.optimizers.base import Optimizer
from repro.problems.base import Problem
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.executor import SingleDevice
from repro.training.phase import CAPACITY, in_chunks_of_a_second, not_finite, rows_of
from repro.training.reporting import Reporter, Silent
from repro.training.state import TRAINING, TRAINING_STREAM, TrainState, stream_key


class Minimised(NamedTuple):
    """Where a minimisation ended.

    Attributes:
        params: the last parameters.
        curve: columns by name, a row for each epoch: what the problem and the optimiser report.
        state: to go on from, see ``minimise(state=...)``.
    """

    params: Any
    curve: dict[str, np.ndarray]
    state: TrainState


def minimise(
    problem: Problem,
    optimizer: Optimizer,
    params: Any,
    *,
    epochs: int,
    coefficients: Any = None,
    data: Any = None,
    seed: int = 0,
    state: TrainState | None = None,
    reporter: Reporter | None = None,
) -> Minimised:
    """Makes a number of epochs: samples, gradient, update, and now and then a check of the step against its prediction.

    The same seed gives the same numbers, in one call or in several that go on from each other's state.

    Args:
        problem: what is minimised.
        optimizer: made for it.
        params: where to begin; any tree of arrays, all float32 or all float64.
        epochs: how many to make, at least 1.
        coefficients: what defines the objective and stays as it is: the couplings of a Hamiltonian, (inputs, targets),
            or points.
        data: samples to begin with. Monte Carlo needs walkers, from ``initial_chain``; other problems draw theirs when
            it is left out.
        seed: of everything random.
        state: :attr:`Minimised.state` of an earlier call, to go on from; ``params`` and ``data`` are not used then.
        reporter: told of the progress.

    Raises:
        InputError: if ``epochs`` is no positive integer, or by the problem or the optimiser for what they refuse.
        DivergedError: if a quantity is not finite; it names the quantity and the epoch.
        KeyboardInterrupt: after some epochs, where a signal has asked for an end.
    """
    integer("epochs", epochs, 1)
    reporter = reporter or Silent()
    key = jnp.asarray(seed, jnp.uint32)
    if state is None:
        if data is None:
            data = problem.draw(params, None, stream_key(key, TRAINING_STREAM), coefficients)[0]
        params = jax.tree.map(jnp.asarray, params)
        state = TrainState(params, optimizer.init(params), data, jnp.zeros((), jnp.int32))
    chunk = chunk_of_epochs(training_epoch(problem, optimizer), TRAINING_STREAM, CAPACITY)
    reporter.start(TRAINING, 0, epochs)
    compiled = SingleDevice().compile(TRAINING, chunk, state, key, coefficients)
    first, parts = int(state.epoch), []
    for following, metrics, _ in in_chunks_of_a_second(compiled, state, key, coefficients, first + epochs, CAPACITY):
        rows = rows_of(metrics)
        for epoch, row in enumerate(rows, start=int(state.epoch) + 1):
            if bad := not_finite(row):
                raise DivergedError(
                    f"{bad} is not finite at epoch {epoch}; take more damping or a smaller learning rate"
                )
        state = following
        parts.append(metrics)
        reporter.advance(int(state.epoch) - first, rows[-1])
    reporter.finish()
    curve = {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]}
    return Minimised(state.params, curve, state)
