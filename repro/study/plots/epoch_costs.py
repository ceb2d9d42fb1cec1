"""Panels of what an epoch costs: its parts, how it grows with the number of particles, the same work by other codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter

from repro.study.benchmarks.growth import PARTS, WHOLE, apportioned
from repro.study.benchmarks.tasks import OURS
from repro.study.plots.style import BLACK, BLUE, LOOKS, ORANGE, PURPLE, SKY, VERMILION, Look

_SHADES = dict(zip(PARTS, (BLACK, "#56606b", "#8c96a0", BLUE, SKY, ORANGE, PURPLE), strict=True))
_HATCHES = dict(zip(PARTS, ("", "", "", "", "///", "...", "xxx"), strict=True))
_MARKERS = dict(zip(PARTS, "osvDPX^", strict=True))
_CODES = ((BLACK, ""), (ORANGE, "///"), (SKY, "..."))
"""Colour and hatch of the codes that do one task, in their order; this package's is black."""
_BAR = 0.27
"""Distance of the bars of two codes."""
_LABELS = {"seconds": "seconds per epoch", "peak_memory_gb": "peak memory [GB]"}


def size_line(axis: Any, rows: pd.DataFrame, column: str, look: Look, label: str | None = None) -> None:
    """One optimiser's line against the number of particles.

    Args:
        axis: where to draw.
        rows: columns ``particles`` and ``column``, one row for each size.
        column: what to draw.
        look: of the line.
        label: in the legend; the name of the look when left out.
    """
    axis.plot(
        rows["particles"],
        rows[column],
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markersize=5,
        label=look.label if label is None else label,
    )


def parts_panel(axis: Any, rows: pd.DataFrame) -> None:
    """Seconds of an epoch of every optimiser as a bar of its parts, with a stroke at the whole epoch.

    Above a bar is the sum of the parts over the whole epoch, in per cent.

    Args:
        axis: where to draw.
        rows: of ``repro bench parts``, of one size.
    """
    names = _present(rows)
    places = range(len(names))
    parts, excess = apportioned(rows)
    bottom = np.zeros(len(names))
    for part, row in parts.iterrows():
        seconds = row.reindex(names).to_numpy()
        style = {"color": _SHADES[str(part)], "hatch": _HATCHES[str(part)], "edgecolor": "white", "linewidth": 0.4}
        axis.bar(places, seconds, bottom=bottom, label=part, **style)
        bottom += seconds
    total = rows[rows["part"] == WHOLE].set_index("optimizer")["seconds"].reindex(names)
    axis.plot(places, total, "_", color=VERMILION, markersize=26, markeredgewidth=2, label=WHOLE)
    axis.set_xticks(places, [LOOKS[name].label for name in names], rotation=30, ha="right", rotation_mode="anchor")
    for place, name in enumerate(names):
        told, style = f"{100 * excess[name]:.0f} %", {"textcoords": "offset points", "ha": "center", "fontsize": 7}
        axis.annotate(told, (place, total[name]), xytext=(0, 3), **style)
    axis.set_ylim(0.0, 1.15 * total.max())
    axis.set_ylabel("seconds per epoch")
    axis.legend(loc="upper left")


def rate_panel(axis: Any, rows: pd.DataFrame) -> None:
    """The rate that the parts reach in matrix products against the number of particles; a line is at one half.

    Args:
        axis: where to draw.
        rows: of ``repro bench parts``, of one optimiser in several sizes.
    """
    for part, group in rows[rows["part"] != WHOLE].groupby("part", sort=False):
        ordered = group.sort_values("particles")
        style = {"color": _SHADES[str(part)], "marker": _MARKERS[str(part)], "markersize": 5}
        axis.plot(ordered["particles"], 100 * ordered["fraction_of_rate"], label=part, **style)
    axis.axhline(50.0, color="0.3", linewidth=1.0)
    axis.set_xticks(sorted(set(rows["particles"])))
    axis.set_ylim(0.0, 100.0)
    axis.set_xlabel("particles  $A$")
    axis.set_ylabel("% of the machine's matrix-product rate")
    axis.legend(loc="upper right")


def growth_panel(axis: Any, rows: pd.DataFrame, exponents: pd.DataFrame, column: str) -> None:
    """Seconds or memory of whole epochs against the number of particles, both logarithmic, with the power laws.

    Args:
        axis: where to draw.
        rows: of ``repro bench parts``, of sizes that differ in the number of particles alone.
        exponents: as from :func:`repro.study.benchmarks.growth.growth`.
        column: "seconds" or "peak_memory_gb".
    """
    whole = rows[rows["part"] == WHOLE].sort_values("particles")
    of = "memory" if column == "peak_memory_gb" else column
    fitted = exponents[(exponents["part"] == WHOLE) & (exponents["with"] == "A") & (exponents["of"] == of)]
    powers = fitted.set_index("optimizer")["exponent"]
    for name in _present(rows):
        label = f"{LOOKS[name].label}  $A^{{{powers[name]:.1f}}}$"
        size_line(axis, whole[whole["optimizer"] == name], column, LOOKS[name], label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    ticks = sorted(set(whole["particles"]))
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("particles  $A$")
    axis.set_ylabel(_LABELS[column])
    axis.legend(loc="upper left")


def codes_panel(axis: Any, rows: pd.DataFrame, codes: Sequence[str]) -> None:
    """Seconds of one task by several codes, a group of bars for each number of particles.

    Above the bars of other codes is their time over ours.

    Args:
        axis: where to draw.
        rows: of ``repro bench peers``, of one task.
        codes: three, in the order of the bars.
    """
    counts = sorted(set(rows["particles"]))
    for number, (code, (color, hatch)) in enumerate(zip(codes, _CODES, strict=True)):
        mine = rows[rows["code"] == code].set_index("particles").reindex(counts)
        places = np.arange(len(counts)) + _BAR * (number - 1)
        style = {"color": color, "hatch": hatch, "edgecolor": "white"}
        axis.bar(places, mine["seconds"], 0.25, label=f"{code} {mine['version'].iloc[0]}", **style)
        if code != OURS:
            for place, seconds, over in zip(places, mine["seconds"], mine["over_ours"], strict=True):
                axis.text(place, seconds, f"{over:.1f}×", ha="center", va="bottom", fontsize=7)
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    axis.set_xlabel("particles  $A$")
    axis.set_yscale("log")
    axis.set_ylabel("seconds")
    axis.yaxis.set_major_formatter("{x:g}")
    lowest, highest = axis.get_ylim()
    axis.set_ylim(lowest, 8.0 * highest)  # room for the legend
    axis.legend(loc="upper left")


def _present(rows: pd.DataFrame) -> list[str]:
    """The optimisers of a table, in the order of the study."""
    return [name for name in LOOKS if name in set(rows["optimizer"])]
