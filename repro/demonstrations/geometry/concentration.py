"""Natural flows of a function in the span of the statistics end at its optimum, from everywhere; others need not.

With f = b^T x + x^T A x and A negative definite, S^-1(t) = S_0^-1 - 2 A t and mu - x* = S(t) S_0^-1 (mu_0 - x*). So the
eigenvalues of S are below 1 / (2 a t), with the smallest eigenvalue a of -A, and the distance of the mean is below
|S_0^-1 (mu_0 - x*)| / (2 a t).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry import quartic_on_the_line as quartic
from repro.demonstrations.geometry.flows_on_the_line import NATURAL
from repro.demonstrations.geometry.flows_on_the_line import follow as follow_on_the_line
from repro.demonstrations.geometry.parameterisations import random_moments
from repro.demonstrations.geometry.quadratic_in_the_plane import LINEAR, MAXIMUM, QUADRATIC

OUTSIDE_STARTS = np.array([(-2.0, 0.5), (-1.0, 0.3), (-0.39, 0.05), (-2.0, 2.0), (0.0, 1.0), (1.0, 0.5), (2.0, 2.0)]).T
"""(mu, sigma) of flows of the quartic function, which is out of the span, shape ``(2, 7)``."""


def natural_flows(mu: np.ndarray, covariance: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means ``(T, N, 2)`` and covariances ``(T, N, 2, 2)`` along d mu / dt = S grad f(mu), dS / dt = 2 S A S.

    Args:
        mu: of the starts, shape ``(N, 2)``.
        covariance: of the starts, shape ``(N, 2, 2)``.
        times: of the results; the flow begins at zero.
    """
    count = len(mu)

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        mean, matrix = state[: 2 * count].reshape(count, 2), state[2 * count :].reshape(count, 2, 2)
        slope = LINEAR + 2.0 * mean @ QUADRATIC
        return np.concatenate(
            [(matrix @ slope[:, :, None]).reshape(-1), (2.0 * matrix @ QUADRATIC @ matrix).reshape(-1)]
        )

    start = np.concatenate([mu.reshape(-1), covariance.reshape(-1)])
    found = solve_ivp(velocity, (0.0, times[-1]), start, "DOP853", times, rtol=1e-11, atol=1e-14)
    assert found.success, found.message
    states = found.y.T
    return states[:, : 2 * count].reshape(-1, count, 2), states[:, 2 * count :].reshape(-1, count, 2, 2)


@dataclass(frozen=True)
class Concentration:
    """What is drawn of the flows.

    Attributes:
        times: shape ``(T,)``.
        distances: of the mean from the maximum, shape ``(T, N)``.
        largest: eigenvalue of the covariance, shape ``(T, N)``.
        bound: on ``largest``, shape ``(T,)``.
        outside: paths (mu, sigma) of the quartic function's natural flow, shape ``(2, 7, T')``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    times: np.ndarray
    distances: np.ndarray
    largest: np.ndarray
    bound: np.ndarray
    outside: np.ndarray
    values: Values


def _last_slopes(times: np.ndarray, decaying: np.ndarray) -> list[float]:
    """The least and the largest slope in logarithms over the last tenth of the times."""
    last = len(times) // 10
    slopes = np.log(decaying[-1] / decaying[-last]) / np.log(times[-1] / times[-last])
    return [float(slopes.min()), float(slopes.max())]


@in_double_precision
def flows(*, starts: int = 100, seed: int = 0, end: float = 1e4, points: int = 121) -> Concentration:
    """Follows natural flows from random normal distributions.

    Args:
        starts: how many.
        seed: of these.
        end: the last time.
        points: times, evenly in their logarithm from 0.01.
    """
    mu, covariance = random_moments(2, starts, seed)
    mu = 3.0 * mu
    times = np.geomspace(0.01, end, points)
    means, covariances = natural_flows(mu, covariance, times)
    distances = np.linalg.norm(means - MAXIMUM, axis=2)
    largest = np.linalg.eigvalsh(covariances)[:, :, -1]
    curvatures = np.linalg.eigvalsh(-QUADRATIC)
    bound = 1.0 / (2.0 * curvatures[0] * times)
    pull = np.linalg.norm(np.linalg.solve(covariance, (mu - MAXIMUM)[:, :, None])[:, :, 0], axis=1)
    second = distances[-1] ** 2 + np.trace(covariances[-1], axis1=1, axis2=2)
    late = np.concatenate([[0.0], np.geomspace(1e-4, 1e8, 1500)])
    outside = follow_on_the_line(quartic.gradient, OUTSIDE_STARTS, late, NATURAL, tolerance=1e-9)
    limits = np.unique(outside[0, :, -1].round(3))
    values: Values = {
        "eigenvalues_of_minus_a": [float(one) for one in curvatures],
        "second_moment_at_end": float(second.max()),
        "mean_over_bound": float(np.max(distances / (bound[:, None] * pull))),
        "covariance_over_bound": float(np.max(largest / bound[:, None])),
        "slope_of_mean": _last_slopes(times, distances),
        "slope_of_covariance": _last_slopes(times, largest),
        "limits_outside": [float(one) for one in limits],
        "number_of_limits_outside": float(len(limits)),
        "loss_outside": float(np.ptp(quartic.POLYNOMIAL(limits))),
    }
    return Concentration(times, distances, largest, bound, outside, values)
