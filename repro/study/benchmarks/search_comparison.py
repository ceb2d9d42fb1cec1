"""Searches by stochastic natural gradients and by their peers, tuned alike: the table that G18 rests on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from repro.config.checks import choice, integer
from repro.demonstrations.geometry.stochastic_search import PROBLEMS, search
from repro.errors import InputError
from repro.study.benchmarks.search_peers import REMEDY, search_by_peer
from repro.study.benchmarks.subprocesses import table_so_far, write_table
from repro.study.experiments.search_table import (
    BUDGET,
    COLUMNS,
    EVO_XNES,
    MEASURING,
    METHODS,
    PEERS,
    SAMPLES,
    SCALES,
    TUNING,
    TUNING_SEEDS,
    chosen,
    read,
)


@dataclass(frozen=True)
class SearchGrid:
    """What every method is tuned on and measured with.

    Attributes:
        samples: numbers N of a step.
        scales: of what the user of a method has to choose.
        tuning_seeds: for the choice of a setting.
        seeds: for the measurement with it, from 0 on.
        budget: evaluations of a search.

    Raises:
        InputError: for a number out of its bounds, or a list that is empty.
    """

    samples: tuple[int, ...] = SAMPLES
    scales: tuple[float, ...] = SCALES
    tuning_seeds: tuple[int, ...] = TUNING_SEEDS
    seeds: int = 10
    budget: int = BUDGET

    def __post_init__(self) -> None:
        integer("budget", self.budget, 100)
        integer("seeds", self.seeds, 1, TUNING_SEEDS[0])
        for number in self.samples:
            integer("samples", number, 8, self.budget)
        for scale in self.scales:
            if not (math.isfinite(scale) and scale > 0.0):
                raise InputError(f"scale = {scale}: must be positive")
        if not (self.samples and self.scales and self.tuning_seeds):
            raise InputError("samples, scale and tuning seeds: each must have at least one number")

    def found(
        self, python: Path, problem: str, method: str, settings: tuple[Sequence[int], Sequence[float]], phase: str
    ) -> pd.DataFrame:
        """Searches with every N and scale of these, in the columns of :mod:`repro.study.experiments.search_table`."""
        seeds = list(self.tuning_seeds) if phase == TUNING else list(range(self.seeds))
        rows: list[tuple[int, float, list[float], float]] = []
        if method in PEERS:
            peers = search_by_peer(python, problem, method, *settings, seeds, self.budget)
            rows = [(one.samples, one.scale, one.evaluations, one.off_diagonal) for one in peers]
        else:
            for n in settings[0]:
                for scale in settings[1]:
                    rows.append((n, scale, list(search(problem, method, n, scale, seeds, self.budget)), math.nan))
        off_is_told = method == EVO_XNES and PROBLEMS[problem].dimension > 1
        return pd.DataFrame(
            [
                (problem, method, phase, n, scale, seed, one if math.isfinite(one) else math.nan, off)
                for n, scale, evaluations, seen in rows
                for off in [seen if off_is_told else math.nan]
                for seed, one in zip(seeds, evaluations, strict=True)
            ],
            columns=list(COLUMNS),
        )


def bench_search(
    python: Path,
    grid: SearchGrid,
    problems: Sequence[str],
    methods: Sequence[str],
    out: Path,
    resume: bool,
    tell: Callable[[str], None],
) -> pd.DataFrame:
    """Tunes and measures every method on every problem, one after the other.

    Args:
        python: interpreter of an environment with cmaes and evosax.
        grid: of settings and seeds.
        problems: of :data:`repro.demonstrations.geometry.stochastic_search.PROBLEMS`.
        methods: of ``METHODS`` of :mod:`repro.study.experiments.search_table`.
        out: where the table is written, anew after each method.
        resume: whether to go on with the table that is there.
        tell: receives a line for each problem and method, with an estimate of the time left.

    Returns:
        One row for each search.

    Raises:
        InputError: for an unknown name, a table that is there already, or an interpreter that is not.
        ReproError: if a peer fails.
    """
    for names, kind, known in ((problems, "problem", tuple(PROBLEMS)), (methods, "method", METHODS)):
        for name in names:
            choice(kind, name, known)
    if set(methods) & set(PEERS) and not python.is_file():
        raise InputError(f"{python}: not there; {REMEDY}")
    table = table_so_far(out, resume, COLUMNS)
    cases = [(problem, method) for problem in problems for method in methods]
    there = set(zip(table["problem"], table["method"], strict=True)) if len(table) else set()
    left = [case for case in cases if case not in there]
    begin = time.monotonic()
    for number, (problem, method) in enumerate(left, start=1):
        tuning = grid.found(python, problem, method, (grid.samples, grid.scales), TUNING)
        best = chosen(read(tuning), problem, method)
        measured = grid.found(python, problem, method, ([best.samples], [best.scale]), MEASURING)
        table = pd.concat([part for part in (table, tuning, measured) if len(part)], ignore_index=True)
        write_table(table, out)
        evaluations = read(measured)["evaluations"]
        seconds = (time.monotonic() - begin) / number * (len(left) - number)
        tell(
            f"{number}/{len(left)} {problem}, {method}: N = {best.samples}, scale {best.scale:g}, "
            f"median {evaluations.median():g} evaluations, "
            f"{int(np.isfinite(evaluations).sum())} of {len(evaluations)} arrived, "
            f"about {seconds / 60:.0f} min left"
        )
    return table
