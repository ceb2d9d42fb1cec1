"""A physics-informed network for a boundary layer: -eps v'' + v' = 1 on [0, 1], v(0) = v(1) = 0.

v(x) = x (1 - x) N(x) with a network N of one input, so that the boundary values hold. The loss is half the mean square
of the residual -eps v'' + v' - 1 at fixed points. The exact solution is

    v(x) = x - (exp((x - 1) / eps) - exp(-1 / eps)) / (1 - exp(-1 / eps)),

almost x, but for a layer of thickness eps at x = 1. What counts is the error of v against it, in L^2 and H^1, by Gauss
points: the loss can be small where the points do not see the layer. (Talk on momentum in function space, slides
"Physics informed neural networks"; N. Schwencke, C. Furtlehner, arXiv:2412.10782.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.config.problems import PinnConfig, widths
from repro.problems.residual import LeastSquares
from repro.problems.trainable import Trainable

GAUSS_POINTS = 400
THIN, WIDE_WEIGHTS, THIN_WEIGHTS = 0.03, 3.0, 6.0
"""Up to which eps the first weights are the larger ones."""


def exact_solution(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """V and v' at points of [0, 1]; no exponent is positive, so that nothing overflows."""
    layer, rest = np.exp((x - 1.0) / eps), np.exp(-1.0 / eps)
    return x - (layer - rest) / -np.expm1(-1.0 / eps), 1.0 - layer / eps / -np.expm1(-1.0 / eps)


def collocation_points(count: int, placement: str) -> np.ndarray:
    """Where the equation is to hold, shape ``(count,)``: midpoints s, or 1 - (1 - s)^2."""
    s = (np.arange(count) + 0.5) / count
    return s if placement == "midpoints" else 1.0 - (1.0 - s) ** 2


def first_weights(config: PinnConfig) -> float:
    """The standard deviation of the first weights."""
    return config.weights or (THIN_WEIGHTS if config.eps <= THIN else WIDE_WEIGHTS)


def solution_network(units: str, spread: float) -> hk.Transformed:
    """N: hyperbolic tangents of normal weights and biases, a linear output of variance 1 / inputs."""
    normal = hk.initializers.RandomNormal(spread)

    def forward(x: Array) -> Array:
        for size in widths(units):
            x = jnp.tanh(hk.Linear(size, w_init=normal, b_init=normal)(x))
        return hk.Linear(1)(x)

    return hk.without_apply_rng(hk.transform(forward))


def solution_of(network: hk.Transformed) -> Callable[[Any, Array], Array]:
    """``(params, x) -> v(x)`` for a single number x."""

    def solution(params: Any, x: Array) -> Array:
        return x * (1.0 - x) * network.apply(params, x[None])[0]

    return solution


def boundary_layer_problem(network: hk.Transformed, batch: int = 0) -> LeastSquares:
    """The problem; a row of its points is x and eps, so that one compiled program serves every eps."""
    solution = solution_of(network)

    def residual(params: Any, point: Array) -> Array:
        x, eps = point

        def slope(x: Array) -> Array:
            return jax.jvp(lambda y: solution(params, y), (x,), (jnp.ones_like(x),))[1]

        first, second = jax.jvp(slope, (x,), (jnp.ones_like(x),))
        return (first - eps * second - 1.0)[None]

    def residuals(params: Any, points: Array) -> Array:
        return jax.vmap(lambda point: residual(params, point))(points)

    return LeastSquares(residuals, batch_size=batch or None)


def quadrature(eps: float) -> np.ndarray:
    """Gauss-Legendre points, their weights, and the exact v and v' there, in the rows of an array ``(4, 400)``.

    Half of the points are in the layer, of thickness 10 eps or the right half of [0, 1].
    """
    nodes, weights = np.polynomial.legendre.leggauss(GAUSS_POINTS // 2)
    edge = max(0.5, 1.0 - 10.0 * eps)
    x = np.concatenate([0.5 * edge * (nodes + 1.0), edge + 0.5 * (1.0 - edge) * (nodes + 1.0)])
    w = np.concatenate([0.5 * edge * weights, 0.5 * (1.0 - edge) * weights])
    return np.stack([x, w, *exact_solution(x, eps)])


def relative_errors(network: hk.Transformed) -> Callable[[Any, Array], tuple[Array, Array]]:
    """``(params, quadrature) -> `` the errors of v in L^2 and H^1, relative to the norms of the exact solution."""
    solution = solution_of(network)

    def errors(params: Any, known: Array) -> tuple[Array, Array]:
        x, w, exact, exact_slope = known
        value, slope = jax.vmap(jax.value_and_grad(lambda y: solution(params, y)))(x)
        square, slopes = w @ (value - exact) ** 2, w @ (slope - exact_slope) ** 2
        norm, of_slope = w @ exact**2, w @ exact_slope**2
        return jnp.sqrt(square / norm), jnp.sqrt((square + slopes) / (norm + of_slope))

    return errors


def points_of(config: PinnConfig) -> np.ndarray:
    """X and eps in the rows, shape ``(points, 2)``."""
    x = collocation_points(config.points, config.placement)
    return np.stack([x, np.full_like(x, config.eps)], axis=1)


def boundary_layer(config: PinnConfig, dtype: str) -> Trainable:
    """The problem of a configuration, with its points.

    Args:
        config: of the problem.
        dtype: of points and parameters.
    """
    network = solution_network(config.units, first_weights(config))
    errors = relative_errors(network)
    points, known = points_of(config).astype(dtype), quadrature(config.eps).astype(dtype)

    def evaluate(params: Any, points: Array, known: Array) -> dict[str, Array]:
        del points
        return dict(zip(("l2_error", "h1_error"), errors(params, known), strict=True))

    return Trainable(
        boundary_layer_problem(network, config.batch),
        lambda key: network.init(key, jnp.asarray(points[0, :1])),
        points,
        known,
        evaluate,
        ("l2_error", "h1_error"),
    )
