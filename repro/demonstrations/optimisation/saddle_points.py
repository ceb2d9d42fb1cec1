"""Newton's method beside a saddle point, and what a Hessian of 23 million parameters would cost.

f(x, y) = x^2 - y^2 + y^4 / 4 has a saddle point in the origin and minima at (0, sqrt 2) and (0, -sqrt 2). Newton's
method looks for a zero of the gradient, of whatever kind. With the moduli of the eigenvalues in place of the
eigenvalues, it goes downhill only (Y. Dauphin et al., NeurIPS 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.stepping import Step, descending, newton, points_of

PARAMETERS = 23e6
"""Of ResNet-50, as printed."""
NEAR = 1e-6
"""A path has arrived where it is so near."""


def function(point: Array) -> Array:
    """x^2 - y^2 + y^4 / 4 of points of shape ``(2,)``."""
    x, y = point
    return x**2 - y**2 + 0.25 * y**4


def saddle_free(point: Array) -> Array:
    """A step -|H|^-1 gradient: the eigenvalues of the Hessian are replaced by their moduli."""
    eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(function)(point))
    return point - vectors @ ((vectors.T @ jax.grad(function)(point)) / jnp.abs(eigenvalues))


@dataclass(frozen=True)
class SaddlePoints:
    """Paths, and where starts beside the saddle point lead.

    Attributes:
        paths: of each method, shape ``(steps + 1, 2)``.
        starts: y of many starts, shape ``(N,)``.
        ends: y of the last point from each start, shape ``(N,)``, by method.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[str, np.ndarray]
    starts: np.ndarray
    ends: dict[str, np.ndarray]
    values: Values


@in_double_precision
def paths_past_a_saddle(
    *, start: tuple[float, float] = (1.0, 0.3), rate: float = 0.1, steps: int = 200, starts: int = 400
) -> SaddlePoints:
    """Follows Newton's method, gradient descent and the saddle-free step, and measures where starts lead.

    Args:
        start: of the paths that are drawn.
        rate: of gradient descent.
        steps: of every path.
        starts: how many, evenly in y from -2 to 2, none of them with y = 0, all with the x of ``start``.
    """
    methods: dict[str, Step] = {
        "newton": newton(function),
        "gradient-descent": descending(function, rate),
        "saddle-free": saddle_free,
    }
    minimum = np.array([0.0, np.sqrt(2.0)])
    paths = {name: points_of(step, np.array(start), steps) for name, step in methods.items()}
    heights = np.linspace(-2.0, 2.0, starts + 1)[:-1] + 2.0 / starts
    from_all = jnp.stack([jnp.full(starts, start[0]), jnp.asarray(heights)], axis=1)
    ends = {name: np.asarray(_last(step, from_all, steps))[:, 1] for name, step in methods.items()}
    values: Values = {
        "newton_from_saddle": float(np.linalg.norm(paths["newton"][-1])),
        "gradient_descent_from_minimum": float(np.linalg.norm(paths["gradient-descent"][-1] - minimum)),
        "saddle_free_from_minimum": float(np.linalg.norm(paths["saddle-free"][-1] - minimum)),
        "gradient_descent_end": paths["gradient-descent"][-1].tolist(),
        "share_to_saddle": {name: float(np.mean(np.abs(end) < NEAR)) for name, end in ends.items()},
        "share_to_saddle_newton": float(np.mean(np.abs(ends["newton"]) < NEAR)),
        "share_to_minimum_gradient_descent": float(np.mean(np.abs(ends["gradient-descent"] ** 2 - 2.0) < NEAR)),
        "hessian_bytes": hessian_bytes(PARAMETERS),
        "inversion_operations": inversion_operations(PARAMETERS),
        "inversion_days_at_1e15_per_second": inversion_operations(PARAMETERS) / 1e15 / 86400.0,
    }
    return SaddlePoints(paths, heights, ends, values)


def _last(step: Step, starts: Array, steps: int) -> Array:
    """The last point from each start, shape ``(N, 2)``."""

    def path_end(start: Array) -> Array:
        return jax.lax.fori_loop(0, steps, lambda _, point: step(point), start)

    return jax.jit(jax.vmap(path_end))(starts)


def hessian_bytes(parameters: float, bytes_per_number: int = 4) -> float:
    """Bytes of a dense n x n matrix, in single precision unless told otherwise."""
    return bytes_per_number * parameters**2


def inversion_operations(parameters: float) -> float:
    """Floating-point operations of an inverse by Cholesky: n^3 / 3 for the factor, and 2 n^3 / 3 for the rest."""
    return parameters**3
