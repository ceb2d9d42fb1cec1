"""Panels of what walks of several lengths give: energies, independent samples a second, the correlation they leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from repro.config import AUTO, SystemConfig
from repro.study.benchmarks.tasks import STUDIED_SWEEPS, WALKED
from repro.study.plots.style import BLACK, BLUE, GREEN, ORANGE, VERMILION
from repro.study.plots.tables import case_title

BAR = 5
"""Standard errors of a bar."""
_LOOKS = dict(zip(WALKED, zip((BLACK, BLUE, ORANGE, GREEN, VERMILION), "osvDP", strict=True), strict=True))
"""Colour and marker by the state's particles and coupling; walks of the length that walkers found are stars."""


def shift_panel(axis: Any, rows: pd.DataFrame, case: tuple[int, float]) -> None:
    """Energies of one state by walks of several lengths, less that of the study's, in millionths of it.

    Args:
        axis: where to draw.
        rows: of ``repro bench sweeps``, of this state.
        case: its particles and coupling, one of ``WALKED``.
    """
    color, marker = _LOOKS[case]
    rows = rows.sort_values("sweeps")
    studied = rows[rows["asked"] == str(STUDIED_SWEEPS)].iloc[0]
    scale = 1e-6 * abs(studied["energy"])
    own = rows["asked"] == AUTO
    for some, style in ((rows[~own], {"fmt": marker, "markerfacecolor": "white"}), (rows[own], {"fmt": "*", "ms": 9})):
        shift, error = (some["energy"] - studied["energy"]) / scale, BAR * some["error"] / scale
        axis.errorbar(some["sweeps"], shift, error, color=color, capsize=2, **style)
    axis.axhline(0.0, color="0.3", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xticks([10, 100], ["10", "100"])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(6, 700)
    bound = 1.15 * np.abs(axis.get_ylim()).max()
    axis.set_ylim(-bound, bound)
    axis.set_title(case_title(SystemConfig(*case)), loc="left", fontsize=8)
    axis.set_xlabel("sweeps")
    axis.tick_params(labelsize=7)


def walk_line(axis: Any, rows: pd.DataFrame, case: tuple[int, float], column: str) -> None:
    """A quantity of one state's walks against their length.

    Args:
        axis: where to draw.
        rows: of ``repro bench sweeps``, of this state.
        case: its particles and coupling, one of ``WALKED``.
        column: what to draw.
    """
    color, marker = _LOOKS[case]
    rows = rows.sort_values("sweeps")
    own, fixed = rows[rows["asked"] == AUTO].iloc[0], rows[rows["asked"] != AUTO]
    name = case_title(SystemConfig(*case))
    axis.plot(rows["sweeps"], rows[column], color=color, linewidth=1.0)
    axis.plot(fixed["sweeps"], fixed[column], marker, color=color, markerfacecolor="white", label=name)
    axis.plot(own["sweeps"], own[column], "*", color=color, markersize=11)


def sweeps_axis(axis: Any) -> None:
    """The horizontal axis of :func:`walk_line`, logarithmic."""
    axis.set_xscale("log")
    axis.set_xticks([10, 40, 100, 400], ["10", "40", "100", "400"])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("sweeps between two batches")
