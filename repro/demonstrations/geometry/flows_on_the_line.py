"""Flows uphill of E[f] over the normal distributions on R, in (mu, sigma): what both items on them share.

The Fisher matrix in (mu, sigma) is diag(1, 2) / sigma^2. So the natural gradient is sigma^2 times (dF/dmu, dF/dsigma /
2). A factor in front of both components changes the time only: the natural flow runs on the paths of the vanilla
gradient in (mu, 2^(1/2) sigma), sigma^2 times as fast.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

Gradient = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(mu, sigma) -> (dF/dmu, dF/dsigma), all of one shape."""

VANILLA, NATURAL = "vanilla", "natural"
GEOMETRIES = (VANILLA, NATURAL)
TOLERANCE = 1e-12
"""Relative, of the integration."""


def velocity(gradient: Gradient, mu: np.ndarray, sigma: np.ndarray, geometry: str) -> np.ndarray:
    """The time derivative of (mu, sigma), shape ``(2, ...)``.

    Args:
        gradient: of F.
        mu: of one shape with ``sigma``.
        sigma: positive.
        geometry: one of :data:`GEOMETRIES`.
    """
    first, second = gradient(mu, sigma)
    if geometry == VANILLA:
        return np.stack([first, second])
    return np.stack([sigma**2 * first, 0.5 * sigma**2 * second])


def follow(
    gradient: Gradient, starts: np.ndarray, times: np.ndarray, geometry: str, tolerance: float = TOLERANCE
) -> np.ndarray:
    """The flows from several starts at some times, shape ``(2, N, T)``.

    Args:
        gradient: of F, which the flows climb.
        starts: (mu, sigma), shape ``(2, N)``.
        times: increasing, the first is that of the starts, shape ``(T,)``.
        geometry: one of :data:`GEOMETRIES`.
        tolerance: relative; that of single numbers is a thousand times smaller.
    """

    def derivative(_: float, state: np.ndarray) -> np.ndarray:
        mu, sigma = state.reshape(2, -1)
        return velocity(gradient, mu, sigma, geometry).reshape(-1)

    span = (float(times[0]), float(times[-1]))
    found = solve_ivp(derivative, span, starts.reshape(-1), "DOP853", times, rtol=tolerance, atol=1e-3 * tolerance)
    assert found.success, found.message
    return found.y.reshape(2, -1, len(times))
