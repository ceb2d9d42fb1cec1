"""Two optimisers against each other, case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from repro.study.plots.case_tables import SPEED_COLUMNS
from repro.study.plots.panels import empty_panel
from repro.study.plots.style import LOOKS
from repro.study.runs.cases import PARTICLES
from repro.study.runs.convergence import LEVEL, SMOOTHING

EDGES = {"epoch": (0.8 * SMOOTHING, 2_000.0), "seconds": (0.5, 1_000.0)}
"""Limits of the panels; runs that never get there are drawn at the upper one."""
_UNITS = {"epoch": "epochs", "seconds": "seconds"}
_MARKERS = dict(zip(PARTICLES, "os^Dv", strict=True))


def speed_pairs(axis: Any, table: pd.DataFrame, unit: str, names: tuple[str, str], factor: float) -> None:
    """Time to 1 % of one optimiser against that of another, a marker for each case and seed that both have.

    Args:
        axis: where to draw.
        table: as from :func:`repro.study.plots.case_tables.speeds_by_run`.
        unit: "epoch" or "seconds".
        names: the optimisers of the horizontal and of the vertical axis.
        factor: lines mark where both are equal, and where the first needs so many times the second's.
    """
    limits, (base, better) = EDGES[unit], (LOOKS[name] for name in names)
    pairs = table.pivot(index=["particles", "v0", "seed"], columns="optimizer", values=SPEED_COLUMNS[unit](LEVEL))
    pairs = pairs.reindex(columns=list(names)).dropna()
    if pairs.empty:
        empty_panel(axis, "no benchmark of both" if unit == "seconds" else "not run yet")
        return
    line = np.array(limits)
    for times, style in ((1.0, "-"), (factor, "--")):
        axis.plot(line, line / times, color="0.6", linestyle=style, linewidth=0.9)
        end = (limits[1] * 0.98, limits[1] / times)
        axis.annotate(f"{times:g} ×", end, ha="right", va="top", fontsize=8, color="0.4")
    for count, marker in _MARKERS.items():
        mine = pairs[pairs.index.get_level_values("particles") == count].clip(upper=limits[1])
        axis.plot(
            mine[names[0]],
            mine[names[1]],
            marker,
            color=better.color,
            markerfacecolor="none",
            markersize=5,
            linestyle="none",
            clip_on=False,
            label=f"A = {count}",
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(*limits)
    axis.set_ylim(*limits)
    axis.set_xlabel(f"{_UNITS[unit]} to {100 * LEVEL:g} %, {base.label}")
    axis.set_ylabel(f"{_UNITS[unit]} to {100 * LEVEL:g} %, {better.label}")
    axis.set_title("case by case, all seeds; at the edge: never")
