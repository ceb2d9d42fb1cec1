"""Where Newton's method converges on the lecture's convex function, with and without damping.

J(x) = sum_j ln(1 + e^x_j) + ln(1 + e^-x_j) has the gradient tanh(x_j / 2) and a diagonal Hessian with entries
sech^2(x_j / 2) / 2 (second lecture, slides "Minimizing Quadratic Approximations: Damping"). So every component goes its
own way, and one is enough:

    x <- x - tanh(x / 2) / (sech^2(x / 2) / 2 + eta).

Without damping, this is x - sinh x. It shrinks |x| exactly where sinh |x| < 2 |x|. With damping, x and -x follow each
other where eta = c(x) with c(x) = tanh(x / 2) / (2 x) - sech^2(x / 2) / 2; |x| shrinks where eta > c(x). So above the
largest c every start converges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from repro.demonstrations.base import Values

STEPS = 5000
"""At most: just above the threshold, steps almost repeat."""
ARRIVED = 1e-10
"""A path ends where |x| is below this."""
FARTHEST = 20.0
"""The largest start that is tried with damping; from a larger one a step is at most 1 / eta long, and |x| shrinks."""


@dataclass(frozen=True)
class DampedNewton:
    """Paths, and the map of what converges.

    Attributes:
        paths: by what they show, shape ``(steps + 1,)``; infinite after an overflow.
        starts: shape ``(N,)``.
        dampings: shape ``(M,)``.
        converged: whether the path from a start arrives, shape ``(M, N)``.
        cycle_damping: c of each start, shape ``(N,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[str, np.ndarray]
    starts: np.ndarray
    dampings: np.ndarray
    converged: np.ndarray
    cycle_damping: np.ndarray
    values: Values


def damped_newton(*, margin: float = 1e-3, shown: int = 12, columns: int = 160, rows: int = 80) -> DampedNewton:
    """Finds both thresholds from their equations, and confirms them by paths on either side.

    Args:
        margin: distance from x*, and relative distance from eta*, of the paths that confirm them.
        shown: steps of the paths that are drawn.
        columns: starts of the map, evenly from 0 to 8.
        rows: dampings of the map, evenly from 0 to 1.5 times the threshold.
    """
    x_star, (eta_star, widest) = largest_start(), least_damping()
    outside = path(x_star + margin, 0.0, 50)
    grid = np.linspace(0.02, FARTHEST, 1000)
    below, above = (1.0 - margin) * eta_star, (1.0 + margin) * eta_star
    cycles = {share: cycle(share * eta_star) for share in (0.25, 0.5, 0.75, 1.0 - margin)}
    starts = np.linspace(0.0, 8.0, columns + 1)[1:]
    dampings = np.linspace(0.0, 1.5 * eta_star, rows)
    ends = end_of(starts, dampings[:, None], 500)
    values: Values = {
        "x_star": x_star,
        "eta_star": eta_star,
        "cycle_at_eta_star": widest,
        "end_inside": float(end_of(x_star - margin, 0.0)),
        "end_outside": float(np.abs(outside[-1])),
        "steps_to_overflow": float(np.argmax(np.isinf(outside))),
        "cost_ratio_beyond": float(cost(path(3.0, 0.0, 1)[1]) / cost(3.0)),
        "cycle_return": max(abs(float(path(x, share * eta_star, 2)[2]) - x) for share, x in cycles.items()),
        "cycle_width": {f"{share:g}": x for share, x in cycles.items()},
        "end_below_eta_star": float(end_of(widest, below)),
        "end_above_eta_star": float(np.max(end_of(grid, above))),
    }
    paths = {
        "inside": path(x_star - margin, 0.0, shown),
        "outside": path(x_star + margin, 0.0, shown),
        "damped below": path(12.0, 0.5 * eta_star, shown),
        "damped above": path(12.0, 2.0 * eta_star, shown),
    }
    return DampedNewton(paths, starts, dampings, ends <= ARRIVED, cycle_damping(starts), values)


def cost(x: float | np.ndarray) -> np.ndarray:
    """ln(1 + e^x) + ln(1 + e^-x), without overflow."""
    return np.abs(x) + 2.0 * np.log1p(np.exp(-np.abs(x)))


def curvature(x: float | np.ndarray) -> np.ndarray:
    """sech^2(x / 2) / 2 = 2 e^-|x| / (1 + e^-|x|)^2, without overflow."""
    small = np.exp(-np.abs(x))
    return 2.0 * small / (1.0 + small) ** 2


def path(start: float | np.ndarray, damping: float, steps: int) -> np.ndarray:
    """The points that damped Newton visits, shape ``(steps + 1, ...)``; one that overflows stays infinite."""
    points = [np.asarray(start, float)]
    for _ in range(steps):
        points.append(_moved(points[-1], damping))
    return np.array(points)


def _moved(x: np.ndarray, damping: float | np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        moved = x - np.tanh(0.5 * x) / (curvature(x) + damping)
    return np.where(np.isfinite(x), moved, x)


def end_of(start: float | np.ndarray, damping: float | np.ndarray, steps: int = STEPS) -> np.ndarray:
    """|x| where paths end: below :data:`ARRIVED`, infinite after an overflow, or where the steps are used up."""
    start, damping = np.broadcast_arrays(np.asarray(start, float), np.asarray(damping, float))
    x, going = start.ravel().copy(), np.arange(start.size)
    for _ in range(steps):
        going = going[np.isfinite(x[going]) & (np.abs(x[going]) > ARRIVED)]
        if not len(going):
            break
        x[going] = _moved(x[going], damping.ravel()[going])
    return np.abs(x).reshape(start.shape)


def largest_start() -> float:
    """x*, the positive root of sinh x = 2 x: from there Newton's method goes to -x* and back."""
    return float(brentq(lambda x: np.sinh(x) - 2.0 * x, 1.0, 4.0, xtol=1e-14))


def cycle_damping(x: float | np.ndarray) -> np.ndarray:
    """The damping c at which x and -x follow each other; negative where none does."""
    return np.tanh(0.5 * np.asarray(x)) / (2.0 * np.asarray(x)) - curvature(x)


def least_damping() -> tuple[float, float]:
    """The largest c, eta*, and the x that has it."""
    found = minimize_scalar(lambda x: -float(cycle_damping(x)), bounds=(1.0, 10.0), method="bounded")
    return float(cycle_damping(found.x)), float(found.x)


def cycle(damping: float) -> float:
    """The wider of the two cycles (x, -x) with a damping below eta*."""
    _, widest = least_damping()
    return float(brentq(lambda x: float(cycle_damping(x)) - damping, widest, 1e3, xtol=1e-13))
