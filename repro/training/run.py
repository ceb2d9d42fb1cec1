"""A run from its configuration to its result: pretraining, training, evaluation, with checkpoints in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from repro.config import AnyRunConfig
from repro.errors import DivergedError, InputError
from repro.training import environment
from repro.training.base import Model, Phase
from repro.training.checkpoint import Header, load_checkpoint, save_checkpoint
from repro.training.curve import MEND, SECONDS_COLUMNS, Table
from repro.training.evaluation import measure
from repro.training.executor import Executor
from repro.training.files import write_atomic
from repro.training.imported import ImportedNetwork
from repro.training.model import numerics
from repro.training.models import executor_of, model_of, walker_chunk_of
from repro.training.phase import NotFiniteError, run_phase
from repro.training.reporting import Reporter, Silent
from repro.training.restart import Donor, donor_of, load_state
from repro.training.rundir import RunDirectory, checked_path, claimed, packed
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
    config: AnyRunConfig,
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
    revision: str | None = None,
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
        revision: git revision of the code; asked of git when left out.

    Returns:
        The run's directory and result.

    Raises:
        InputError: for anything that can be known to fail beforehand; nothing is written then.
        StorageError: if the system refuses to write; what was kept last is whole, and ``resume`` goes on from there.
        DivergedError: if the optimisation left the finite numbers; the result says so too.
    """
    reporter = reporter or Silent()
    if not (math.isfinite(checkpoint_seconds) and checkpoint_seconds >= 0):
        raise InputError(f"checkpoint_seconds = {checkpoint_seconds}: must be finite and not negative")
    chosen = environment.select_device(device)
    executor = executor or executor_of(config, chosen)
    chunk_size = walker_chunk_of(config, walker_chunk, chosen, executor)
    run = RunDirectory(checked_path(out))
    goes_on = resume and run.checkpoint.exists()
    donor = donor_of(config, None if pretrained is None else Path(pretrained), goes_on)
    if overwrite and pretrained is not None and run.path.resolve() == Path(pretrained).resolve():
        raise InputError(f"pretrained = {pretrained}: is the run that --overwrite removes; name another one")
    # Of the code that is running, not of what the tree holds at the end.
    revision = revision or environment.git_revision()
    with numerics(config.dtype, chosen):
        model = model_of(config, chunk_size, chosen.platform)  # what it refuses is refused before anything is written
        with claimed(run, config, resume, overwrite) as (exists, held):
            if exists and run.ended:
                reporter.note(f"{run.path}: complete; nothing to do")
                return _outcome(run, _confirmed(run))
            if exists and run.checkpoint.exists():
                begin = _going_on(config, run, walker_chunk, chosen.platform, reporter)
            else:
                begin = _beginning(model, run, exists, held, donor, reporter)
            revisions = _told(run, begin, revision, reporter)
            keeper = _Keeper(run, begin.model, begin.tables, revisions, held)
            found = _epochs(keeper, begin, executor, checkpoint_seconds, reporter)
            result = found | _provenance(run, begin, chosen, revisions, executor)
            held()
            run.write_json(run.result, result)
    return _outcome(run, result)


@dataclass(frozen=True)
class _Keeper:
    """Writes the tables and checkpoints of a run; ``held`` says whether its directory is still ours."""

    run: RunDirectory
    model: Model
    tables: dict[str, Table]
    revisions: tuple[str, ...]
    held: Callable[[], None]

    def keep(self, path: Path, phase: Phase, state: TrainState, table: Table, epoch: int) -> None:
        """Writes a checkpoint, with the checksums of all tables."""
        others = {name: known for name, known in self.tables.items() if name != phase.name}
        known = {name: known.digest for name, known in others.items() if known.lines} | {phase.name: table.digest}
        self.held()
        header = (self.model.config.content_hash, phase.name, epoch, self.model.walker_chunk, self.revisions, known)
        save_checkpoint(path, Header(*header), state)

    def save(self, phase: Phase, state: TrainState, table: Table) -> None:
        """Writes a table and the checkpoint that belongs to it."""
        self.held()
        # The table first: a crash in between leaves rows that the older checkpoint makes us compute again.
        write_atomic(_file(self.run, phase.name), table.encode())
        self.keep(self.run.checkpoint, phase, state, table, int(state.epoch))

    def hand_over(self, phase: Phase, state: TrainState) -> None:
        """Keeps what a phase ended with, for other runs."""
        self.keep(self.run.pretrained, phase, state._replace(opt_state=()), self.tables[phase.name], phase.epochs)


def _epochs(
    keeper: _Keeper, begin: _Beginning, executor: Executor, checkpoint_seconds: float, reporter: Reporter
) -> dict[str, Any]:
    """Makes all epochs that are left; returns what the result says of the last state, or of how the run diverged."""
    model, state, compiling = begin.model, begin.state, None
    try:
        for phase in model.phases[model.phases.index(begin.phase) :]:
            if phase is not begin.phase:
                keeper.hand_over(begin.phase, state)
                state = model.enter(phase, state)
            table = begin.tables[phase.name]
            if not table.lines:
                keeper.save(phase, state, table)
            state, compiling = run_phase(
                executor, model, phase, state, table, keeper.save, checkpoint_seconds, reporter
            )
        found = {"status": "complete", **measure(model, state, reporter, executor)}
    except NotFiniteError as error:
        found = _diverged(keeper.run, begin.tables, error)
    return found | ({f"compile_{name}": value for name, value in compiling._asdict().items()} if compiling else {})


def _told(run: RunDirectory, begin: _Beginning, revision: str, reporter: Reporter) -> tuple[str, ...]:
    """The revisions of the code that leads to a result, the last one last, of which notes are made."""
    if environment.in_no_commit(revision):
        reporter.note(f"{run.path}: by code that is in no commit ({revision}); `repro store` will not take it")
    revisions = (*(name for name in begin.revisions if name != revision), revision)
    if len(revisions) > 1:
        reporter.note(
            f"{run.path}: begun by code of revision {', '.join(revisions[:-1])}, goes on with that of {revision}; "
            "result.json will say so, and `repro store` takes only runs of one revision"
        )
    return revisions


def _file(run: RunDirectory, phase: str) -> Path:
    """Where the table of a phase is."""
    return {PRETRAINING: run.pretraining, TRAINING: run.curve}[phase]


def _going_on(
    config: AnyRunConfig, run: RunDirectory, walker_chunk: int | None, platform: str, reporter: Reporter
) -> _Beginning:
    """From the run's checkpoint; rows of its tables beyond that are cut off."""
    model, current, state, header = load_state(config, run, walker_chunk, platform)
    tables = model.tables()
    if not header.tables:
        reporter.note(
            f"{run.path}: its checkpoint is of an earlier version, without checksums of the tables: their rows are "
            "checked for form only"
        )
    for phase in model.phases[: model.phases.index(current) + 1]:
        path = _file(run, phase.name)
        content = run.read_table(path)
        rows = int(state.epoch) if phase is current else phase.epochs
        table = _table(content, phase, rows, header, path)
        if table.encode() != content:
            write_atomic(path, table.encode())
        tables[phase.name] = table
    reporter.note(f"{run.path}: going on after {current.name} epoch {int(state.epoch)}")
    return _Beginning(model, current, state, tables, header.revisions)


def _table(content: bytes, phase: Phase, rows: int, header: Header, path: Path) -> Table:
    """The rows of a table that a checkpoint knows, confirmed by its checksum."""
    table = Table.decode(phase.columns, content.decode(errors="replace"), rows, str(path))
    table.confirm(header.tables.get(phase.name), str(path))
    return table


def _beginning(
    model: Model, run: RunDirectory, exists: bool, held: Callable[[], None], donor: Donor | None, reporter: Reporter
) -> _Beginning:
    """From the first epoch; when all that can be refused has been, the files of a run that was there go."""
    if exists:
        _refuse_to_begin_again(run, donor)
        reporter.note(f"{run.path}: no epoch was kept there yet; begins")
    begin = _afresh(model, run, donor or donor_of(model.config, None, goes_on=False), reporter)
    held()
    run.begin(model.config)
    for name, table in begin.tables.items():
        if table.lines:
            write_atomic(_file(run, name), table.encode())
    return begin


def _refuse_to_begin_again(run: RunDirectory, donor: Donor | None) -> None:
    """Raises InputError if epochs were computed in a directory without a checkpoint; taken ones are taken again."""
    for table in (run.curve,) if donor else (run.curve, run.pretraining):
        there = table.exists() or packed(table).exists()
        if there and run.read_table(table).count(b"\n") > 1:
            raise InputError(
                f"{run.path}: has epochs in {table.name}, but no {run.checkpoint.name} to go on from; get that back, "
                "or start anew with --overwrite"
            )


def _afresh(model: Model, run: RunDirectory, donor: Donor | None, reporter: Reporter) -> _Beginning:
    """From nothing, from what another run's pretraining left, or from an imported network; nothing is written."""
    tables, first = model.tables(), model.phases[0]
    state = jax.jit(model.initial_state)()
    for phase in model.phases:  # an optimiser that refuses the parameters does so before the pretraining
        jax.eval_shape(phase.optimizer.init, state.params)
    if donor is None:
        return _Beginning(model, first, state, tables, ())
    if isinstance(donor, ImportedNetwork):
        reporter.note(f"{run.path}: begins with network {donor.content_hash}")
        return _Beginning(model, first, donor.begin(state), tables, ())
    checkpoint = load_checkpoint(donor.pretrained)
    state = checkpoint.state(state._replace(opt_state=()))._replace(opt_state=state.opt_state)
    content = donor.read_table(donor.pretraining)
    tables[first.name] = _table(content, first, first.epochs, checkpoint.header, donor.pretraining)
    reporter.note(f"{run.path}: pretraining taken from {donor.path}")
    return _Beginning(model, first, state, tables, checkpoint.header.revisions)


def _confirmed(run: RunDirectory) -> dict[str, Any]:
    """The result of a run that has ended, known to belong to its curve."""
    try:
        return run.read_verified().result
    except InputError as error:
        raise InputError(f"{error}; {MEND}") from error


def _outcome(run: RunDirectory, result: dict[str, Any]) -> Outcome:
    if result["status"] == "diverged":
        raise DivergedError(f"{run.path}: {result['reason']}")
    return Outcome(run, result)


def _diverged(run: RunDirectory, tables: Mapping[str, Table], error: NotFiniteError) -> dict[str, Any]:
    """What the result says of it; the table keeps all epochs up to the bad one."""
    unit = tables[TRAINING].columns[0]
    if error.phase in tables:  # the evaluation has none
        table = tables[error.phase]
        del table.lines[error.epoch - 1 :]
        write_atomic(_file(run, error.phase), table.encode())
    return {
        "status": "diverged",
        "phase": error.phase,
        "epoch": error.epoch,
        "quantity": error.quantity,
        "reason": f"diverged: {error.quantity} is not finite at {error.phase} {unit} {error.epoch}; "
        f"the last good state is kept in {run.checkpoint.name}",
    }


def _provenance(
    run: RunDirectory, begin: _Beginning, device: jax.Device, revisions: tuple[str, ...], executor: Executor
) -> dict[str, Any]:
    model, table = begin.model, begin.tables[TRAINING]
    return {
        "content_hash": model.config.content_hash,
        # Of what was computed: a file altered behind our back must not be vouched for.
        "curve_sha256": table.digest if run.curve.exists() else None,
        **_times(table),
        **model.recorded(),
        "trained_together": executor.members,
        "devices": executor.devices,
        "peak_memory_bytes": environment.peak_memory_bytes(device),
        "versions": environment.versions(),
        "device": environment.device_record(device),
        "git_revision": revisions[-1],
        "earlier_revisions": list(revisions[:-1]),
    }


def _times(table: Table) -> dict[str, float | None]:
    """The median of each column of seconds, and its sum."""
    found: dict[str, float | None] = {}
    for name in SECONDS_COLUMNS:
        if name in table.columns:
            seconds = table.column(name)
            found[f"{name}_per_{table.columns[0]}"] = float(np.median(seconds)) if seconds else None
            found[f"training_{name}"] = float(np.sum(seconds))
    return found
