"""The polarisation measure on the simplex of three probabilities, and two ascents on it.

POL(p) = sum_i p_i^2 (1 - p_i) (J. G. Montalvo, M. Reynal-Querol, Journal of Economic Literature 2002 and later, with a
factor 4). With p_i = 1/3 + d_i and sum d_i = 0 it is 2/9 - 3 d_1 d_2 d_3 exactly: the barycentre is a monkey saddle,
with a Hessian that vanishes, three ways up and three ways down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.basins import runge_kutta

HIGHEST = 0.25
"""At two equal halves."""


def polarisation(p: np.ndarray) -> np.ndarray:
    """sum_i p_i^2 (1 - p_i), of points of shape ``(..., k)``."""
    return np.sum(p**2 * (1.0 - p), axis=-1)


def slopes(p: np.ndarray) -> np.ndarray:
    """2 p_i - 3 p_i^2, the derivatives of the measure, of the shape of ``p``."""
    return 2.0 * p - 3.0 * p**2


def on_simplex(points: np.ndarray) -> np.ndarray:
    """The nearest points of the simplex (Euclidean), shape ``(N, k)``, from any points of that shape.

    The projection takes the same amount from all coordinates and cuts at zero (M. Held, P. Wolfe, H. Crowder, 1974).
    """
    falling = -np.sort(-points, axis=1)
    counts = np.arange(1, points.shape[1] + 1)
    amounts = (np.cumsum(falling, axis=1) - 1.0) / counts
    kept = np.sum(falling > amounts, axis=1)
    return np.maximum(points - np.take_along_axis(amounts, kept[:, None] - 1, axis=1), 0.0)


def projected_ascent(start: np.ndarray, step: float, steps: int) -> np.ndarray:
    """Vanilla steps upwards, each followed by the projection, shape ``(steps + 1, N, k)``."""
    path = [start]
    for _ in range(steps):
        path.append(on_simplex(path[-1] + step * slopes(path[-1])))
    return np.array(path)


def natural_ascent(start: np.ndarray, step: float, steps: int) -> np.ndarray:
    """The natural flow p_i' = p_i (s_i - sum_j p_j s_j) upwards, in ln p, shape ``(steps + 1, N, k)``."""

    def field(logs: np.ndarray) -> np.ndarray:
        p = np.exp(logs)
        g = slopes(p)
        return g - np.sum(p * g, axis=1, keepdims=True)

    logs = np.log(start)
    path = [start]
    for _ in range(steps):
        logs = runge_kutta(field, logs, step)
        path.append(np.exp(logs))
    return np.array(path)


def triangle(points: int) -> np.ndarray:
    """Interior points of the simplex on a triangular grid, none with two equal coordinates, shape ``(N, 3)``."""
    first, second = np.meshgrid(np.arange(points), np.arange(points), indexing="ij")
    # Offsets that differ keep all three coordinates apart.
    p = np.stack([first + 0.2, second + 0.3, points - 0.5 - first - second], axis=-1).reshape(-1, 3) / points
    return p[p.min(axis=1) > 0.0]


def ring(radius: float, points: int) -> np.ndarray:
    """Points around the barycentre, none on a line of symmetry where they are 12, 24, ...; shape ``(points, 3)``."""
    angles = 2.0 * np.pi * (np.arange(points) + 0.5) / points
    across, along = np.array([1.0, -1.0, 0.0]) / np.sqrt(2.0), np.array([1.0, 1.0, -2.0]) / np.sqrt(6.0)
    return 1.0 / 3.0 + radius * (np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * along)


@dataclass(frozen=True)
class Polarisation:
    """Two ascents of the polarisation measure.

    Attributes:
        vanilla: projected iterates from the ring around the barycentre, shape ``(T + 1, K, 3)``.
        natural: the natural flow from there, shape ``(T' + 1, K, 3)``.
        vanilla_times: step times number of steps, shape ``(T + 1,)``.
        natural_times: shape ``(T' + 1,)``.
        starts: of the grid, shape ``(N, 3)``.
        ends: from there, shape ``(N, 3)``: vanilla, as the natural ones are the same up to rounding.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    vanilla: np.ndarray
    natural: np.ndarray
    vanilla_times: np.ndarray
    natural_times: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    values: Values


@in_double_precision
def ascents(*, radius: float = 0.05, points: int = 24, grid: int = 40, seed: int = 0) -> Polarisation:
    """Climbs from a ring around the barycentre, and from a grid, along the vanilla and the natural gradient.

    Args:
        radius: of the ring.
        points: on the ring, a multiple of 12.
        grid: starts along an edge of the simplex.
        seed: of random points on which the cubic form is compared.
    """
    random = np.random.default_rng(seed).dirichlet(np.ones(3), size=1000)
    away = random - 1.0 / 3.0
    halves = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    start, starts = ring(radius, points), triangle(grid)
    vanilla, natural = projected_ascent(start, 0.05, 1200), natural_ascent(start, 0.25, 1200)
    ends = {"vanilla": projected_ascent(starts, 0.2, 4000)[-1], "natural": natural_ascent(starts, 0.5, 4000)[-1]}
    ring_ends = {"vanilla": vanilla[-1], "natural": natural[-1]}
    fractions = np.arange(201) / 200.0
    lattice = np.array([(a, b, 1.0 - a - b) for a in fractions for b in fractions if a + b <= 1.0 + 1e-12])
    values: Values = {
        "highest_on_lattice": float(polarisation(lattice).max()),
        "at_two_halves": polarisation(halves).tolist(),
        "at_vertices": polarisation(np.eye(3)).tolist(),
        "at_barycentre": float(polarisation(np.full(3, 1.0 / 3.0))),
        "cubic_form_difference": float(np.max(np.abs(polarisation(random) - 2.0 / 9.0 + 3.0 * np.prod(away, axis=1)))),
        "below_highest": {name: float(HIGHEST - polarisation(end).min()) for name, end in ends.items()},
        "time_to_0.249": {
            "vanilla": 0.05 * _slowest(vanilla),
            "natural": 0.25 * _slowest(natural),
        },
        "time_natural_over_vanilla": 5.0 * _slowest(natural) / _slowest(vanilla),
        "share_apart_from_ring": _share_apart(ring_ends["vanilla"], ring_ends["natural"]),
        "share_apart_from_grid": _share_apart(ends["vanilla"], ends["natural"]),
        "share_not_by_smallest": float(np.mean(np.argmin(ends["natural"], axis=1) != np.argmin(starts, axis=1))),
    }
    return Polarisation(
        vanilla,
        natural,
        0.05 * np.arange(len(vanilla)),
        0.25 * np.arange(len(natural)),
        starts,
        ends["vanilla"],
        values,
    )


def _slowest(path: np.ndarray) -> float:
    """Steps until all paths are above 0.249."""
    above = np.flatnonzero(np.all(polarisation(path) > 0.249, axis=1))
    return float(above[0]) if len(above) else float("inf")


def _share_apart(one: np.ndarray, other: np.ndarray) -> float:
    """The part of ends that are more than a thousandth apart."""
    return float(np.mean(np.max(np.abs(one - other), axis=1) > 1e-3))
