"""With x1 x2 among the sufficient statistics the natural flow is exact: no start leads to a wrong minimum.

f = x1 + 2 x2 + 3 x1 x2 is then in the span of the statistics. The natural gradient in theta is the constant vector of
its coefficients, theta(t) = theta(0) - t (1, 2, 3), and p_t(x) is proportional to p_0(x) exp(-t f(x)): a Boltzmann
distribution at falling temperature (L. Malago, M. Matteucci, G. Pistone, FOGA 2011). In the probabilities p the same
flow is p' = - p (f - E_p[f]), the replicator equation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.basins import runge_kutta
from repro.demonstrations.geometry.invariance import path_of_flow
from repro.problems.independence import (
    TwoSpins,
    convert,
    full_family_fisher,
    full_family_gradient,
    full_statistics,
    probabilities,
)


def boltzmann(start: np.ndarray, table: np.ndarray, times: np.ndarray) -> np.ndarray:
    """p_0 exp(-t f) / Z at every time, shape ``(T, 4)``, from p_0 of shape ``(4,)``."""
    logs = np.log(start) - np.asarray(times)[:, None] * table
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class FullFamily:
    """The natural flow with and without x1 x2.

    Attributes:
        times: shape ``(T,)``.
        probabilities: of the four states along the flow of the full family, shape ``(T, 4)``.
        exact: the closed form, of that shape.
        independent: mu of the flow on the independence model from the same start, shape ``(T, 2)``.
        cost: F along both flows, shape ``(2, T)``: full family, independence model.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    times: np.ndarray
    probabilities: np.ndarray
    exact: np.ndarray
    independent: np.ndarray
    cost: np.ndarray
    values: Values


@in_double_precision
def full_family(
    *, start: tuple[float, float] = (0.05, 0.95), time: float = 8.0, starts: int = 2000, seed: int = 0
) -> FullFamily:
    """Integrates the natural flow of the full family, and compares it with the closed form.

    Args:
        start: mu of independent variables.
        time: of the paths.
        starts: random distributions, of which each is followed to its end.
        seed: of these, uniform on the simplex.
    """
    spins, times = TwoSpins(), np.linspace(0.0, time, 161)
    mu = np.array(start)
    first = probabilities(mu)

    origin = np.append(convert(mu, "mu", "theta"), 0.0)
    velocity = -np.linalg.solve(full_family_fisher(origin), full_family_gradient(origin, spins.table))
    coefficients = np.array([spins.first, spins.second, spins.product])
    found, exact = _in_expectations(first, coefficients, times), boltzmann(first, spins.table, times)
    theta = path_of_flow(spins, mu, "theta", True, times)
    ends = _ends(np.random.default_rng(seed).dirichlet(np.ones(4), size=starts), spins.table)
    cost = np.stack([found @ spins.table, spins.mean_of_theta(theta)])
    values: Values = {
        "largest_difference": float(np.max(np.abs(found - exact))),
        "velocity_at_start": velocity.tolist(),
        "velocity_difference": float(np.max(np.abs(velocity + coefficients))),
        "cost_full": float(cost[0, -1]),
        "cost_independent": float(cost[1, -1]),
        "excess_from_any_start": float(np.max(ends @ spins.table) + 4.0),
        "share_of_wrong_ends": float(np.mean(ends @ spins.table > -3.9)),
    }
    return FullFamily(times, found, exact, convert(theta, "theta", "mu"), cost, values)


def _in_expectations(start: np.ndarray, coefficients: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The natural flow in the expectations of the statistics, as p of shape ``(T, 4)``, from p of shape ``(4,)``.

    E[f] is linear in them, and the inverse of their Fisher matrix is the covariance of the statistics. So nothing is
    solved, and the flow can be followed to where the Fisher matrix in theta is singular to rounding.
    """
    statistics = full_statistics()

    def field(_: float, mean: np.ndarray) -> np.ndarray:
        p = 0.25 * (1.0 + statistics @ mean)
        centred = statistics - p @ statistics
        return -(p[:, None] * centred).T @ (centred @ coefficients)

    flow = solve_ivp(
        field, (times[0], times[-1]), start @ statistics, method="DOP853", t_eval=times, rtol=1e-12, atol=1e-14
    )
    return 0.25 * (1.0 + flow.y.T @ statistics.T)


def _ends(start: np.ndarray, table: np.ndarray, *, step: float = 0.02, time: float = 20.0) -> np.ndarray:
    """Where the replicator equation leads, from p of shape ``(N, 4)``: the same flow, as it is for ln p."""

    def field(logs: np.ndarray) -> np.ndarray:
        p = np.exp(logs)
        return (p @ table)[:, None] - table

    logs = np.log(start)
    for _ in range(round(time / step)):
        logs = runge_kutta(field, logs, step)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return np.exp(logs)
