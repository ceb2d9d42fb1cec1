"""Where the flows on the independence model lead: from a grid of starts, and by their conserved quantities.

In mu all three flows are mu_i' = - (mu_i (1 - mu_i))^k dF/dmu_i, up to constants of time: k = 0 is the vanilla flow in
mu, k = 1 the natural one, k = 2 the vanilla one in theta. F is bilinear, so d mu_1 / d mu_2 separates: along a path

    h_1(mu_1) - h_2(mu_2),   h_i(m) = integral of (dF/dmu_j)(m) / (m (1 - m))^k dm,   j the other variable,

does not change. Its level through the saddle point, on the side where both h_i rise or both fall, parts the basins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.independence import TwoSpins, convert

GLOBAL = (1.0, 0.0)
"""mu of the global minimum; the local one is at (0, 1)."""
POWERS = {"vanilla_mu": 0, "natural": 1, "vanilla_theta": 2}
"""k of the three flows."""


def grid_of_starts(points: int) -> np.ndarray:
    """Centres of the cells of the square of probabilities, shape ``(points^2, 2)``."""
    centres = (np.arange(points) + 0.5) / points
    return np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)


def projected_descent(spins: TwoSpins, starts: np.ndarray, step: float, steps: int) -> np.ndarray:
    """Vanilla steps in mu, each followed by the projection onto the square.

    Args:
        spins: what is minimised.
        starts: shape ``(N, 2)``.
        step: of the gradient.
        steps: T.

    Returns:
        Shape ``(T + 1, N, 2)``.
    """
    path = [starts]
    for _ in range(steps):
        path.append(np.clip(path[-1] - step * spins.slopes(path[-1]), 0.0, 1.0))
    return np.array(path)


def runge_kutta(field: Callable[[np.ndarray], np.ndarray], points: np.ndarray, step: float) -> np.ndarray:
    """One step of the classical Runge-Kutta method of fourth order, of the shape of ``points``."""
    one = field(points)
    two = field(points + 0.5 * step * one)
    three = field(points + 0.5 * step * two)
    four = field(points + step * three)
    return points + step / 6.0 * (one + 2.0 * two + 2.0 * three + four)


def flow_in_theta(
    spins: TwoSpins, theta: np.ndarray, natural: bool, *, step: float = 0.1, longest: float = 1000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Follows a flow from many starts until each is in a quadrant that it cannot leave.

    Beside the saddle point the square has four quadrants. In the two that hold a minimum, both mu_i move towards it
    all the time.

    Args:
        spins: what is minimised.
        theta: starts, shape ``(N, 2)``.
        natural: whether the natural flow is meant, else the vanilla one in theta.
        step: of time.
        longest: time, where some do not arrive.

    Returns:
        The last points, shape ``(N, 2)``, and 1 for those that go to the global minimum, -1 for those that go to the
        local one, 0 for those that are undecided, shape ``(N,)``.
    """
    gradient = spins.natural_gradient if natural else spins.gradient
    saddle = convert(spins.saddle, "mu", "theta")
    theta, fate = theta.copy(), np.zeros(len(theta), int)
    time = 0.0
    while time < longest and not np.all(fate):
        left = np.flatnonzero(fate == 0)
        moved = runge_kutta(lambda points: -gradient(points, "theta"), theta[left], step)
        away = np.sign(moved - saddle)
        theta[left], fate[left] = moved, np.where(away[:, 0] == -away[:, 1], away[:, 0], 0)
        time += step
    return theta, fate


def potential(m: np.ndarray | float, rest: np.ndarray | float, slope: tuple[float, float], power: int) -> np.ndarray:
    """The integral of (a + b m) / (m (1 - m))^power over m, of the shape of ``m``.

    Args:
        m: probabilities, in (0, 1).
        rest: 1 - m, given apart so that nothing cancels.
        slope: a and b.
        power: 0, 1 or 2.
    """
    (a, b), m = slope, np.asarray(m)
    if power == 0:
        return a * m + 0.5 * b * m**2
    odds = np.log(m) - np.log(rest)
    if power == 1:
        return a * odds - b * np.log(rest)
    return a * (1.0 / rest - 1.0 / m + 2.0 * odds) + b * (odds + 1.0 / rest)


def _slopes(spins: TwoSpins) -> tuple[tuple[float, float], tuple[float, float]]:
    """(a, b) of dF/dmu_2 = a + b mu_1, and of dF/dmu_1 = a + b mu_2."""
    c = spins.product
    return (2.0 * (spins.second - c), 4.0 * c), (2.0 * (spins.first - c), 4.0 * c)


def conserved(spins: TwoSpins, theta: np.ndarray, power: int) -> np.ndarray:
    """What a flow does not change, from natural parameters of shape ``(..., 2)``; shape ``(...)``.

    Of the lecture's function and ``power`` 1 it is -2 ln mu1 - 10 ln(1 - mu1) + 4 ln mu2 + 8 ln(1 - mu2).
    """
    mu, rest = convert(theta, "theta", "mu"), convert(-theta, "theta", "mu")
    of_first, of_second = _slopes(spins)
    return potential(mu[..., 0], rest[..., 0], of_first, power) - potential(mu[..., 1], rest[..., 1], of_second, power)


def fate_by_level(spins: TwoSpins, mu: np.ndarray, power: int) -> np.ndarray:
    """1 where the conserved quantity says that a start goes to the global minimum, else -1, shape ``(N,)``."""
    theta = convert(mu, "mu", "theta")
    level = conserved(spins, theta, power) - conserved(spins, convert(spins.saddle, "mu", "theta"), power)
    above = np.sign(mu - spins.saddle)
    return np.where(above[:, 0] == -above[:, 1], above[:, 0], np.sign(level) * above[:, 0]).astype(int)


def separatrix(spins: TwoSpins, power: int, mu1: np.ndarray) -> np.ndarray:
    """mu2 of the line that parts the basins, at values of mu1 in (0, 1), of their shape.

    For ``power`` 0 it may leave the square: there, mu2 is 0 or 1.
    """
    of_first, of_second = _slopes(spins)
    one, two = spins.saddle
    bottom = potential(two, 1.0 - two, of_second, power)
    start = potential(one, 1.0 - one, of_first, power)
    tiny = 1e-13

    def height(m: float) -> float:
        wanted = potential(m, 1.0 - m, of_first, power) - start + bottom
        low, high = (tiny, two) if m < one else (two, 1.0 - tiny)
        away = [float(potential(end, 1.0 - end, of_second, power) - wanted) for end in (low, high)]
        if away[0] * away[1] >= 0.0:
            return float(two if m == one else (0.0 if m < one else 1.0))
        return float(
            brentq(lambda x: potential(x, 1.0 - x, of_second, power) - wanted, low, high, xtol=1e-14, rtol=1e-14)
        )

    return np.array([height(float(m)) for m in mu1])


def basin_area(spins: TwoSpins, power: int, nodes: int = 200) -> float:
    """The part of the square of probabilities below the separatrix, by Gauss-Legendre on both sides of the saddle."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    one = spins.saddle[0]
    left, right = one * 0.5 * (x + 1.0), one + (1.0 - one) * 0.5 * (x + 1.0)
    below = [0.5 * width * w @ separatrix(spins, power, at) for width, at in ((one, left), (1.0 - one, right))]
    return float(sum(below))


@dataclass(frozen=True)
class Basins:
    """The basins of the global minimum under three flows.

    Attributes:
        starts: of the grid, shape ``(N, 2)``.
        fates: 1 where a start goes to the global minimum, -1 where to the local one, shape ``(N,)``, by flow.
        lines: the separatrices, shape ``(L, 2)``, by flow.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    starts: np.ndarray
    fates: dict[str, np.ndarray]
    lines: dict[str, np.ndarray]
    values: Values


def fates_of(spins: TwoSpins, starts: np.ndarray) -> dict[str, np.ndarray]:
    """Where the three flows lead from starts mu, shape ``(N,)`` each: 1 global, -1 local, 0 undecided.

    The vanilla flow in mu is the projected iteration with the lecture's step 0.025.
    """
    ends = projected_descent(spins, starts, 0.025, 200)[-1]
    theta = convert(starts, "mu", "theta")
    at_global, at_local = (np.all(ends == vertex, axis=1) for vertex in (GLOBAL, GLOBAL[::-1]))
    return {
        "vanilla_mu": at_global.astype(int) - at_local,
        "natural": flow_in_theta(spins, theta, natural=True)[1],
        "vanilla_theta": flow_in_theta(spins, theta, natural=False)[1],
    }


@in_double_precision
def basins(*, grid: int = 200) -> Basins:
    """Measures the three basins on a grid of starts, and from the conserved quantities.

    Args:
        grid: starts along either axis.
    """
    spins, starts = TwoSpins(), grid_of_starts(grid)
    fates = fates_of(spins, starts)
    areas = {name: basin_area(spins, power) for name, power in POWERS.items()}
    measured = {name: float(np.mean(fate == 1)) for name, fate in fates.items()}
    across = np.linspace(0.0, 1.0, 202)[1:-1]
    lines = {name: np.column_stack([across, separatrix(spins, power, across)]) for name, power in POWERS.items()}
    values: Values = {
        **{f"basin_{name}": share for name, share in measured.items()},
        "area": areas,
        "area_difference": {name: abs(measured[name] - area) for name, area in areas.items()},
        "starts_misplaced": {
            name: float(np.sum(fates[name] != fate_by_level(spins, starts, power))) for name, power in POWERS.items()
        },
        "number_of_ends": {name: float(len(np.unique(fate))) for name, fate in fates.items()},
        "gain_over_vanilla_mu": measured["natural"] - measured["vanilla_mu"],
    }
    return Basins(starts, fates, lines, values)
