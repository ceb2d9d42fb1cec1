"""The normal distributions N(mu, sigma^2) as a curved surface: distances on it, and gradients that follow it.

With coordinates (mu, sigma) the Fisher matrix is diag(1, 2) / sigma^2. In (mu / sqrt 2, sigma) it is twice the metric
of the hyperbolic half-plane: geodesics are half-ellipses around the axis sigma = 0, and vertical lines (C. Atkinson,
A. F. S. Mitchell, Sankhya A 43, 345 (1981)). In other coordinates phi the matrix is J^T F J with J = d(mu, sigma) /
d phi: the same surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision

ROOT = np.sqrt(2.0)


class Chart(NamedTuple):
    """Coordinates of the normal distributions.

    Attributes:
        from_normal: (mu, sigma) to coordinates, shape ``(2,)`` each.
        to_normal: the inverse.
    """

    from_normal: Callable[[Array], Array]
    to_normal: Callable[[Array], Array]


CHARTS = {
    "sigma": Chart(lambda p: p, lambda phi: phi),
    "log sigma": Chart(
        lambda p: jnp.stack([p[0], jnp.log(p[1])]),
        lambda phi: jnp.stack([phi[0], jnp.exp(phi[1])]),
    ),
    "precision": Chart(
        lambda p: jnp.stack([p[0], p[1] ** -2.0]),
        lambda phi: jnp.stack([phi[0], phi[1] ** -0.5]),
    ),
}
"""(mu, sigma), (mu, ln sigma) and (mu, 1 / sigma^2)."""


def fisher_of_normal(p: Array) -> Array:
    """The exact Fisher matrix of N(mu, sigma^2) in (mu, sigma), shape ``(2, 2)``."""
    return jnp.diag(jnp.array([1.0, 2.0])) / p[1] ** 2


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(N(p) || N(q)) in nats, of (mu, sigma) each."""
    ratio = p[1] / q[1]
    return float(0.5 * (ratio**2 - 1.0 + ((p[0] - q[0]) / q[1]) ** 2) - np.log(ratio))


def fisher_rao_distance(p: np.ndarray, q: np.ndarray) -> float:
    """The length of the geodesic between (mu, sigma) and (mu', sigma'): sqrt 2 arcosh(1 + |u - u'|^2 / (2 s s'))."""
    apart = 0.5 * (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2
    # arcosh(1 + 2 x^2) = 2 arsinh(x), exact for small distances.
    return float(2.0 * ROOT * np.arcsinh(np.sqrt(apart / (4.0 * p[1] * q[1]))))


def geodesic(p: np.ndarray, q: np.ndarray, points: int) -> np.ndarray:
    """Points of the geodesic from p to q, equally far from each other, shape ``(points, 2)``."""
    ends = np.array([p[0], q[0]]) / ROOT, np.array([p[1], q[1]])
    if np.isclose(*ends[0]):
        return np.stack([np.full(points, p[0]), np.geomspace(p[1], q[1], points)], axis=1)
    centre = np.diff(ends[0] ** 2 + ends[1] ** 2)[0] / (2.0 * np.diff(ends[0])[0])
    radius = np.hypot(ends[0][0] - centre, ends[1][0])
    # On the half circle u = c + r tanh t, s = r / cosh t, the length is t.
    start, end = np.arctanh((ends[0] - centre) / radius)
    t = np.linspace(start, end, points)
    return np.stack([ROOT * (centre + radius * np.tanh(t)), radius / np.cosh(t)], axis=1)


def straight(p: np.ndarray, q: np.ndarray, points: int) -> np.ndarray:
    """Points of the straight line in (mu, sigma), shape ``(points, 2)``."""
    return np.linspace(p, q, points)


def length(path: np.ndarray) -> float:
    """Of a smooth path of points at equal steps of its parameter, by the trapezoidal rule of the metric's speed.

    Args:
        path: (mu, sigma), shape ``(points, 2)``.
    """
    derivative = np.gradient(path, axis=0, edge_order=2)
    speed = np.sqrt(derivative[:, 0] ** 2 + 2.0 * derivative[:, 1] ** 2) / path[:, 1]
    return float(np.trapezoid(speed))


@dataclass(frozen=True)
class Geodesics:
    """What is drawn of the distances.

    Attributes:
        pairs: two pairs of normal distributions, (mu, sigma), by the pair's sigma; shape ``(2, 2)``.
        paths: geodesics by the name of their ends, shape ``(points, 2)``.
        lines: straight lines between the same ends.
    """

    pairs: dict[str, np.ndarray]
    paths: dict[str, np.ndarray]
    lines: dict[str, np.ndarray]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        divergences = {name: kl_divergence(*pair) for name, pair in self.pairs.items()}
        narrow, wide = divergences.values()
        closed = {name: fisher_rao_distance(path[0], path[-1]) for name, path in self.paths.items()}
        bent = {name: length(path) for name, path in self.paths.items()}
        lines = {name: length(line) for name, line in self.lines.items()}
        return {
            "euclidean_distance": {
                name: float(np.linalg.norm(np.subtract(*pair))) for name, pair in self.pairs.items()
            },
            "kl_divergence": divergences,
            "kl_ratio": narrow / wide,
            "fisher_rao_distance": closed,
            "geodesic_length_error": max(abs(bent[name] / closed[name] - 1.0) for name in closed),
            "straight_length": lines,
            "straight_over_geodesic": {
                name: lines[name] / closed[name]
                for name, path in self.paths.items()
                if path[0, 0] != path[-1, 0]  # with the same means the straight line is the geodesic
            },
        }


@in_double_precision
def geodesics(*, narrow: float = 0.3, wide: float = 3.0, shift: float = 1.0, points: int = 20001) -> Geodesics:
    """Two pairs with the same means, narrow and wide; and geodesics in the half-plane of all (mu, sigma).

    Args:
        narrow: sigma of one pair.
        wide: sigma of the other.
        shift: between the means of a pair.
        points: of every path.
    """
    pairs = {f"sigma {s:g}": np.array([[0.0, s], [shift, s]]) for s in (narrow, wide)}
    ends = {
        **{f"sigma {s:g}": np.array([[0.0, s], [4.0, s]]) for s in (narrow, wide)},
        "both differ": np.array([[-4.0, 0.5], [-1.0, 2.5]]),
        "sigma alone": np.array([[-4.5, 0.5], [-4.5, 2.5]]),
    }
    paths = {name: geodesic(start, end, points) for name, (start, end) in ends.items()}
    return Geodesics(pairs, paths, {name: straight(start, end, points) for name, (start, end) in ends.items()})


@dataclass(frozen=True)
class Trajectories:
    """What is drawn of the gradients.

    Attributes:
        steps: step lengths h, each half of the last, shape ``(H,)``.
        natural: paths of natural gradient descent in (mu, sigma) by chart, one for each h, shape ``(T_h + 1, 2)``.
        plain: those of gradient descent.
        coarse: paths of natural gradient descent with steps so long that their difference can be seen.
        velocity_difference: largest relative distance between the natural gradients of two charts at the same points,
            both as velocities in (mu, sigma).
    """

    steps: np.ndarray
    natural: dict[str, list[np.ndarray]]
    plain: dict[str, list[np.ndarray]]
    coarse: dict[str, np.ndarray]
    velocity_difference: float

    def spreads(self, paths: dict[str, list[np.ndarray]]) -> np.ndarray:
        """The largest distance in (mu, sigma) between two charts at the same time, shape ``(H,)``."""
        return np.array([spread([paths[name][index] for name in CHARTS]) for index in range(len(self.steps))])

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        natural, plain = self.spreads(self.natural), self.spreads(self.plain)
        return {
            "spread": [float(one) for one in natural],
            "spread_gradient_descent": [float(one) for one in plain],
            "velocity_difference": self.velocity_difference,
            "spread_ratio": [float(one) for one in natural[:-1] / natural[1:]],
            "spread_ratio_gradient_descent": [float(one) for one in plain[:-1] / plain[1:]],
        }


def spread(paths: list[np.ndarray]) -> float:
    """The largest distance between two of several paths at the same number of steps."""
    together = np.stack(paths)
    return float(np.linalg.norm(together[:, None] - together[None], axis=-1).max())


def cross_entropy(p: Array, target: Array) -> Array:
    """-E[ln p(x)] over x from the normal distribution ``target``, up to a constant; of (mu, sigma) each."""
    return jnp.log(p[1]) + (target[1] ** 2 + (p[0] - target[0]) ** 2) / (2.0 * p[1] ** 2)


def descent_direction(chart: Chart, phi: Array, target: Array, natural: bool) -> Array:
    """The negative gradient of the cross entropy in some coordinates, or the natural one; shape ``(2,)``.

    Args:
        chart: the coordinates phi.
        phi: where.
        target: (mu, sigma) of the minimum.
        natural: whether the gradient is multiplied by the inverse Fisher matrix of these coordinates.
    """
    slope = jax.grad(lambda at: cross_entropy(chart.to_normal(at), target))(phi)
    if natural:
        jacobian = jax.jacfwd(chart.to_normal)(phi)
        metric = jacobian.T @ fisher_of_normal(chart.to_normal(phi)) @ jacobian
        slope = jnp.linalg.solve(metric, slope)
    return -slope


def descend(chart: Chart, start: Array, target: Array, step: float, count: int, natural: bool) -> np.ndarray:
    """The path of a descent in some coordinates, as (mu, sigma), shape ``(count + 1, 2)``.

    Args:
        chart: the coordinates.
        start: (mu, sigma).
        target: (mu, sigma) of the minimum.
        step: h.
        count: of steps.
        natural: see :func:`descent_direction`.
    """

    def advance(phi: Array, _: None) -> tuple[Array, Array]:
        found = phi + step * descent_direction(chart, phi, target, natural)
        return found, chart.to_normal(found)

    _, path = jax.lax.scan(advance, chart.from_normal(start), None, length=count)
    return np.concatenate([np.asarray(start)[None], np.asarray(path)])


def velocity_difference(points: Array, target: Array) -> float:
    """How far the natural gradients of the charts are apart at some (mu, sigma), shape ``(S, 2)``, as velocities there.

    A velocity in phi is one in (mu, sigma) after a product with d(mu, sigma) / d phi.
    """

    def velocity(chart: Chart, p: Array) -> Array:
        phi = chart.from_normal(p)
        return jax.jvp(chart.to_normal, (phi,), (descent_direction(chart, phi, target, natural=True),))[1]

    found = jnp.stack([jax.vmap(lambda p, chart=chart: velocity(chart, p))(points) for chart in CHARTS.values()])
    return float(jnp.max(jnp.linalg.norm(found - found[0], axis=-1) / jnp.linalg.norm(found[0], axis=-1)))


@in_double_precision
def trajectories(
    *,
    mu: float = 2.0,
    sigma: float = 2.0,
    target_mu: float = 0.0,
    target_sigma: float = 1.0,
    time: float = 4.0,
    counts: tuple[int, ...] = (80, 160, 320, 640),
    coarse: int = 8,
    seed: int = 0,
) -> Trajectories:
    """Both gradients from one distribution to another, in three coordinates and with several steps.

    Args:
        mu: of the start.
        sigma: of the start.
        target_mu: of the minimum.
        target_sigma: of the minimum.
        time: step length times number of steps.
        counts: numbers of steps, each twice the last.
        coarse: a number of steps that is drawn only.
        seed: of the points at which velocities are compared.
    """
    start, target = jnp.array([mu, sigma]), jnp.array([target_mu, target_sigma])

    def paths(natural: bool) -> dict[str, list[np.ndarray]]:
        return {
            name: [descend(chart, start, target, time / count, count, natural) for count in counts]
            for name, chart in CHARTS.items()
        }

    few = {name: descend(chart, start, target, time / coarse, coarse, natural=True) for name, chart in CHARTS.items()}
    points = np.random.default_rng(seed).uniform([-3.0, 0.3], [3.0, 3.0], (100, 2))
    apart = velocity_difference(jnp.asarray(points), target)
    return Trajectories(time / np.array(counts), paths(True), paths(False), few, apart)
