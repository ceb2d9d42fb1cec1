"""The manifest of stored files: the checksum of every file, and how runs are added."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro.config import RunConfig
from repro.errors import InputError
from repro.study.runs.damage import noting
from repro.study.runs.store import ProblemRun, Run, load_any_run, place_of
from repro.training.environment import in_no_commit
from repro.training.files import exclusive, remove_temporaries, write_atomic
from repro.training.rundir import OBSERVABLES_FILES, RunDirectory, packed

MANIFEST = "MANIFEST.sha256"
LOCK, STAGE = ".lock", ".storing-"
"""Held while something is stored; how folders begin in which runs are put together. Neither is stored."""
USED = ("figures/**/*.ipynb", "repro/study/claims/**/*.toml")
"""What the stored data are drawn and judged by: notebooks and claims."""
CITATION = "CITATION.cff"
"""Beside the stored runs: names the manifest's own checksum, so that whoever cites the data says which they are."""
ANCHOR = re.compile(r"(?<=value: sha256:)[0-9a-f]{64}")
MOST_MEGABYTES = 80.0
"""Of all that is stored: a clone stays a matter of seconds. The study takes 58, the held-out cases 9, the wings 12."""
PLAIN_BYTES = 40_000
"""Longer tables, those of some three hundred epochs and more, are stored packed: some four tenths of the size."""


def _files(root: Path) -> list[str]:
    """Names, from ``root``, of all that is stored and of what it is judged and drawn by: claims and notebooks."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST]
    names = [path.relative_to(root) for path in files]
    shown = [path.as_posix() for path in names if not any(part.startswith(".") for part in path.parts)]
    found = (path for pattern in USED for path in root.parent.glob(pattern))
    used = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root.parent).parts)]
    return sorted(shown) + sorted(f"../{path.relative_to(root.parent).as_posix()}" for path in used)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(root: Path) -> int:
    """Writes the checksums of what is stored below ``root``, of notebooks and claims, in the format of ``sha256sum``.

    The manifest's own checksum follows, as :func:`write_anchor` says.

    Returns:
        How many files there are.
    """
    lines = [f"{_digest(root / name)}  {name}\n" for name in _files(root)]
    write_atomic(root / MANIFEST, "".join(lines).encode())
    write_anchor(root)
    return len(lines)


def manifest_digest(root: Path) -> str:
    """The SHA-256 of the manifest: the one number that stands for everything that is stored.

    Raises:
        InputError: if there is no manifest.
    """
    path = root / MANIFEST
    try:
        return _digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read; get it back with git checkout") from error


def write_anchor(root: Path) -> None:
    """Writes the manifest's checksum into ``CITATION.cff``, where that is beside ``root`` and has a place for it."""
    path = root.parent / CITATION
    if path.exists():
        text = path.read_text(encoding="utf-8")
        if (anchored := ANCHOR.sub(manifest_digest(root), text)) != text:
            write_atomic(path, anchored.encode())


def check_anchor(root: Path) -> list[str]:
    """A line if ``CITATION.cff`` is beside ``root`` and does not name the manifest that is there."""
    path = root.parent / CITATION
    if not path.exists():
        return []
    named = ANCHOR.findall(path.read_bytes().decode(errors="replace"))
    if named == [found := manifest_digest(root)]:
        return []
    told = named[0] if named else "none"
    return [f"{path.name} names another manifest, {told}, than the one that is here, {found} (repro claims --store)"]


def check_manifest(root: Path) -> list[str]:
    """One line for each file that is missing, altered or not listed; none if all is as the manifest says.

    A manifest that is missing or damaged is a line, too, and what can be read of it is still compared.
    """
    path = root / MANIFEST
    problems: list[str] = []
    lines: list[str] = []
    with noting(problems, path):
        if not path.is_file():
            raise InputError(f"{path}: missing; get it back with git checkout")
        lines = path.read_bytes().decode(errors="backslashreplace").splitlines()
        if not lines:
            raise InputError(f"{path}: empty; get it back with git checkout")
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            problems.append(f"{path}, line {number}: not a checksum and a name")
        elif listed.setdefault(name, digest) != digest:
            problems.append(f"{path}, line {number}: {name} is listed twice, with two checksums")
    present = set(_files(root))
    problems += [f"{name}: missing, but listed in the manifest" for name in listed if name not in present]
    if lines:
        problems += [f"{name}: not listed in the manifest" for name in sorted(present - set(listed))]
    for name, digest in listed.items():
        if name not in present:
            continue
        with noting(problems, root / name):
            if _digest(root / name) != digest:
                problems.append(
                    f"{name}: altered: its checksum is not the one in the manifest "
                    "(if that was meant: repro claims --store)"
                )
    return problems


@dataclass(frozen=True)
class Stored:
    """What :func:`store_runs` did.

    Attributes:
        added: names of the runs added.
        known: names of those that were there already.
        observed: of them, those that got the observables they had been without.
        unfinished: names of those that have not ended, and were left out.
        megabytes: of everything stored.
    """

    added: tuple[str, ...]
    known: tuple[str, ...]
    observed: tuple[str, ...]
    unfinished: tuple[str, ...]
    megabytes: float


def store_table(content: bytes, table: Path) -> None:
    """Writes a table as it is, or packed if it is long; the same content gives the same bytes."""
    if len(content) > PLAIN_BYTES:
        write_atomic(packed(table), gzip.compress(content, mtime=0))
    else:
        write_atomic(table, content)


def _brings_observables(run: Run | ProblemRun, stored: Run | ProblemRun) -> bool:
    """Whether a run has observables that the stored run of its name is without.

    Raises:
        InputError: if the two are not the same run.
    """
    if stored.config != run.config:
        raise InputError(f"{stored.path}: holds another run; its hash begins alike")
    if not _has_observables(RunDirectory(run.path)) or RunDirectory(stored.path).observables.exists():
        return False
    if stored.result["curve_sha256"] != run.result["curve_sha256"]:
        raise InputError(
            f"{run.path}: its observables are of another state than the stored run's, whose curve is another; "
            f"sample the stored run's own checkpoint, or remove {stored.path} to store this run in its place"
        )
    return True


def store_runs(directories: Sequence[Path], root: Path) -> Stored:
    """Adds finished runs to the stored ones, without their checkpoints, and brings the manifest up to date.

    Among them may be runs that go on, as while a sweep does.

    Args:
        directories: of the runs.
        root: of the stored runs.

    Raises:
        InputError: if no run has ended, and for one that does not verify, was made by code that was not committed or
            by code of several revisions, has another configuration than the stored run of its name, or observables
            for a stored run with another curve; nothing is stored then. Also if another process stores.
        StorageError: if the system refuses; no run is stored in part.
    """
    unfinished, runs = _finished(directories)
    with storing(root):
        return _store(runs, unfinished, root)


@contextmanager
def storing(root: Path) -> Iterator[None]:
    """Holds the stored runs against other processes that store, and clears away what one that was killed has left.

    Raises:
        InputError: if another process stores.
        StorageError: if the system refuses.
    """
    with exclusive(root / LOCK, f"{root}: another process is storing there; try again when it has ended"):
        for leftover in root.glob(f"{STAGE}*"):
            shutil.rmtree(leftover)
        remove_temporaries(root, (MANIFEST,))
        yield


def _staged(source: RunDirectory, made: Path) -> None:
    """Copies what is stored of a run, and verifies the copy: the run may be replaced meanwhile."""
    made.mkdir(parents=True)
    for file in (source.config, source.result):
        write_atomic(made / file.name, file.read_bytes())
    config = source.read_any_config()
    pretrained = isinstance(config, RunConfig) and config.pretraining.epochs
    for table in (source.curve, source.pretraining) if pretrained else (source.curve,):
        store_table(source.read_table(table), made / table.name)
    if _has_observables(source):
        _copy_observables(source, made)
    load_any_run(made)


def _has_observables(run: RunDirectory) -> bool:
    """Whether they are complete: the summary is written last."""
    return (run.observables / OBSERVABLES_FILES[0]).exists()


def _copy_observables(source: RunDirectory, made: Path) -> None:
    """Copies the observables of a run into the folder of a run."""
    folder = made / source.observables.name
    folder.mkdir()
    for file in (source.observables / name for name in OBSERVABLES_FILES):
        if file.exists():
            write_atomic(folder / file.name, file.read_bytes())


def _finished(directories: Sequence[Path]) -> tuple[list[Path], dict[str, Run | ProblemRun]]:
    """Directories whose runs go on, and the other runs by name, fit to be stored."""
    unfinished = [run.path for run in map(RunDirectory, directories) if run.config.exists() and not run.ended]
    runs: dict[str, Run | ProblemRun] = {}
    for directory in [path for path in directories if path not in unfinished] or unfinished:
        run = load_any_run(directory)
        if in_no_commit(revision := run.result["git_revision"]):
            raise InputError(
                f"{directory}: made by code that is in no commit (revision {revision}); commit and run it again"
            )
        if earlier := run.result.get("earlier_revisions"):
            made_by = ", ".join([*earlier, revision])
            raise InputError(f"{directory}: made by code of several revisions ({made_by}); run it again with one")
        runs[place_of(run.config)] = run
    return unfinished, runs


def _store(runs: dict[str, Run | ProblemRun], unfinished: Sequence[Path], root: Path) -> Stored:
    known = [name for name in runs if (root / name).exists()]
    observed = [name for name in known if _brings_observables(runs[name], load_any_run(root / name))]
    added = [name for name in runs if name not in known]
    with tempfile.TemporaryDirectory(dir=root, prefix=STAGE) as folder:
        stage = Path(folder)
        for name in added:
            _staged(RunDirectory(runs[name].path), stage / name)
        for name in observed:
            (stage / name).mkdir()
            _copy_observables(RunDirectory(runs[name].path), stage / name)
        # All is on disk: what follows are names only.
        for name in added:
            (root / name).parent.mkdir(exist_ok=True)
            (stage / name).rename(root / name)
        for name in observed:
            copied = RunDirectory(stage / name).observables
            copied.rename(RunDirectory(root / name).observables)
    write_manifest(root)
    megabytes = sum((root / name).stat().st_size for name in _files(root)) / 1e6
    left_out = tuple(path.name for path in unfinished)
    return Stored(tuple(added), tuple(known), tuple(observed), left_out, megabytes)
