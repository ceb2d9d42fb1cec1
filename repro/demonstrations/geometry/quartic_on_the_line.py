"""E[6 x + 8 x^2 - x^3 - 2 x^4] over the normal distributions on R: two maxima, a saddle, and basins that differ."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.flows_on_the_line import GEOMETRIES, NATURAL, VANILLA, follow

POLYNOMIAL = np.polynomial.Polynomial([0.0, 6.0, 8.0, -1.0, -2.0])
"""The function f."""
MAXIMA = (-np.sqrt(2.0), np.sqrt(2.0))
"""Of f."""
STARTS = ((-2.0, 2.0), (-0.39, 0.05))
"""(mu, sigma), from which the flows end differently."""
ENDS_AT = {VANILLA: 2.0, NATURAL: 1e8}
"""Times at which every flow is near a maximum; the natural one slows down."""


def relaxed(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """F = E[f] = f(mu) + f''(mu) / 2 sigma^2 + f''''(mu) / 8 sigma^4."""
    return POLYNOMIAL(mu) + 0.5 * POLYNOMIAL.deriv(2)(mu) * sigma**2 + 0.125 * POLYNOMIAL.deriv(4)(mu) * sigma**4


def gradient(mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of F in (mu, sigma)."""
    first = POLYNOMIAL.deriv(1)(mu) + 0.5 * POLYNOMIAL.deriv(3)(mu) * sigma**2
    return first, POLYNOMIAL.deriv(2)(mu) * sigma + 0.5 * POLYNOMIAL.deriv(4)(mu) * sigma**3


def quartic_moments(point: Array) -> Array:
    """F from the moments of a normal distribution, to be differentiated; of (mu, sigma)."""
    m, s = point
    return 6 * m + 8 * (m**2 + s**2) - (m**3 + 3 * m * s**2) - 2 * (m**4 + 6 * m**2 * s**2 + 3 * s**4)


def critical_points() -> np.ndarray:
    """All (mu, sigma) with sigma > 0 and a zero gradient, shape ``(C, 2)``.

    dF/dsigma = 0 gives sigma^2 = -2 f''(mu) / f''''; with this dF/dmu is a polynomial of degree three in mu.
    """
    fourth = POLYNOMIAL.coef[4] * 24.0
    square = POLYNOMIAL.deriv(2) * (-2.0 / fourth)
    roots = (POLYNOMIAL.deriv(1) + 0.5 * POLYNOMIAL.deriv(3) * square).roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    return np.array([[mu, np.sqrt(square(mu))] for mu in real if square(mu) > 0.0])


@dataclass(frozen=True)
class QuarticFlows:
    """What is drawn of both flows.

    Attributes:
        paths: from each of :data:`STARTS` and from a few others, by geometry, shape ``(2, N, T)``.
        mu: of a grid of starts, shape ``(M,)``.
        sigma: of the grid, shape ``(S,)``.
        basins: whether a start of the grid ends at the larger maximum, by geometry, shape ``(S, M)``.
        saddle: (mu, sigma) of the critical point, shape ``(2,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[str, np.ndarray]
    mu: np.ndarray
    sigma: np.ndarray
    basins: dict[str, np.ndarray]
    saddle: np.ndarray
    values: Values


def basins(mu: np.ndarray, sigma: np.ndarray, geometry: str) -> np.ndarray:
    """Whether the flow from each start of a grid ends at sqrt 2, shape ``(S, M)``.

    The natural flow is followed in the time tau with d tau = sigma^2 d t, in which it is not slow: see
    :mod:`repro.demonstrations.geometry.flows_on_the_line`.
    """
    starts = np.stack([one.reshape(-1) for one in np.meshgrid(mu, sigma)])
    weight = 1.0 if geometry == VANILLA else 0.5

    def scaled(means: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = gradient(means, widths)
        return first, weight * second

    ends = follow(scaled, starts, np.array([0.0, 4.0]), VANILLA, tolerance=1e-6)[0, :, -1]
    return (ends > 0.0).reshape(len(sigma), len(mu))


@jax.jit
def _at(point: Array) -> tuple[Array, Array, Array]:
    return quartic_moments(point), jax.grad(quartic_moments)(point), jax.hessian(quartic_moments)(point)


@in_double_precision
def flows(*, points: int = 120, steps: int = 3000) -> QuarticFlows:
    """Follows both flows, finds the saddle, and where starts lead.

    Args:
        points: of the grid of starts, along either axis.
        steps: times of every path.
    """
    starts = np.array([*STARTS, (2.0, 2.0), (-1.0, 1.8), (0.7, 1.8), (2.2, 0.8), (-2.2, 0.8)]).T
    paths = {
        name: follow(gradient, starts, np.concatenate([[0.0], np.geomspace(1e-5, end, steps)]), name, 1e-10)
        for name, end in ENDS_AT.items()
    }
    (saddle, *others) = critical_points()
    height, slope, hessian = (np.asarray(one) for one in _at(jnp.asarray(saddle)))
    test_points = np.array([[-1.3, 0.7], [0.4, 1.9], [1.8, 0.2]])
    autodiff = [_at(jnp.asarray(point)) for point in test_points]
    mu, sigma = np.linspace(-2.5, 2.5, points), np.linspace(2.2 / points, 2.2, points)
    found = {name: basins(mu, sigma, name) for name in GEOMETRIES}
    eigenvalues = np.linalg.eigvalsh(hessian)
    ends = {
        f"{name} from ({start[0]:g}, {start[1]:g})": float(paths[name][0, place, -1])
        for place, start in enumerate(STARTS)
        for name in GEOMETRIES
    }
    expected = dict(zip(ends, (MAXIMA[0], MAXIMA[1], MAXIMA[1], MAXIMA[0]), strict=True))
    values: Values = {
        "relaxed_error": float(max(abs(relaxed(*at) - f) for at, (f, _, _) in zip(test_points, autodiff, strict=True))),
        "gradient_error": float(
            max(np.abs(np.array(gradient(*at)) - g).max() for at, (_, g, _) in zip(test_points, autodiff, strict=True))
        ),
        "maxima": [float(POLYNOMIAL(x)) for x in MAXIMA],
        "slope_at_extrema": [float(abs(POLYNOMIAL.deriv(1)(x))) for x in (*MAXIMA, -0.375)],
        "saddle": [float(saddle[0]), float(saddle[1]), float(height)],
        "slope_at_saddle": float(np.abs(slope).max()),
        "eigenvalues_at_saddle": [float(one) for one in eigenvalues],
        "curvature_product_at_saddle": float(np.prod(eigenvalues)),
        "critical_points": float(1 + len(others)),
        "ends": ends,
        "distance_of_ends": {name: abs(end - expected[name]) for name, end in ends.items()},
        "part_that_ends_differently": float(np.mean(found[VANILLA] != found[NATURAL])),
    }
    return QuarticFlows(paths, mu, sigma, found, saddle, values)
