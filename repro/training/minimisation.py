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
from repro.training.curve import OCCASIONAL_COLUMNS
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.reporting import Reporter, Silent
from repro.training.state import TRAINING, TRAINING_STREAM, TrainState, stream_key

CAPACITY = 64
"""The most epochs between two reports."""


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
    """
    integer("epochs", epochs, 1)
    reporter = reporter or Silent()
    key = jnp.asarray(seed, jnp.uint32)
    if state is None:
        if data is None:
            data = problem.draw(params, None, stream_key(key, TRAINING_STREAM), coefficients)[0]
        params = jax.tree.map(jnp.asarray, params)
        state = TrainState(params, optimizer.init(params), data, jnp.zeros((), jnp.int32))
    chunk = jax.jit(chunk_of_epochs(training_epoch(problem, optimizer), TRAINING_STREAM, CAPACITY))
    first = int(state.epoch)
    last, parts = first + epochs, []
    reporter.start(TRAINING, 0, epochs)
    while (done := int(state.epoch)) < last:
        count = min(CAPACITY, last - done)
        state, metrics = chunk(state, key, coefficients, jnp.asarray(count, jnp.int32))
        rows = {name: np.asarray(values)[:count] for name, values in metrics.items()}
        _refuse_not_finite(rows, done)
        parts.append(rows)
        reporter.advance(int(state.epoch) - first, {name: float(values[-1]) for name, values in rows.items()})
    reporter.finish()
    curve = {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]}
    return Minimised(state.params, curve, state)


def _refuse_not_finite(rows: dict[str, np.ndarray], done: int) -> None:
    for name, values in rows.items():
        if name not in OCCASIONAL_COLUMNS and not np.isfinite(values).all():
            epoch = done + 1 + int(np.flatnonzero(~np.isfinite(values))[0])
            raise DivergedError(f"{name} is not finite at epoch {epoch}; take more damping or a smaller learning rate")
