"""Data profiles: which share of the runs has come within a level by an epoch or a time.

J. Moré, S. Wild, SIAM J. Optim. 20, 172 (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from repro.study.plots.run_selection import exact_of
from repro.study.plots.style import LOOKS
from repro.study.runs.convergence import SMOOTHING, epochs_to
from repro.study.runs.store import Run
from repro.study.runs.timing import seconds_per_epoch

MARKERS = 5
"""About so many on a curve, so that it is told apart without its colour."""


def _marked(points: int, shift: float) -> list[int]:
    """Which points of a curve have a marker: some at even distances, not those of the other curves, and the last."""
    distance = max(1, points // MARKERS)
    return sorted({*range(1 + int(shift * distance), points, distance), points - 1})


def data_profile(
    axis: Any, groups: Sequence[Sequence[Run]], time: str, level: float, heavy: Sequence[str] = ("proximal-dgd",)
) -> None:
    """Steps that rise when another run has reached the level, with markers on them and one where the runs end.

    Args:
        axis: where to draw.
        groups: runs of one optimiser each, one at least. Without a benchmark of their size they have no seconds and
            are left out there.
        time: "epoch" or "seconds".
        level: relative error, reached as :func:`repro.study.runs.convergence.epochs_to` tells.
        heavy: optimisers with a thicker line.
    """
    for place, runs in enumerate(groups):
        look = LOOKS[name := runs[0].config.optimizer.name]
        each = [1.0 if time == "epoch" else seconds_per_epoch(run.config) for run in runs]
        timed = [(run, seconds) for run, seconds in zip(runs, each, strict=True) if seconds is not None]
        if len(timed) < len(runs):
            continue
        reached = np.sort([seconds * epochs_to(run, exact_of(run), level) for run, seconds in timed])
        reached = reached[np.isfinite(reached)]
        share = np.arange(1, reached.size + 1) / len(runs)
        last = share[-1] if share.size else 0.0
        end = max(seconds * run.config.epochs for run, seconds in timed)
        begin = {"epoch": float(SMOOTHING), "seconds": reached[0] if reached.size else end}[time]
        axis.step(
            [begin, *reached, end],
            [0.0, *share, last],
            where="post",
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markevery=_marked(len(reached) + 2, place / len(groups)),
            markersize=6 if look.marker == "*" else 4,
            clip_on=False,
            label=look.label,
            linewidth=2.2 if name in heavy else 1.4,
        )
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())  # they would overlap in a narrow panel
    axis.set_ylim(0.0, 1.02)
    axis.set_xlabel(time)
    axis.set_ylabel("share of the runs")
    axis.set_title(f"within {100 * level:g} %")
