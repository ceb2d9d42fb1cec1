"""Panels of how an optimiser's regulators act along a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repro.study.plots.curves import block_median
from repro.study.plots.panels import RELATIVE_ERROR
from repro.study.plots.style import LOOKS
from repro.study.runs.store import Run

QUANTITIES = {
    "energy": RELATIVE_ERROR,
    "step_norm": r"length of the step  $|\delta|$",
    "lambda": r"damping  $\lambda$",
    "gamma": r"factors' damping  $\gamma$",
    "alpha": r"$\alpha$, weight of the direction",
    "mu": r"$\mu$, weight of the last step",
    "rho": r"$\rho$, actual / predicted change",
    "minres_residual": "MINRES: residual / first residual",
}
"""What is drawn, by the column of a run's curve; of the energy its relative error."""
_SIGNED = {"alpha": 0.1, "mu": 0.1, "rho": 1.0}
"""Of these the sign matters: their axes are linear up to here and logarithmic beyond, on either side."""


def quantity_panel(axis: Any, runs: Sequence[Run], column: str, exact: float) -> None:
    """One quantity along several runs: medians of blocks of epochs, as from :func:`block_median`.

    Args:
        axis: where to draw.
        runs: of one optimiser each; those that do not have the quantity are left out.
        column: one of :data:`QUANTITIES`.
        exact: the exact energy in units of hbar omega.
    """
    for run in runs:
        curve, look = run.curve, LOOKS[run.config.optimizer.name]
        if curve[column].isna().all():
            continue
        values = (curve[column] - exact).abs() / abs(exact) if column == "energy" else curve[column]
        if column not in _SIGNED:
            values = values.where(values > 0)
        shown = block_median(curve.assign(shown=values), "shown").dropna()
        style = {"color": look.color, "linestyle": look.linestyle, "label": look.label}
        axis.plot(shown["epoch"], shown["shown"], marker=look.marker, markersize=3.5, markevery=5, **style)
    if column in _SIGNED:
        axis.set_yscale("symlog", linthresh=_SIGNED[column])
        axis.axhline(0.0, color="0.6", linewidth=0.8)
    else:
        axis.set_yscale("log")
    axis.set_ylabel(QUANTITIES[column])
