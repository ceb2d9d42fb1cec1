"""Gradient descent, natural gradient descent and Newton's method on linear models of two parameters.

The model has the functions v = B^T theta in the plane of :mod:`repro.demonstrations.geometry.function_plane`, its
Gram matrix is G = B B^T, and the loss 1/2 |v - u|_K^2 has the Hessian G^H = B K B^T. With steps of alpha, the error
v - u is multiplied in every step by

    1 - alpha B^T B K   for gradient descent,
    1 - alpha K         for the natural gradient with G,
    1 - alpha           for the natural gradient with G^H, and for Newton's method.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.function_plane import (
    RATE,
    SKEW,
    START,
    WEIGHT,
    Plane,
    Toy,
    descent_path,
    gram_by_points,
    hessian,
    largest_distance_from_line,
    natural_path,
    newton_path,
    projected_path,
    steps_to,
)
from repro.demonstrations.optimisation.paths import iterates

STEPS = 100
LEVEL = 1e-9
DESCENT, NATURAL, NATURAL_HESSIAN, NEWTON = "gradient-descent", "natural-gradient", "natural-hessian", "newton"
"""The methods' names; the metric is G in the second, and G^H in the third."""


@in_double_precision
def orthonormal_parameters(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """Gradient descent where the parameters are the coefficients of orthonormal functions.

    Args:
        rate: alpha.
        steps: of the path.
    """
    plane = Plane(np.eye(2))
    toy = Toy(plane, {DESCENT: descent_path(plane, np.array(START), rate, steps)}, {})
    losses = toy.losses[DESCENT]

    # The loss as it is printed, 1/2 |u - v|; its first half, as near its minimum the steps jump to and fro.
    few = int(0.5 / (0.5 * rate))
    path = iterates(
        optax.sgd(rate), lambda theta: 0.5 * jnp.linalg.norm(plane.coefficients(theta)), np.array(START), few
    )
    printed = 0.5 * np.linalg.norm(path, axis=1)
    values: Values = {
        "ratio": float(losses[1] / losses[0]),
        "largest_difference_from_ratio": _apart(losses[1:] / losses[:-1], (1.0 - rate) ** 2),
        "least_difference_without_square": float(np.min(np.abs(printed[1:] / printed[:-1] - (1.0 - rate) ** 2))),
        "distance_from_line": largest_distance_from_line(toy.functions[DESCENT], plane.target),
        f"loss_{steps}": float(losses[-1]),
        "steps_to_1e-9": steps_to(losses, LEVEL),
    }
    return Toy(plane, toy.parameters, values)


@in_double_precision
def skew_parameters(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """Gradient descent where the parameters are coefficients of functions that are not orthonormal.

    Args:
        rate: alpha.
        steps: of the path.
    """
    plane = Plane(np.array(SKEW))
    start = plane.start(START)
    toy = Toy(plane, {DESCENT: descent_path(plane, start, rate, steps)}, {})
    losses, mixing = toy.losses[DESCENT], plane.mixing
    gram = gram_by_points(plane, start)
    error = plane.values(start) - plane.target
    # The velocity of the function, J times that of the parameters, which is -J^T times the gradient in L^2.
    jacobian = plane.jacobian(start)
    velocity = -jacobian @ (jacobian.T @ error)
    values: Values = {
        f"loss_{steps}": float(losses[-1]),
        "distance_from_line": largest_distance_from_line(toy.functions[DESCENT], plane.target),
        "last_ratio": float(losses[-1] / losses[-2]),
        "ratio_of_slow_direction": float((1.0 - rate * np.linalg.eigvalsh(gram)[0]) ** 2),
        "gram_difference": _apart(gram, mixing @ mixing.T),
        "printed_gram_difference": _apart(gram, mixing.T @ mixing),
        "printed_integral_difference": _apart(gram, gram * (mixing @ mixing.T)),
        "printed_flow_difference": _apart(velocity, -gram @ error),
        "flow_difference_with_printed_gram": _apart(velocity, -(mixing.T @ mixing) @ error),
    }
    return Toy(plane, toy.parameters, values)


@in_double_precision
def natural_gradient(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """The package's natural gradient descent beside gradient descent, on the same model.

    Args:
        rate: alpha.
        steps: of the paths.
    """
    plane = Plane(np.array(SKEW))
    start = plane.start(START)
    natural = natural_path(plane.least_squares(), start, rate, steps)
    toy = Toy(plane, {DESCENT: descent_path(plane, start, rate, steps), NATURAL: natural}, {})
    losses = toy.losses[NATURAL]
    values: Values = {
        f"loss_{steps}": float(losses[-1]),
        "difference_from_rate": _apart(losses / losses[0] / _powers(rate, steps), 1.0),
        "distance_from_line": largest_distance_from_line(toy.functions[NATURAL], plane.target),
        "steps_to_1e-9": steps_to(losses, LEVEL),
        "difference_from_projected_gradient": _apart(natural, projected_path(plane, start, rate, steps)),
        "loss_of_gradient_descent": float(toy.losses[DESCENT][-1]),
    }
    return Toy(plane, toy.parameters, values)


@in_double_precision
def anisotropic_loss(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """Natural gradient descent with the Gram matrix of the model, where the loss weighs functions differently.

    Args:
        rate: alpha.
        steps: of the paths.
    """
    plane, start = _weighted()
    toy = Toy(
        plane,
        {DESCENT: descent_path(plane, start, rate, steps), NATURAL: projected_path(plane, start, rate, steps)},
        {},
    )
    losses, weights = toy.losses[NATURAL], np.diag(plane.weight)
    closed = 0.5 * np.sum(weights * np.square(START) * (1.0 - rate * weights) ** (2 * np.arange(steps + 1)[:, None]), 1)
    values: Values = {
        f"loss_{steps}": float(losses[-1]),
        "last_ratio": float(losses[-1] / losses[-2]),
        "ratio_of_slow_direction": float((1.0 - rate * weights.min()) ** 2),
        "difference_from_closed_form": _apart(losses / closed, 1.0),
        "distance_from_line": largest_distance_from_line(toy.functions[NATURAL], plane.target),
    }
    return Toy(plane, toy.parameters, values)


@in_double_precision
def loss_hessian(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """Natural gradient descent with G^H, the Hessian of the loss in function space pulled back to the parameters.

    Args:
        rate: alpha.
        steps: of the paths.
    """
    plane, start = _weighted()
    paths = {
        NATURAL: projected_path(plane, start, rate, steps),
        NATURAL_HESSIAN: natural_path(plane.least_squares(), start, rate, steps),
    }
    toy = Toy(plane, paths, {})
    losses, mixing = toy.losses[NATURAL_HESSIAN], plane.mixing
    metric = hessian(plane, start)
    values: Values = {
        f"loss_{steps}": float(losses[-1]),
        "difference_from_rate": _apart(losses / losses[0] / _powers(rate, steps), 1.0),
        "distance_from_line": largest_distance_from_line(toy.functions[NATURAL_HESSIAN], plane.target),
        "steps_to_1e-9": steps_to(losses, LEVEL),
        "metric_difference": _apart(metric, mixing @ plane.weight @ mixing.T),
        "printed_metric_difference": _apart(metric, mixing.T @ plane.weight @ mixing),
    }
    return Toy(plane, paths, values)


@in_double_precision
def newton_and_natural(*, rate: float = RATE, steps: int = STEPS) -> Toy:
    """Newton's method beside natural gradient descent with G^H.

    Args:
        rate: alpha.
        steps: of the paths.
    """
    plane, start = _weighted()
    paths = {
        NATURAL_HESSIAN: natural_path(plane.least_squares(), start, rate, steps),
        NEWTON: newton_path(plane, start, rate, steps),
    }
    isotropic = Plane(plane.mixing)
    twice = Plane(plane.mixing, weight=2.0 * np.eye(2))  # the loss |u - v|^2, without 1/2
    gram = gram_by_points(isotropic, start)
    values: Values = {
        "largest_difference": _apart(paths[NATURAL_HESSIAN], paths[NEWTON]),
        "loss_after_full_step": float(plane.loss_at(plane.values(newton_path(plane, start, 1.0, 1)[-1]))),
        "hessian_over_gram_with_half": _ratios(hessian(isotropic, start), gram),
        "hessian_over_gram_without_half": _ratios(hessian(twice, start), gram),
    }
    return Toy(plane, paths, values)


def _weighted() -> tuple[Plane, np.ndarray]:
    """The model with the loss that is not isotropic, and its start."""
    plane = Plane(np.array(SKEW), weight=np.array(WEIGHT))
    return plane, plane.start(START)


def _powers(rate: float, steps: int) -> np.ndarray:
    return (1.0 - rate) ** (2.0 * np.arange(steps + 1))


def _apart(found: np.ndarray, expected: np.ndarray | float) -> float:
    return float(np.max(np.abs(found - expected)))


def _ratios(one: np.ndarray, other: np.ndarray) -> list[float]:
    return (one / other).ravel().tolist()
