"""Panels of densities: sampled from trained states, beside those of the exact ground states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from repro.config import SystemConfig
from repro.references.densities import Densities
from repro.study.plots.style import BLUE, GREY, LOOKS, VERMILION, Look
from repro.study.plots.tables import case_title
from repro.study.runs.observables import StoredObservables

BAR = 5.0
"""Standard errors of a bar or of a half band."""
_STRENGTHS: dict[float, tuple[str, Any]] = {
    -20.0: (BLUE, "-"),
    0.0: (GREY, (0, (4, 2))),
    20.0: (VERMILION, (0, (1, 1))),
}
"""Colour and dashes by the strength of the interaction."""
_NEAR, _FAR = 2.0, 4.0
"""Half the width of a panel of pair densities, with attraction and without."""


def one_body_panel(
    axis: Any, exact: Mapping[float, Densities], sampled: Mapping[float, StoredObservables], name: str
) -> None:
    """One-body densities for several strengths: the exact ones as lines, every other sampled bin as a circle.

    Args:
        axis: where to draw.
        exact: by the strength, one of :data:`_STRENGTHS`.
        sampled: those of them that there are.
        name: of what was sampled, in the legend.
    """
    for v0, state in exact.items():
        color, dashes = _STRENGTHS[v0]
        told = f"$V_0$ = {v0:g}".replace("-", "−")
        axis.plot(state.x, state.one_body, color=color, linestyle=dashes, label=f"{told}, exact")
        if v0 not in sampled:
            continue
        every = sampled[v0].density.iloc[::2]
        style = {"fmt": "o", "ms": 2.2, "lw": 0.7, "color": color, "mfc": "white"}
        axis.errorbar(every["x"], every["n"], BAR * every["error"], label=f"{told}, {name}", **style)
    axis.set_xlim(-5.0, 5.0)
    axis.set_ylim(0.0, None)
    axis.set_xlabel(r"position  $x$")


def pair_panel(axis: Any, system: SystemConfig, state: Densities, found: StoredObservables | None) -> None:
    """The pair density of one case in grey: sampled above the diagonal, exact below it.

    Args:
        axis: where to draw.
        system: the case.
        state: its exact densities on n positions; the pair density has shape ``(n, n)``.
        found: what was sampled on the same positions, if it was.
    """
    above = np.add.outer(state.x, np.zeros_like(state.x)) < state.x
    both = np.where(above, found.pair_matrix() if found else np.nan, state.pair)
    edge = state.x[-1] + 0.5 * (state.x[1] - state.x[0])
    image = axis.imshow(both.T, origin="lower", extent=(-edge, edge, -edge, edge), cmap="Greys", vmin=0.0)
    axis.plot([-edge, edge], [-edge, edge], color="0.5", lw=0.5)
    reach = _NEAR if system.v0 < 0 else _FAR
    axis.set_xlim(-reach, reach)
    axis.set_ylim(-reach, reach)
    axis.grid(False)
    axis.set_title(f"{case_title(system)}: $n_2(x, y)$", loc="left")
    axis.set_xlabel(r"$x$")
    axis.figure.colorbar(image, ax=axis, shrink=0.8)


def density_panel(axis: Any, density: pd.DataFrame, exact: np.ndarray, look: Look) -> None:
    """A sampled one-body density with a band of :data:`BAR` standard errors, and the exact one as a dashed line.

    Args:
        axis: where to draw.
        density: columns x, n, error; n rows.
        exact: at the same positions; shape ``(n,)``.
        look: of the optimiser that made the state.
    """
    x, n, error = (density[name].to_numpy() for name in ("x", "n", "error"))
    axis.fill_between(x, n - BAR * error, n + BAR * error, color=look.color, alpha=0.3, linewidth=0)
    axis.plot(x, n, color=look.color, linestyle=look.linestyle, label=look.label)
    axis.plot(x, exact, color=LOOKS["exact"].color, linestyle="--", label="exact")
    axis.set_xlabel(r"$x$  $(\hbar/m\omega)^{1/2}$")
    axis.set_ylabel(r"density  $n(x)$")
    axis.set_ylim(bottom=0.0)
