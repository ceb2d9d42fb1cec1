"""How fast first-order methods are on a quadratic function with two eigenvalues, against its condition number.

The function is f(w) = 1/2 (a w_1^2 + b w_2^2) with a >= b > 0 and the condition number kappa = a / b. With
q = (kappa - 1) / (kappa + 1),

- gradient descent with the best constant step 2 / (a + b) multiplies w_1 by -q and w_2 by q, thus f by q^2 each step;
- steepest descent with exact line search multiplies f by at most q^2 (L. V. Kantorovich, 1948), and by q^2 each step
  from a start with components proportional to 1 / a and 1 / b;
- the heavy ball w <- w - step * gradient + beta (w - w_before) with the best constants has the spectral radius
  (sqrt(kappa) - 1) / (sqrt(kappa) + 1) (B. T. Polyak, 1964).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from repro.demonstrations.base import Values

PRINTED = (
    *((2.0, 1.0), (2.0, 1.5), (2.0, 2.0), (2.5, 2.0), (3.0, 2.0)),
    *((3.5, 2.0), (4.0, 2.0), (4.5, 2.0), (5.0, 2.0), (5.5, 2.0)),
)
"""The largest and the smallest eigenvalue, as printed on the slides."""
LARGER = ((10.0, 1.0), (100.0, 1.0), (1000.0, 1.0))
"""Pairs of our own, where the slowness shows."""


@dataclass(frozen=True)
class ConditionNumbers:
    """Rates against condition numbers.

    Attributes:
        pairs: the largest and the smallest eigenvalue, shape ``(K, 2)``.
        condition_numbers: shape ``(K,)``.
        fixed: points of gradient descent with the best constant step from (1, 1), each of shape ``(steps + 1, 2)``.
        searched: points of steepest descent with exact line search from the worst start, likewise.
        factors: by which f shrinks in a step: ``fixed`` and ``searched`` measured, shape ``(K,)``.
        heavy_ball: largest modulus of the eigenvalues of the companion matrices, shape ``(K,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    pairs: np.ndarray
    condition_numbers: np.ndarray
    fixed: list[np.ndarray]
    searched: list[np.ndarray]
    factors: dict[str, np.ndarray]
    heavy_ball: np.ndarray
    values: Values


def condition_numbers(
    *, pairs: tuple[tuple[float, float], ...] = (*PRINTED, *LARGER), steps: int = 20, starts: int = 1000
) -> ConditionNumbers:
    """Measures the factors of all three methods, and compares them with the closed forms.

    Args:
        pairs: the largest and the smallest eigenvalue.
        steps: of the two descents.
        starts: directions, even in their angle, from which a step with exact line search is made.
    """
    kappa = np.array([most / least for most, least in pairs])
    rate = (kappa - 1.0) / (kappa + 1.0)
    fixed = [descent(pair, np.ones(2), steps, searched=False) for pair in pairs]
    searched = [descent(pair, worst_start(pair), steps, searched=True) for pair in pairs]
    ratios = {
        name: np.array([_factors(pair, path) for pair, path in zip(pairs, paths, strict=True)])
        for name, paths in (("fixed", fixed), ("searched", searched))
    }
    radii = np.array([heavy_ball_radius(pair, *best_heavy_ball(pair)) for pair in pairs])
    slow = kappa > 1.0
    deviations = {name: np.abs(ratio[slow] / rate[slow, None] ** 2 - 1.0) for name, ratio in ratios.items()}
    worst = [float(one_search(pair, starts).max()) for pair in pairs]
    # The square roots' rate; two eigenvalues of the companion matrix are double, and rounding moves them by 1e-8.
    heavy = (np.sqrt(kappa) - 1.0) / (np.sqrt(kappa) + 1.0)
    values: Values = {
        "condition_numbers": kappa.tolist(),
        "factor_of_fixed_step": ratios["fixed"][:, 0].tolist(),
        "factor_of_line_search": ratios["searched"][:, 0].tolist(),
        "radius_of_heavy_ball": radii.tolist(),
        "fixed_step_deviation": float(deviations["fixed"].max()),
        "line_search_deviation": float(deviations["searched"].max()),
        "line_search_excess": float(np.max(np.array(worst) - rate**2)),
        "left_where_kappa_is_1": float(np.max([ratio[~slow, 0] for ratio in ratios.values()], initial=0.0)),
        "heavy_ball_deviation": float(np.max(np.abs(radii - heavy))),
        "heavy_ball_grid_gain": float(max(r - least_radius(p) for r, p in zip(heavy, pairs, strict=True))),
    }
    factors = {name: ratio[:, 0] for name, ratio in ratios.items()}
    return ConditionNumbers(np.array(pairs), kappa, fixed, searched, factors, radii, values)


def cost(pair: tuple[float, float], points: np.ndarray) -> np.ndarray:
    """1/2 (a w_1^2 + b w_2^2) of points of shape ``(..., 2)``."""
    return 0.5 * points**2 @ np.array(pair)


def worst_start(pair: tuple[float, float]) -> np.ndarray:
    """Where exact line search is slowest: components proportional to 1 / a and 1 / b, the largest of them 1."""
    most, least = pair
    return np.array([least / most, 1.0])


def descent(pair: tuple[float, float], start: np.ndarray, steps: int, *, searched: bool) -> np.ndarray:
    """Points of gradient descent, shape ``(steps + 1, 2)``: with exact line search, or with the best constant step."""
    eigenvalues = np.array(pair)
    points = [start]
    for _ in range(steps):
        gradient = eigenvalues * points[-1]
        curvature = float(gradient @ (eigenvalues * gradient))
        length = 2.0 / sum(pair)
        if searched:
            length = float(gradient @ gradient) / curvature if curvature else 0.0
        points.append(points[-1] - length * gradient)
    return np.array(points)


def _factors(pair: tuple[float, float], path: np.ndarray) -> np.ndarray:
    """The f after a step over f before it, for each step; 0 where nothing is left."""
    costs = cost(pair, path)
    return np.divide(costs[1:], costs[:-1], out=np.zeros(len(path) - 1), where=costs[:-1] > 0.0)


def one_search(pair: tuple[float, float], starts: int) -> np.ndarray:
    """The factor of one step with exact line search, from starts in all directions, shape ``(starts,)``."""
    angles = np.linspace(0.0, np.pi, starts, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.array([_factors(pair, descent(pair, point, 1, searched=True))[0] for point in points])


def best_heavy_ball(pair: tuple[float, float]) -> tuple[float, float]:
    """Polyak's step and beta."""
    most, least = np.sqrt(pair)
    return float(4.0 / (most + least) ** 2), float(((most - least) / (most + least)) ** 2)


def heavy_ball_radius(pair: tuple[float, float], step: ArrayLike, beta: ArrayLike) -> np.ndarray:
    """The largest modulus of the eigenvalues of the companion matrices of both components.

    Args:
        pair: the eigenvalues of the Hessian.
        step: any shape.
        beta: of the same shape.
    """
    diagonal = 1.0 + np.asarray(beta)[..., None] - np.asarray(step)[..., None] * np.array(pair)
    matrices = np.zeros((*diagonal.shape, 2, 2))
    matrices[..., 0, 0] = diagonal
    matrices[..., 0, 1] = -np.asarray(beta)[..., None]
    matrices[..., 1, 0] = 1.0
    return np.max(np.abs(np.linalg.eigvals(matrices)), axis=(-2, -1))


def least_radius(pair: tuple[float, float], count: int = 60) -> float:
    """The least spectral radius of the heavy ball on a grid of steps in (0, 4 / a] and of beta in [0, 1)."""
    steps = np.linspace(0.0, 4.0 / pair[0], count + 1)[1:]
    grid = np.meshgrid(steps, np.linspace(0.0, 1.0, count, endpoint=False))
    return float(heavy_ball_radius(pair, *grid).min())
