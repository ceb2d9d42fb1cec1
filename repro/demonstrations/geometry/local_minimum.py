"""A curve of functions that comes close to the target twice: what momentum in function space does with a local minimum.

The model has one parameter, v = theta b + theta^2 b_perp with two orthonormal functions, and its target is the point
of it at theta = -t. The loss is

    L(theta) = 1/2 (theta + t)^2 + 1/2 (theta^2 - t^2)^2,    L'(theta) = 2 theta^3 + (1 - 2 t^2) theta + t,

and L' has three roots for t = 1.6: the target, a maximum near zero, and between them in size a local minimum. (Talk,
slide "Escaping local minima".)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.function_plane import RATE, basis, natural_path, steps_to
from repro.optimizers.momentum import KINDS
from repro.problems.residual import LeastSquares

TARGET = 1.6
"""t."""
START = 2.5
BETAS = (0.8, 0.9)
COMPARED = ("transported", "parameter", "function-difference")
NONE = "none"
PRINTED_NESTEROV = "nesterov as printed"
ARRIVED = 1e-6
"""The loss of a method that has left the local minimum."""


@dataclass(frozen=True)
class LocalMinimum:
    """Paths of natural gradient descent without momentum, and with each kind of it.

    Attributes:
        paths: theta by the kind of momentum and beta, shape ``(steps + 1,)``.
        losses: at these, shape ``(steps + 1,)``.
        minimum: theta at the local minimum.
        target: theta of the target.
        oscillations: theta of a heavy ball on theta^2 / 2, as first printed and right, shape ``(T + 1,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[tuple[str, float], np.ndarray]
    losses: dict[tuple[str, float], np.ndarray]
    minimum: float
    target: float
    oscillations: dict[str, np.ndarray]
    values: Values


def curve(theta: np.ndarray) -> np.ndarray:
    """The coefficients of parameters of shape ``(...)``: ``(..., 2)``."""
    return np.stack([theta, theta**2], axis=-1)


def loss(theta: np.ndarray, target: float = TARGET) -> np.ndarray:
    """L of parameters, of their shape."""
    return 0.5 * (theta + target) ** 2 + 0.5 * (theta**2 - target**2) ** 2


def stationary_points(target: float = TARGET) -> np.ndarray:
    """The roots of L' by their size, shape ``(3,)``."""
    roots = np.roots([2.0, 0.0, 1.0 - 2.0 * target**2, target])
    return roots[np.argsort(np.abs(roots))].real


@in_double_precision
def escapes(*, rate: float = RATE, steps: int = 400, betas: tuple[float, float] = BETAS) -> LocalMinimum:
    """Follows every kind of momentum from the far side of the local minimum.

    Args:
        rate: alpha.
        steps: of each path.
        betas: strengths of the momentum, increasing; with the first one only :data:`COMPARED`.
    """

    def residuals(theta: Array, points: Array) -> Array:
        error = jnp.stack([theta[0] + TARGET, theta[0] ** 2 - TARGET**2])
        return (basis(points) @ error)[:, None]

    problem = LeastSquares(residuals)
    start = np.array([START])
    paths = {(NONE, 0.0): natural_path(problem, start, rate, steps)[:, 0]}
    for beta, kinds in ((betas[0], COMPARED), (betas[1], KINDS)):
        for kind in kinds:
            paths[kind, beta] = natural_path(problem, start, rate, steps, beta, kind)[:, 0]
        paths[PRINTED_NESTEROV, beta] = _printed_nesterov(rate, beta, steps)
    losses = {key: loss(path) for key, path in paths.items()}
    arrived = {key: steps_to(series, ARRIVED) for key, series in losses.items()}
    minimum = float(stationary_points()[1])
    weak, strong = betas
    balls = {"printed": heavy_ball_as_printed(rate, strong), "right": heavy_ball(rate, strong)}
    values: Values = {
        "steps": {_told(*key): number for key, number in arrived.items()},
        "minimum": minimum,
        "loss_in_the_minimum": float(loss(np.array(minimum))),
        "second_derivative": 6.0 * minimum**2 + 1.0 - 2.0 * TARGET**2,
        "distance_without_momentum": float(abs(paths[NONE, 0.0][-1] - minimum)),
        "steps_of_transported": arrived["transported", weak],
        "least_loss_of_others": {kind: float(losses[kind, weak].min()) for kind in COMPARED[1:]},
        "steps_with_strong_momentum": {kind: arrived[kind, strong] for kind in COMPARED},
        "parameter_over_transported": arrived["parameter", strong] / arrived["transported", strong],
        "steps_of_transported_to_1e-9": steps_to(losses["transported", weak], 1e-9),
        **_heavy_ball_values(balls, rate, strong),
    }
    target = float(stationary_points()[2])
    return LocalMinimum(paths, losses, minimum, target, balls, values)


def _told(kind: str, beta: float) -> str:
    return kind if kind == NONE else f"{kind}, {beta:g}"


def heavy_ball(rate: float, beta: float, steps: int = 2000) -> np.ndarray:
    """Rolls by theta <- theta + p, p <- beta p - alpha theta from theta = 1 on theta^2 / 2, shape ``(steps + 1,)``."""
    return _rolled(lambda theta, p: (theta + beta * p - rate * theta, beta * p - rate * theta), steps)


def heavy_ball_as_printed(rate: float, beta: float, steps: int = 2000) -> np.ndarray:
    """The same with theta <- theta + beta p, p <- p - alpha theta."""
    return _rolled(lambda theta, p: (theta + beta * (p - rate * theta), p - rate * theta), steps)


def _rolled(step: Callable[[float, float], tuple[float, float]], steps: int) -> np.ndarray:
    theta, p, path = 1.0, 0.0, [1.0]
    for _ in range(steps):
        theta, p = step(theta, p)
        path.append(theta)
    return np.array(path)


def _heavy_ball_values(balls: dict[str, np.ndarray], rate: float, beta: float) -> Values:
    """What both forms leave of the amplitude, and how well they obey the recursion that is printed below them."""

    def from_recursion(path: np.ndarray) -> float:
        expected = path[1:-1] - rate * path[1:-1] + beta * (path[1:-1] - path[:-2])
        return float(np.max(np.abs(path[2:] - expected)))

    return {
        "amplitude_as_printed": float(np.max(np.abs(balls["printed"][-100:]))),
        "amplitude": float(np.max(np.abs(balls["right"][-100:]))),
        "difference_from_recursion_as_printed": from_recursion(balls["printed"]),
        "difference_from_recursion": from_recursion(balls["right"]),
    }


def _printed_nesterov(rate: float, beta: float, steps: int) -> np.ndarray:
    """Nesterov's momentum with both projections on the tangent space of the last function, shape ``(steps + 1,)``."""
    before = theta = START
    path = [theta]
    for _ in range(steps):
        slope = np.array([1.0, 2.0 * theta])
        square = slope @ slope
        ahead = theta + beta * slope @ (curve(np.array(theta)) - curve(np.array(before))) / square
        gradient = curve(np.array(ahead)) - curve(np.array(-TARGET))
        before, theta = theta, float(ahead - rate * slope @ gradient / square)
        path.append(theta)
    return np.array(path)
