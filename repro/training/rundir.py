"""Run directories: their content, and the rules by which one is made, resumed or refused."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from repro.config import AnyRunConfig, RunConfig, config_from_json, differences
from repro.errors import InputError, storage_error
from repro.reading import read_bytes, read_json, read_text, shortened, unpacked
from repro.training.files import exclusive, is_temporary, remove_temporaries, staged, write_atomic

OWN_FILES = (
    *("result.json", "checkpoint.npz", "pretrained.npz", "curve.csv", "curve.csv.gz"),
    *("pretraining.csv", "pretraining.csv.gz", "config.json"),
)
"""What a run writes, in the order in which it is removed: what vouches for the rest goes first."""

OBSERVABLES_FILES = ("observables.json", "density.csv", "pair_density.csv", "density_matrix.csv", "occupations.csv")
"""What ``repro observables`` writes into its folder; the summary is the first."""


class Verified(NamedTuple):
    """A run that has ended: configuration, outcome, and the curve, empty where no epoch of training was begun."""

    config: AnyRunConfig
    result: dict[str, Any]
    curve: bytes


_NUMBERS = ("energy", "energy_error", "rhat", "ess", "variance")


def _numbers_of(result: dict[str, Any]) -> dict[str, Any]:
    """The numbers that a complete run has found."""
    if "evaluation" not in result:
        return {name: result.get(name) for name in _NUMBERS}
    measured = result["evaluation"]
    return measured if isinstance(measured, dict) and measured else {"evaluation": None}


def checked_result(document: object, source: str) -> dict[str, Any]:
    """The content of ``result.json`` if it is an outcome: complete, with its numbers, or diverged, with its reason.

    The numbers are those of an energy, or those under "evaluation" that another problem measures.

    Raises:
        InputError: for anything else.
    """

    def number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf

    result = document if isinstance(document, dict) else {}
    status, device = result.get("status"), result.get("device", {})
    numbers = _numbers_of(result) if status == "complete" else {}
    wrong = [name for name, value in numbers.items() if not number(value)]
    if status == "diverged":
        wrong = [name for name in ("reason", "phase", "quantity") if not isinstance(result.get(name), str)]
        wrong += ["epoch"] if not number(result.get("epoch")) else []
    elif status != "complete":
        wrong = ["status"]
    for name in ("seconds_per_epoch", "seconds_per_step", "rounding"):
        wrong += [name] if result.get(name) is not None and not number(result[name]) else []
    for name in ("content_hash", "git_revision"):
        wrong += [name] if not isinstance(result.get(name, ""), str) else []
    if not isinstance(device, dict) or not isinstance(device.get("kind", ""), str):
        wrong += ["device"]
    if wrong:
        raise InputError(f"{source}: damaged ({wrong[0]} = {shortened(repr((numbers | result).get(wrong[0])))})")
    return result


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

    def read_any_config(self) -> AnyRunConfig:
        """The stored configuration, of an energy or of another problem.

        Raises:
            InputError: if there is none or it was altered.
        """
        if not self.config.exists():
            raise InputError(f"{self.path}: not a run directory (no config.json)")
        return config_from_json(read_text(self.config), str(self.config))

    def read_config(self) -> RunConfig:
        """The stored configuration of an energy.

        Raises:
            InputError: if there is none, it was altered, or it is that of another problem.
        """
        config = self.read_any_config()
        if not isinstance(config, RunConfig):
            raise InputError(f"{self.path}: is a run of {config.problem.name}, and an energy is needed here")
        return config

    def read_result(self) -> dict[str, Any]:
        """The stored outcome.

        Raises:
            InputError: if the run has not ended or the file is damaged.
        """
        if not self.result.exists():
            raise InputError(f"{self.path}: no result.json: the run has not ended; go on with --resume")
        return checked_result(read_json(self.result), str(self.result))

    def read_table(self, table: Path) -> bytes:
        """The content of :attr:`curve` or :attr:`pretraining`, packed or not.

        Raises:
            InputError: if there is neither file, or the packed one is damaged.
        """
        if table.exists():
            return read_bytes(table)
        if not packed(table).exists():
            raise InputError(f"{table}: missing")
        return unpacked(read_bytes(packed(table)), str(packed(table)))

    def write_json(self, path: Path, document: dict[str, Any]) -> None:
        """Writes one of the JSON files atomically."""
        write_atomic(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())

    def read_verified(self) -> Verified:
        """What has ended, known to belong together.

        Raises:
            InputError: if the run has not ended, or a file does not match the hash recorded when it did.
        """
        config, result = self.read_any_config(), self.read_result()
        if result.get("content_hash") != config.content_hash:
            raise InputError(
                f"{self.result}: belongs to configuration {result.get('content_hash')}, not {config.content_hash}"
            )
        recorded = result.get("curve_sha256")
        if recorded is None and not self.curve.exists() and not packed(self.curve).exists():
            return Verified(config, result, b"")
        content = self.read_table(self.curve)
        if hashlib.sha256(content).hexdigest() != recorded:
            raise InputError(f"{self.curve}: was altered after the run (its SHA-256 is not the one in result.json)")
        return Verified(config, result, content)

    def _own(self) -> list[Path]:
        """The files of the run that are there, in the order of their removal."""
        result, *others = (self.path / name for name in OWN_FILES)
        folder = [] if self.observables.is_symlink() else [self.observables / name for name in OBSERVABLES_FILES]
        return [file for file in (result, *folder, *others) if file.exists() or file.is_symlink()]

    def refuse_foreign(self) -> None:
        """Raises InputError if a folder has the name of one of the run's files, which then cannot be removed."""
        for file in self._own():
            if file.is_dir() and not file.is_symlink():
                raise InputError(f"{file}: is a directory where a run has a file; move it away")

    def clear(self, *kept: Path) -> None:
        """Removes the run's own files and nothing else; the directory must be locked.

        Args:
            kept: files that stay.

        Raises:
            InputError: as :meth:`refuse_foreign`; nothing has been removed then.
            StorageError: if the system refuses.
        """
        self.refuse_foreign()
        try:
            for file in self._own():
                if file not in kept:
                    file.unlink(missing_ok=True)
            if self.observables.is_symlink():
                self.observables.unlink()
            elif self.observables.is_dir() and not any(self.observables.iterdir()):
                self.observables.rmdir()
        except OSError as error:
            raise storage_error(error) from error

    def begin(self, config: AnyRunConfig) -> None:
        """Begins a run where another one may have been, whose files go; the directory must be locked.

        Raises:
            InputError: as :meth:`refuse_foreign`; nothing has been removed then.
            StorageError: if the system refuses.
        """
        with staged(self.config, config.to_json().encode()):  # on a full disk, the old run stays whole
            self.clear(self.config)  # at every moment there is one, and so what is left is known to be a run

    @contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Holds the directory against a second writer; the lock goes with the process, however that ends.

        Yields:
            As :func:`repro.training.files.exclusive`.

        Raises:
            InputError: if another process writes here.
            StorageError: if the system refuses.
        """
        with exclusive(self.lock, f"{self.path}: another process is writing this run") as held:
            remove_temporaries(self.path, OWN_FILES)
            yield held


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
    try:
        while not existing.exists():
            if existing.is_symlink():
                raise InputError(f"out = {out}: {existing} is a symbolic link to nothing; choose another directory")
            existing = existing.parent
        if not existing.is_dir():
            raise InputError(f"out = {out}: {existing} is a file; choose another directory")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"out = {out}: {existing} cannot be written; choose another directory or mend its permissions"
            )
        return path
    except OSError as error:
        raise _unusable(out, error) from error


def _unusable(out: str | Path, error: OSError) -> InputError:
    return InputError(f"out = {out}: cannot be written ({error.strerror}); choose another directory")


def examine(run: RunDirectory, config: AnyRunConfig, resume: bool, overwrite: bool) -> bool:
    """What a directory holds, looked at and left as it is.

    Args:
        run: the directory.
        config: of the run wanted.
        resume: go on with a run of the same configuration; begin one if there is none.
        overwrite: take the place of a run that is there.

    Returns:
        Whether there is a run in it to go on with.

    Raises:
        InputError: if the directory holds something and neither was asked for, or holds what is not a run, or another
            run.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: choose one")
    try:
        entries = list(run.path.iterdir()) if run.path.is_dir() else []
    except OSError as error:
        raise _unusable(run.path, error) from error
    if all(entry.name == run.lock.name or is_temporary(entry, OWN_FILES) for entry in entries):
        return False
    if not run.config.exists():
        raise InputError(f"{run.path}: holds files that are not a run; choose another directory")
    try:
        stored = run.read_any_config()
    except InputError as error:
        raise InputError(f"{error}; nothing there is touched: choose another directory") from error
    if resume:
        if changed := differences(stored, config):
            raise InputError(f"{run.path}: holds another run; stored -> asked for: {'; '.join(changed)}")
        return True
    if not overwrite:
        raise InputError(f"{run.path}: already holds a run; go on with --resume, replace it with --overwrite")
    run.refuse_foreign()
    return False


class Claim(NamedTuple):
    """A run directory held against other processes.

    Attributes:
        exists: whether there is a run in it to go on with.
        held: raises StorageError once the directory is no longer the one that was claimed.
    """

    exists: bool
    held: Callable[[], None]


@contextmanager
def claimed(run: RunDirectory, config: AnyRunConfig, resume: bool, overwrite: bool) -> Iterator[Claim]:
    """Makes or opens the run's directory and holds it against other processes; it is left as it is.

    All is looked at twice: once to leave no trace in a directory that is refused, and once more when nobody else can
    write there.

    Args:
        run: the directory.
        config: as for :func:`examine`.
        resume: as for :func:`examine`.
        overwrite: as for :func:`examine`.

    Raises:
        InputError: as :func:`examine`, and if another process writes here.
        StorageError: if the system refuses.
    """
    examine(run, config, resume, overwrite)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(run.path, error) from error
    with run.locked() as held:
        yield Claim(examine(run, config, resume, overwrite), held)
