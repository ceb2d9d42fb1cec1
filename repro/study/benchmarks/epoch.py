"""Seconds and memory of one epoch, for every optimiser and for a naive dense baseline, in one run."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import OPTIMIZERS, SecondOrderConfig, optimizer_config
from repro.errors import InputError
from repro.optimizers import Optimizer, build_optimizer
from repro.optimizers.scaling import plane_minimum
from repro.solvers.minres import minres
from repro.study.benchmarks.stopwatch import peak_memory_gb, prepare
from repro.study.benchmarks.subprocesses import measure_each, table_so_far, write_table
from repro.study.runs.profiles import configure
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.executor import executor_for
from repro.vmc.ansatz import TrialState
from repro.vmc.derivatives import partition_of
from repro.vmc.problem import MonteCarlo

BASELINE = "dgd, dense"
BLOCKS = 5
"""How often the epochs are timed; the table gives the median."""
ROWS = 64
CASE = ("optimizer", "particles", "walkers", "sweeps", "epochs")
"""What tells one row of the table from another."""


def dense_dgd(psi: TrialState, **options: Any) -> Optimizer:
    """DGD as one would write it first: explicit derivatives of every walker, dense layer blocks.

    The same steps as :func:`repro.optimizers.dgd` in the released protocol, from matrices that exist.
    """
    config = optimizer_config("dgd", **options)
    assert isinstance(config, SecondOrderConfig)
    assert config.minres
    assert config.start
    base, solver, decay = build_optimizer(config, MonteCarlo(psi)), config.minres, config.start.decay

    def update(grads: Any, state: Any, params: Any, *, walkers: Array, **_: Any) -> tuple[Any, Any]:
        parts = partition_of(psi, params)
        blocks = parts.split(params)
        flat, unravel = ravel_pytree(blocks)

        def slopes(theta: Array, x: Array) -> Array:
            return jax.grad(lambda y: psi.log_psi(parts.join(unravel(theta)), y[None])[0])(x)

        rows = jax.lax.map(lambda x: jax.jacrev(slopes)(flat, x), walkers, batch_size=ROWS).reshape(-1, flat.size)
        g, previous = ravel_pytree(parts.split(grads))[0], ravel_pytree(state.previous)[0]
        damping, count = state.damping, walkers.shape[0]
        deltas, begin = [], 0
        for block in blocks:
            own = slice(begin, begin + block.size)
            begin += block.size
            matrix = rows[:, own].T @ rows[:, own] / count
            diagonal = (jnp.diagonal(matrix) + solver.preconditioner_shift) ** solver.preconditioner_power
            solution = minres(
                lambda v, matrix=matrix: matrix @ v,  # type: ignore[misc]
                g[own],
                x0=decay * previous[own],
                shift=damping,
                preconditioner=lambda v, diagonal=diagonal: v / diagonal,  # type: ignore[misc]
                iterations=solver.iterations,
                shifted_start=False,
            )
            deltas.append(solution.x)
        plane = jnp.stack([jnp.concatenate(deltas), previous])
        features = plane @ rows.T
        curvature, square = features @ features.T / count, plane @ plane.T
        weights = plane_minimum(curvature + damping * square, plane @ g)
        step = unravel(weights @ plane)
        predicted = -jnp.abs(0.5 * weights @ curvature @ weights + damping * weights @ square @ weights)
        following = state._replace(epoch=state.epoch + 1, previous=step, predicted=predicted)
        return parts.join(step), following

    return Optimizer(base.init, update, base.report, base.judge)


def measure(optimizer: str, particles: int, walkers: int, sweeps: int, epochs: int) -> dict[str, Any]:
    """Compiles and times one optimiser in this process.

    Args:
        optimizer: a name, or :data:`BASELINE`.
        particles: A.
        walkers: W.
        sweeps: between two epochs.
        epochs: in one of the :data:`BLOCKS` that are timed.

    Returns:
        Seconds of compilation and per epoch, and the process' peak memory in GB.
    """
    name = "dgd" if optimizer == BASELINE else optimizer
    config = configure(particles=particles, v0=-10.0, optimizer=name, walkers=walkers, sweeps=sweeps)
    model, phase, state, device = prepare(config)
    psi = model.wavefunction
    chosen = dense_dgd(psi) if optimizer == BASELINE else build_optimizer(config.optimizer, model.problem)
    epoch = training_epoch(model.problem, chosen)
    begin = time.perf_counter()
    chunk = chunk_of_epochs(epoch, phase.stream, epochs)
    executor = executor_for(walkers, device)
    compiled = executor.compile(phase.name, chunk, state, model.seed, model.system)
    compilation = time.perf_counter() - begin
    state, _ = jax.block_until_ready(compiled(state, model.seed, model.system, jnp.int32(1)))
    seconds = []
    for _ in range(BLOCKS):
        begin = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, model.seed, model.system, jnp.int32(epochs)))
        seconds.append((time.perf_counter() - begin) / epochs)
    return {
        "optimizer": optimizer,
        "particles": particles,
        "walkers": walkers,
        "sweeps": sweeps,
        "epochs": epochs,
        "seconds_per_epoch": statistics.median(seconds),
        "fastest_seconds_per_epoch": min(seconds),
        "compile_seconds": compilation,
        "peak_memory_gb": peak_memory_gb(device),
    }


def quicker(before: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements of a case the one of less seconds: whatever else a machine does can only add to them.

    Args:
        before: the quickest so far, with how often the case was measured as ``rounds``; None for the first.
        row: a further one.
    """
    if before is None:
        return row | {"rounds": 1}
    return min(before, row, key=lambda one: one["seconds_per_epoch"]) | {"rounds": before["rounds"] + 1}


def beside_dense(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The table, with the seconds of the dense baseline, where it was measured, over each row's."""
    table = pd.DataFrame(list(rows))
    reference = table[table["optimizer"] == BASELINE].set_index("particles")["seconds_per_epoch"]
    return table.assign(dense_over_this=table["particles"].map(reference) / table["seconds_per_epoch"])


def bench_epoch(
    optimizers: Sequence[str],
    particles: Sequence[int],
    walkers: int,
    sweeps: int,
    epochs: int,
    baseline: bool,
    out: Path,
    rounds: int = 1,
    resume: bool = False,
) -> pd.DataFrame:
    """The table T01: every optimiser for every A, each in a process of its own so that its peak memory is its own.

    Args:
        optimizers: names; the study's when empty.
        particles: numbers of particles.
        walkers: W.
        sweeps: between two epochs.
        epochs: in one of the :data:`BLOCKS` that are timed; multiples of five share out the judged epochs evenly. The
            dense baseline has a fifth of them, at least one.
        baseline: also time the dense baseline.
        out: where the table is written, anew after each measurement.
        rounds: how often all are measured, one round after the other; the quickest of each is kept.
        resume: go on with the rounds of the table in ``out``, which must be of the same size and machine.

    Raises:
        InputError: for an unknown optimiser, a size out of bounds, a table of another size to go on with, or as
            :func:`table_so_far`.
        ReproError: if a measurement fails.
    """
    for name in optimizers:
        optimizer_config(name)
    if epochs < 1:
        raise InputError(f"epochs = {epochs}: must be at least 1")
    if rounds < 1:
        raise InputError(f"rounds = {rounds}: must be at least 1")
    timed = {BASELINE: max(1, epochs // 5)}
    names = [*(optimizers or OPTIMIZERS), *([BASELINE] if baseline else [])]
    for count in particles:
        configure(particles=count, v0=-10.0, walkers=walkers, sweeps=sweeps)  # refuses bad sizes before the first wait
    cases = [(name, count, walkers, sweeps, timed.get(name, epochs)) for count in particles for name in names]
    so_far = table_so_far(out, resume, (*CASE, "seconds_per_epoch", "rounds"))
    rows: list[dict[str, Any]] = so_far.to_dict("records")  # type: ignore[assignment]
    found = {tuple(row[name] for name in CASE): row for row in rows}
    for name, _, *size in found:
        if size != (asked := [walkers, sweeps, timed.get(name, epochs)]):
            raise InputError(
                f"{out}: has {name} with {size[0]} walkers, {size[1]} sweeps and {size[2]} epochs, not {asked[0]}, "
                f"{asked[1]} and {asked[2]}; one table is of one size: name another --out"
            )
    wanted = [case for number in range(rounds) for case in cases if found.get(case, {"rounds": 0})["rounds"] <= number]
    measured = measure_each(
        "repro.study.benchmarks.epoch",
        wanted,
        lambda name, count, *_: f"{name}, A = {count}",
        lambda row: f"{row['seconds_per_epoch']:.3f} s an epoch",
    )
    for case, row in zip(wanted, measured, strict=True):
        found[case] = quicker(found.get(case), row)
        write_table(beside_dense(found.values()), out)
    return beside_dense(found.values())


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
