"""Progress of a run or a sweep on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from repro.study.sweep import Job
    from repro.study.verdicts import Verdict

PLAIN_SECONDS = 10.0


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


def _duration(seconds: float) -> str:
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
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        self.task = TaskID(0)

    def start(self, phase: str, done: int, total: int) -> None:
        """Opens a bar."""
        self.progress = Progress(
            TextColumn(f"{phase:<11}"),
            BarColumn(bar_width=6),  # the line is to fit 80 columns
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
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
    """A line at the start and end of a phase and every ten seconds in between, on standard error."""

    def __init__(self, exact: float | None) -> None:
        self.exact = exact
        self.phase, self.total, self.first = "", 0, 0
        self.begin = self.last = 0.0
        self.latest = ""

    def start(self, phase: str, done: int, total: int) -> None:
        """Announces the phase."""
        self.phase, self.total, self.first = phase, total, done
        self.begin = self.last = time.monotonic()
        self.note(f"{phase}: {done}/{total} done")

    def advance(self, done: int, metrics: Mapping[str, float]) -> None:
        """Prints now and then."""
        now = time.monotonic()
        described = _describe(metrics, self.exact)
        self.latest = f"{self.phase}: {done}/{self.total}" + (f", {described}" if described else "")
        if now - self.last >= PLAIN_SECONDS:
            self.last = now
            left = (now - self.begin) * (self.total - done) / max(1, done - self.first)
            self.note(f"{self.latest}, {_duration(left)} left")

    def note(self, message: str) -> None:
        """Prints a line."""
        print(message, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Prints where the phase ended."""
        self.note(f"{self.latest}, done in {_duration(time.monotonic() - self.begin)}")


def reporter(exact: float | None) -> TerminalReporter | PlainReporter:
    """The reporter that fits standard error."""
    return TerminalReporter(exact) if sys.stderr.isatty() else PlainReporter(exact)


VERDICT_STYLES = {"reproduced": "green", "not reproduced": "red", "undecided": "yellow"}


def verdict_table(verdicts: Sequence[Verdict]) -> RichTable:
    """Claims with their verdicts, and the statistics they rest on."""
    from repro.study.claims import load_claims

    statements = {claim.id: claim.statement for claim in load_claims()}
    table = RichTable("claim", "statement", "verdict", "because", show_lines=True)
    for verdict in verdicts:
        style = VERDICT_STYLES[verdict.verdict]
        because = verdict.told
        if verdict.false_alarm is not None:
            because += f"; false-alarm rate {verdict.false_alarm:.2g}"
        if verdict.needs:
            because += f"; needs {verdict.needs}"
        table.add_row(verdict.claim, statements[verdict.claim], Text(verdict.verdict, style), Text(because))
    return table


def sweep_summary(jobs: Sequence[Job]) -> str:
    """How many jobs are in which state, and the time left."""
    from repro.study.sweep import summary, time_left

    left = time_left(jobs)
    return summary(jobs) + ("" if not left else f"; about {_duration(left)} left")


class SweepTable:
    """A table of the jobs of a sweep that is drawn anew in its place."""

    ROWS = 30

    def __init__(self) -> None:
        self.live = Live(console=Console(stderr=True), refresh_per_second=2)

    def __enter__(self) -> SweepTable:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Draws the jobs; of a long list what runs, what failed and what comes next."""
        colours = {"running": "cyan", "failed": "red", "diverged": "yellow", "done": "green", "stored": "green"}
        order = ("failed", "running", "waiting", "diverged", "done", "stored")
        ranked = sorted(range(len(jobs)), key=lambda number: order.index(jobs[number].state))[: self.ROWS]
        table = RichTable("run", "state", "progress", title=sweep_summary(jobs), title_justify="left", expand=True)
        for number in sorted(ranked):
            job = jobs[number]
            state = f"[{colours[job.state]}]{job.state}[/]" if job.state in colours else job.state
            table.add_row(job.path.name, state, Text(job.told, no_wrap=True, overflow="ellipsis"))
        if len(jobs) > len(ranked):
            table.caption = f"{len(jobs) - len(ranked)} more"
        self.live.update(table)


class SweepLines:
    """A line whenever a job changes its state, and one for each that runs every half minute."""

    SECONDS = 30.0

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.last = time.monotonic()

    def __enter__(self) -> SweepLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Prints what is new."""
        due = time.monotonic() - self.last >= self.SECONDS
        for job in jobs:
            name, first = job.path.name, job.path.name not in self.known
            if job.state != self.known.get(name) and not (first and job.state in ("stored", "waiting")):
                told = f": {job.told}" if job.state == "failed" else ""
                print(f"{job.state} {name}{told} ({sweep_summary(jobs)})", file=sys.stderr, flush=True)
            elif due and job.state == "running":
                print(f"  {name}: {job.told}", file=sys.stderr, flush=True)
            self.known[name] = job.state
        if due:
            self.last = time.monotonic()


def sweep_watcher() -> SweepTable | SweepLines:
    """The watcher that fits standard error."""
    return SweepTable() if sys.stderr.isatty() else SweepLines()
