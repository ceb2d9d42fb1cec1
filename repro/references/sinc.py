"""Sinc functions on a uniform grid."""

from __future__ import annotations

import numpy as np

from repro.references.quadrature import Reals


def sinc_kinetic(points: int, spacing: float) -> Reals:
    """-1/2 d^2/dx^2 between sinc functions on a uniform grid (Colbert and Miller, J. Chem. Phys. 96, 1982 (1992))."""
    difference = np.subtract.outer(np.arange(points), np.arange(points))
    off = np.where(difference == 0, 1, difference)
    return np.asarray(np.where(difference == 0, np.pi**2 / 6.0, (-1.0) ** difference / off**2) / spacing**2)
