"""Panels that several figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from repro.study.plots.curves import PER_DECADE, TIMES, block_median, energy_limits, error_bins, group_bins, log_binned
from repro.study.plots.run_selection import exact_of
from repro.study.plots.style import LARGEST, LOOKS, SMALLEST
from repro.study.runs.convergence import LEVELS
from repro.study.runs.store import Run
from repro.study.runs.timing import seconds_per_epoch

ENERGY = r"energy  $E$  ($\hbar\omega$)"
RELATIVE_ERROR = r"$|E - E_{\rm exact}|\,/\,|E_{\rm exact}|$"


MEDIANS_BEYOND, EPOCHS_BEYOND, DIVERGED = "median beyond the panel", "single epochs beyond", "run diverged and ended"
MARKS: dict[str, dict[str, Any]] = {
    MEDIANS_BEYOND: {"marker": "^", "markersize": 4.0},
    EPOCHS_BEYOND: {"marker": "|", "markersize": 4.0, "markeredgewidth": 0.4},
    DIVERGED: {"marker": "x", "markersize": 6.5, "markeredgewidth": 1.8},
}
"""What stands at the edge of a panel in place of data, by its name in the legend."""
_INSIDE = {MEDIANS_BEYOND: 6.0, EPOCHS_BEYOND: 2.0, DIVERGED: -6.0}
"""By how many points a mark is inside the panel; a run's end is outside, where nobody takes it for data."""
_ROW = 9.0


def edge_marks(axis: Any, mark: str, places: Any, color: str, upper: bool = True, row: int = 0) -> None:
    """Marks at an edge of a panel that something lies beyond it, or that a run ended.

    Args:
        axis: where to draw; its limits are not changed in the other direction.
        mark: one of :data:`MARKS`.
        places: along the horizontal axis, shape ``(n,)``; nothing is drawn for n = 0.
        color: of the marks.
        upper: whether at the upper edge, else at the lower one.
        row: of what lies beyond, counted from the edge: one for each optimiser, so that marks do not cover each other.
    """
    count = len(places)
    if not count:
        return
    shape = dict(MARKS[mark])
    if not upper and shape["marker"] == "^":
        shape["marker"] = "v"
    inside = _INSIDE[mark] + (0.0 if mark == DIVERGED else _ROW * row)
    points = -inside if upper else inside
    transform = offset_copy(axis.get_xaxis_transform(), axis.figure, y=points, units="points")
    style = {"color": color, "linestyle": "", "clip_on": False, "label": mark, "rasterized": mark == EPOCHS_BEYOND}
    axis.plot(places, [float(upper)] * count, transform=transform, **style, **shape)


def line_inside(
    axis: Any, times: Any, values: Any, limits: tuple[float, float], mark: str, color: str, row: int = 0, **style: Any
) -> None:
    """A curve that is broken where it lies beyond the limits; there, marks stand at that edge.

    Of medians the lines from the last point within the limits to the first beyond them are drawn, as far as the frame.

    Args:
        axis: where to draw.
        times: shape ``(n,)``.
        values: shape ``(n,)``.
        limits: the lower and the upper one.
        mark: one of :data:`MARKS`, for what is beyond.
        color: of line and marks.
        row: of the marks.
        style: of the line. Its markers show points that have no neighbour within the limits.
    """
    x, y = np.asarray(times, float), np.asarray(values, float)
    above, below = y > limits[1], y < limits[0]
    within = np.pad(~(above | below), 1)
    shown = within[1:-1] if mark == EPOCHS_BEYOND else within[1:-1] | within[:-2] | within[2:]
    axis.plot(x, np.where(shown & np.isfinite(y), y, np.nan), color=color, **style)
    axis.update_datalim(np.column_stack([x, x]), updatey=False)  # marks are on the same axis of times
    axis.autoscale_view(scaley=False)
    edge_marks(axis, mark, x[above], color, row=row)
    edge_marks(axis, mark, x[below], color, upper=False, row=row)


def energy_panel(axis: Any, groups: Sequence[Sequence[Run]], log_epochs: bool = False) -> None:
    """Energy against epoch: single epochs as thin lines, medians of every seed as thick ones, the exact energy.

    Curves are broken where they leave the panel, see :func:`line_inside`; a cross above the panel is where a run
    diverged.

    Args:
        axis: where to draw.
        groups: runs of one case, of one optimiser each; the panel has their :func:`energy_limits`.
        log_epochs: whether the epochs are logarithmic; then the medians are of bins of equal width there.
    """
    exact = exact_of(groups[0][0])
    limits = energy_limits([run for runs in groups for run in runs], exact)
    for row, runs in enumerate(groups):
        look = LOOKS[runs[0].config.optimizer.name]
        for number, run in enumerate(runs):
            curve = run.curve
            line_inside(
                axis, curve["epoch"], curve["energy"], limits, EPOCHS_BEYOND, look.color, row,
                lw=0.3, alpha=0.45, marker=".", ms=0.8, mew=0.0, rasterized=True,
            )  # fmt: skip
            if log_epochs:
                median = log_binned(curve["epoch"], curve["energy"], PER_DECADE).assign(
                    energy=lambda bins: bins["median"]
                )
            else:
                median = block_median(curve, "energy")
            line_inside(
                axis, median["epoch"], median["energy"], limits, MEDIANS_BEYOND, look.color, row,
                linestyle=look.linestyle, marker=look.marker, ms=2.2, label=look.label if number == 0 else None,
            )  # fmt: skip
            edge_marks(axis, DIVERGED, [] if run.complete else [len(curve)], look.color)
    axis.axhline(exact, color=LOOKS["exact"].color, linestyle="--", linewidth=1.0, label="exact")
    axis.set_ylim(*limits)
    axis.set_xscale("log" if log_epochs else "linear")
    axis.set_xlabel("epoch")
    axis.set_ylabel(ENERGY)


def error_panel(
    axis: Any, groups: Sequence[Sequence[Run]], time: str = "epoch", thin: Sequence[str] = (), markers: bool = True
) -> None:
    """Relative error against epoch or seconds, both logarithmic: binned medians, see :func:`group_bins`.

    Curves are broken where the error is above :data:`LARGEST`, with a mark at the upper edge; a cross above the panel
    is where a run diverged; dotted lines are at :data:`LEVELS`.

    Args:
        axis: where to draw; :func:`limit_errors` is to follow when all is drawn.
        groups: runs of one optimiser each.
        time: "epoch" or "seconds".
        thin: optimisers drawn as thin lines without a band.
        markers: whether to mark the bins.
    """
    timed = [runs for runs in groups if time == "epoch" or seconds_per_epoch(runs[0].config) is not None]
    if not timed:
        empty_panel(axis, "no benchmark of this size")
        return
    for row, runs in enumerate(timed):
        name = runs[0].config.optimizer.name
        look, bins = LOOKS[name], group_bins(runs, time)
        style = {"linestyle": look.linestyle, "label": look.label}
        if name in thin:
            style |= {"linewidth": 0.8}
        else:
            band = bins[["low", "high"]].clip(upper=LARGEST)
            axis.fill_between(bins[time], band["low"], band["high"], color=look.color, alpha=0.2, linewidth=0)
            style |= {"marker": look.marker, "markersize": 3.0, "markevery": 2} if markers else {}
        line_inside(axis, bins[time], bins["median"], (0.0, LARGEST), MEDIANS_BEYOND, look.color, row, **style)
        ends = [error_bins(run, time)[time].iloc[-1] for run in runs if not run.complete]
        edge_marks(axis, DIVERGED, ends, look.color)
    for level in LEVELS:
        axis.axhline(level, color="0.3", linestyle=":", linewidth=1.0)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(TIMES[time])
    axis.set_ylabel(RELATIVE_ERROR)


def dotted_errors(axis: Any, run: Run, told: str) -> None:
    """The binned medians of one more run in a panel of relative errors: a dotted line that is named at its end."""
    bins, color = error_bins(run), LOOKS[run.config.optimizer.name].color
    axis.plot(bins["epoch"], bins["median"], color=color, linestyle=":", linewidth=1.2)
    end = (bins["epoch"].iloc[-1], bins["median"].iloc[-1])
    axis.annotate(told, end, xytext=(0, 14), textcoords="offset points", ha="right", va="top", fontsize=7)


def limit_errors(axes: Sequence[Any], largest: float = LARGEST) -> None:
    """Gives panels of relative errors the same limits, ``largest`` at most; empty panels are left alone."""
    panels = [axis for axis in axes if axis.get_yscale() == "log"]
    if not panels:
        return
    lows, highs = zip(*(axis.get_ylim() for axis in panels), strict=True)
    for axis in panels:
        axis.set_ylim(min(lows), min(max(highs), largest))


def empty_panel(axis: Any, told: str = "not run yet") -> None:
    """Says that there is nothing to draw yet."""
    axis.text(0.5, 0.5, told, color="0.5", ha="center", va="center", transform=axis.transAxes)
    axis.grid(False, which="both")
    axis.tick_params(which="both", length=0, labelbottom=False, labelleft=False)


def common_legend(figure: Any, title: str) -> None:
    """One legend above all panels, each label once: optimisers, the exact energy, what the marks at the edges mean."""
    entries: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    entries |= {
        mark: Line2D([], [], color="0.2", linestyle="", **shape | {"markeredgewidth": 1.2})
        for mark, shape in MARKS.items()
        if mark in entries
    }
    order = [label for label in (*(look.label for look in LOOKS.values()), *MARKS) if label in entries]
    handles = [entries[label] for label in order]
    count = max(1, len(order))
    legend = figure.legend(handles, order, loc="outside upper center", ncols=count, title=title, title_fontsize=8)
    legend.get_title().set_multialignment("center")


def shaded_table(
    axis: Any,
    cells: Mapping[tuple[int, int], tuple[str, float]],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    shrink: float = 1.0,
) -> None:
    """A table whose cells are the darker, the larger their relative error; empty cells hold a dash.

    Args:
        axis: where to draw.
        cells: by row and column, a text and the relative error, infinite for a run that diverged.
        rows: their titles.
        columns: their titles.
        label: of the bar that tells the errors.
        shrink: of the bar.
    """
    shade = np.full((len(rows), len(columns)), np.nan)
    for place in product(range(len(rows)), range(len(columns))):
        text, error = cells.get(place, ("—", math.nan))
        ink = "0.5"
        if place in cells:
            shade[place] = np.log10(100.0 * min(max(error, SMALLEST), LARGEST))
            ink = "white" if shade[place] > 0.0 else "black"
        axis.text(*reversed(place), text, ha="center", va="center", fontsize=7.5, color=ink)
    image = axis.imshow(shade, cmap="Greys", vmin=-3.0, vmax=2.0, aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.grid(False)
    bar = axis.figure.colorbar(image, ax=axis, shrink=shrink, extend="both")
    bar.set_label(label)
    bar.set_ticks(range(-3, 3), labels=["0.001", "0.01", "0.1", "1", "10", "100"])
