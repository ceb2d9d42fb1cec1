"""Finds the runs that a figure needs among the stored ones, by content hash, or trains them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from repro.config import RunConfig
from repro.errors import DivergedError, InputError
from repro.training.rundir import RunDirectory

STORED_RUNS = "paper_runs"
"""Where the reference runs are that come with the project."""


def project_path(name: str | Path) -> Path:
    """An absolute path, from the project's root where ``name`` is relative."""
    return (Path(__file__).resolve().parents[3] / name).absolute()


@dataclass(frozen=True)
class Run:
    """A finished run as a figure sees it.

    Attributes:
        path: its directory.
        config: its configuration.
        result: the content of ``result.json``.
        curve: the content of ``curve.csv``, packed or not.
        computed: whether it was made just now rather than read.
    """

    path: Path
    config: RunConfig
    result: dict[str, Any]
    curve: pd.DataFrame
    computed: bool

    @property
    def complete(self) -> bool:
        """Whether it came to its end; the other finished runs diverged, and their curves end there."""
        return bool(self.result["status"] == "complete")


def load_run(path: Path, computed: bool = False) -> Run:
    """Reads a finished run, complete or diverged, and verifies it.

    Raises:
        InputError: if the run has not ended, or a file does not match the hash recorded when it did.
    """
    run = RunDirectory(path)
    config, result, content = run.read_verified()
    if not content:
        raise InputError(f"{run.curve}: missing")
    return Run(path, config, result, pd.read_csv(io.BytesIO(content)), computed)


def find_run(root: Path, config: RunConfig) -> Path | None:
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
    for file in sorted(root.glob("*/config.json")):
        status = file.stat()
        content_hash = _content_hash(file, status.st_mtime_ns, status.st_size, status.st_ino)
        if RunDirectory(file.parent).ended:
            found.setdefault(content_hash, file.parent)
    return found


@cache
def _content_hash(file: Path, *state: int) -> str:
    """Of a configuration, read once for each state that the file is found in."""
    del state
    return RunDirectory(file.parent).read_config().content_hash


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
    given: list[Run] = field(default_factory=list)
    quiet: bool = False

    def available(self, configs: Sequence[RunConfig]) -> list[Run]:
        """Those of the runs that are there; nothing is trained, unless a fresh source is to make stored ones anew.

        A run that begins with an imported network, which is not part of the project, cannot be made anew and is left
        out of a fresh source.
        """
        if not configs:  # looking for runs reads every configuration
            return []
        stored = finished_runs(self.stored)
        if self.fresh:
            anew = [config for config in configs if config.content_hash in stored]
            for config in anew:
                if config.pretraining.network and not self.quiet:
                    print(f"left out {config.run_name}: begins with network {config.pretraining.network}", flush=True)
            return [self.get(config) for config in anew if not config.pretraining.network]
        found = finished_runs(self.trained) | stored
        return [
            self._known(config) or self._give(load_run(found[key]))
            for config in configs
            if (key := config.content_hash) in found
        ]

    def get(self, config: RunConfig) -> Run:
        """The run with this configuration: read if there is one, else trained; which of the two is printed."""
        if known := self._known(config):
            return known
        roots = [self.trained] if self.fresh else [self.stored, self.trained]
        found = next((path for root in roots if (path := find_run(root, config))), None)
        return self._give(load_run(found) if found else self._train(config))

    def _known(self, config: RunConfig) -> Run | None:
        return next((run for run in self.given if run.config == config), None)

    def _give(self, run: Run) -> Run:
        result = run.result
        outcome = f"{result['status']} in epoch {result.get('epoch')}"
        if run.complete:
            outcome = f"E = {result['energy']:.6f} +- {result['energy_error']:.6f}"
        if not self.quiet:
            print(
                f"{'COMPUTED' if run.computed else 'read'} {run.path.parent.name}/{run.path.name}: {outcome}, "
                f"{result['device']['kind']}, revision {result['git_revision'][:12]}",
                flush=True,
            )
        self.given.append(run)
        return run

    def _train(self, config: RunConfig) -> Run:
        from repro.console import PlainReporter
        from repro.references import known_energy
        from repro.runtime import configure_jax
        from repro.training.run import train

        configure_jax()
        out = self.trained / config.run_name
        print(f"training {out} (not stored)", flush=True)
        try:
            train(config, out, resume=True, reporter=PlainReporter(known_energy(config.system)))
        except DivergedError as error:
            print(error, flush=True)  # a result like any other
        return load_run(out, computed=True)
