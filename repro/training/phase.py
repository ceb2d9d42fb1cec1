"""One phase of a run: epochs in chunks of about a second, a row of the curve for each, regular checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.training.base import Model, Phase
from repro.training.curve import OCCASIONAL_COLUMNS, Table
from repro.training.epoch import Chunk, chunk_of_epochs
from repro.training.executor import Executor
from repro.training.interruptions import interruptions
from repro.training.reporting import Reporter
from repro.training.state import TrainState

CAPACITY = 256
CHUNK_SECONDS = 1.0


class NotFiniteError(Exception):
    """A quantity that is not finite, and the phase and epoch in which it was found."""

    def __init__(self, phase: str, epoch: int, quantity: str) -> None:
        super().__init__(phase, epoch, quantity)
        self.phase, self.epoch, self.quantity = phase, epoch, quantity


class Spent(NamedTuple):
    """Seconds by the clock, and of all processors together that this process had."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Spent:
        """Where both clocks are."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, count: int = 1) -> Spent:
        """From this moment to now, for each of ``count``."""
        now = self.now()
        return Spent((now.seconds - self.seconds) / count, (now.cpu_seconds - self.cpu_seconds) / count)


def in_chunks_of_a_second(
    chunk: Chunk, state: TrainState, seed: Array, coefficients: Any, epochs: int, capacity: int, stride: int = 0
) -> Iterator[tuple[TrainState, dict[str, np.ndarray], Spent]]:
    """Runs epochs up to the last; yields the state, the metrics of the epochs just done and the seconds each took.

    The length of a chunk follows the clock, so that progress is seen about once a second, and the executor may cut it
    short; it has no effect on the numbers.

    Args:
        chunk: compiled.
        state: to begin with.
        seed: of the run.
        coefficients: of the objective.
        epochs: the number of the last one.
        capacity: of the chunk.
        stride: chunks end at every multiple of this number of epochs, too; 0 for none.

    Raises:
        KeyboardInterrupt: after a chunk, where a signal has asked for an end.
    """
    count = 1
    with interruptions() as asked:
        while (done := int(state.epoch)) < epochs:
            count = min(count, capacity, epochs - done, *([stride - done % stride] if stride else []))
            begin = Spent.now()
            state, metrics = jax.block_until_ready(chunk(state, seed, coefficients, jnp.asarray(count, jnp.int32)))
            count = int(state.epoch) - done
            spent = begin.since(count)
            yield state, {name: np.asarray(values)[:count] for name, values in metrics.items()}, spent
            if asked.is_set():
                raise KeyboardInterrupt
            count = max(1, min(2 * count, int(CHUNK_SECONDS / spent.seconds)))


def rows_of(metrics: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """The metrics of each epoch, from those of all epochs by name."""
    return [dict(zip(metrics, map(float, values), strict=True)) for values in zip(*metrics.values(), strict=True)]


def not_finite(row: Mapping[str, float]) -> str | None:
    """The first metric of an epoch that should be a finite number and is none."""
    measured = (name for name in row if name not in OCCASIONAL_COLUMNS)
    return next((name for name in measured if not math.isfinite(row[name])), None)


def run_phase(
    executor: Executor,
    model: Model,
    phase: Phase,
    state: TrainState,
    table: Table,
    save: Callable[[Phase, TrainState, Table], None],
    checkpoint_seconds: float,
    reporter: Reporter,
) -> tuple[TrainState, Spent | None]:
    """Runs a phase from where ``state`` is to its end.

    Args:
        executor: what compiles the chunks.
        model: the run's.
        phase: of the model.
        state: its first, or one of its own.
        table: gets a row for each epoch.
        save: called with a state and its table, at the end also when that is an interruption.
        checkpoint_seconds: least time between two calls of ``save``.
        reporter: told of the progress.

    Returns:
        The last state, and what it took to compile the program; None where no epoch was left to do.

    Raises:
        NotFiniteError: after the last state before that was saved.
    """
    done = int(state.epoch)
    if done == phase.epochs:
        return state, None
    reporter.start(phase.name, done, phase.epochs)
    arguments, begin = (model.seed, model.coefficients), Spent.now()
    chunk = chunk_of_epochs(phase.epoch, phase.stream, CAPACITY)
    compiled = executor.compile(phase.name, chunk, state, *arguments)
    compiling, (watch, stride) = begin.since(), (phase.watch, phase.watch.interval if phase.watch else 0)
    saved_at, saved = time.monotonic(), state
    try:
        chunks = in_chunks_of_a_second(compiled, state, *arguments, phase.epochs, CAPACITY, stride)
        for following, metrics, spent in chunks:
            first, rows = int(state.epoch) + 1, rows_of(metrics)
            if watch is not None and (first - 1) % stride == 0:  # the metrics are those before an update, too
                rows[0] |= watch.measure(state.params)
            for number, row in enumerate(rows, start=first):
                table.append({phase.columns[0]: number, **row, **spent._asdict()})
                if bad := not_finite(row):
                    raise NotFiniteError(phase.name, number, bad)
            state = following
            reporter.advance(int(state.epoch), rows[-1])
            if time.monotonic() - saved_at >= checkpoint_seconds:
                save(phase, state, table)
                saved_at, saved = time.monotonic(), state
    finally:
        # Also on an interruption: what was computed up to the last whole chunk is kept.
        if state is not saved:
            last = int(state.epoch)
            save(phase, state, Table(phase.columns, table.lines[:last]))
    reporter.finish()
    return state, compiling
