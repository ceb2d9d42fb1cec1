"""Panels of runs beside the published curve: in blocks of epochs, and how long each start took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro.study.experiments.published import in_blocks
from repro.study.plots.style import BLACK, LOOKS
from repro.study.runs.convergence import LEVEL, epochs_to
from repro.study.runs.store import Run


def blocks_line(axis: Any, run: Run, exact: float, label: str | None, band: bool = False, **style: Any) -> None:
    """The medians of a run's blocks of epochs: their relative error, in modulus.

    Args:
        axis: where to draw.
        run: of the published case.
        exact: its exact energy in units of hbar omega.
        label: in the legend, if any.
        band: whether to draw the central 68 % of the epochs of each block.
        style: of the line.
    """
    blocks = in_blocks(run.curve)
    middle = _middle(blocks)
    error, half = (blocks["median"] / exact - 1.0).abs(), blocks["half_band"] / exact
    axis.plot(middle, error, label=label, **style)
    if band:
        low = np.maximum(error - half, 1e-5)
        axis.fill_between(middle, low, error + half, color=style["color"], alpha=0.2, linewidth=0)


def blocks_panel(axis: Any, published: pd.DataFrame, theirs: Sequence[Run], ours: Sequence[Run], exact: float) -> None:
    """Relative errors in blocks of epochs: the published curve, and runs from the authors' and from our own networks.

    Args:
        axis: where to draw.
        published: as from :func:`repro.study.experiments.published.published_blocks`.
        theirs: runs from the authors' network; the first has a band.
        ours: runs from our own networks.
        exact: the exact energy in units of hbar omega.
    """
    look = LOOKS["dgd"]
    for number, run in enumerate(ours):
        blocks_line(axis, run, exact, None if number else "from our own networks", color="0.6", linewidth=0.9)
    style = {"color": look.color, "marker": look.marker, "markersize": 3.5}
    for number, run in enumerate(theirs):
        blocks_line(axis, run, exact, None if number else "DGD from the authors' network", not number, **style)
    above, half = published["median"] / exact - 1.0, published["half_band"] / exact
    bars = np.array([np.minimum(half, 0.95 * above), half])  # a logarithmic axis has no room for more below
    axis.errorbar(
        _middle(published), above, bars, fmt="o", color=BLACK, mfc="white", ms=4.5, lw=0.8, capsize=2,
        label="published curve", zorder=3,
    )  # fmt: skip
    axis.axhline(LEVEL, color="0.3", linestyle=":", linewidth=1.0)
    axis.set_yscale("log")
    axis.set_ylim(1e-4, 2.0)
    axis.set_xlabel("epoch")
    axis.set_ylabel(r"$|E - E_{\rm exact}|\,/\,|E_{\rm exact}|$, medians of 50 epochs")
    axis.legend(loc="upper right")


def starts_panel(axis: Any, theirs: Sequence[Run], ours: Sequence[Run], exact: float) -> None:
    """Epochs to 1 % of each run, from the authors' network and from our own networks.

    Args:
        axis: where to draw.
        theirs: runs from the authors' network.
        ours: runs from our own networks.
        exact: the exact energy in units of hbar omega.
    """
    look = LOOKS["dgd"]
    for place, (runs, marker, color) in enumerate(((theirs, look.marker, look.color), (ours, "o", "0.5"))):
        for run in runs:
            epochs = epochs_to(run, exact)
            axis.plot(place, epochs, marker, color=color, mfc="white", ms=6)
            style = {"fontsize": 7, "va": "center", "xytext": (5, 0), "textcoords": "offset points"}
            axis.annotate(f" seed {run.config.seed}", (place, epochs), **style)
    axis.set_xticks([0, 1], ["the authors'\nnetwork", "our own\nnetworks"])
    axis.set_xlim(-0.5, 1.7)
    axis.set_ylim(0.0, None)
    axis.set_ylabel("epochs to 1 %")


def _middle(blocks: pd.DataFrame) -> pd.Series:
    """The middle epoch of each block."""
    return 0.5 * (blocks["first_epoch"] + blocks["last_epoch"])
