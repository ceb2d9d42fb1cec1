"""Vanilla flows depend on the chart, the natural flow does not: three charts of the independence model.

The vanilla flow in coordinates xi is xi' = - grad F(xi); the natural one is xi' = - I(xi)^-1 grad F(xi), with the
Fisher matrix I (S. Amari, Neural Computation 10, 251 (1998)). Each is integrated in its own coordinates here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.basins import (
    conserved,
    fates_of,
    grid_of_starts,
    projected_descent,
    runge_kutta,
)
from repro.problems.independence import CHARTS, TwoSpins, convert, fisher_matrix

STARTS = ((0.5, 0.5), (0.9, 0.95), (0.1, 0.1), (0.05, 0.35), (0.6, 0.95), (0.35, 0.6), (0.3, 0.05))
"""mu of the paths that are drawn."""


def path_of_flow(
    spins: TwoSpins, mu: np.ndarray, chart: str, natural: bool, times: np.ndarray, tolerance: float = 1e-11
) -> np.ndarray:
    """Integrates a flow in the coordinates of a chart.

    Args:
        spins: what is minimised.
        mu: start, shape ``(2,)``.
        chart: one of :data:`repro.problems.independence.CHARTS`.
        natural: whether the natural flow is meant, else the vanilla one.
        times: increasing, from 0 on, shape ``(T,)``.
        tolerance: relative, of the integration; the absolute one is a thousandth of it.

    Returns:
        Coordinates in that chart, shape ``(T, 2)``.
    """
    gradient = spins.natural_gradient if natural else spins.gradient
    solution = solve_ivp(
        lambda _, point: -gradient(point, chart),
        (times[0], times[-1]),
        convert(mu, "mu", chart),
        t_eval=times,
        method="DOP853",
        rtol=tolerance,
        atol=1e-3 * tolerance,
    )
    return solution.y.T


@dataclass(frozen=True)
class VanillaEnds:
    """The vanilla flows of two charts, from the same starts.

    Attributes:
        in_mu: iterates of the projected vanilla gradient in mu, by start, shape ``(K, T + 1, 2)``, as mu.
        in_theta: the vanilla flow in theta, by start, shape ``(K, T', 2)``, as theta.
        starts: of the grid, shape ``(N, 2)``.
        apart: whether the two lead to different ends from there, shape ``(N,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    in_mu: np.ndarray
    in_theta: np.ndarray
    starts: np.ndarray
    apart: np.ndarray
    values: Values


@in_double_precision
def vanilla_ends(*, grid: int = 200, time: float = 40.0) -> VanillaEnds:
    """Compares where the vanilla flows in mu and in theta lead.

    Args:
        grid: starts along either axis.
        time: of the paths in theta that are drawn.
    """
    spins, starts = TwoSpins(), grid_of_starts(grid)
    fates = fates_of(spins, starts)
    apart = fates["vanilla_mu"] != fates["vanilla_theta"]
    shown = np.array(STARTS)
    in_mu = np.moveaxis(projected_descent(spins, shown, 0.0025, 400), 0, 1)
    times = np.concatenate([[0.0], np.geomspace(1e-3, time, 150)])
    in_theta = np.array([path_of_flow(spins, mu, "theta", False, times) for mu in shown])
    directions = np.stack([spins.slopes(starts), spins.gradient(convert(starts, "mu", "theta"), "theta")])
    directions[1] *= CHARTS["theta"].slope(convert(starts, "mu", "theta"))
    cosines = np.sum(directions[0] * directions[1], axis=1) / np.prod(np.linalg.norm(directions, axis=2), axis=0)
    values: Values = {
        "share_apart": float(apart.mean()),
        "share_theta_better": float(np.mean(fates["vanilla_theta"] > fates["vanilla_mu"])),
        "share_mu_better": float(np.mean(fates["vanilla_theta"] < fates["vanilla_mu"])),
        "largest_angle": float(np.degrees(np.arccos(np.clip(cosines.min(), -1.0, 1.0)))),
        "undecided": float(np.sum([np.sum(fate == 0) for fate in fates.values()])),
    }
    return VanillaEnds(in_mu, in_theta, starts, apart, values)


@dataclass(frozen=True)
class NaturalFlows:
    """The natural flow, integrated in three charts.

    Attributes:
        times: shape ``(T,)``.
        paths: by chart, of every start, converted to theta, shape ``(K, T, 2)``.
        differences: largest difference in mu between two charts, over the starts, shape ``(T,)``.
        drift: of the conserved quantity, largest over the starts, shape ``(T,)``, by chart.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    times: np.ndarray
    paths: dict[str, np.ndarray]
    differences: np.ndarray
    drift: dict[str, np.ndarray]
    values: Values


@in_double_precision
def natural_flows(*, time: float = 1.0, tolerance: float = 1e-11, grid: int = 200) -> NaturalFlows:
    """Integrates the natural flow in mu, theta and eta, and follows it to its ends from a grid of starts.

    Args:
        time: of the paths.
        tolerance: relative, of the integration.
        grid: starts along either axis.
    """
    spins, times = TwoSpins(), np.linspace(0.0, time, 101)
    paths = {
        chart: convert(
            np.array([path_of_flow(spins, np.array(mu), chart, True, times, tolerance) for mu in STARTS]),
            chart,
            "theta",
        )
        for chart in CHARTS
    }
    in_mu = np.array([convert(path, "theta", "mu") for path in paths.values()])
    differences = np.ptp(in_mu, axis=0).max(axis=(0, 2))
    level = {chart: conserved(spins, path, 1) for chart, path in paths.items()}
    drift = {chart: np.max(np.abs(h - h[:, :1]), axis=0) for chart, h in level.items()}
    values: Values = {
        "largest_difference": float(differences.max()),
        "drift": {chart: float(change.max()) for chart, change in drift.items()},
        "distance_from_vertex": distance_from_vertex(spins, grid_of_starts(grid)),
        **step_in_ball(spins, np.array([0.3, 0.6])),
    }
    return NaturalFlows(times, paths, differences, drift, values)


def distance_from_vertex(spins: TwoSpins, starts: np.ndarray, *, step: float = 0.1, time: float = 20.0) -> float:
    """How far from a minimum of F the natural flow is at last, in mu: the largest of all starts mu."""
    theta = convert(starts, "mu", "theta")
    for _ in range(round(time / step)):
        theta = runge_kutta(lambda points: -spins.natural_gradient(points, "theta"), theta, step)
    # At the minima one mu is 1 and the other 0: 1 - mu(theta) = mu(-theta).
    near_global = convert(theta * np.array([-1.0, 1.0]), "theta", "mu").max(axis=1)
    near_local = convert(theta * np.array([1.0, -1.0]), "theta", "mu").max(axis=1)
    return float(np.minimum(near_global, near_local).max())


def step_in_ball(spins: TwoSpins, mu: np.ndarray, epsilon: float = 0.02) -> Values:
    """The step of steepest descent on the ellipse 1/2 d^T I d = epsilon, found by a search over its directions.

    Returns:
        Its multiplier, from grad F = multiplier I d; and how far the printed multiplier I^-1 grad F, and
        I^-1 grad F / multiplier, are from it, over its length.
    """
    gradient, metric = spins.gradient(mu, "mu"), fisher_matrix(mu, "mu")
    half_axes = np.sqrt(2.0 * epsilon / np.diag(metric))

    def point(angle: float) -> np.ndarray:
        return half_axes * np.array([np.cos(angle), np.sin(angle)])

    angles = np.linspace(0.0, 2.0 * np.pi, 721)
    near = min(angles, key=lambda angle: float(gradient @ point(angle)))
    width = angles[1]
    angle = minimize_scalar(
        lambda a: gradient @ point(a), bounds=(near - width, near + width), method="bounded", options={"xatol": 1e-12}
    ).x
    best = point(float(angle))
    multiplier = float(gradient @ best / (best @ metric @ best))
    natural = np.linalg.solve(metric, gradient)
    length = np.linalg.norm(best)
    return {
        "multiplier": multiplier,
        "step_difference_printed": float(np.linalg.norm(multiplier * natural - best) / length),
        "step_difference": float(np.linalg.norm(natural / multiplier - best) / length),
    }
