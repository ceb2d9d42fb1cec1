"""The grid of the held-out cases: errors case by case, and the share of the runs that are within 0.1 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from repro.study.plots.data_profile import data_profile
from repro.study.plots.panels import empty_panel, error_panel, limit_errors
from repro.study.plots.run_selection import exact_of, grouped, of_optimizer
from repro.study.plots.style import LARGEST
from repro.study.plots.tables import case_title
from repro.study.runs.cases import BETWEEN, HELD_OUT, PARTICLES
from repro.study.runs.convergence import LEVELS, kind
from repro.study.runs.store import Run

OTHER_WIDTHS = tuple(system for system in HELD_OUT if system.v0 not in BETWEEN)
"""The cases with another width of the interaction; they begin the last row."""
SHAPE = (len(PARTICLES) + 1, len(BETWEEN))
"""Rows and columns: a row for each number of particles, and the last."""


def held_out_errors(axes: np.ndarray, runs: Sequence[Run], names: Sequence[str], epochs: int) -> None:
    """The relative error against epoch in each held-out case, all panels with the same limits.

    Titles say how many of the runs of each optimiser ended converged.

    Args:
        axes: panels, of :data:`SHAPE`; those behind :data:`OTHER_WIDTHS` are left alone.
        runs: in any number.
        names: the optimisers shown, in the order of the titles.
        epochs: of the longest run.
    """
    panels = []
    for system in HELD_OUT:
        if system in OTHER_WIDTHS:
            row, column = len(PARTICLES), OTHER_WIDTHS.index(system)
        else:
            row, column = PARTICLES.index(system.particles), BETWEEN.index(system.v0)
        axis, groups = axes[row, column], grouped(runs, names, system)
        axis.set_title(f"{case_title(system)}\nconverged {_converged_told(groups, names)}", loc="left", fontsize=7.5)
        axis.tick_params(labelsize=7)
        if groups:
            error_panel(axis, groups)
            axis.set_xlim(0.9, 1.15 * epochs)
            axis.tick_params(labelleft=column == 0)
        else:
            empty_panel(axis)
        axis.set(xlabel="", ylabel="")
        panels.append(axis)
    limit_errors(panels, 1.1 * LARGEST)


def shared_profile(axis: Any, runs: Sequence[Run], names: Sequence[str], time: str) -> None:
    """The share of the runs that are within the finest level, against time.

    Args:
        axis: where to draw.
        runs: of cases and seeds that each of the optimisers has.
        names: the optimisers.
        time: "epoch" or "seconds".
    """
    if runs:
        data_profile(axis, [of_optimizer(runs, name) for name in names], time, LEVELS[-1])
        axis.set_title("")
        axis.set_ylabel("share of the runs", fontsize=8)
        axis.set_xlabel(time, fontsize=8)
    else:
        empty_panel(axis, "no run that all three have")
    axis.set_title(
        f"within {100 * LEVELS[-1]:g} % by {'an epoch' if time == 'epoch' else 'a second'}\n"
        f"{len(runs) // len(names)} runs of each optimiser",
        loc="left",
        fontsize=7.5,
    )
    axis.tick_params(labelsize=7)


def _converged_told(groups: Sequence[Sequence[Run]], names: Sequence[str]) -> str:
    """How many of how many runs of each optimiser ended converged, such as "3/3, 2/3, —"."""
    told = {
        runs[0].config.optimizer.name: f"{sum(kind(run, exact_of(run)) == 'converged' for run in runs)}/{len(runs)}"
        for runs in groups
    }
    return ", ".join(told.get(name, "—") for name in names)
