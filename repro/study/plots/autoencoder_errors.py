"""Errors of the autoencoder against iterations and against processor time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro.study.experiments.autoencoder_benchmark import Entry
from repro.study.plots.panels import empty_panel
from repro.study.plots.style import METHODS
from repro.study.runs.store import ProblemRun

LOOKS = METHODS | {"proximal-dgd": METHODS["proximal"]}
LOWEST, HIGHEST = 3.0, 250.0
"""Of the errors that are drawn."""


def _seen(run: ProblemRun) -> pd.DataFrame:
    """The steps at which all images were looked at, with the processor time up to each."""
    curve = run.curve.assign(cpu_seconds=run.curve["cpu_seconds"].cumsum())
    return curve[["step", "cpu_seconds", "training_error", "test_error"]].dropna()


def error_curves(axis: Any, entries: Sequence[Entry], time: str, marks: Mapping[str, float]) -> None:
    """The training errors of each method: the median over its seeds, and their range.

    Args:
        axis: where.
        entries: of one protocol.
        time: "step", or "cpu_seconds" up to the step, the median over the seeds of them.
        marks: errors to compare with, by their labels.
    """
    if not entries:
        empty_panel(axis)
        return
    for entry in entries:
        look = LOOKS[entry.method]
        curves = [_seen(run) for run in entry.runs]
        length = min(map(len, curves))
        times, errors = (np.array([curve[name][:length] for curve in curves]) for name in (time, "training_error"))
        middle = np.median(times, axis=0)
        axis.fill_between(middle, errors.min(axis=0), errors.max(axis=0), color=look.color, alpha=0.2, linewidth=0)
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": look.label}
        axis.loglog(middle, np.median(errors, axis=0), markevery=0.12, markersize=3.5, **style)
    for (label, error), line in zip(marks.items(), ((0, (1, 1)), (0, (4, 2))), strict=False):
        axis.axhline(error, color="0.4", linestyle=line, linewidth=1.0, label=label)
    axis.set_ylim(LOWEST, HIGHEST)


def peer_curve(axis: Any, rows: pd.DataFrame, time: str) -> None:
    """The training errors of kfac-jax, as :func:`error_curves` has those of the methods.

    Args:
        axis: where.
        rows: of one protocol, with the columns of ``repro bench kfac-jax``; none draws nothing.
        time: "step" or "cpu_seconds".
    """
    if rows.empty:
        return
    look = METHODS["kfac-jax"]
    seeds = rows.assign(step=rows["steps"] + 1).groupby("steps")
    middle, errors = seeds[time].median(), seeds["training_error"]
    axis.fill_between(middle, errors.min(), errors.max(), color=look.color, alpha=0.2, linewidth=0)
    style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": look.label}
    axis.loglog(middle, errors.median(), markevery=0.12, markersize=5.0, **style)


def methods_legend(figure: Any, title: str) -> None:
    """One legend above all panels, each method and mark once."""
    entries = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=4, title=title)


def long_table(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row for each step of each run at which all images were looked at."""
    parts = [
        _seen(run).assign(protocol=entry.protocol, method=entry.method, seed=run.config.seed)
        for entry in entries
        for run in entry.runs
    ]
    columns = ["protocol", "method", "seed", "step", "cpu_seconds", "training_error", "test_error"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
