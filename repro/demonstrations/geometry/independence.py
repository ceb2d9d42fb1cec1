"""A function of two binary variables, relaxed over the independence model, and its vanilla flows in two charts.

F is bilinear in the probabilities mu: there the vanilla flow is linear. It leaves the square of probabilities in finite
time. In the natural parameters theta it slows down on plateaux (L. Malago, An Introduction to Natural Gradient, 2023,
slides "Gradient Flows on the Independence Model").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.integrate import solve_ivp

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.basins import GLOBAL, grid_of_starts, projected_descent
from repro.problems.independence import TwoSpins, convert, expectation

PRINTED_TABLE = (6.0, -4.0, -2.0, 0.0)
"""Of f, in the order (+,+), (+,-), (-,+), (-,-)."""
CORNERS = ((3.0, 3.0), (3.0, -3.0), (-3.0, 3.0), (-3.0, -3.0))
"""Natural parameters on the four plateaux."""


def _printed(mu: Array) -> Array:
    """F(mu) as printed, of one point of shape ``(2,)``, for automatic differentiation."""
    return -4.0 * mu[0] - 2.0 * mu[1] + 12.0 * mu[0] * mu[1]


def printed_mean(mu: np.ndarray) -> np.ndarray:
    """F(mu) as printed, shape ``(...)``."""
    return -4.0 * mu[..., 0] - 2.0 * mu[..., 1] + 12.0 * mu[..., 0] * mu[..., 1]


def printed_slopes(mu: np.ndarray) -> np.ndarray:
    """The gradient of F in mu as printed, shape ``(..., 2)``."""
    return np.stack([-4.0 + 12.0 * mu[..., 1], -2.0 + 12.0 * mu[..., 0]], axis=-1)


@dataclass(frozen=True)
class Relaxation:
    """The relaxed function in its two printed forms.

    Attributes:
        table: of f, shape ``(4,)``.
        saddle: mu at the saddle point, shape ``(2,)``.
        minima: mu of the two minima, the global one first, shape ``(2, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    table: np.ndarray
    saddle: np.ndarray
    minima: np.ndarray
    values: Values


@in_double_precision
def relaxation(*, points: int = 10_000, seed: int = 0) -> Relaxation:
    """Compares the printed table, F(mu), F(theta) and gradients with sums over the states, and classifies the optima.

    Args:
        points: how many mu, uniform in the square.
        seed: of these.
    """
    spins = TwoSpins()
    mu = np.random.default_rng(seed).uniform(size=(points, 2))
    theta = convert(mu, "mu", "theta")
    summed = expectation(np.array(PRINTED_TABLE), mu)
    slopes = np.asarray(jax.vmap(jax.grad(_printed))(jnp.asarray(mu)))
    curvature = np.asarray(jax.hessian(_printed)(jnp.asarray(spins.saddle)))
    vertices = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    # A vertex is a minimum over the square where F rises along both edges.
    rises = np.all(printed_slopes(vertices) * (1.0 - 2.0 * vertices) > 0.0, axis=1)
    minima = vertices[rises][np.argsort(printed_mean(vertices[rises]))]
    values: Values = {
        "table_difference": float(np.max(np.abs(spins.table - PRINTED_TABLE))),
        "mu_difference": float(np.max(np.abs(printed_mean(mu) - summed))),
        "theta_difference": float(np.max(np.abs(spins.mean_of_theta(theta) - summed))),
        "gradient_difference": float(np.max(np.abs(printed_slopes(mu) - slopes))),
        "saddle": [*spins.saddle.tolist(), float(printed_mean(spins.saddle))],
        "gradient_at_saddle": float(np.max(np.abs(printed_slopes(spins.saddle)))),
        "curvatures_at_saddle": np.linalg.eigvalsh(curvature).tolist(),
        "product_of_curvatures": float(curvature[0, 0] * curvature[1, 1] - curvature[0, 1] * curvature[1, 0]),
        "saddle_difference": _apart(
            [*spins.saddle, float(printed_mean(spins.saddle))], [1.0 / 6.0, 1.0 / 3.0, -2.0 / 3.0]
        ),
        "number_of_minima": float(rises.sum()),
        "global_minimum": [*minima[0].tolist(), float(printed_mean(minima[0]))],
        "minima_difference": _apart([*minima.ravel(), *printed_mean(minima)], [1.0, 0.0, 0.0, 1.0, -4.0, -2.0]),
        "local_minimum": [*minima[1].tolist(), float(printed_mean(minima[1]))],
    }
    return Relaxation(spins.table, spins.saddle, minima, values)


def _apart(found: list[float], expected: list[float]) -> float:
    """The largest difference between two lists."""
    return float(np.max(np.abs(np.array(found) - np.array(expected))))


@dataclass(frozen=True)
class VanillaInMu:
    """The vanilla flow in the square of probabilities.

    Attributes:
        path: of the flow from the start until it leaves, shape ``(T, 2)``.
        projected: iterates with projection, by start, each of shape ``(steps + 1, 2)``.
        starts: of the grid, shape ``(N, 2)``.
        to_global: whether the projected iteration from there ends in the global minimum, shape ``(N,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    path: np.ndarray
    projected: list[np.ndarray]
    starts: np.ndarray
    to_global: np.ndarray
    values: Values


@in_double_precision
def vanilla_in_mu(
    *, start: tuple[float, float] = (0.5, 0.5), step: float = 0.025, steps: int = 200, grid: int = 200
) -> VanillaInMu:
    """Follows the flow until it leaves the square, and the projected iteration from a grid of starts.

    Args:
        start: mu.
        step: of the iteration, the length of the lecture's arrows over the gradient.
        steps: of the iteration.
        grid: starts along either axis.
    """
    spins = TwoSpins()

    def outside(_: float, mu: np.ndarray) -> float:
        return float(min(mu.min(), 1.0 - mu.max()))

    outside.terminal = True  # type: ignore[attr-defined]
    flow = solve_ivp(
        lambda _, mu: -spins.slopes(mu),
        (0.0, 5.0),
        np.array(start),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        max_step=0.003,
        events=outside,
    )
    starts = grid_of_starts(grid)
    ends = projected_descent(spins, starts, step, steps)[-1]
    below = starts[:, 1] < starts[:, 0] + 1.0 / 6.0
    at_global = np.all(ends == GLOBAL, axis=1)
    at_vertex = at_global | np.all(ends == 1.0 - np.array(GLOBAL), axis=1)
    later = linear_flow(spins, starts, 2.0)
    downhill = -float(np.sum(spins.slopes(np.array(start)) ** 2))
    values: Values = {
        "exit_time": float(flow.t[-1]),
        "exit_time_difference": abs(float(flow.t[-1]) - exit_time(spins, np.array(start))),
        "exit_point": flow.y[:, -1].tolist(),
        "share_leaving": float(np.mean(np.any((later < 0.0) | (later > 1.0), axis=1))),
        "share_at_a_minimum": float(at_vertex.mean()),
        "basin": float(at_global.mean()),
        "starts_on_the_wrong_side": float(np.sum(at_global != below)),
        "speed_of_printed_flow": -downhill,
        "speed_of_flow": downhill,
    }
    shown = [np.array(point) for point in ((0.9, 0.95), (0.5, 0.5), (0.1, 0.1), (0.05, 0.35), (0.6, 0.95), (0.35, 0.6))]
    projected = [projected_descent(spins, point[None], step, steps)[:, 0] for point in shown]
    return VanillaInMu(flow.y.T, projected, starts, at_global, values)


def linear_flow(spins: TwoSpins, mu: np.ndarray, time: float) -> np.ndarray:
    """Where the vanilla flow in mu is after a time: in closed form, as F is bilinear, shape of ``mu``."""
    rate, away = 4.0 * spins.product, mu - spins.saddle
    grows, falls = away[..., 0] - away[..., 1], away[..., 0] + away[..., 1]
    grows, falls = grows * np.exp(rate * time), falls * np.exp(-rate * time)
    return spins.saddle + 0.5 * np.stack([falls + grows, falls - grows], axis=-1)


def exit_time(spins: TwoSpins, mu: np.ndarray) -> float:
    """When that flow first meets an edge, from the roots of four quadratic equations in exp(rate t)."""
    rate, away = 4.0 * spins.product, mu - spins.saddle
    grows, falls = away[0] - away[1], away[0] + away[1]
    times = []
    for sign, place in ((1.0, spins.saddle[0]), (-1.0, spins.saddle[1])):
        for edge in (-place, 1.0 - place):
            # (falls / z + sign grows z) / 2 = edge
            roots = np.roots([sign * grows, -2.0 * edge, falls])
            real = roots[np.isreal(roots)].real
            times += [float(np.log(z)) / rate for z in real if z > 1.0]
    return min(times)


@dataclass(frozen=True)
class VanillaInTheta:
    """Gradient steps in the natural parameters.

    Attributes:
        vanilla: iterates of the vanilla gradient, shape ``(T + 1, 2)``.
        natural: of the natural one, shape ``(T' + 1, 2)``.
        vanilla_excess: F + 4 of the iterates, shape ``(T + 1,)``.
        natural_excess: shape ``(T' + 1,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    vanilla: np.ndarray
    natural: np.ndarray
    vanilla_excess: np.ndarray
    natural_excess: np.ndarray
    values: Values


@in_double_precision
def vanilla_in_theta(
    *, start: tuple[float, float] = (0.0, 0.0), step: float = 0.15, target: float = -3.99, most: int = 10_000
) -> VanillaInTheta:
    """Takes steps of one length in theta, along both gradients, until F is as low as the target.

    Args:
        start: theta.
        step: the length of the lecture's arrows over the gradient.
        target: F at which they stop.
        most: steps, where the target is not met.
    """
    spins, origin = TwoSpins(), np.array(start)
    paths = {
        "vanilla": _descend(spins, spins.gradient, origin, step, target, most),
        "natural": _descend(spins, spins.natural_gradient, origin, step, target, most),
    }
    excess = {name: spins.mean_of_theta(path) + 4.0 for name, path in paths.items()}
    corners = np.array(CORNERS)
    vanilla, natural = spins.gradient(corners, "theta"), spins.natural_gradient(corners, "theta")
    late = solve_ivp(
        lambda _, theta: -spins.gradient(theta, "theta"), (0.0, 1e5), origin, method="LSODA", rtol=1e-10, atol=1e-12
    )
    steps = {name: float(len(path) - 1) for name, path in paths.items()}
    values: Values = {
        "steps_natural": steps["natural"],
        "steps_vanilla": steps["vanilla"],
        "ratio_of_steps": steps["vanilla"] / steps["natural"],
        "cost_natural": float(excess["natural"][-1] - 4.0),
        "cost_vanilla": float(excess["vanilla"][-1] - 4.0),
        "gradient_at_corners": np.linalg.norm(vanilla, axis=1).tolist(),
        "gradient_at_start": float(np.linalg.norm(spins.gradient(origin, "theta"))),
        "natural_over_vanilla_at_corners": (np.linalg.norm(natural, axis=1) / np.linalg.norm(vanilla, axis=1)).tolist(),
        "late_excess_times_time": float((spins.mean_of_theta(late.y[:, -1]) + 4.0) * late.t[-1]),
    }
    return VanillaInTheta(paths["vanilla"], paths["natural"], excess["vanilla"], excess["natural"], values)


def _descend(
    spins: TwoSpins,
    direction: Callable[[np.ndarray, str], np.ndarray],
    start: np.ndarray,
    step: float,
    target: float,
    most: int,
) -> np.ndarray:
    """Iterates in theta until F is at most the target, shape ``(T + 1, 2)``."""
    path = [start]
    while spins.mean_of_theta(path[-1]) > target and len(path) <= most:
        path.append(path[-1] - step * direction(path[-1], "theta"))
    return np.array(path)
