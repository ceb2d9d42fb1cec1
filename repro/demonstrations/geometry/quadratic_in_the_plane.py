"""E[f] of a concave quadratic f over the normal distributions on the plane: flows with a moving and a fixed covariance.

For f = b^T x + x^T A x the mean is F = b^T mu + mu^T A mu + tr(A S). The natural flow is a straight line in theta,
because f is a combination of the statistics: S^-1(t) = S_0^-1 - 2 A t, and S^-1 mu grows by b t. The vanilla flow in
(mu, S) moves S along a straight line, too, and so it leaves the positive definite matrices. The line depends on what a
coordinate is: dF/dS = A if the entries of S are those of any matrix, but dF/dS_12 = 2 A_12 if S_12 and S_21 are one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.gaussians import fisher_mean_covariance

LINEAR = np.array([1.0, 2.0])
QUADRATIC = np.array([[-3.0, -1.0], [-1.0, -2.0]])
COVARIANCE = np.array([[1.0, -0.5], [-0.5, 2.0]])
"""Of the start."""
MAXIMUM = np.array([0.0, 0.5])
STATE_TIME, STATE_START = 1.7, (-1.0, 1.5)
"""When and from where a state of the natural flow is printed."""
STARTS = ((-1.0, 1.5), (1.2, 1.4), (-1.2, -0.4), (1.0, -0.6))
VANILLA, NATURAL = "vanilla", "natural"
Velocity = Callable[[float, np.ndarray], np.ndarray]


def function(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The f that is maximised."""
    return x + 2.0 * y - 3.0 * x**2 - 2.0 * x * y - 2.0 * y**2


def packed(mu: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(mu_1, mu_2, S_11, S_22, S_12)."""
    return np.array([*mu, covariance[0, 0], covariance[1, 1], covariance[0, 1]])


def unpacked(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of :func:`packed`."""
    return state[:2], np.array([[state[2], state[4]], [state[4], state[3]]])


def gradient(state: np.ndarray) -> np.ndarray:
    """Of F in the five coordinates of :func:`packed`: S_12 and S_21 are one coordinate."""
    slope = LINEAR + 2.0 * QUADRATIC @ state[:2]
    return np.array([*slope, QUADRATIC[0, 0], QUADRATIC[1, 1], 2.0 * QUADRATIC[0, 1]])


def natural(_: float, state: np.ndarray) -> np.ndarray:
    """I^-1 times the gradient, with the Fisher matrix in (mu, S)."""
    return np.linalg.solve(fisher_mean_covariance(*unpacked(state)), gradient(state))


def vanilla_independent(_: float, state: np.ndarray) -> np.ndarray:
    """The gradient in the five coordinates."""
    return gradient(state)


def vanilla_matrix(_: float, state: np.ndarray) -> np.ndarray:
    """The gradient with dF/dS = A."""
    return packed(gradient(state)[:2], QUADRATIC)


def closed_form(mu: np.ndarray, covariance: np.ndarray, time: float) -> np.ndarray:
    """The natural flow, as :func:`packed`."""
    precision = np.linalg.inv(covariance)
    later = np.linalg.inv(precision - 2.0 * QUADRATIC * time)
    return packed(later @ (precision @ mu + LINEAR * time), later)


def follow(velocity: Velocity, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """A flow at some times, shape ``(T, ...)``."""
    span = (float(times[0]), float(times[-1]))
    found = solve_ivp(velocity, span, start, "DOP853", times, rtol=1e-12, atol=1e-14)
    assert found.success, found.message
    return found.y.T


def exit_time(velocity: Velocity, start: np.ndarray) -> float:
    """When the smallest eigenvalue of the covariance becomes zero, found along the integration."""

    def smallest(_: float, state: np.ndarray) -> float:
        return float(np.linalg.eigvalsh(unpacked(state)[1])[0])

    smallest.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(velocity, (0.0, 10.0), start, "DOP853", events=smallest, rtol=1e-12, atol=1e-14)
    left = found.t_events[0] if found.t_events else np.empty(0)
    return float(left[0]) if len(left) else np.inf


def predicted_exit(direction: np.ndarray, covariance: np.ndarray) -> float:
    """-1 / min eig(S^-1 D): when S + t D is singular first."""
    return -1.0 / float(np.min(np.linalg.eigvals(np.linalg.solve(covariance, direction)).real))


@dataclass(frozen=True)
class PlaneFlows:
    """What is drawn of the flows.

    Attributes:
        fixed: paths of the mean by geometry with a fixed covariance, one for each start, shape ``(T, 2)``.
        moving: the same with a moving covariance; the vanilla ones, with dF/dS = A, until they leave.
        times: shape ``(T,)``.
        smallest: the smallest eigenvalue of the covariance at these times by the name of the flow; negative where
            there is no distribution.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    fixed: dict[str, list[np.ndarray]]
    moving: dict[str, list[np.ndarray]]
    times: np.ndarray
    smallest: dict[str, np.ndarray]
    values: Values


def _fixed_flows(starts: np.ndarray, times: np.ndarray) -> tuple[dict[str, list[np.ndarray]], float]:
    """Paths with a fixed covariance, and how far they are from matrix exponentials."""
    paths: dict[str, list[np.ndarray]] = {}
    error = 0.0
    for name, metric in ((VANILLA, np.eye(2)), (NATURAL, COVARIANCE)):
        generator = 2.0 * metric @ QUADRATIC

        def velocity(_: float, mu: np.ndarray, metric: np.ndarray = metric) -> np.ndarray:
            return metric @ (LINEAR + 2.0 * QUADRATIC @ mu)

        paths[name] = [follow(velocity, start, times) for start in starts]
        for start, path in zip(starts, paths[name], strict=True):
            exact = MAXIMUM + np.stack([expm(generator * t) @ (start - MAXIMUM) for t in times[::20]])
            error = max(error, float(np.max(np.abs(path[::20] - exact))))
    return paths, error


def _rates(metric: np.ndarray) -> list[float]:
    """With which distances from the maximum decay where the covariance is fixed."""
    return sorted(float(one) for one in np.linalg.eigvals(-2.0 * metric @ QUADRATIC).real)


@in_double_precision
def flows(*, starts: tuple[tuple[float, float], ...] = STARTS, end: float = 1.7, points: int = 201) -> PlaneFlows:
    """Follows the flows, and finds when the vanilla ones leave the normal distributions.

    Args:
        starts: means.
        end: time of the paths, of the natural flow with a moving covariance a hundred times as much.
        points: of each path.
    """
    means = np.array(starts)
    times = np.concatenate([[0.0], np.geomspace(1e-3, end, points - 1)])
    late = np.concatenate([[0.0], np.geomspace(1e-3, 100.0 * end, points - 1)])
    fixed, fixed_error = _fixed_flows(means, times)
    states = [packed(mu, COVARIANCE) for mu in means]
    natural_states = [follow(natural, state, late) for state in states]
    exact = [np.stack([closed_form(mu, COVARIANCE, t) for t in late]) for mu in means]
    independent = np.array([[QUADRATIC[0, 0], 2 * QUADRATIC[0, 1]], [2 * QUADRATIC[0, 1], QUADRATIC[1, 1]]])
    leave = {"matrix": exit_time(vanilla_matrix, states[0]), "independent": exit_time(vanilla_independent, states[0])}
    predicted = {
        "matrix": predicted_exit(QUADRATIC, COVARIANCE),
        "independent": predicted_exit(independent, COVARIANCE),
    }
    until = np.linspace(0.0, leave["matrix"], points)
    smallest = {
        "vanilla, dF/dS = A": [COVARIANCE + t * QUADRATIC for t in times],
        "vanilla, entries independent": [COVARIANCE + t * independent for t in times],
        "natural": [unpacked(closed_form(means[0], COVARIANCE, t))[1] for t in times],
    }
    at = packed(np.array(STATE_START), COVARIANCE)
    values: Values = {
        "slope_at_maximum": float(np.abs(LINEAR + 2.0 * QUADRATIC @ MAXIMUM).max()),
        "maximum": float(function(*MAXIMUM)),
        "natural_error": float(max(np.abs(a - b).max() for a, b in zip(natural_states, exact, strict=True))),
        "state": [float(one) for one in follow(natural, at, np.array([0.0, STATE_TIME]))[-1]],
        "exit_time_matrix": leave["matrix"],
        "exit_time_independent": leave["independent"],
        "exit_error": [abs(leave[name] - predicted[name]) for name in leave],
        "exit_ratio": leave["independent"] / leave["matrix"],
        "fixed_error": fixed_error,
        "rates_vanilla": _rates(np.eye(2)),
        "rates_natural": _rates(COVARIANCE),
        "rates_error": float(
            np.abs(np.array(_rates(np.eye(2)) + _rates(COVARIANCE)) - [5 - 5**0.5, 5 + 5**0.5, 5, 7]).max()
        ),
    }
    moving = {
        VANILLA: [follow(vanilla_matrix, state, until)[:, :2] for state in states],
        NATURAL: [path[:, :2] for path in natural_states],
    }
    eigenvalues = {name: np.linalg.eigvalsh(np.stack(of))[:, 0] for name, of in smallest.items()}
    return PlaneFlows(fixed, moving, times, eigenvalues, values)
