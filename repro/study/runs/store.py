"""Finds the runs that a figure needs among the stored ones, by content hash, or trains them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import pandas as pd

from repro.config import PROBLEMS, AnyRunConfig, ProblemRunConfig, RunConfig
from repro.errors import DivergedError, InputError
from repro.training.rundir import RunDirectory

STORED_RUNS = "paper_runs"
"""Where the reference runs are that come with the project."""


def project_path(name: str | Path) -> Path:
    """An absolute path, from the project's root where ``name`` is relative."""
    return (Path(__file__).resolve().parents[3] / name).absolute()


Config = TypeVar("Config", bound=AnyRunConfig)


@dataclass(frozen=True)
class FinishedRun(Generic[Config]):
    """A finished run as a figure sees it.

    Attributes:
        path: its directory.
        config: its configuration.
        result: the content of ``result.json``.
        curve: the content of ``curve.csv``, packed or not.
        computed: whether it was made just now rather than read.
    """

    path: Path
    config: Config
    result: dict[str, Any]
    curve: pd.DataFrame
    computed: bool

    @property
    def complete(self) -> bool:
        """Whether it came to its end; the other finished runs diverged, and their curves end there."""
        return bool(self.result["status"] == "complete")

    @property
    def outcome(self) -> str:
        """What it ended with, in words."""
        result = self.result
        if not self.complete:
            return f"{result['status']} in {self.curve.columns[0]} {result.get('epoch')}"
        if "evaluation" not in result:
            return f"E = {result['energy']:.6f} +- {result['energy_error']:.6f}"
        return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in result["evaluation"].items())


Run = FinishedRun[RunConfig]
"""Of an energy."""
ProblemRun = FinishedRun[ProblemRunConfig]
"""Of any other problem."""


def load_any_run(path: Path, computed: bool = False) -> Run | ProblemRun:
    """Reads a finished run, complete or diverged, and verifies it.

    Raises:
        InputError: if the run has not ended, or a file does not match the hash recorded when it did.
    """
    run = RunDirectory(path)
    config, result, content = run.read_verified()
    if not content:
        raise InputError(f"{run.curve}: missing")
    curve = pd.read_csv(io.BytesIO(content))
    return cast("Run | ProblemRun", FinishedRun(path, config, result, curve, computed))


def load_run(path: Path) -> Run:
    """As :func:`load_any_run`, of an energy.

    Raises:
        InputError: besides, if the run is of another problem.
    """
    RunDirectory(path).read_config()
    return cast("Run", load_any_run(path))


def load_problem_run(path: Path) -> ProblemRun:
    """As :func:`load_any_run`, of any problem but the energies.

    Raises:
        InputError: besides, if the run is of an energy.
    """
    if isinstance(RunDirectory(path).read_any_config(), RunConfig):
        raise InputError(f"{path}: is a run of an energy, and another problem is needed here")
    return cast("ProblemRun", load_any_run(path))


def place_of(config: AnyRunConfig) -> str:
    """Where a run is stored, from the folder of the stored runs: problems have folders of their own."""
    return f"{config.problem.name}/{config.run_name}" if isinstance(config, ProblemRunConfig) else config.run_name


RUN_FOLDERS = ("*", *(f"{name}/*" for name in PROBLEMS))
"""Patterns of the directories of runs below a root."""


def find_run(root: Path, config: AnyRunConfig) -> Path | None:
    """The directory below ``root`` of a finished run with this configuration, if there is one.

    Raises:
        InputError: if a configuration below ``root`` was altered.
    """
    return finished_runs(root).get(config.content_hash)


def finished_runs(root: Path) -> dict[str, Path]:
    """The directories of all finished runs below ``root`` by content hash.

    Raises:
        InputError: if a configuration below ``root`` was altered.
    """
    found: dict[str, Path] = {}
    for file in sorted(file for folder in RUN_FOLDERS for file in root.glob(f"{folder}/config.json")):
        status = file.stat()
        content_hash = _content_hash(file, status.st_mtime_ns, status.st_size, status.st_ino)
        if RunDirectory(file.parent).ended:
            found.setdefault(content_hash, file.parent)
    return found


@cache
def _content_hash(file: Path, *state: int) -> str:
    """Of a configuration, read once for each state that the file is found in."""
    del state
    return RunDirectory(file.parent).read_any_config().content_hash


def _network_of(config: AnyRunConfig) -> str:
    """The imported network that a run begins with; "" if it begins as its seed says."""
    return config.pretraining.network if isinstance(config, RunConfig) else ""


@dataclass
class RunSource:
    """Where a figure gets its runs from; it keeps count of what it gave.

    Attributes:
        stored: reference runs that came with the project, never written to.
        trained: where runs that are not stored are made, and looked for.
        fresh: whether the stored runs are ignored.
        given: the runs handed out so far, each once.
        quiet: whether to print nothing.
    """

    stored: Path
    trained: Path
    fresh: bool = False
    given: list[Run | ProblemRun] = field(default_factory=list)
    quiet: bool = False

    def available(self, configs: Sequence[Config]) -> list[FinishedRun[Config]]:
        """Those of the runs that are there; nothing is trained, unless a fresh source is to make stored ones anew.

        A run that begins with an imported network, which is not part of the project, cannot be made anew and is left
        out of a fresh source.
        """
        if not configs:  # looking for runs reads every configuration
            return []
        stored = self._finished
        if self.fresh:
            anew = [config for config in configs if config.content_hash in stored]
            for config in anew:
                if (network := _network_of(config)) and not self.quiet:
                    print(f"left out {config.run_name}: begins with network {network}", flush=True)
            return [self.get(config) for config in anew if not _network_of(config)]
        found = finished_runs(self.trained) | stored
        return [
            self._known(config) or self._give(found[key]) for config in configs if (key := config.content_hash) in found
        ]

    def get(self, config: Config) -> FinishedRun[Config]:
        """The run with this configuration: read if there is one, else trained; which of the two is printed."""
        if known := self._known(config):
            return known
        found = None if self.fresh else self._finished.get(config.content_hash)
        found = found or find_run(self.trained, config)
        if found is None:
            self._train(config)
        return self._give(found or self.trained / config.run_name, computed=found is None)

    @cached_property
    def _finished(self) -> dict[str, Path]:
        """The stored runs, looked for once: nothing is written there."""
        return finished_runs(self.stored)

    def _known(self, config: Config) -> FinishedRun[Config] | None:
        known = next((run for run in self.given if run.config == config), None)
        return cast("FinishedRun[Config] | None", known)

    def _give(self, path: Path, computed: bool = False) -> Any:
        run = load_any_run(path, computed)
        if not self.quiet:
            print(
                f"{'COMPUTED' if run.computed else 'read'} {run.path.parent.name}/{run.path.name}: {run.outcome}, "
                f"{run.result['device']['kind']}, revision {run.result['git_revision'][:12]}",
                flush=True,
            )
        self.given.append(run)
        return run

    def _train(self, config: AnyRunConfig) -> None:
        from repro.console import PlainReporter
        from repro.references import reference_of
        from repro.runtime import configure_jax
        from repro.training.run import train

        configure_jax()
        out = self.trained / config.run_name
        print(f"training {out} (not stored)", flush=True)
        try:
            train(config, out, resume=True, reporter=PlainReporter(reference_of(config)))
        except DivergedError as error:
            print(error, flush=True)  # a result like any other
