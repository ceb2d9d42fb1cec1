"""Whether the stored searches of G18 agree with their grid, with each other, and with searches made again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from repro.demonstrations.geometry.stochastic_search import OWN, PROBLEMS, search
from repro.study.experiments.search_table import (
    BUDGET,
    MEASURING,
    METHODS,
    SAMPLES,
    SCALES,
    TUNING,
    TUNING_SEEDS,
    chosen,
    read,
)

SEEDS = tuple(range(10))
"""Of the measurement."""
SHORT = 3000
"""Searches of this package are made again where none of the ten took more evaluations; all in all two seconds."""


def search_contradictions(table: pd.DataFrame) -> Iterator[str]:
    """A line for each contradiction of the table of ``repro bench search``.

    Args:
        table: as it is stored.
    """
    seen = table["evaluations"].dropna()
    if not ((seen >= 1) & (seen <= BUDGET) & (seen % 1 == 0)).all():
        yield f"evaluations are not all whole numbers between 1 and {BUDGET}"
        return
    rows = read(table)
    for problem in PROBLEMS:
        for method in METHODS:
            case = rows[(rows["problem"] == problem) & (rows["method"] == method)]
            yield from (f"{problem}, {method}: {line}" for line in _of_case(case, problem, method))


def _of_case(case: pd.DataFrame, problem: str, method: str) -> Iterator[str]:
    tuning, measured = (case[case["phase"] == phase] for phase in (TUNING, MEASURING))
    grid = {(n, scale, seed) for n in SAMPLES for scale in SCALES for seed in TUNING_SEEDS}
    if set(zip(tuning["samples"], tuning["scale"], tuning["seed"], strict=True)) != grid or len(tuning) != len(grid):
        yield "is not tuned on the grid"
        return
    best = chosen(case, problem, method)
    settings = set(zip(measured["samples"], measured["scale"], strict=True))
    if settings != {(best.samples, best.scale)} or sorted(measured["seed"]) != list(SEEDS):
        told = f"N = {best.samples} and scale {best.scale:g}"
        yield f"is not measured with {told}, which its tuning chooses, and ten seeds"
        return
    evaluations = measured.sort_values("seed")["evaluations"].to_numpy()
    if method in OWN and evaluations.max() <= SHORT:
        again = search(problem, method, best.samples, best.scale, list(SEEDS), BUDGET)
        if wrong := [seed for seed in SEEDS if not np.isclose(again[seed], evaluations[seed], rtol=1e-5)]:
            seed = wrong[0]
            yield f"seed {seed}: stored are {evaluations[seed]:g} evaluations, made again it takes {again[seed]:g}"
