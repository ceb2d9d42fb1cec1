"""Energies against the strength of the interaction: references, and the final energies of runs beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from repro.study.plots.case_tables import with_distances
from repro.study.plots.style import LOOKS, Look
from repro.study.runs.store import Run

BAR = 5.0
"""Standard errors of a bar, and of the band that counts as agreement."""
TOLERANCE = 0.005
"""Relative distance that counts as agreement, beside :data:`BAR` standard errors."""
BEYOND = 300.0
"""Per cent; energies that are further from the exact one are drawn as crosses."""


def energy_points(sizes: Mapping[str, Sequence[Run]], references: pd.DataFrame) -> pd.DataFrame:
    """One row for each run: its final energy, the references of its case, and how far it is from the exact one.

    Args:
        sizes: runs by the profile's name.
        references: columns ``particles``, ``v0``, ``exact`` and whatever else is to be beside a run; energies in units
            of hbar omega.

    Returns:
        The profile, the case, ``status``, ``energy``, ``error`` (the standard error), ``rhat``, the references,
        ``difference``, ``percent``, ``sigma``, and whether the energy is ``within`` the errors.
    """
    columns = ["profile", "particles", "v0", "status", "energy", "error", "rhat"]
    rows = [
        {
            "profile": size,
            "particles": run.config.system.particles,
            "v0": run.config.system.v0,
            "status": run.result["status"],
            "energy": run.result.get("energy"),
            "error": run.result.get("energy_error"),
            "rhat": run.result.get("rhat"),
        }
        for size, runs in sizes.items()
        for run in runs
    ]
    table = pd.DataFrame(rows, columns=columns).astype({"particles": int, "v0": float, "energy": float, "error": float})
    points = table.merge(references, on=["particles", "v0"])
    points["difference"] = points["energy"] - points["exact"]
    points = with_distances(points, "error")
    allowed = BAR * points["error"] + TOLERANCE * points["exact"].abs()
    return points.assign(within=points["difference"].abs() <= allowed)


def draw_references(energies: Any, distances: Any, references: pd.DataFrame, methods: Sequence[str]) -> None:
    """The references of one number of particles as lines; the panel of energies has their limits.

    Args:
        energies: panel of the energies.
        distances: panel of the distances from the exact energy in per cent.
        references: columns ``v0`` and one for each method.
        methods: names of looks; "exact" is one of them.
    """
    low, high = references[list(methods)].min().min(), references[list(methods)].max().max()
    energies.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    for method in methods:
        line = LOOKS[method]
        style = {"color": line.color, "linestyle": line.linestyle, "label": line.label}
        energies.plot(references["v0"], references[method], **style)
        if method != "exact":
            percent = 100.0 * (references[method] - references["exact"]) / references["exact"].abs()
            distances.plot(references["v0"], percent, marker=line.marker, markersize=3.5, **style)


def draw_points(axes: Sequence[Any], points: pd.DataFrame, look: Look, label: str, style: Mapping[str, Any]) -> None:
    """The runs of one size: energies, distances in per cent and in standard errors; crosses for those that are lost.

    Args:
        axes: the three panels.
        points: as from :func:`energy_points`, of one number of particles.
        look: of the optimiser.
        label: in the legend.
        style: of the markers, with the width of their edges as ``mew``.
    """
    upper, middle, lower = axes
    lost = points[(points["status"] == "diverged") | (points["percent"].abs() > BEYOND)]
    shown = points.drop(lost.index)
    bars = {"fmt": look.marker, "color": look.color, "capsize": 2, **style}
    upper.errorbar(shown["v0"], shown["energy"], BAR * shown["error"], label=label, **bars)
    middle.errorbar(shown["v0"], shown["percent"], 100.0 * BAR * shown["error"] / shown["exact"].abs(), **bars)
    lower.plot(shown["v0"], shown["sigma"], look.marker, color=look.color, **style)
    if len(lost):
        cross = {"marker": "x", "color": look.color, "linestyle": "", "ms": 7, "mew": style["mew"], "clip_on": False}
        middle.plot(lost["v0"], [BEYOND] * len(lost), **cross)
        middle.set_title(f"crosses: diverged, or beyond {BEYOND:g} %", loc="right", fontsize=7)


def distance_scales(middle: Any, lower: Any) -> None:
    """Scales, and bands of what counts as agreement, for distances in per cent (middle) and in errors (lower)."""
    middle.axhspan(-100.0 * TOLERANCE, 100.0 * TOLERANCE, color="0.9")
    for axis in (middle, lower):
        axis.axhline(0.0, color=LOOKS["exact"].color, linewidth=1.0)
    lower.axhspan(-BAR, BAR, color="0.9")
    middle.set_yscale("symlog", linthresh=1.0)
    middle.set_yticks([-1, 0, 1, 10, 100], ["−1", "0", "1", "10", "100"])
    middle.set_ylim(-3.0, BEYOND)
    lower.set_yscale("symlog", linthresh=10.0)
    lower.set_ylim(-100.0, 1e4)
    lower.set_xlabel(r"strength  $V_0$")
    lower.set_xticks([-20, -10, 0, 10, 20])
