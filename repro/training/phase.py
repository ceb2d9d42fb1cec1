"""One phase of a run: epochs in chunks of about a second, a row of the curve for each, regular checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from repro.training.curve import OCCASIONAL_COLUMNS, Table
from repro.training.epoch import Chunk, chunk_of_epochs
from repro.training.executor import Executor
from repro.training.interruptions import interruptions
from repro.training.model import Model, Phase
from repro.training.reporting import Reporter
from repro.training.state import TrainState

CAPACITY = 256
CHUNK_SECONDS = 1.0


class NotFiniteError(Exception):
    """A quantity that is not finite, and the phase and epoch in which it was found."""

    def __init__(self, phase: str, epoch: int, quantity: str) -> None:
        super().__init__(phase, epoch, quantity)
        self.phase, self.epoch, self.quantity = phase, epoch, quantity


def in_chunks_of_a_second(
    chunk: Chunk, state: TrainState, model: Model, epochs: int, capacity: int
) -> Iterator[tuple[TrainState, dict[str, np.ndarray], float]]:
    """Runs a phase to its last epoch; yields the state, the metrics of the epochs just done and the seconds each took.

    The length of a chunk follows the clock, so that progress is seen about once a second, and the executor may cut it
    short; it has no effect on the numbers.
    """
    count = 1
    with interruptions() as asked:
        while (done := int(state.epoch)) < epochs:
            count = min(count, capacity, epochs - done)
            begin = time.perf_counter()
            state, metrics = jax.block_until_ready(
                chunk(state, model.seed, model.system, jnp.asarray(count, jnp.int32))
            )
            count = int(state.epoch) - done
            seconds = (time.perf_counter() - begin) / count
            yield state, {name: np.asarray(values)[:count] for name, values in metrics.items()}, seconds
            if asked.is_set():
                raise KeyboardInterrupt
            count = max(1, min(2 * count, int(CHUNK_SECONDS / seconds)))


def run_phase(
    executor: Executor,
    model: Model,
    phase: Phase,
    state: TrainState,
    table: Table,
    save: Callable[[Phase, TrainState, Table], None],
    checkpoint_seconds: float,
    reporter: Reporter,
) -> TrainState:
    """Runs a phase from where ``state`` is to its end, and returns the last state.

    Args:
        executor: what compiles the chunks.
        model: the run's.
        phase: of the model.
        state: its first, or one of its own.
        table: gets a row for each epoch.
        save: called with a state and its table, at the end also when that is an interruption.
        checkpoint_seconds: least time between two calls of ``save``.
        reporter: told of the progress.

    Raises:
        NotFiniteError: after the last state before that was saved.
    """
    done = int(state.epoch)
    if done == phase.epochs:
        return state
    reporter.start(phase.name, done, phase.epochs)
    chunk = chunk_of_epochs(phase.epoch, phase.stream, CAPACITY)
    compiled = executor.compile(phase.name, chunk, state, model.seed, model.system)
    saved_at, saved = time.monotonic(), state
    try:
        for following, metrics, seconds in in_chunks_of_a_second(compiled, state, model, phase.epochs, CAPACITY):
            rows = [
                {name: float(values[row]) for name, values in metrics.items()}
                for row in range(len(metrics["acceptance"]))
            ]
            first = int(state.epoch) + 1
            for number, row in enumerate(rows, start=first):
                table.append({"epoch": number, **row, "seconds": seconds})
                measured = (name for name in row if name not in OCCASIONAL_COLUMNS)
                if bad := next((name for name in measured if not math.isfinite(row[name])), None):
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
    return state
