"""A run from its configuration to its result: pretraining, training, evaluation, with checkpoints in between."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from repro.ansatz import Wavefunction, slater_wavefunction
from repro.chunks import resolve_walker_chunk
from repro.config import RunConfig, differences
from repro.errors import DivergedError, InputError
from repro.optimizers import Optimizer, build_optimizer
from repro.optimizers.optimizer import from_optax
from repro.physics.hamiltonian import System
from repro.sampling.metropolis import initial_chain, unrolled_sweeps, walk
from repro.training import environment
from repro.training.checkpoint import Header, load_checkpoint, save_checkpoint
from repro.training.curve import CURVE_COLUMNS, OCCASIONAL_COLUMNS, PRETRAINING_COLUMNS, Table, with_sweeps
from repro.training.epoch import (
    Chunk,
    Epoch,
    chunk_of_epochs,
    density,
    pretraining_epoch,
    training_epoch,
    walker_energies,
)
from repro.training.executor import Batch, Executor, executor_for, in_threads
from repro.training.files import write_atomic
from repro.training.interruptions import interruptions
from repro.training.reporting import Reporter, Silent
from repro.training.rounding import energy_rounding
from repro.training.rundir import RunDirectory, prepare
from repro.training.state import (
    EVALUATION,
    EVALUATION_STREAM,
    INIT_STREAM,
    PRETRAINING,
    PRETRAINING_STREAM,
    TRAINING,
    TRAINING_STREAM,
    WALKER_STREAM,
    Metrics,
    TrainState,
    stream_key,
)

CAPACITY = 256
EVALUATION_CAPACITY = 16
CHUNK_SECONDS = 1.0
CHECKPOINT_SECONDS = 10.0


class Phase(NamedTuple):
    """One stretch of epochs of the same kind."""

    name: str
    epochs: int
    stream: int
    epoch: Epoch
    optimizer: Optimizer
    columns: tuple[str, ...]


class Outcome(NamedTuple):
    """Where a run ended: its directory and the content of ``result.json``."""

    run: RunDirectory
    result: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """The functions that a configuration stands for."""

    config: RunConfig
    walker_chunk: int
    unroll: int
    wavefunction: Wavefunction
    phases: tuple[Phase, Phase]

    @property
    def system(self) -> System:
        """The couplings, in the run's precision."""
        dtype = jnp.dtype(self.config.dtype)
        return System(jnp.asarray(self.config.system.v0, dtype), jnp.asarray(self.config.system.sigma0, dtype))

    @property
    def seed(self) -> jax.Array:
        """Of everything random."""
        return jnp.asarray(self.config.seed, jnp.uint32)

    def initial_state(self) -> TrainState:
        """Fresh parameters and walkers, at the beginning of the first phase."""
        config = self.config
        params = self.wavefunction.init(stream_key(self.seed, INIT_STREAM))
        walker_key = stream_key(self.seed, WALKER_STREAM)
        sampling = config.sampling
        chain = initial_chain(walker_key, sampling.walkers, config.system.particles, config.dtype, sampling.sweeps)
        return TrainState(params, self.phases[0].optimizer.init(params), chain, jnp.zeros((), jnp.int32))

    def tables(self) -> dict[str, Table]:
        """An empty table for each phase."""
        return {phase.name: Table(phase.columns) for phase in self.phases}

    def enter(self, phase: Phase, state: TrainState) -> TrainState:
        """The state with which a later phase begins: same parameters and walkers, a fresh optimiser."""
        opt_state = phase.optimizer.init(state.params)
        return state._replace(opt_state=opt_state, epoch=jnp.zeros((), jnp.int32))


def _wavefunction(config: RunConfig, dtype: str) -> Wavefunction:
    ansatz = config.ansatz
    return slater_wavefunction(config.system.particles, ansatz.layers, ansatz.hidden, ansatz.determinants, dtype)


def build_model(config: RunConfig, walker_chunk: int, platform: str = "cpu") -> Model:
    """Wavefunction, optimisers and epochs of a configuration; nothing is computed yet.

    Args:
        config: the run.
        walker_chunk: walkers differentiated at once.
        platform: of the device that it is for, "cpu" or "gpu"; on the other one the same numbers take longer.
    """
    unroll = unrolled_sweeps(config.system.particles, platform)
    sweeps, wavefunction = config.sampling.sweeps, _wavefunction(config, config.dtype)
    before, during = (with_sweeps(columns, sweeps) for columns in (PRETRAINING_COLUMNS, CURVE_COLUMNS))
    fit = from_optax(optax.adam(config.pretraining.learning_rate))
    optimizer = build_optimizer(config.optimizer, wavefunction, walker_chunk)
    first = pretraining_epoch(wavefunction, fit, sweeps, unroll)
    second = training_epoch(wavefunction, optimizer, sweeps, walker_chunk, unroll)
    return Model(
        config,
        walker_chunk,
        unroll,
        wavefunction,
        (
            Phase(PRETRAINING, config.pretraining.epochs, PRETRAINING_STREAM, first, fit, before),
            Phase(TRAINING, config.epochs, TRAINING_STREAM, second, optimizer, (*during, *optimizer.further)),
        ),
    )


@contextmanager
def numerics(dtype: str, device: jax.Device) -> Iterator[None]:
    """Precision and device of everything computed inside: no TF32, doubles only where asked for."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"), jax.default_device(device):
        yield


class _DivergenceError(Exception):
    def __init__(self, phase: str, epoch: int, quantity: str) -> None:
        super().__init__(phase, epoch, quantity)
        self.phase, self.epoch, self.quantity = phase, epoch, quantity


def _chunks(
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


def _run_phase(
    executor: Executor,
    model: Model,
    phase: Phase,
    state: TrainState,
    table: Table,
    save: Callable[[Phase, TrainState, Table], None],
    checkpoint_seconds: float,
    reporter: Reporter,
) -> TrainState:
    done = int(state.epoch)
    if done == phase.epochs:
        return state
    reporter.start(phase.name, done, phase.epochs)
    chunk = chunk_of_epochs(phase.epoch, phase.stream, CAPACITY)
    compiled = executor.compile(phase.name, chunk, state, model.seed, model.system)
    saved_at, saved = time.monotonic(), state
    try:
        for following, metrics, seconds in _chunks(compiled, state, model, phase.epochs, CAPACITY):
            rows = [
                {name: float(values[row]) for name, values in metrics.items()}
                for row in range(len(metrics["acceptance"]))
            ]
            first = int(state.epoch) + 1
            for number, row in enumerate(rows, start=first):
                table.append({"epoch": number, **row, "seconds": seconds})
                measured = (name for name in row if name not in OCCASIONAL_COLUMNS)
                if bad := next((name for name in measured if not math.isfinite(row[name])), None):
                    raise _DivergenceError(phase.name, number, bad)
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


def _evaluation_epoch(model: Model) -> Epoch:
    def epoch(state: TrainState, key: jax.Array, system: System) -> tuple[TrainState, Metrics]:
        chain, acceptance = walk(
            density(model.wavefunction, state.params), state.chain, key, model.config.sampling.sweeps, model.unroll
        )
        energies = walker_energies(model.wavefunction, state.params, chain.walkers, system, model.walker_chunk)
        return state._replace(chain=chain, epoch=state.epoch + 1), {"energies": energies, "acceptance": acceptance}

    return epoch


class Sampled(NamedTuple):
    """Local energies of many batches, shape ``(batches, walkers)``, and the walkers of the last of them."""

    energies: np.ndarray
    walkers: np.ndarray


def sample_energies(model: Model, state: TrainState, reporter: Reporter, executor: Executor) -> Sampled:
    """Local energies of many further batches at fixed parameters.

    A tenth as many batches again go before, unrecorded, to let the walkers forget the last update.
    """
    burn_in = max(1, model.config.evaluation.batches // 10)
    batches = burn_in + model.config.evaluation.batches
    chunk = chunk_of_epochs(_evaluation_epoch(model), EVALUATION_STREAM, EVALUATION_CAPACITY)
    # Only parameters and walkers matter here.
    fixed = TrainState(state.params, (), state.chain, jnp.zeros((), jnp.int32))
    reporter.start(EVALUATION, 0, batches)
    parts = []
    compiled = executor.compile(EVALUATION, chunk, fixed, model.seed, model.system)
    for state, metrics, _ in _chunks(compiled, fixed, model, batches, EVALUATION_CAPACITY):
        parts.append(metrics["energies"])
        counted = np.concatenate(parts)[burn_in:]
        reporter.advance(int(state.epoch), {"energy": float(np.mean(counted))} if len(counted) else {})
    reporter.finish()
    return Sampled(np.concatenate(parts)[burn_in:], np.asarray(state.chain.walkers))


class Restored(NamedTuple):
    """What a checkpoint holds, with the functions that belong to it; ``revisions`` as in its header."""

    model: Model
    phase: Phase
    state: TrainState
    revisions: tuple[str, ...]


def load_state(config: RunConfig, run: RunDirectory, walker_chunk: int | None, platform: str) -> Restored:
    """Functions, phase and state of a run with a checkpoint.

    Raises:
        InputError: if there is no usable checkpoint, or another ``walker_chunk`` than the run's is asked for.
    """
    checkpoint = load_checkpoint(run.checkpoint)
    header = checkpoint.header
    if walker_chunk not in (None, header.walker_chunk):
        raise InputError(
            f"walker_chunk = {walker_chunk}: the run was begun with {header.walker_chunk}; leave --walker-chunk out"
        )
    model = build_model(config, header.walker_chunk, platform)
    if header.content_hash != model.config.content_hash:
        raise InputError(f"{run.checkpoint}: belongs to configuration {header.content_hash}, not to this run's")
    phase = next((phase for phase in model.phases if phase.name == header.phase), None)
    if phase is None:
        raise InputError(f"{run.checkpoint}: unknown phase {header.phase!r}")

    def template() -> TrainState:
        return model.enter(phase, model.initial_state())

    return Restored(model, phase, checkpoint.state(jax.eval_shape(template)), header.revisions)


def pretraining_differences(theirs: RunConfig, ours: RunConfig) -> list[str]:
    """What makes the pretraining of two runs differ; it knows neither couplings nor optimiser."""
    same = replace(
        ours,
        system=replace(ours.system, v0=theirs.system.v0, sigma0=theirs.system.sigma0),
        optimizer=theirs.optimizer,
        epochs=theirs.epochs,
        evaluation=theirs.evaluation,
    )
    return differences(theirs, same)


def _donor(config: RunConfig, path: Path) -> RunDirectory:
    """The run in ``path``, known to have ended the same pretraining as ``config`` asks for."""
    donor = RunDirectory(path)
    if changed := pretraining_differences(donor.read_config(), config):
        raise InputError(f"pretrained = {path}: was pretrained differently; there -> here: {'; '.join(changed)}")
    if not donor.pretrained.exists():
        raise InputError(f"pretrained = {path}: has no {donor.pretrained.name}: its pretraining has not ended yet")
    return donor


def train(
    config: RunConfig,
    out: str | Path,
    *,
    device: str | None = None,
    walker_chunk: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    pretrained: str | Path | None = None,
    reporter: Reporter | None = None,
    executor: Executor | None = None,
) -> Outcome:
    """Makes a run, or finishes one that was interrupted, in the directory ``out``.

    However often a run is interrupted, on the same machine its ``curve.csv`` comes out the same to the byte, except
    for the column ``seconds``.

    Args:
        config: what to run.
        out: directory of the run.
        device: "cpu", "gpu", or None for a GPU when there is one.
        walker_chunk: walkers differentiated at once, which bounds the memory; None for a value chosen from the memory
            needed.
        resume: go on with the run in ``out``, if there is one.
        overwrite: replace the run in ``out``.
        checkpoint_seconds: least time between two checkpoints.
        pretrained: directory of a run to take the pretraining from instead of doing it again. It must have been
            pretrained in the same way with the same seed; optimiser, epochs and couplings may differ, for pretraining
            does not know them.
        reporter: told of the progress.
        executor: what runs the compiled epochs; the run's own when left out. In a batch, sums are ordered differently:
            the bits are those of this batch.

    Returns:
        The run's directory and result.

    Raises:
        InputError: for anything that can be known to fail beforehand; nothing is written then.
        DivergedError: if the optimisation left the finite numbers; the result says so too.
    """
    reporter = reporter or Silent()
    if not (math.isfinite(checkpoint_seconds) and checkpoint_seconds >= 0):
        raise InputError(f"checkpoint_seconds = {checkpoint_seconds}: must be finite and not negative")
    chosen = environment.select_device(device)
    executor = executor or executor_for(config.sampling.walkers, chosen)
    chunk_size = resolve_walker_chunk(config, walker_chunk, chosen.platform)
    donor = None if pretrained is None else _donor(config, Path(pretrained))
    revision = environment.git_revision()  # of the code that is running, not of what the tree holds at the end
    run, exists = prepare(config, out, resume, overwrite)
    with run.locked(), numerics(config.dtype, chosen):
        if exists and run.ended:
            result = run.read_result()
            if result["status"] == "diverged":
                raise DivergedError(f"{run.path}: {result['reason']}")
            reporter.note(f"{run.path}: complete; nothing to do")
            return Outcome(run, result)
        files = {PRETRAINING: run.pretraining, TRAINING: run.curve}
        if exists and run.checkpoint.exists():
            model, current, state, earlier = load_state(config, run, walker_chunk, chosen.platform)
            tables = model.tables()
            known = {PRETRAINING: config.pretraining.epochs, TRAINING: 0} | {current.name: int(state.epoch)}
            for phase in model.phases[: model.phases.index(current) + 1]:
                path = files[phase.name]
                text = path.read_text() if path.exists() else ""
                tables[phase.name] = Table.decode(phase.columns, text, known[phase.name], str(path))
                if tables[phase.name].encode() != text.encode():
                    write_atomic(path, tables[phase.name].encode())
            reporter.note(f"{run.path}: going on after {current.name} epoch {int(state.epoch)}")
        else:
            model = build_model(config, chunk_size, chosen.platform)
            tables = model.tables()
            current, state, earlier = model.phases[0], jax.jit(model.initial_state)(), ()
            if donor is not None:
                checkpoint = load_checkpoint(donor.pretrained)
                state = checkpoint.state(state._replace(opt_state=()))._replace(opt_state=state.opt_state)
                earlier = checkpoint.header.revisions
                text = donor.pretraining.read_text()
                tables[PRETRAINING] = Table.decode(current.columns, text, current.epochs, str(donor.pretraining))
                write_atomic(run.pretraining, tables[PRETRAINING].encode())
                reporter.note(f"{run.path}: pretraining taken from {donor.path}")
        revisions = (*(name for name in earlier if name != revision), revision)
        if len(revisions) > 1:
            reporter.note(
                f"{run.path}: begun by code of revision {', '.join(revisions[:-1])}, goes on with that of {revision}; "
                "result.json will say so, and `repro store` takes only runs of one revision"
            )

        def save(phase: Phase, state: TrainState, table: Table) -> None:
            # The table first: a crash in between leaves rows that the older checkpoint makes us compute again.
            write_atomic(files[phase.name], table.encode())
            header = Header(config.content_hash, phase.name, int(state.epoch), model.walker_chunk, revisions)
            save_checkpoint(run.checkpoint, header, state)

        try:
            for phase in model.phases[model.phases.index(current) :]:
                if phase is not current:
                    header = Header(config.content_hash, current.name, current.epochs, model.walker_chunk, revisions)
                    save_checkpoint(run.pretrained, header, state._replace(opt_state=()))
                    state = model.enter(phase, state)
                table = tables[phase.name]
                if not table.lines:
                    save(phase, state, table)
                state = _run_phase(executor, model, phase, state, table, save, checkpoint_seconds, reporter)
            estimate = _evaluated(model, state, reporter, executor)
        except _DivergenceError as error:
            # All epochs up to the bad one belong to the result; the state is that of the last chunk before.
            if error.phase in tables:
                finite = Table(tables[error.phase].columns, tables[error.phase].lines[: error.epoch - 1])
                tables[error.phase] = finite
                write_atomic(files[error.phase], finite.encode())
            reason = (
                f"diverged: {error.quantity} is not finite at {error.phase} epoch {error.epoch}; "
                f"the last good state is kept in {run.checkpoint.name}"
            )
            result = {"status": "diverged", "phase": error.phase, "epoch": error.epoch, "quantity": error.quantity}
            result["reason"] = reason
            result |= _provenance(run, model, tables[TRAINING], chosen, revisions, executor)
            run.write_json(run.result, result)
            raise DivergedError(f"{run.path}: {reason}") from error
        result = {"status": "complete", **estimate} | _provenance(
            run, model, tables[TRAINING], chosen, revisions, executor
        )
        run.write_json(run.result, result)
    return Outcome(run, result)


@dataclass(frozen=True)
class Member:
    """One run of several that are trained together.

    Attributes:
        config: what to run.
        out: directory of the run.
        pretrained: as for :func:`train`.
        reporter: told of its progress.
    """

    config: RunConfig
    out: Path
    pretrained: Path | None
    reporter: Reporter


def common_program(config: RunConfig) -> str:
    """The same for all runs that differ in couplings and seed only, which one compiled program can train together."""
    return replace(config, seed=0, system=replace(config.system, v0=0.0, sigma0=1.0)).content_hash


def train_member(member: Member, *, device: str | None = None, executor: Executor | None = None) -> Outcome:
    """Makes or finishes one run; arguments and errors as for :func:`train`."""
    return train(
        member.config,
        member.out,
        device=device,
        resume=True,
        pretrained=member.pretrained,
        reporter=member.reporter,
        executor=executor,
    )


def train_together(members: Sequence[Member], *, device: str | None = None) -> list[Outcome | BaseException]:
    """Makes several runs, or finishes them, each epoch of all in one vectorised program.

    A single run leaves a GPU idle most of the time. What is written is the same as by :func:`train`; runs that diverge
    or fail do so for themselves.

    Args:
        members: runs of one :func:`common_program`.
        device: as for :func:`train`.

    Returns:
        For each its outcome, or the error that it ended with.

    Raises:
        InputError: if the runs differ in more than couplings and seed.
        KeyboardInterrupt: after all have written their checkpoints.
    """
    first = members[0].config
    if other := next((m.config for m in members if common_program(m.config) != common_program(first)), None):
        raise InputError(
            f"{first.run_name} and {other.run_name} cannot be trained together: they differ in "
            f"{'; '.join(differences(first, other))}, and only v0, sigma0 and seed may differ"
        )
    batch = Batch(len(members))

    with interruptions(lambda: batch.stop(KeyboardInterrupt())) as asked:
        ended = in_threads(batch, [partial(train_member, member, device=device, executor=batch) for member in members])
        if asked.is_set():
            raise KeyboardInterrupt
    return ended


def _evaluated(model: Model, state: TrainState, reporter: Reporter, executor: Executor) -> dict[str, float | None]:
    """The energy of a state, with its statistical error and how far rounding may have moved it."""
    from repro.training.statistics import estimate_energy

    samples = sample_energies(model, state, reporter, executor)
    if not np.all(np.isfinite(samples.energies)):
        first = int(np.flatnonzero(~np.all(np.isfinite(samples.energies), axis=1))[0])
        raise _DivergenceError(EVALUATION, first + 1, "energy")
    estimate = asdict(estimate_energy(samples.energies))
    energy, error = estimate.pop("energy"), estimate.pop("error")
    rounding = None
    if model.config.dtype == "float32":
        exact, last = _wavefunction(model.config, "float64"), samples.energies[-1]
        rounding = energy_rounding(exact, state.params, samples.walkers, model.system, last, model.walker_chunk)
        if rounding > error:
            reporter.note(
                f"rounding may have moved the energy by {rounding:.1e}, its statistical error is {error:.1e}: "
                "--dtype float64 computes without"
            )
    return {"energy": energy, "energy_error": error, **estimate, "rounding": rounding}


def _provenance(
    run: RunDirectory, model: Model, table: Table, device: jax.Device, revisions: tuple[str, ...], executor: Executor
) -> dict[str, Any]:
    seconds = table.column("seconds")
    return {
        "content_hash": model.config.content_hash,
        "curve_sha256": hashlib.sha256(run.curve.read_bytes()).hexdigest() if run.curve.exists() else None,
        "seconds_per_epoch": float(np.median(seconds)) if seconds else None,
        "training_seconds": float(np.sum(seconds)),
        "walker_chunk": model.walker_chunk,
        "trained_together": executor.members,
        "devices": executor.devices,
        "peak_memory_bytes": environment.peak_memory_bytes(device),
        "versions": environment.versions(),
        "device": environment.device_record(device),
        "git_revision": revisions[-1],
        "earlier_revisions": list(revisions[:-1]),
    }


def evaluate(path: str | Path, *, device: str | None = None, reporter: Reporter | None = None) -> dict[str, Any]:
    """Final energy of the state in a run's checkpoint.

    Args:
        path: a run directory with a checkpoint.
        device: as for :func:`train`.
        reporter: told of the progress.

    Returns:
        ``energy``, ``energy_error``, ``rhat``, ``ess``, ``variance``, ``rounding`` (None in double precision), with the
        ``phase`` and ``epoch`` of the state.

    Raises:
        InputError: if there is no run, or no usable checkpoint in it.
        DivergedError: if the state has no finite energy.
    """
    run = RunDirectory(Path(path))
    config = run.read_config()
    chosen = environment.select_device(device)
    with numerics(config.dtype, chosen):
        model, phase, state, _ = load_state(config, run, None, chosen.platform)
        executor = executor_for(config.sampling.walkers, chosen)
        try:
            estimate = _evaluated(model, state, reporter or Silent(), executor)
        except _DivergenceError as error:
            raise DivergedError(f"{run.path}: {error.quantity} is not finite") from error
    return {**estimate, "phase": phase.name, "epoch": int(state.epoch)}
