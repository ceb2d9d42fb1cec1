"""Fisher matrices in pictures: which of the three a line stands for, and the ellipse of a matrix of two weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from repro.demonstrations.optimisation.fisher_kinds import FisherKind
from repro.study.plots.style import METHODS, SKY, Look

FISHER_LOOKS: dict[FisherKind, Look] = {
    FisherKind.EXACT: replace(METHODS["natural-gradient"], label=FisherKind.EXACT.told),
    FisherKind.MC: Look(FisherKind.MC.told, SKY, (0, (5, 1.5)), "D"),
    FisherKind.EMPIRICAL: replace(METHODS["empirical-fisher"], label=FisherKind.EMPIRICAL.told),
}
"""How each kind of matrix is drawn; the label says which it is."""


def ellipse(axis: Axes, matrix: np.ndarray, centre: np.ndarray, radius: float, kind: FisherKind) -> None:
    """The points theta with (theta - centre)^T M (theta - centre) = radius^2.

    Args:
        axis: where.
        matrix: M, positive definite, shape ``(2, 2)``.
        centre: shape ``(2,)``.
        radius: of the ellipse.
        kind: of matrix, for the look of the line.
    """
    values, vectors = np.linalg.eigh(matrix)
    angles = np.linspace(0.0, 2.0 * np.pi, 201)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    points = centre[:, None] + radius * vectors @ (circle / np.sqrt(values)[:, None])
    look = FISHER_LOOKS[kind]
    axis.plot(*points, color=look.color, linestyle=look.linestyle, linewidth=2.0, label=look.label)
