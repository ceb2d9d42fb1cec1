"""Functions of two variables as contours, and the paths of optimisers on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet

from repro.study.plots.style import METHODS

POINTS = 201
"""Of a grid, along either axis."""


def landscape(
    axis: Axes,
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    horizontal: tuple[float, float],
    vertical: tuple[float, float],
    levels: int | Sequence[float] = 15,
) -> QuadContourSet:
    """Contours of a function in grey, for paths to be drawn upon.

    Args:
        axis: where.
        function: of two arrays of the same shape.
        horizontal: the range of its first argument.
        vertical: the range of its second argument.
        levels: how many contours, or their values.
    """
    first, second = np.meshgrid(np.linspace(*horizontal, POINTS), np.linspace(*vertical, POINTS))
    axis.set_xlim(*horizontal)
    axis.set_ylim(*vertical)
    axis.grid(visible=False)
    return axis.contour(first, second, function(first, second), levels=levels, colors="0.75", linewidths=0.7)


def path(axis: Axes, points: np.ndarray, method: str, label: str | None = None, every: int = 1) -> None:
    """The iterates of a method, joined by a line.

    Args:
        axis: where.
        points: shape ``(T, 2)``.
        method: one of :data:`repro.study.plots.style.METHODS`, which says how it looks.
        label: for the legend; the method's own when left out.
        every: of so many iterates one gets a marker.
    """
    look = METHODS[method]
    axis.plot(
        points[:, 0],
        points[:, 1],
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markersize=3.5,
        markevery=every,
        linewidth=1.2,
        label=look.label if label is None else label,
    )
