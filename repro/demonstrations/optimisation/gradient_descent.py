"""Gradient descent with a fixed step: what it guarantees, and the zig-zag across a narrow valley.

The update is theta <- theta - eta grad (lecture, slide "Gradient Descent"). Where the second derivative is at most L, a
step lowers the cost by at least eta (1 - eta L / 2) |grad|^2, so that it always goes down if eta < 2 / L (Y. Nesterov,
Introductory Lectures on Convex Optimization, 2004, section 1.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.paths import iterates, quadratic

STEP_LENGTHS = (0.1, 1.0, 4.5)
"""The last one is above 2 / L."""
CURVATURES = (1.0, 19.5)
"""Of the valley: along it, and across it."""
VALLEY_START = (10.0, 1.0)


@dataclass(frozen=True)
class Descents:
    """Gradient descent on a function of one variable, with several step lengths.

    Attributes:
        w: where the function is drawn, shape ``(N,)``.
        cost: there, shape ``(N,)``.
        paths: the points visited, by step length, each of shape ``(T + 1,)``.
        costs: at these points, likewise.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    w: np.ndarray
    cost: np.ndarray
    paths: dict[float, np.ndarray]
    costs: dict[float, np.ndarray]
    values: Values


@dataclass(frozen=True)
class ZigZag:
    """Gradient descent in a narrow valley, with a long and a short step.

    Attributes:
        long: the points visited, shape ``(T + 1, 2)``.
        short: those with half of the step, of the same shape.
        costs: at the points of either, shape ``(2, T + 1)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    long: np.ndarray
    short: np.ndarray
    costs: np.ndarray
    values: Values


def quartic(w: Array) -> Array:
    """(w^4 + w^2 + 10 w) / 50, of any shape: convex, with its minimum at -1.235 (after J. Watt et al., 2020)."""
    return (w**4 + w**2 + 10.0 * w) / 50.0


def largest_curvature(start: float) -> float:
    """The largest second derivative of :func:`quartic` where it is not above its value at the start.

    It grows with the modulus of w, so it is largest at one of the two ends of that interval.
    """
    height = float(quartic(jnp.asarray(start)))
    roots = np.roots([1.0, 0.0, 1.0, 10.0, -50.0 * height])
    ends = roots.real[np.abs(roots.imag) < 1e-9]
    return float(np.max(12.0 * ends**2 + 2.0) / 50.0)


@in_double_precision
def step_lengths(
    *, steps: int = 25, start: float = 2.0, extent: float = 2.6, lengths: tuple[float, ...] = STEP_LENGTHS
) -> Descents:
    """Gradient descent on a convex quartic with steps below 2 / L, and one above.

    Args:
        steps: T.
        start: w_0.
        extent: the function is drawn from minus to plus this.
        lengths: of steps, increasing.
    """
    limit = 2.0 / largest_curvature(start)
    paths = {eta: iterates(optax.sgd(eta), lambda w: quartic(w[0]), jnp.array([start]), steps)[:, 0] for eta in lengths}
    costs = {eta: np.asarray(quartic(jnp.asarray(path))) for eta, path in paths.items()}
    increases = {f"{eta:g}": float(np.max(np.diff(cost))) for eta, cost in costs.items()}
    below = [eta for eta in lengths if eta < limit]
    values: Values = {
        "safe_step": limit,
        "largest_increase_below": {f"{eta:g}": increases[f"{eta:g}"] for eta in below},
        "largest_increase_of_longest": increases[f"{lengths[-1]:g}"],
        "descent_over_guarantee": {f"{eta:g}": _over_guarantee(paths[eta], costs[eta], eta, limit) for eta in below},
        "final_cost": {f"{eta:g}": float(cost[-1]) for eta, cost in costs.items()},
        "final_slope": {f"{eta:g}": abs(float(jax.grad(quartic)(path[-1]))) for eta, path in paths.items()},
    }
    w = np.linspace(-extent, extent, 361)
    return Descents(w, np.asarray(quartic(jnp.asarray(w))), paths, costs, values)


def _over_guarantee(path: np.ndarray, cost: np.ndarray, eta: float, limit: float) -> float:
    """The least ratio of what a step gained to what it must gain at least, while that is more than rounding."""
    slopes = np.asarray(jax.vmap(jax.grad(quartic))(jnp.asarray(path[:-1])))
    owed = eta * (1.0 - eta / limit) * slopes**2
    seen = owed > 1e-9
    return float(np.min(-np.diff(cost)[seen] / owed[seen]))


@in_double_precision
def zig_zag(*, eta: float = 0.1, steps: int = 25) -> ZigZag:
    """Gradient descent in a valley that is 19.5 times as steep across as it is along.

    Args:
        eta: the long step; the short one is half of it.
        steps: T.
    """
    cost = quadratic(CURVATURES)
    long, short = (iterates(optax.sgd(step), cost, jnp.array(VALLEY_START), steps) for step in (eta, eta / 2.0))
    costs = np.asarray(cost(jnp.asarray(np.stack([long, short]))))
    factors = long[1:] / long[:-1]
    values: Values = {
        "sign_changes": float(sign_changes(long[:, 1])),
        "sign_changes_of_short_step": float(sign_changes(short[:, 1])),
        "factor_across": float(np.mean(factors[:, 1])),
        "factor_across_difference": float(np.max(np.abs(factors[:, 1] - (1.0 - eta * CURVATURES[1])))),
        "final_cost": float(costs[0, -1]),
        "final_cost_of_short_step": float(costs[1, -1]),
        "short_over_long": float(costs[1, -1] / costs[0, -1]),
    }
    return ZigZag(long, short, costs, values)


def sign_changes(series: np.ndarray) -> int:
    """How often neighbours in a series have opposite signs."""
    return int(np.sum(series[1:] * series[:-1] < 0.0))
