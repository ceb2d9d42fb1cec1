"""What the table of ``repro bench search`` says: evaluations of f that searches with normal distributions need (G18).

Every method is tuned on the same grid, numbers N of samples by scales of what its user has to choose, with seeds of
their own. The chosen setting is then measured with other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from repro.demonstrations.base import Values
from repro.demonstrations.geometry.stochastic_search import (
    CONSTANT,
    COVARIANCE,
    IN_SPAN,
    OWN,
    PROBLEMS,
    RANDOM,
    RANKS,
    REGRESSION,
)
from repro.study.runs.store import STORED_RUNS, project_path

TABLE = "growth/search.csv"
"""Among the stored runs."""
COLUMNS = ("problem", "method", "phase", "samples", "scale", "seed", "evaluations", "off_diagonal")
"""Evaluations are empty where a search did not arrive; off_diagonal is that of xNES of evosax."""
TUNING, MEASURING = "tuning", "measuring"
CMAES, EVO_CMA, EVO_XNES, EVO_SNES = "cmaes", "evosax CMA_ES", "evosax xNES", "evosax SNES"
PEERS = (CMAES, EVO_CMA, EVO_XNES, EVO_SNES)
METHODS = (*OWN, *PEERS)
TUNED = tuple(method for method in METHODS if method not in (CONSTANT, RANDOM))
"""Those that are compared with one another; the others are marks."""
SAMPLES = (10, 30, 100, 300, 1000)
SCALES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
TUNING_SEEDS = tuple(range(100, 105))
BUDGET = 50_000
"""Evaluations of a search."""
LEVEL = 0.05
"""The interval of a median misses on either side with this probability at most."""


@dataclass(frozen=True)
class Setting:
    """Of a method, with what its searches with the tuning seeds came to.

    Attributes:
        samples: N.
        scale: of what the user has to choose.
        arrived: how many searches.
        median: of their evaluations, infinite for those that did not arrive.
    """

    samples: int
    scale: float
    arrived: int
    median: float


@dataclass(frozen=True)
class Searches:
    """What is drawn of the searches.

    Attributes:
        table: as stored, infinite where a search did not arrive.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    table: pd.DataFrame
    values: Values

    def measured(self, problem: str, method: str) -> np.ndarray:
        """Evaluations of each seed with the chosen setting; empty if there are none."""
        return _rows(self.table, problem, method, MEASURING)["evaluations"].to_numpy()

    def by_samples(self, problem: str, method: str) -> dict[int, float]:
        """For each N the median over the tuning seeds, with its best scale."""
        return best_by_samples(self.table, problem, method)


def read(table: pd.DataFrame) -> pd.DataFrame:
    """A table in which searches that did not arrive took infinitely many evaluations."""
    return table.assign(evaluations=table["evaluations"].astype(float).fillna(math.inf))


def measured_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The searches with the chosen settings."""
    return table[table["phase"] == MEASURING]


def _rows(table: pd.DataFrame, problem: str, method: str, phase: str) -> pd.DataFrame:
    return table[(table["problem"] == problem) & (table["method"] == method) & (table["phase"] == phase)]


def _settings(table: pd.DataFrame, problem: str, method: str) -> list[Setting]:
    groups = _rows(table, problem, method, TUNING).groupby(["samples", "scale"], sort=False)
    found = []
    for _, rows in groups:
        evaluations = rows["evaluations"].to_numpy(float)
        samples, scale = int(rows["samples"].iloc[0]), float(rows["scale"].iloc[0])
        found.append(Setting(samples, scale, int(np.isfinite(evaluations).sum()), float(np.median(evaluations))))
    return found


def chosen(table: pd.DataFrame, problem: str, method: str) -> Setting:
    """The setting with most arrivals of the tuning seeds; of several, the one with the least median."""
    return min(_settings(table, problem, method), key=lambda one: (-one.arrived, one.median))


def best_by_samples(table: pd.DataFrame, problem: str, method: str) -> dict[int, float]:
    """For each N the least median of the tuning seeds over the scales."""
    best: dict[int, float] = {}
    for one in _settings(table, problem, method):
        best[one.samples] = min(one.median, best.get(one.samples, math.inf))
    return best


def paired_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """The distribution-free interval of the median of first / second, seed by seed.

    Two searches of which none arrived have no ratio.

    Returns:
        None where fewer than five pairs have a ratio.
    """
    pairs = zip(first, second, strict=True)
    ratios = sorted(one / other for one, other in pairs if math.isfinite(one) or math.isfinite(other))
    rank = int(binom.ppf(LEVEL, len(ratios), 0.5))  # P(Bin <= rank - 1) is at most the level
    if len(ratios) < 5 or rank < 1:
        return None
    return float(ratios[rank - 1]), float(ratios[-rank])


def searches() -> Searches:
    """What the stored table says; nothing where there is none."""
    path = project_path(STORED_RUNS) / TABLE
    table = read(pd.read_csv(path)) if path.exists() else pd.DataFrame(columns=list(COLUMNS))
    return Searches(table, values_of(table))


def values_of(table: pd.DataFrame) -> Values:
    """The numbers that claims rest on, by problem and method. Without rows they are empty, and nothing is judged.

    Args:
        table: see :func:`read`.
    """
    there = set(zip(table["problem"], table["method"], strict=True))
    cases = [(problem, method) for problem in PROBLEMS for method in METHODS if (problem, method) in there]
    runs = {case: _rows(table, *case, MEASURING).sort_values("seed")["evaluations"].to_numpy() for case in cases}
    medians = {case: float(np.median(evaluations)) for case, evaluations in runs.items()}
    settings = {case: chosen(table, *case) for case in cases}

    def ratios(first: str, second: str, problems: Iterable[str] = tuple(PROBLEMS)) -> dict[str, float]:
        """Of medians, where one of both has arrived."""
        both = [(p, medians[p, first], medians[p, second]) for p in problems if {(p, first), (p, second)} <= there]
        return {p: one / other for p, one, other in both if math.isfinite(one) or math.isfinite(other)}

    def interval(first: str, second: str, problems: Iterable[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for p in problems:
            ends = paired_interval(runs[p, first], runs[p, second]) if {(p, first), (p, second)} <= there else None
            if ends is None:
                return {}
            found |= {f"{p}, low": ends[0], f"{p}, high": ends[1]}
        return found

    def arrived(methods: Iterable[str], problems: Iterable[str]) -> dict[str, float]:
        wanted = [(p, m) for p in problems for m in methods if (p, m) in there]
        return {_name(case): float(np.isfinite(runs[case]).mean()) for case in wanted}

    two = [problem for problem, of in PROBLEMS.items() if of.dimension == 2]
    of_plane = {method: best_by_samples(table, "plane", method) for method in TUNED if ("plane", method) in there}
    many = {
        method: of[1000] / of[10]
        for method, of in of_plane.items()
        if {10, 1000} <= set(of) and min(of[1000], of[10]) < math.inf
    }
    against_random = {f"{p}, {m}": ratio for m in TUNED for p, ratio in ratios(RANDOM, m, two).items()}
    return {
        "evaluations": {_name(case): median for case, median in medians.items()},
        "arrived": {_name(case): float(np.isfinite(of).mean()) for case, of in runs.items()},
        "samples": {_name(case): float(setting.samples) for case, setting in settings.items()},
        "scale": {_name(case): setting.scale for case, setting in settings.items()},
        "cmaes_over_regression": interval(CMAES, REGRESSION, IN_SPAN),
        "ranks_over_cmaes": interval(RANKS, CMAES, ("rosenbrock",)),
        "covariance_over_ranks": interval(COVARIANCE, RANKS, ("rosenbrock", "rastrigin")),
        "arrived_with_constant_step": arrived([CONSTANT], PROBLEMS),
        "constant_over_normalised": ratios(CONSTANT, COVARIANCE),
        "best_samples_of_regression": {
            p: float(settings[p, REGRESSION].samples) for p in IN_SPAN if (p, REGRESSION) in there
        },
        "evaluations_with_1000_over_10": many,
        "arrived_on_rastrigin": arrived(TUNED, ("rastrigin",)),
        "random_over_method": against_random,
        "evosax_cma_over_cmaes": ratios(EVO_CMA, CMAES),
        "evosax_xnes_over_ranks": ratios(EVO_XNES, RANKS),
        "evosax_xnes_off_diagonal": _largest(table, EVO_XNES),
    }


def _name(case: tuple[str, str]) -> str:
    return ", ".join(case)


def _largest(table: pd.DataFrame, method: str) -> dict[str, float]:
    """The largest entry off the diagonal that was seen, by problem of two dimensions."""
    seen = table[(table["method"] == method) & table["off_diagonal"].notna()]
    return {str(problem): float(of.max()) for problem, of in seen.groupby("problem")["off_diagonal"]}
