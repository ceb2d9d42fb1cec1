"""Where the time of an epoch goes: its parts, timed one by one, beside the machine's own matrix-product rate.

One epoch is a walk, the local energies, the gradient, and an update; a second-order update is made of the derivatives
of ln|psi| at the walkers, the direction (Kronecker factors, MINRES) and the quadratic model that scales it. Each part
is a compiled program of its own here, so that the sum of the parts can be compared with the whole epoch, in which the
compiler sees them together. The direction alone has no program: it is what is left of the update.

The updates of proximal DGD, minSR and SPRING are timed as a whole. Their operations are not counted: how often proximal
DGD's loops run is data, and so, then, is the fraction of the machine's rate that their epochs reach.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from jax import Array

from repro.config import OPTIMIZERS, AdamConfig, RunConfig, SecondOrderConfig
from repro.optimizers import Optimizer
from repro.optimizers.presets import composition_of
from repro.study.benchmarks.growth import PARTS, UPDATE, WHOLE
from repro.study.benchmarks.operations import matrix_operations
from repro.study.benchmarks.stopwatch import EPOCHS, Subject, peak_memory_gb, prepare, product_rate, seconds_of
from repro.study.benchmarks.subprocesses import cases_left, measure_each, table_so_far, write_table
from repro.study.runs.profiles import configure
from repro.training.epoch import chunk_of_epochs
from repro.training.executor import executor_for
from repro.training.model import EnergyModel, numerics
from repro.training.state import TrainState
from repro.vmc.derivatives import Derivatives, derivatives, partition_of
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.problem import MonteCarloGeometry, density, energy_gradient, walker_energies
from repro.vmc.sampling.metropolis import walk
from repro.vmc.structured import MixedDerivatives, Scores


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        optimizer: its name.
        particles: A.
        walkers: W.
        sweeps: of a walk.
        hidden: H, units of a layer.
    """

    optimizer: str
    particles: int
    walkers: int
    sweeps: int
    hidden: int

    def config(self) -> RunConfig:
        """A run of this size.

        Raises:
            InputError: for a size out of bounds.
        """
        return configure(
            particles=self.particles,
            v0=-10.0,
            optimizer=self.optimizer,
            walkers=self.walkers,
            sweeps=self.sweeps,
            hidden=self.hidden,
        )


@dataclass(frozen=True)
class _Timed:
    """A part: seconds and operations (NaN: not counted) of one execution, and how many an epoch has on average."""

    seconds: float
    operations: float
    times: float = 1.0


def _timed(program: Callable[..., Any], *arguments: Any, times: float = 1.0) -> _Timed:
    return _Timed(seconds_of(jax.jit(program), *arguments), matrix_operations(program, *arguments), times)


def _update_of(optimizer: Optimizer) -> Callable[..., Any]:
    """One update: (its state, gradient, parameters, walkers, local energies) -> its state."""

    def update(opt_state: Any, grads: Any, params: Any, x: Array, energies: Array) -> Any:
        return optimizer.update(grads, opt_state, params, walkers=x, local_energies=energies)[1]

    return update


def _seconds_of_update(update: Callable[..., Any], opt_state: Any, *given: Any) -> float:
    """Mean over a period of updates at one place."""
    updated = jax.jit(update)

    def period(opt_state: Any) -> Any:
        for _ in range(EPOCHS):
            opt_state = updated(opt_state, *given)
        return opt_state

    return seconds_of(period, opt_state) / EPOCHS


def _second_order_parts(
    model: EnergyModel, optimizer: Optimizer, config: SecondOrderConfig, state: TrainState, grads: Any, energies: Array
) -> dict[str, _Timed]:
    psi, chunk = model.wavefunction, model.walker_chunk
    composition = composition_of(config, model.problem)
    mixed = "decision" in composition.curvatures
    params, x = state.params, state.data.walkers

    def differentiate(params: Any, x: Array) -> Any:
        found = derivatives(psi, params, x, chunk, mixed)
        return found.layers, found.mixed.tangents if isinstance(found.mixed, MixedDerivatives) else None

    def scale(params: Any, x: Array, energies: Array, layers: Any, tangents: Any, vectors: Any) -> Array:
        slopes = MixedDerivatives(layers, tangents) if mixed else None
        found = Derivatives(psi, params, x, chunk, partition_of(psi, params), Scores(layers), slopes, layers)
        geometry = MonteCarloGeometry(model.problem, params, x, energies, chunk, mixed, found)
        return geometry.curvature(composition.model).gram(vectors)

    stored = jax.block_until_ready(jax.jit(differentiate)(params, x))
    blocks = partition_of(psi, params).split(grads)
    compared = (params, x, energies, *stored, (blocks, blocks))
    update, given = _update_of(optimizer), (state.opt_state, grads, params, x, energies)
    # The greedy choice of gamma compares three candidates in one epoch of each interval.
    trials = 1.0 if config.factors is None else (config.factors.interval + 2.0) / config.factors.interval
    iterations = () if config.minres is None else (float(config.minres.iterations),)
    repetitions = iterations if config.factors is None else (trials, *iterations)
    parts = {
        "derivatives": _timed(differentiate, params, x),
        "scaling": _timed(scale, *compared, times=trials),
    }
    whole = _Timed(_seconds_of_update(update, *given), matrix_operations(update, *given, repetitions=repetitions))
    known = parts.values()
    parts["direction"] = _Timed(
        max(0.0, whole.seconds - sum(part.times * part.seconds for part in known)),
        max(0.0, whole.operations - sum(part.times * part.operations for part in known)),
    )
    return parts


def _whole_epoch(size: Size, subject: Subject) -> tuple[TrainState, dict[str, float]]:
    """The state after an epoch, and the seconds, compilation and memory of whole epochs."""
    model, phase, state, device = subject
    begin = time.perf_counter()
    epochs = chunk_of_epochs(phase.epoch, phase.stream, EPOCHS)
    compiled = executor_for(size.walkers, device).compile(phase.name, epochs, state, model.seed, model.system)
    compilation = time.perf_counter() - begin
    state, _ = jax.block_until_ready(compiled(state, model.seed, model.system, jnp.int32(1)))
    count = jnp.int32(EPOCHS)
    seconds = seconds_of(lambda: compiled(state, model.seed, model.system, count), warm=True) / EPOCHS
    return state, {"seconds": seconds, "compile_seconds": compilation, "peak_memory_gb": peak_memory_gb(device)}


def _parts_of(size: Size, config: RunConfig, subject: Subject, state: TrainState) -> dict[str, _Timed]:
    """The parts of an epoch that begins with a state, by their names."""
    model = subject.model
    psi, chunk, system = model.wavefunction, model.walker_chunk, model.system
    optimizer, key, (params, _, chain, _) = subject.phase.optimizer, jax.random.key(0), state

    def sample(params: Any, chain: Any) -> Any:
        return walk(density(psi, params), chain, key, size.sweeps, model.unroll)

    def energies_of(params: Any, x: Array) -> Array:
        return walker_energies(psi, params, x, system, chunk)

    def differentiate(params: Any, x: Array, energies: Array) -> Any:
        return energy_gradient(psi, params, x, clip_local_energies(energies), chunk)

    x = chain.walkers
    energies = jax.jit(energies_of)(params, x)
    # An epoch whose step is judged has a second walk and a second round of local energies.
    walks = 1.0
    if isinstance(config.optimizer, SecondOrderConfig):
        walks += 1.0 / config.optimizer.damping.interval
    parts = {
        "sampling": _timed(sample, params, chain, times=walks),
        "local energy": _timed(energies_of, params, x, times=walks),
        "gradient": _timed(differentiate, params, x, energies),
    }
    grads = jax.jit(differentiate)(params, x, energies)
    if isinstance(config.optimizer, SecondOrderConfig):
        return parts | _second_order_parts(model, optimizer, config.optimizer, state, grads, energies)
    if isinstance(config.optimizer, AdamConfig):
        return parts  # its update is next to nothing
    seconds = _seconds_of_update(_update_of(optimizer), state.opt_state, grads, params, x, energies)
    return parts | {UPDATE: _Timed(seconds, math.nan)}


def measure(size: Size) -> list[dict[str, Any]]:
    """Times the whole epoch and its parts in this process.

    Returns:
        A row for each: what was measured, ``part``, ``seconds`` and ``operations`` of an epoch, ``rate``: the machine's
        operations a second in matrix products; for the whole epoch ``compile_seconds`` and ``peak_memory_gb`` besides.
    """
    config = size.config()
    subject = prepare(config)
    with numerics(config.dtype, subject.device):
        # Timed before the parts: the peak of memory is to be the epoch's own.
        state, whole = _whole_epoch(size, subject)
        parts = _parts_of(size, config, subject, state)
        rate = product_rate()
    common = {
        "optimizer": size.optimizer,
        "particles": size.particles,
        "walkers": size.walkers,
        "sweeps": size.sweeps,
        "hidden": size.hidden,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "device": subject.device.device_kind,
        "rate": rate,
    }
    total = sum(part.times * part.operations for part in parts.values())
    rows = [common | {"part": WHOLE, "seconds": whole["seconds"], "operations": total} | whole]
    for name in PARTS:
        if part := parts.get(name):
            own = {"part": name, "seconds": part.times * part.seconds, "operations": part.times * part.operations}
            rows.append(common | own)
    return rows


def bench_parts(
    optimizers: Sequence[str],
    particles: Sequence[int],
    walkers: Sequence[int],
    hidden: Sequence[int],
    sweeps: int,
    out: Path,
    resume: bool = False,
) -> pd.DataFrame:
    """Every optimiser for each A, W and H, varied one at a time from the first of each list.

    Args:
        optimizers: names; all when empty.
        particles: numbers of particles; with the first the others are varied.
        walkers: numbers of walkers.
        hidden: units of a layer.
        sweeps: of a walk.
        out: where the table is written, anew after each measurement.
        resume: keep what ``out`` holds, and measure the rest.

    Returns:
        The rows of :func:`measure` for all sizes, each measured in a process of its own, with the fraction of the
        machine's rate that they reach.

    Raises:
        InputError: for an unknown optimiser, a size out of bounds, or as :func:`table_so_far`.
        ReproError: if a measurement fails.
    """
    sizes = [
        *((count, walkers[0], hidden[0]) for count in particles),
        *((particles[0], count, hidden[0]) for count in walkers[1:]),
        *((particles[0], walkers[0], units) for units in hidden[1:]),
    ]
    names = optimizers or OPTIMIZERS
    cases = [(name, count, chains, sweeps, units) for count, chains, units in sizes for name in names]
    for case in cases:
        Size(*case).config()  # refuses unknown optimisers and bad sizes before the first wait
    keys = [field.name for field in fields(Size)]
    table = table_so_far(out, resume, [*keys, "operations", "seconds", "rate"])
    results = measure_each(
        "repro.study.benchmarks.parts",
        cases_left(cases, table, keys),
        lambda name, count, chains, _, units: f"{name}, A = {count}, W = {chains}, H = {units}",
        lambda rows: f"{rows[0]['seconds']:.3f} s an epoch",
    )
    for rows in results:
        found = pd.DataFrame(rows)
        found["fraction_of_rate"] = found["operations"] / found["seconds"] / found["rate"]
        table = pd.concat([table, found], ignore_index=True)
        write_table(table, out)
    return table


if __name__ == "__main__":
    print(json.dumps(measure(Size(*json.loads(sys.argv[1])))))
