"""Evaluations that searches need: by method, and against the number of samples of a step (G18)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from repro.demonstrations.geometry.stochastic_search import CONSTANT, COVARIANCE, RANDOM, RANKS, REGRESSION
from repro.study.experiments.search_table import (
    BUDGET,
    CMAES,
    EVO_CMA,
    EVO_SNES,
    EVO_XNES,
    METHODS,
    TUNED,
    Searches,
)
from repro.study.plots.style import BLACK, BLUE, GREEN, GREY, INDIGO, ORANGE, PURPLE, SKY, VERMILION, Look

LOOKS = {
    CONSTANT: Look("constant step (slide)", PURPLE, (0, (1, 1)), "P"),
    COVARIANCE: Look("covariance", BLUE, "-", "o"),
    REGRESSION: Look("regression", VERMILION, "-", "s"),
    RANKS: Look("ranks (xNES)", BLACK, "-", "D"),
    RANDOM: Look("random search", GREY, (0, (5, 2)), "x"),
    CMAES: Look("CMA-ES, cmaes", GREEN, (0, (4, 1.5)), "v"),
    EVO_CMA: Look("CMA-ES, evosax", INDIGO, (0, (4, 1.5)), "^"),
    EVO_XNES: Look("xNES, evosax", ORANGE, (0, (1, 1)), "<"),
    EVO_SNES: Look("SNES, evosax", SKY, (0, (1, 1)), ">"),
}
"""How each method is drawn; those of this package have solid lines."""
EDGE = 1.6 * BUDGET
"""Where a median is marked that is infinite."""


def by_method(axis: Axes, result: Searches, problem: str) -> None:
    """A row for each method: the seeds as ticks, their median as a marker, and how many have arrived."""
    for place, method in enumerate(METHODS):
        evaluations, look = result.measured(problem, method), LOOKS[method]
        if not len(evaluations):
            continue
        seen, median = evaluations[np.isfinite(evaluations)], float(np.median(evaluations))
        if len(seen):
            axis.hlines(place, seen.min(), seen.max(), color=look.color, linewidth=1.0)
        axis.plot(seen, np.full(len(seen), place), "|", color=look.color, markersize=7, alpha=0.8)
        axis.plot(min(median, EDGE), place, look.marker, color=look.color, markersize=6.5)
        axis.annotate(
            f"{len(seen)}/{len(evaluations)}",
            (1.02, place),
            xycoords=axis.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
        )
    axis.set_xscale("log")
    axis.set_xlim(8, 2.4 * BUDGET)
    axis.axvline(BUDGET, color="0.6", linewidth=0.8)
    axis.set_yticks(range(len(METHODS)), [LOOKS[method].label for method in METHODS])
    axis.set_ylim(len(METHODS) - 0.4, -0.6)


def by_samples(axis: Axes, result: Searches, problem: str) -> None:
    """The medians of the tuning seeds against N, with the best scale of each N."""
    for method in TUNED:
        look, medians = LOOKS[method], result.by_samples(problem, method)
        if not medians:
            continue
        reached = {n: median for n, median in medians.items() if np.isfinite(median)}
        axis.plot(
            list(reached),
            list(reached.values()),
            marker=look.marker,
            color=look.color,
            linestyle=look.linestyle,
            label=look.label,
            markersize=5,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(8, 2.4 * BUDGET)
    axis.axhline(BUDGET, color="0.6", linewidth=0.8)
