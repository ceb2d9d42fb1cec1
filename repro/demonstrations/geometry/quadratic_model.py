"""A model that is quadratic in its parameters: natural gradient descent with G^H is no longer Newton's method.

With the Jacobian J of the model, the metric is G^H = J^T K J, and Newton's Hessian has the second derivatives of the
model besides. The model has as many parameters as the plane has dimensions, so that the flow of the natural gradient
is dv/ds = -(v - u): a straight line. Steps of alpha leave it by an amount that is proportional to alpha.
"""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.function_plane import (
    RATE,
    SKEW,
    START,
    WEIGHT,
    Plane,
    Toy,
    largest_distance_from_line,
    natural_path,
    newton_path,
)
from repro.demonstrations.geometry.linear_models import NATURAL_HESSIAN, NEWTON

BENDING = (((0.0, 0.0), (0.0, -0.15)), ((0.3, 0.0), (0.0, 0.0)))
"""Q; the talk does not give its own."""
TIME = 10.0
"""Of the flow, alpha times the number of steps."""


def quadratic_plane() -> Plane:
    """The model with the loss that is not isotropic; its target, zero, is the function of the parameters zero."""
    return Plane(np.array(SKEW), np.array(BENDING), np.array(WEIGHT))


def start_of(coefficients: ArrayLike) -> np.ndarray:
    """The parameters of these coefficients, on the branch that a linear model continues."""
    plane, wanted = quadratic_plane(), np.asarray(coefficients)

    def error(theta: np.ndarray) -> np.ndarray:
        return plane.values(theta) - wanted

    return root(error, plane.start(wanted), jac=plane.jacobian, tol=1e-14).x


@in_double_precision
def quadratic_manifold(*, rates: tuple[float, ...] = (RATE, RATE / 2.0, RATE / 4.0)) -> Toy:
    """Both methods with several steps; the paths that are returned are those with the first one.

    Args:
        rates: alpha, decreasing.
    """
    plane, start = quadratic_plane(), start_of(START)
    problem = plane.least_squares()
    paths, off_line = {}, {}
    for rate in rates:
        steps = round(TIME / rate)
        paths[NATURAL_HESSIAN, rate] = natural_path(problem, start, rate, steps)
        if rate in (rates[0], rates[-1]):
            paths[NEWTON, rate] = newton_path(plane, start, rate, steps)
    for key, path in paths.items():
        off_line[key] = largest_distance_from_line(plane.values(path), plane.target)
    drawn = {name: paths[name, rates[0]] for name in (NATURAL_HESSIAN, NEWTON)}
    losses = Toy(plane, drawn, {}).losses[NATURAL_HESSIAN]
    relative = losses / losses[0] / (1.0 - rates[0]) ** (2.0 * np.arange(len(losses)))
    jacobian = np.asarray(jax.jit(jax.jacfwd(plane.coefficients))(jnp.asarray(start)))
    # As printed: a row for each parameter, multiplied by K from the left and by the other from the right.
    rows = jacobian.T
    values: Values = {
        "last_ratio": float(losses[-1] / losses[-2]),
        "loss_over_rate": {"least": float(relative.min()), "largest": float(relative.max())},
        "distance_from_line": {f"{rate:g}": off_line[NATURAL_HESSIAN, rate] for rate in rates},
        "ratio_of_distances": _ratios([off_line[NATURAL_HESSIAN, rate] for rate in rates]),
        "newton_distance_from_line": {f"{rate:g}": off_line[NEWTON, rate] for rate in (rates[0], rates[-1])},
        "newton_apart": float(np.max(np.linalg.norm(drawn[NEWTON] - drawn[NATURAL_HESSIAN], axis=1))),
        "derivative_difference": float(np.max(np.abs(jacobian - plane.jacobian(start)))),
        "derivative_difference_of_second_line": float(np.max(np.abs(jacobian - plane.mixing.T))),
        "printed_metric_difference": float(
            np.max(np.abs(rows.T @ plane.weight @ rows - rows @ plane.weight @ rows.T)),
        ),
    }
    return Toy(plane, drawn, values)


def _ratios(distances: list[float]) -> list[float]:
    """Of each to the following one."""
    return [one / other for one, other in pairwise(distances)]
