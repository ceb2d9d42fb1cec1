"""A run from its configuration to its result: pretraining, training, evaluation, with checkpoints in between."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from repro.chunks import resolve_walker_chunk
from repro.config import RunConfig
from repro.errors import DivergedError, InputError
from repro.training import environment
from repro.training.checkpoint import Header, load_checkpoint, save_checkpoint
from repro.training.curve import Table
from repro.training.evaluation import energy_of
from repro.training.executor import Executor, executor_for
from repro.training.files import write_atomic
from repro.training.imported import ImportedNetwork
from repro.training.model import Model, Phase, build_model, numerics
from repro.training.phase import NotFiniteError, run_phase
from repro.training.reporting import Reporter, Silent
from repro.training.restart import Donor, donor_of, load_state
from repro.training.rundir import RunDirectory, prepare
from repro.training.state import PRETRAINING, TRAINING, TrainState

CHECKPOINT_SECONDS = 10.0


class Outcome(NamedTuple):
    """Where a run ended: its directory and the content of ``result.json``."""

    run: RunDirectory
    result: dict[str, Any]


class _Beginning(NamedTuple):
    """Where a run begins or goes on; ``tables`` by phase, ``revisions`` of the code that came so far."""

    model: Model
    phase: Phase
    state: TrainState
    tables: dict[str, Table]
    revisions: tuple[str, ...]


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
            does not know them. Or the folder of the imported network that ``config.pretraining.network`` names.
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
    goes_on = resume and RunDirectory(Path(out)).checkpoint.exists()
    donor = donor_of(config, None if pretrained is None else Path(pretrained), goes_on)
    revision = environment.git_revision()  # of the code that is running, not of what the tree holds at the end
    run, exists = prepare(config, out, resume, overwrite)
    with run.locked(), numerics(config.dtype, chosen):
        if exists and run.ended:
            outcome = _outcome(run, run.read_result())
            reporter.note(f"{run.path}: complete; nothing to do")
            return outcome
        if exists and run.checkpoint.exists():
            begin = _going_on(config, run, walker_chunk, chosen.platform, reporter)
        else:
            begin = _afresh(build_model(config, chunk_size, chosen.platform), run, donor, reporter)
        model, tables = begin.model, begin.tables
        revisions = (*(name for name in begin.revisions if name != revision), revision)
        if len(revisions) > 1:
            reporter.note(
                f"{run.path}: begun by code of revision {', '.join(revisions[:-1])}, goes on with that of {revision}; "
                "result.json will say so, and `repro store` takes only runs of one revision"
            )

        def header(phase: Phase, epoch: int) -> Header:
            return Header(config.content_hash, phase.name, epoch, model.walker_chunk, revisions)

        def save(phase: Phase, state: TrainState, table: Table) -> None:
            # The table first: a crash in between leaves rows that the older checkpoint makes us compute again.
            write_atomic(_file(run, phase.name), table.encode())
            save_checkpoint(run.checkpoint, header(phase, int(state.epoch)), state)

        state = begin.state
        try:
            for phase in model.phases[model.phases.index(begin.phase) :]:
                if phase is not begin.phase:
                    donated = state._replace(opt_state=())
                    save_checkpoint(run.pretrained, header(begin.phase, begin.phase.epochs), donated)
                    state = model.enter(phase, state)
                table = tables[phase.name]
                if not table.lines:
                    save(phase, state, table)
                state = run_phase(executor, model, phase, state, table, save, checkpoint_seconds, reporter)
            found = {"status": "complete", **energy_of(model, state, reporter, executor)}
        except NotFiniteError as error:
            found = _diverged(run, tables, error)
        result = found | _provenance(run, model, tables[TRAINING], chosen, revisions, executor)
        run.write_json(run.result, result)
    return _outcome(run, result)


def _file(run: RunDirectory, phase: str) -> Path:
    """Where the table of a phase is."""
    return {PRETRAINING: run.pretraining, TRAINING: run.curve}[phase]


def _going_on(
    config: RunConfig, run: RunDirectory, walker_chunk: int | None, platform: str, reporter: Reporter
) -> _Beginning:
    """From the run's checkpoint; rows of its tables beyond that are cut off."""
    model, current, state, revisions = load_state(config, run, walker_chunk, platform)
    tables = model.tables()
    known = {PRETRAINING: config.pretraining.epochs, TRAINING: 0} | {current.name: int(state.epoch)}
    for phase in model.phases[: model.phases.index(current) + 1]:
        path = _file(run, phase.name)
        text = path.read_text() if path.exists() else ""
        tables[phase.name] = Table.decode(phase.columns, text, known[phase.name], str(path))
        if tables[phase.name].encode() != text.encode():
            write_atomic(path, tables[phase.name].encode())
    reporter.note(f"{run.path}: going on after {current.name} epoch {int(state.epoch)}")
    return _Beginning(model, current, state, tables, revisions)


def _afresh(model: Model, run: RunDirectory, donor: Donor | None, reporter: Reporter) -> _Beginning:
    """From nothing, from what another run's pretraining left, or from an imported network."""
    tables, first = model.tables(), model.phases[0]
    state = jax.jit(model.initial_state)()
    if donor is None:
        return _Beginning(model, first, state, tables, ())
    if isinstance(donor, ImportedNetwork):
        reporter.note(f"{run.path}: begins with network {donor.content_hash}")
        return _Beginning(model, first, donor.begin(state), tables, ())
    checkpoint = load_checkpoint(donor.pretrained)
    state = checkpoint.state(state._replace(opt_state=()))._replace(opt_state=state.opt_state)
    text = donor.pretraining.read_text()
    tables[first.name] = Table.decode(first.columns, text, first.epochs, str(donor.pretraining))
    write_atomic(_file(run, first.name), tables[first.name].encode())
    reporter.note(f"{run.path}: pretraining taken from {donor.path}")
    return _Beginning(model, first, state, tables, checkpoint.header.revisions)


def _outcome(run: RunDirectory, result: dict[str, Any]) -> Outcome:
    if result["status"] == "diverged":
        raise DivergedError(f"{run.path}: {result['reason']}")
    return Outcome(run, result)


def _diverged(run: RunDirectory, tables: Mapping[str, Table], error: NotFiniteError) -> dict[str, Any]:
    """What the result says of it; the table keeps all epochs up to the bad one."""
    if error.phase in tables:  # the evaluation has none
        table = tables[error.phase]
        del table.lines[error.epoch - 1 :]
        write_atomic(_file(run, error.phase), table.encode())
    return {
        "status": "diverged",
        "phase": error.phase,
        "epoch": error.epoch,
        "quantity": error.quantity,
        "reason": f"diverged: {error.quantity} is not finite at {error.phase} epoch {error.epoch}; "
        f"the last good state is kept in {run.checkpoint.name}",
    }


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
