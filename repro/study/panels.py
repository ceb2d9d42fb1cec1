"""Panels that several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from repro.study.store import Run
from repro.study.style import LOOKS

BLOCK = 20


def block_median(curve: pd.DataFrame, column: str, block: int = BLOCK) -> pd.DataFrame:
    """Median of ``column`` over blocks of epochs, at the last epoch of each."""
    groups = curve.groupby((curve["epoch"] - 1) // block)
    return pd.DataFrame({"epoch": groups["epoch"].last(), column: groups[column].median()})


def energy_panel(axis: Any, groups: Sequence[Sequence[Run]], exact: float, limits: tuple[float, float]) -> None:
    """Energy against epoch: single epochs as thin lines, block medians of every seed as thick ones, the exact energy.

    A run that diverged ends in a cross on the upper edge.

    Args:
        axis: where to draw.
        groups: runs of one optimiser each.
        exact: the exact energy.
        limits: of the energy; what lies beyond is cut.
    """
    for runs in groups:
        look = LOOKS[runs[0].config.optimizer.name]
        for number, run in enumerate(runs):
            curve = run.curve
            axis.plot(
                curve["epoch"], curve["energy"].clip(*limits), color=look.color, lw=0.3, alpha=0.45, rasterized=True
            )
            median = block_median(curve, "energy")
            label = look.label if number == 0 else None
            axis.plot(
                median["epoch"], median["energy"].clip(*limits), color=look.color, linestyle=look.linestyle, label=label
            )
            if not run.complete:
                axis.plot(len(curve), limits[1], marker="x", color=look.color, markersize=8, mew=2, clip_on=False)
    axis.axhline(exact, color=LOOKS["exact"].color, linestyle="--", linewidth=1.0, label=f"exact, {exact:.6f}")
    axis.set_ylim(*limits)
    axis.set_xlabel("epoch")
    axis.set_ylabel(r"energy  $E$  ($\hbar\omega$)")
