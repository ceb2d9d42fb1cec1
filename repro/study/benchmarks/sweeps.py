"""How long a walk has to be: the energy of one trained state by walks of several lengths, and what it costs.

Between two batches of walkers lies a walk. The shorter it is, the more alike they are: their mean stays right, but its
error is that of fewer independent walkers, and an optimiser sees the same walkers again. One state is trained, with
walks that find their own length; then its parameters are held and every length asked for measures its energy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from repro.config import AUTO, RunConfig, Sweeps, SystemConfig
from repro.errors import InputError
from repro.study.benchmarks.subprocesses import cases_left, measure_each, table_so_far, write_table
from repro.study.runs.profiles import configure
from repro.training.evaluation import evaluation_epoch, held
from repro.training.model import EnergyModel, numerics
from repro.training.restart import load_state
from repro.training.run import train
from repro.training.state import EVALUATION_STREAM, TrainState, stream_key
from repro.training.statistics import estimate_energy
from repro.vmc.problem import density
from repro.vmc.sampling.metropolis import left_correlation, planned_sweeps

OPTIMIZER = "proximal-dgd"
CALLS = 10
"""The batches come in so many calls of one program; one more, unrecorded, goes before them."""


class _Batches(NamedTuple):
    """Of each batch: local energies ``(B, W)``, sweeps before it ``(B,)``, and walkers ``(B, W, A)``."""

    energies: Array
    sweeps: Array
    walkers: Array


def _config(particles: int, v0: float, epochs: int, walkers: int, sweeps: Sweeps = AUTO) -> RunConfig:
    return configure(
        particles=particles,
        v0=v0,
        optimizer=OPTIMIZER,
        profile="laptop",
        epochs=epochs,
        walkers=walkers,
        sweeps=sweeps,
        evaluation_batches=8,  # the least: the run's own final energy is of no use here
    )


def _batches_of(
    model: EnergyModel, state: TrainState, sweeps: Sweeps, key: Array, batches: int
) -> tuple[_Batches, Array, float]:
    """Batches at fixed parameters, the correlations that their walks left, and the seconds that the batches took."""
    sampling = replace(model.config.sampling, sweeps=sweeps)
    epoch = evaluation_epoch(replace(model, config=replace(model.config, sampling=sampling)))
    chain = state.data if sweeps == AUTO else state.data._replace(length=())

    def batch(state: TrainState, key: Array) -> tuple[TrainState, _Batches]:
        following, found = epoch(state, key, model.system)
        made = planned_sweeps(state.data) if sweeps == AUTO else jnp.int32(sweeps)
        return following, _Batches(found["energies"], made, following.data.walkers)

    def correlations(params: Any, x: Array) -> Array:
        at = x, jax.lax.map(density(model.wavefunction, params), x)
        return jax.lax.map(
            lambda pair: left_correlation(*pair),
            (jax.tree.map(lambda a: a[:-1], at), jax.tree.map(lambda a: a[1:], at)),
        )

    program = jax.jit(lambda state, keys: jax.lax.scan(batch, state, keys))
    keys = jax.random.split(key, batches + batches // CALLS).reshape(CALLS + 1, -1)
    fixed, _ = jax.block_until_ready(program(held(state._replace(data=chain)), keys[0]))
    first = fixed.data.walkers[None]
    begin, parts = time.perf_counter(), []
    for part in keys[1:]:
        fixed, found = jax.block_until_ready(program(fixed, part))
        parts.append(found)
    seconds = time.perf_counter() - begin
    joined = jax.tree.map(lambda *values: jnp.concatenate(values), *parts)
    # Not in the time of a batch: two densities more are a fifth of ten sweeps.
    return joined, jax.jit(correlations)(state.params, jnp.concatenate([first, joined.walkers])), seconds


def measure(
    particles: int, v0: float, epochs: int, walkers: int, batches: int, asked: Sequence[Sweeps]
) -> list[dict[str, Any]]:
    """Trains a state in this process and measures its energy by walks of each length.

    Returns:
        A row for each: the case, ``asked``, the mean number of ``sweeps``, ``batches``, ``walkers``, the
        ``correlation`` left by a walk (of ln|psi|^2, centre of mass, mean square radius: the largest), ``energy``,
        ``error``, ``ess`` (effective samples), the ``seconds`` of all batches, and the quotient of these two,
        ``independent_a_second``.
    """
    config = _config(particles, v0, epochs, walkers)
    rows = []
    with TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run").run
        device = jax.devices()[0]
        with numerics(config.dtype, device):
            model, _, state, _ = load_state(config, run, None, device.platform)
            assert isinstance(model, EnergyModel)
            for number, sweeps in enumerate(asked):
                key = jax.random.fold_in(stream_key(model.seed, EVALUATION_STREAM), number)
                found, correlation, seconds = _batches_of(model, state, sweeps, key, batches)
                estimate = estimate_energy(np.asarray(found.energies))
                rows.append(
                    {
                        "particles": particles,
                        "v0": v0,
                        "epochs": epochs,
                        "asked": str(sweeps),
                        "sweeps": float(np.mean(np.asarray(found.sweeps))),
                        "batches": batches,
                        "walkers": walkers,
                        "correlation": float(np.mean(np.asarray(correlation))),
                        "energy": estimate.energy,
                        "error": estimate.error,
                        "ess": estimate.ess,
                        "seconds": seconds,
                        "independent_a_second": estimate.ess / seconds,
                    }
                )
    return rows


def bench_sweeps(
    systems: Sequence[SystemConfig],
    asked: Sequence[Sweeps],
    epochs: int,
    walkers: int,
    batches: int,
    out: Path,
    resume: bool = False,
) -> pd.DataFrame:
    """The rows of :func:`measure` for several cases, each in a process of its own.

    Args:
        systems: the cases.
        asked: numbers of sweeps, or "auto".
        epochs: of the training.
        walkers: W.
        batches: a multiple of :data:`CALLS`.
        out: where the table is written, anew after each case.
        resume: keep the cases that ``out`` holds, and measure the rest.

    Raises:
        InputError: for a number out of bounds, or as :func:`table_so_far`.
        ReproError: if a measurement fails.
    """
    if batches < CALLS or batches % CALLS:
        raise InputError(f"batches = {batches}: must be a multiple of {CALLS}, and at least that")
    for system in systems:
        for sweeps in asked:
            _config(system.particles, system.v0, epochs, walkers, sweeps)  # refuses bad sizes before the first wait
    keys = ["particles", "v0"]
    table = table_so_far(out, resume, [*keys, "asked", "energy", "error", "independent_a_second"])
    cases = [(system.particles, system.v0, epochs, walkers, batches, list(asked)) for system in systems]
    results = measure_each(
        "repro.study.benchmarks.sweeps",
        cases_left(cases, table, keys),
        lambda particles, v0, *_: f"A = {particles}, V0 = {v0:g}",
        lambda rows: ", ".join(f"{row['asked']}: {row['independent_a_second']:.0f} a second" for row in rows),
    )
    for rows in results:
        table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
        write_table(table, out, digits=9)
    return table


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
