"""Run directories: what is in one, and the rules by which one is made, resumed or refused."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config import RunConfig, differences
from repro.errors import InputError
from repro.training.files import TEMPORARY, remove_temporaries, write_atomic


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The complete configuration with its content hash."""
        return self.path / "config.json"

    @property
    def curve(self) -> Path:
        """One row an epoch."""
        return self.path / "curve.csv"

    @property
    def pretraining(self) -> Path:
        """One row a pretraining epoch."""
        return self.path / "pretraining.csv"

    @property
    def checkpoint(self) -> Path:
        """The state to go on from."""
        return self.path / "checkpoint.npz"

    @property
    def pretrained(self) -> Path:
        """Parameters and walkers as pretraining left them, for other runs to begin with."""
        return self.path / "pretrained.npz"

    @property
    def observables(self) -> Path:
        """The folder of what ``repro observables`` measured."""
        return self.path / "observables"

    @property
    def result(self) -> Path:
        """The outcome; there only when the run has ended."""
        return self.path / "result.json"

    @property
    def ended(self) -> bool:
        """Whether the run has ended: its outcome is what is written last."""
        return self.result.exists()

    @property
    def lock(self) -> Path:
        """Held by the process that writes here."""
        return self.path / ".lock"

    def read_config(self) -> RunConfig:
        """The stored configuration.

        Raises:
            InputError: if there is none or it was altered.
        """
        try:
            text = self.config.read_text()
        except OSError as error:
            raise InputError(f"{self.path}: not a run directory (no config.json)") from error
        return RunConfig.from_json(text, str(self.config))

    def read_result(self) -> dict[str, Any]:
        """The stored outcome.

        Raises:
            InputError: if the run has not ended or the file is damaged.
        """
        try:
            result = json.loads(self.result.read_text())
        except OSError as error:
            raise InputError(f"{self.path}: no result.json: the run has not ended; go on with --resume") from error
        except ValueError as error:
            raise InputError(f"{self.result}: damaged ({error})") from error
        if not isinstance(result, dict) or "status" not in result:
            raise InputError(f"{self.result}: damaged (no status)")
        return result

    def read_table(self, table: Path) -> bytes:
        """The content of :attr:`curve` or :attr:`pretraining`, packed or not.

        Raises:
            InputError: if there is neither file, or the packed one is damaged.
        """
        if table.exists():
            return table.read_bytes()
        try:
            return gzip.decompress(packed(table).read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"{table}: missing") from error
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{packed(table)}: damaged ({error})") from error

    def write_json(self, path: Path, document: dict[str, Any]) -> None:
        """Writes one of the JSON files atomically."""
        write_atomic(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory against a second writer; the lock goes with the process, however that ends.

        Raises:
            InputError: if another process writes here.
        """
        with self.lock.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"{self.path}: another process is writing this run") from error
            remove_temporaries(self.path)
            yield


def packed(table: Path) -> Path:
    """What stands for a long table among the stored runs: the same text, compressed by gzip."""
    return table.with_name(f"{table.name}.gz")


def checked_path(out: str | Path) -> Path:
    """The directory that ``--out`` names, known to be one that can be made and written.

    Raises:
        InputError: for "-", an empty name, a file, or a place that cannot be written; nothing has been created then.
    """
    if str(out) in ("", "-"):
        raise InputError(f"out = {str(out)!r}: must be the name of a directory; a run cannot be written to a stream")
    path = Path(out).absolute()
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"out = {out}: {existing} is a file; choose another directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"out = {out}: {existing} cannot be written; choose another directory or mend its permissions")
    return path


def _transient(entry: Path) -> bool:
    return entry.name == ".lock" or entry.name.endswith(TEMPORARY)


def prepare(config: RunConfig, out: str | Path, resume: bool, overwrite: bool) -> tuple[RunDirectory, bool]:
    """Makes or opens the run's directory.

    Args:
        config: of the run wanted.
        out: the directory.
        resume: go on with a run of the same configuration; begin one if there is none.
        overwrite: remove a run that is there.

    Returns:
        The directory and whether there is a run in it to go on with.

    Raises:
        InputError: if the directory holds something and neither was asked for, or holds what is not a run, or another
            run.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: choose one")
    run = RunDirectory(checked_path(out))
    occupied = run.path.is_dir() and any(not _transient(entry) for entry in run.path.iterdir())
    if occupied:
        if not run.config.exists():
            raise InputError(f"{run.path}: holds files that are not a run; choose another directory")
        if not resume and not overwrite:
            raise InputError(f"{run.path}: already holds a run; go on with --resume, replace it with --overwrite")
        if resume:
            if changed := differences(run.read_config(), config):
                raise InputError(f"{run.path}: holds another run; stored -> asked for: {'; '.join(changed)}")
            return run, True
        with run.locked():
            shutil.rmtree(run.path)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        write_atomic(run.config, config.to_json().encode())
    except OSError as error:
        raise InputError(f"out = {out}: cannot be written ({error.strerror}); choose another directory") from error
    return run, False
