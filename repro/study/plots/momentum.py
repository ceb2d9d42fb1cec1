"""Steps and errors of the methods of M10 to M14: by method, by batch, by eps, and over damping and momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro.study.experiments.momentum_table import Chosen, chosen
from repro.study.plots.style import GREY, METHODS, SKY, Look
from repro.study.runs.store import ProblemRun


def _drawn(name: str) -> tuple[str, Any, str]:
    look = METHODS[name]
    return look.color, look.linestyle, look.marker


LOOKS: dict[str, Look] = {
    "gradient descent": METHODS["gradient-descent"],
    "momentum": Look("gradient descent, momentum", *_drawn("momentum")),
    "Adam": METHODS["adam"],
    "Muon": Look("Muon", SKY, (0, (2, 1)), "1"),
    "L-BFGS": Look("L-BFGS", GREY, (0, (5, 2)), "X"),
    "NGD": METHODS["natural-gradient"],
    "NGD, search": Look("natural gradient, search", "#000000", (0, (1, 1)), "d"),
    "ANaGRAM": Look("ANaGRAM, search", "#999933", (0, (1, 1)), "<"),
    "LM": METHODS["transported"],
    "FD": Look(METHODS["function-difference"].label, "#44AA99", (0, (4, 1.5)), "h"),
    "LG": METHODS["last-gradient"],
    "Nesterov": Look("Nesterov", "#E69F00", (0, (5, 1, 1, 1, 1, 1)), ">"),
    "SPRING": METHODS["spring"],
    "Levenberg-Marquardt": Look("Levenberg-Marquardt", "#CC79A7", (0, (6, 1.5, 1, 1.5)), "D"),
    "proximal": Look("proximal step, not tuned", METHODS["proximal"].color, "-", "*"),
}


def steps_by_method(axis: Any, found: Mapping[str, Chosen], edge: float) -> None:
    """The steps of every seed, and their median, a line for each method.

    Args:
        axis: where.
        found: by method, in the order from above.
        edge: steps that stand for "never".
    """
    for place, (method, one) in enumerate(found.items()):
        look, steps = LOOKS[method], one.rows["steps"].to_numpy()
        there = steps[np.isfinite(steps)]
        axis.plot(there, np.full(len(there), place), "|", color="0.5", markersize=8)
        lost = len(steps) - len(there)
        if np.isfinite(one.steps):
            axis.plot(one.steps, place, look.marker, color=look.color, markersize=7, markeredgecolor="black")
        else:
            axis.plot(0.8 * edge, place, "x", color=look.color, markersize=7)
        if lost:
            axis.annotate(f"{lost} of {len(steps)} never", (0.65 * edge, place), ha="right", va="center", fontsize=7)
    axis.set_yticks(range(len(found)), [LOOKS[method].label for method in found])
    axis.set_xscale("log")
    axis.set_xlim(right=edge)
    axis.invert_yaxis()


def median_and_range(axis: Any, x: Sequence[float], found: Sequence[Chosen], method: str, column: str) -> None:
    """The median of a column over the seeds as a line, the middle half as a band; what is infinite is left out.

    Args:
        axis: where.
        x: of the places.
        found: the method in each place.
        method: one of :data:`LOOKS`.
        column: of the table.
    """
    look = LOOKS[method]
    values = np.array([one.rows[column].fillna(np.inf) for one in found])
    low = np.quantile(values, 0.25, axis=1, method="lower")  # between two infinite numbers there is none to interpolate
    high = np.quantile(values, 0.75, axis=1, method="higher")
    middle = np.median(values, axis=1)
    axis.fill_between(x, low, np.where(np.isfinite(high), high, 1e9), color=look.color, alpha=0.15, linewidth=0)
    shown = np.where(np.isfinite(middle), middle, np.nan)
    style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "markersize": 5}
    axis.loglog(x, shown, label=look.label, **style)


def steps_over_damping(axis: Any, steps: np.ndarray, dampings: Sequence[float], momenta: Sequence[float]) -> Any:
    """Medians of the steps as an image, each with its number; white where most seeds never arrive.

    Args:
        axis: where.
        steps: shape (dampings, momenta).
        dampings: lambda.
        momenta: beta.
    """
    shown = np.where(np.isfinite(steps), np.log10(steps), np.nan)
    image = axis.imshow(shown, cmap="cividis_r", aspect="auto", origin="lower")
    light = np.nanmean(shown)
    for (row, column), value in np.ndenumerate(steps):
        text = f"{value:.0f}" if np.isfinite(value) else "never"
        dark = np.isfinite(value) and np.log10(value) > light
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
    axis.set_xticks(range(len(momenta)), [f"{beta:g}" for beta in momenta])
    axis.set_yticks(range(len(dampings)), [f"$10^{{{round(np.log10(damping))}}}$" for damping in dampings])
    axis.set_xlabel(r"momentum $\beta$")
    axis.grid(visible=False)
    return image


def chosen_numbers(table: pd.DataFrame, part: str, places: Sequence[tuple[str, int, float]]) -> pd.DataFrame:
    """The settings that were chosen, and how the runs with them ended, a row for each place."""
    rows = []
    for method, batch, eps in places:
        one = chosen(table, part, method, batch, eps)
        numbers = {"rate": one.learning_rate, "damping": one.damping, "momentum": one.momentum}
        steps = one.rows["steps"].fillna(np.inf)
        told = {"settings": one.settings, "median steps": one.steps, "least": steps.min(), "most": steps.max()}
        rows.append({"method": method, "batch": batch, "eps": eps, **numbers, **told})
    return pd.DataFrame(rows)


def curves(axis: Any, runs: Mapping[str, Sequence[ProblemRun]], column: str, target: float) -> pd.DataFrame:
    """A column of the curves against the seconds of processor time: medians of the seeds, and their range.

    Args:
        axis: where.
        runs: by method.
        column: of the curve.
        target: a horizontal line.

    Returns:
        What is drawn.
    """
    parts = []
    for method, found in runs.items():
        look = LOOKS[method]
        length = min(len(run.curve) for run in found)
        seconds = np.median([run.curve["cpu_seconds"].cumsum()[:length] for run in found], axis=0)
        values = np.array([run.curve[column][:length] for run in found])
        low, middle, high = values.min(axis=0), np.median(values, axis=0), values.max(axis=0)
        axis.fill_between(seconds, low, high, color=look.color, alpha=0.12, linewidth=0)
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": look.label}
        axis.loglog(seconds, middle, markevery=0.12, markersize=4, **style)
        parts.append(pd.DataFrame({"method": method, "seconds": seconds, column: middle, "low": low, "high": high}))
    axis.axhline(target, color="0.4", linestyle=(0, (1, 1)), linewidth=1.0)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
