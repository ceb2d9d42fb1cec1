"""Progress of a run on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


def terminal(stderr: bool = False) -> Console:
    """Where tables, trees and lines are printed: names of files are data, in which ``[red]`` and ``:smile:`` are text.

    What is to have a style is a ``rich.text.Text``.
    """
    return Console(stderr=stderr, markup=False, emoji=False)


def _describe(metrics: Mapping[str, float], exact: float | None) -> str:
    if "loss" in metrics:
        return f"loss {metrics['loss']:.3e}"
    if "energy" not in metrics:
        return ""
    energy = metrics["energy"]
    text = f"E = {energy:.5f}"
    if "energy_error" in metrics:
        text += f" +- {metrics['energy_error']:.5f}"
    if exact is not None:
        text += f" (exact {energy - exact:+.5f})"
    return text


def duration(seconds: float) -> str:
    """Such as "3 min 20 s"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


class TerminalReporter:
    """A bar with epoch, energy, distance to the exact energy and time left."""

    def __init__(self, exact: float | None) -> None:
        self.exact = exact
        self.console = terminal(stderr=True)
        self.progress: Progress | None = None
        self.task = TaskID(0)

    def start(self, phase: str, done: int, total: int) -> None:
        """Opens a bar."""
        self.progress = Progress(
            TextColumn(f"{phase:<11}", markup=False),
            BarColumn(bar_width=6),  # the line is to fit 80 columns
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self.console,
        )
        self.task = self.progress.add_task("compiling", total=total, completed=done)
        self.progress.start()

    def advance(self, done: int, metrics: Mapping[str, float]) -> None:
        """Moves the bar."""
        if self.progress:
            self.progress.update(self.task, completed=done, description=_describe(metrics, self.exact))

    def note(self, message: str) -> None:
        """Prints a line."""
        self.console.print(message, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Leaves the bar as it is."""
        if self.progress:
            self.progress.stop()
            self.progress = None


class PlainReporter:
    """A line at the start and end of a phase and every ten seconds in between.

    Args:
        exact: energy to compare with.
        stream: to write to; standard error when left out.
    """

    def __init__(self, exact: float | None, stream: TextIO | None = None) -> None:
        self.exact, self.stream = exact, stream
        self.phase, self.total = "", 0
        self.begin = self.last = 0.0
        self.moving: tuple[float, int] | None = None
        self.latest = ""

    def start(self, phase: str, done: int, total: int) -> None:
        """Announces the phase."""
        self.phase, self.total, self.moving = phase, total, None
        self.begin = self.last = time.monotonic()
        self.note(f"{phase}: {done}/{total} done")

    def advance(self, done: int, metrics: Mapping[str, float]) -> None:
        """Prints now and then."""
        now = time.monotonic()
        described = _describe(metrics, self.exact)
        self.latest = f"{self.phase}: {done}/{self.total}" + (f", {described}" if described else "")
        if now - self.last >= PLAIN_SECONDS:
            self.last = now
            since, first = self.moving or (now, done)  # what was compiled before is no measure of what is left
            left = (now - since) * (self.total - done) / (done - first) if done > first else None
            self.note(self.latest + (f", {duration(left)} left" if left is not None else ""))
        self.moving = self.moving or (now, done)

    def note(self, message: str) -> None:
        """Prints a line, if that can be written; a run does not end because nobody hears of it."""
        with suppress(OSError):
            print(message, file=self.stream or sys.stderr, flush=True)

    def finish(self) -> None:
        """Prints where the phase ended."""
        self.note(f"{self.latest}, done in {duration(time.monotonic() - self.begin)}")


def reporter(exact: float | None) -> TerminalReporter | PlainReporter:
    """The reporter that fits standard error."""
    return TerminalReporter(exact) if sys.stderr.isatty() else PlainReporter(exact)
