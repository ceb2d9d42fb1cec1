"""Panels that several figures share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from repro.study.convergence import LEVELS
from repro.study.curves import PER_DECADE, TIMES, block_median, energy_limits, error_bins, group_bins, log_binned
from repro.study.selection import exact_of
from repro.study.store import Run
from repro.study.style import LOOKS
from repro.study.timing import seconds_per_epoch
from repro.study.wording import LARGEST, SMALLEST

ENERGY = r"energy  $E$  ($\hbar\omega$)"
RELATIVE_ERROR = r"$|E - E_{\rm exact}|\,/\,|E_{\rm exact}|$"


def energy_panel(axis: Any, groups: Sequence[Sequence[Run]], log_epochs: bool = False) -> None:
    """Energy against epoch: single epochs as thin lines, medians of every seed as thick ones, the exact energy.

    A run that diverged ends in a cross on the upper edge.

    Args:
        axis: where to draw.
        groups: runs of one case, of one optimiser each. What lies beyond :func:`energy_limits` is drawn on the edge.
        log_epochs: whether the epochs are logarithmic; then the medians are of bins of equal width there.
    """
    exact = exact_of(groups[0][0])
    low, high = energy_limits([run for runs in groups for run in runs], exact)
    for runs in groups:
        look = LOOKS[runs[0].config.optimizer.name]
        for number, run in enumerate(runs):
            curve = run.curve
            axis.plot(
                curve["epoch"], curve["energy"].clip(low, high), color=look.color, lw=0.3, alpha=0.45, rasterized=True
            )
            if log_epochs:
                median = log_binned(curve["epoch"], curve["energy"], PER_DECADE).assign(
                    energy=lambda bins: bins["median"]
                )
            else:
                median = block_median(curve, "energy")
            label = look.label if number == 0 else None
            axis.plot(
                median["epoch"], median["energy"].clip(low, high), color=look.color, linestyle=look.linestyle,
                label=label,
            )  # fmt: skip
            if not run.complete:
                axis.plot(len(curve), high, marker="x", color=look.color, markersize=8, mew=2, clip_on=False)
    axis.axhline(exact, color=LOOKS["exact"].color, linestyle="--", linewidth=1.0, label="exact")
    axis.set_ylim(low, high)
    axis.set_xscale("log" if log_epochs else "linear")
    axis.set_xlabel("epoch")
    axis.set_ylabel(ENERGY)


def error_panel(
    axis: Any, groups: Sequence[Sequence[Run]], time: str = "epoch", thin: Sequence[str] = (), markers: bool = True
) -> None:
    """Relative error against epoch or seconds, both logarithmic: binned medians, see :func:`group_bins`.

    A run that diverged ends in a cross; dotted lines are at :data:`LEVELS`; errors above :data:`LARGEST` are drawn
    there.

    Args:
        axis: where to draw.
        groups: runs of one optimiser each.
        time: "epoch" or "seconds".
        thin: optimisers drawn as thin lines without a band.
        markers: whether to mark the bins.
    """
    timed = [runs for runs in groups if time == "epoch" or seconds_per_epoch(runs[0].config) is not None]
    if not timed:
        empty_panel(axis, "no benchmark of this size")
        return
    for runs in timed:
        name = runs[0].config.optimizer.name
        look, bins = LOOKS[name], group_bins(runs, time)
        bins[["median", "low", "high"]] = bins[["median", "low", "high"]].clip(upper=LARGEST)
        style = {"color": look.color, "linestyle": look.linestyle, "label": look.label}
        if name in thin:
            axis.plot(bins[time], bins["median"], linewidth=0.8, **style)
        else:
            axis.fill_between(bins[time], bins["low"], bins["high"], color=look.color, alpha=0.2, linewidth=0)
            marker = {"marker": look.marker, "markersize": 3.0, "markevery": 2} if markers else {}
            axis.plot(bins[time], bins["median"], **style, **marker)
        for run in runs:
            if not run.complete:
                last = error_bins(run, time).iloc[-1]
                end = min(last["median"], LARGEST)
                axis.plot(last[time], end, marker="x", color=look.color, markersize=7, mew=2, clip_on=False)
    for level in LEVELS:
        axis.axhline(level, color="0.3", linestyle=":", linewidth=1.0)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(TIMES[time])
    axis.set_ylabel(RELATIVE_ERROR)


def empty_panel(axis: Any, told: str = "not run yet") -> None:
    """Says that there is nothing to draw yet."""
    axis.text(0.5, 0.5, told, color="0.5", ha="center", va="center", transform=axis.transAxes)
    axis.grid(False, which="both")
    axis.tick_params(which="both", length=0, labelbottom=False, labelleft=False)


def common_legend(figure: Any, title: str) -> None:
    """One legend above all panels, each label once, the exact energy last."""
    entries: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = [look.label for look in LOOKS.values() if look.label in entries]
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
