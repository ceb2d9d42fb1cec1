"""Verdicts and sweeps on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.live import Live
from rich.table import Table
from rich.text import Text

from repro.console import duration, terminal
from repro.study.claims.statements import CHAPTERS, all_claims
from repro.study.claims.verdicts import (
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    Verdict,
    any_false_alarm,
    counted,
    of_chapter,
)
from repro.study.runs.sweep import Job, summary, time_left

VERDICT_STYLES = {REPRODUCED: "green", NOT_REPRODUCED: "red", UNDECIDED: "yellow", NOT_RUN: "dim"}


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Claims with their verdicts, and the statistics they rest on."""
    claims = {claim.id: claim for claim in all_claims()}
    table = Table("claim", "statement", "verdict", "because", show_lines=True)
    for verdict in verdicts:
        style = VERDICT_STYLES[verdict.verdict]
        because = verdict.told
        if verdict.false_alarm is not None:
            because += f"; false-alarm rate {verdict.false_alarm:.2g}"
        if verdict.needs:
            because += f"; needs {verdict.needs}"
        claim = claims[verdict.claim]
        statement = Text(claim.statement).append(f"\n{claim.source}", "dim")
        table.add_row(verdict.claim, statement, Text(verdict.verdict, style), Text(because))
    return table


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """Such as "36 claims: 20 reproduced, 9 not reproduced, 7 undecided"."""
    told = ", ".join(f"{count} {kind}" for kind, count in counted(verdicts).items())
    return f"{len(verdicts)} claims: {told}"


def false_alarms_told(verdicts: Sequence[Verdict]) -> str:
    """How likely it is that any of the decided verdicts is a false alarm."""
    bound, independent = any_false_alarm(verdicts)
    decided = sum(verdict.false_alarm is not None for verdict in verdicts)
    return (
        f"{decided} are decided; the probability that at least one of them is a false alarm is at most {bound:.2g}, "
        f"the sum of their rates, and would be {independent:.2g} if they were independent"
    )


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Prints claims with their verdicts and, for each chapter, how many have which and how likely a false alarm is."""
    terminal().print(verdict_table(verdicts))
    for chapter, title in CHAPTERS.items():
        if shown := of_chapter(verdicts, chapter):
            print(title)
            print(verdict_counts(shown))
            print(false_alarms_told(shown))


def sweep_summary(jobs: Sequence[Job]) -> str:
    """How many jobs are in which state, and the time left."""
    left = time_left(jobs)
    return summary(jobs) + ("" if not left else f"; about {duration(left)} left")


class SweepTable:
    """A table of the jobs of a sweep that is drawn anew in its place."""

    ROWS = 30

    def __init__(self) -> None:
        self.live = Live(console=terminal(stderr=True), refresh_per_second=2)

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
        table = Table("run", "state", "progress", title=sweep_summary(jobs), title_justify="left", expand=True)
        for number in sorted(ranked):
            job = jobs[number]
            state = Text(job.state, colours.get(job.state, ""))
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
