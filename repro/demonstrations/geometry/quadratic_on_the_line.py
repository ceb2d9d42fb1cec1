"""E[x - 3 x^2] over the normal distributions on R: both flows have closed forms, and the natural one is slower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.flows_on_the_line import GEOMETRIES, NATURAL, VANILLA, follow

MAXIMUM = 1.0 / 12.0
"""Of f, at 1/6."""
SHARP = 1e-6
"""Below the maximum a flow has arrived."""


def relaxed(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """F = E[f]."""
    return mu - 3.0 * mu**2 - 3.0 * sigma**2


def gradient(mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of F in (mu, sigma)."""
    return 1.0 - 6.0 * mu, -6.0 * sigma


def closed_form(starts: np.ndarray, times: np.ndarray, geometry: str) -> np.ndarray:
    """The flow uphill, shape ``(2, N, T)``: sigma e^(-6 t), or 1 / sigma^2 grows by 6 t.

    Args:
        starts: (mu, sigma), shape ``(2, N)``.
        times: shape ``(T,)``.
        geometry: "vanilla" or "natural".
    """
    mu, sigma = starts[:, :, None]
    if geometry == VANILLA:
        decay = np.exp(-6.0 * times)
        return np.stack([1.0 / 6.0 + (mu - 1.0 / 6.0) * decay, sigma * decay])
    growth = 1.0 + 6.0 * sigma**2 * times
    return np.stack([1.0 / 6.0 + (mu - 1.0 / 6.0) / growth, sigma / np.sqrt(growth)])


def below(state: np.ndarray) -> np.ndarray:
    """By how much F of (mu, sigma) is below the maximum; no digits are lost near it."""
    return 3.0 * (state[0] - 1.0 / 6.0) ** 2 + 3.0 * state[1] ** 2


@dataclass(frozen=True)
class QuadraticFlows:
    """What is drawn of both flows.

    Attributes:
        times: of the paths, shape ``(T,)``.
        paths: by geometry, shape ``(2, N, T)``, the first index being mu or sigma.
        late: times, evenly in their logarithm, shape ``(L,)``.
        late_paths: by geometry, at these times, in closed form.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    times: np.ndarray
    paths: dict[str, np.ndarray]
    late: np.ndarray
    late_paths: dict[str, np.ndarray]
    values: Values


def arrival(starts: np.ndarray, geometry: str) -> np.ndarray:
    """The times at which F is within :data:`SHARP` of the maximum, shape ``(N,)``."""
    distance = below(starts)
    if geometry == VANILLA:
        return np.log(distance / SHARP) / 12.0
    # 3 d^2 / (1 + a t)^2 + 3 s^2 / (1 + a t) = SHARP with a = 6 s^2: quadratic in 1 / (1 + a t).
    first, second = 3.0 * (starts[0] - 1.0 / 6.0) ** 2, 3.0 * starts[1] ** 2
    inverse = 2.0 * SHARP / (second + np.sqrt(second**2 + 4.0 * first * SHARP))
    return (1.0 / inverse - 1.0) / (6.0 * starts[1] ** 2)


def _relaxed_error(at: np.ndarray) -> float:
    """How far F is from a quadrature of f that is exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    x = at[0, :, None] + at[1, :, None] * nodes
    return float(np.max(np.abs((x - 3.0 * x**2) @ weights / weights.sum() - relaxed(*at))))


@in_double_precision
def flows(
    *, mu: tuple[float, ...] = (-1.5, -0.8, 1.0, 1.8), sigma: tuple[float, ...] = (0.5, 1.0, 2.0), end: float = 1e9
) -> QuadraticFlows:
    """Follows both flows from a grid of starts, and compares them with their closed forms.

    Args:
        mu: of the starts.
        sigma: of the starts.
        end: of the natural flow; that of the vanilla one is the same, or 5 if this is less.
    """
    starts = np.stack([one.reshape(-1) for one in np.meshgrid(mu, sigma)])
    times = np.concatenate([[0.0], np.geomspace(1e-3, 4.0, 200)])
    late = np.concatenate([[0.0], np.geomspace(1e-3, end, 200)])
    paths = {geometry: follow(gradient, starts, times, geometry) for geometry in GEOMETRIES}
    apart = {name: float(np.max(np.abs(path - closed_form(starts, times, name)))) for name, path in paths.items()}
    ends = {
        VANILLA: follow(gradient, starts, np.array([0.0, min(end, 5.0)]), VANILLA)[:, :, -1],
        NATURAL: follow(gradient, starts, late, NATURAL)[:, :, -1],
    }
    late_sigma = closed_form(starts, late[-2:], NATURAL)[1]
    slopes = np.diff(np.log(late_sigma), axis=1)[:, 0] / np.diff(np.log(late[-2:]))
    arrivals = {name: arrival(starts, name) for name in GEOMETRIES}
    values: Values = {
        **{f"{name}_error": error for name, error in apart.items()},
        **{f"below_maximum_{name}": float(np.max(below(one))) for name, one in ends.items()},
        "late_slope_of_sigma": [float(slopes.min()), float(slopes.max())],
        "relaxed_error": _relaxed_error(starts),
        "vanilla_time_over_natural": [float(one) for one in arrivals[VANILLA] / arrivals[NATURAL]],
    }
    late_paths = {name: closed_form(starts, late, name) for name in GEOMETRIES}
    return QuadraticFlows(times, paths, late, late_paths, values)
