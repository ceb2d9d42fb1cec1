"""Flows on statistical models: how they look, in which coordinates, and with which arrows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.quiver import Quiver

from repro.study.plots.style import BLACK, GREEN, VERMILION, Look

FLOWS = {
    "vanilla_mu": Look(r"vanilla, in $\mu$, projected", BLACK, (0, (1.2, 1.2)), "d"),
    "vanilla_theta": Look(r"vanilla, in $\theta$", VERMILION, (0, (5, 1.5)), "v"),
    "natural": Look("natural", GREEN, "-", "s"),
}
"""How the flows on the independence model are drawn."""


def flow_line(axis: Axes, points: np.ndarray, flow: str, label: str = "") -> None:
    """A path with a dot at its start and a head on its way.

    Args:
        axis: where.
        points: shape ``(T, 2)``.
        flow: one of :data:`FLOWS`.
        label: for the legend; none when left out.
    """
    look = FLOWS[flow]
    axis.plot(*points.T, color=look.color, linestyle=look.linestyle, linewidth=1.5, label=label or None)
    axis.plot(*points[0], color=look.color, marker="o", markersize=4.0, linestyle="none", clip_on=False)
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    middle = max(int(np.searchsorted(lengths, 0.4 * lengths[-1])), 1)
    head = {"arrowstyle": "-|>", "color": look.color, "shrinkA": 0.0, "shrinkB": 0.0}
    axis.annotate("", points[middle], points[middle - 1], arrowprops=head)


def arrows(axis: Axes, points: np.ndarray, vectors: np.ndarray, color: str = "0.25") -> Quiver:
    """Arrows as long as they are, in the units of the axes, points and vectors of shape ``(N, 2)``."""
    look: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.0028, "headwidth": 4.0}
    return axis.quiver(*points.T, *vectors.T, color=color, **look)


def mu_axes(axis: Axes) -> None:
    """The square of probabilities."""
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(0.0, 1.0)
    axis.set_aspect("equal")
    axis.grid(visible=False)
    axis.set_xlabel(r"$\mu_1$, probability of $x_1 = +1$")
    axis.set_ylabel(r"$\mu_2$, probability of $x_2 = +1$")


def theta_axes(axis: Axes, far: float = 3.0) -> None:
    """The plane of the natural parameters, from -far to far."""
    axis.set_xlim(-far, far)
    axis.set_ylim(-far, far)
    axis.set_aspect("equal")
    axis.grid(visible=False)
    axis.set_xlabel(r"$\theta_1$, natural parameter of $x_1$")
    axis.set_ylabel(r"$\theta_2$, natural parameter of $x_2$")


def lattice(low: float, high: float, points: int) -> np.ndarray:
    """Points of a square lattice, shape ``(points^2, 2)``."""
    line = np.linspace(low, high, points)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
