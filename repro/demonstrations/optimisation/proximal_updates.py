"""One update as a compromise: the loss of a batch, the change of the function, and the change of the weights.

The proximal objective of the lecture (slides "Proximal Optimization") is

    Q(w) = loss of the batch + lambda_FSD E_x[1/2 (f(x, w) - f(x, w_k))^2] + lambda_WSD / 2 |w - w_k|^2.

It is minimised to the end here, for a network that has been fitted and a batch of one new point. FSD is the distance in
the space of functions, WSD the one in the space of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.supervised import Supervised

UPDATES = {"weights": (0.0, 1.0), "function": (1.0, 0.0), "both": (1.0, 1.0)}
"""Which of the two distances, in functions and in weights, an update takes."""
BATCH_AT, RAISED = 0.5, 1.5
"""Where the new point is, and how far above the fit."""
FAR = 1.0
"""Inputs that lie further from the new point than this are far away."""


DECAY = 1e-4
"""Of the weights in the first fit, which keeps them small."""


@dataclass(frozen=True)
class ProximalUpdates:
    """The function before and after each update.

    Attributes:
        inputs: of the points, shape ``(N,)``.
        targets: shape ``(N,)``.
        batch: the new point's input and target.
        grid: where the functions are drawn, shape ``(G,)``.
        before: the fit, shape ``(G,)``.
        after: of each update, shape ``(G,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    inputs: np.ndarray
    targets: np.ndarray
    batch: tuple[float, float]
    grid: np.ndarray
    before: np.ndarray
    after: dict[str, np.ndarray]
    values: Values


@in_double_precision
def updates(
    *, function_strength: float = 1.0, weight_strength: float = 0.2, hidden: int = 10, seed: int = 0
) -> ProximalUpdates:
    """Fits a network of one hidden layer to sin(1.5 x), then minimises the three objectives for one new point.

    Args:
        function_strength: lambda_FSD.
        weight_strength: lambda_WSD.
        hidden: units of tanh.
        seed: of the first weights.
    """
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([hidden, 1], activation=jnp.tanh)(x)))
    x = jnp.linspace(-3.0, 3.0, 40)[:, None]
    y = jnp.sin(1.5 * x)
    start, unravel = ravel_pytree(model.init(jax.random.key(seed), x))

    def outputs(weights: Array, points: Array) -> Array:
        return model.apply(unravel(weights), points)[:, 0]

    fitted = _minimum(lambda w: 0.5 * jnp.mean((outputs(w, x) - y[:, 0]) ** 2) + 0.5 * DECAY * jnp.sum(w**2), start)
    point = jnp.array([[BATCH_AT]])
    target = outputs(fitted, point) + RAISED
    here = outputs(fitted, x)

    def objective(kinds: tuple[float, float]) -> Callable[[Array], Array]:
        function, weight = kinds[0] * function_strength, kinds[1] * weight_strength

        def value(w: Array) -> Array:
            loss = 0.5 * jnp.sum((outputs(w, point) - target) ** 2)
            moved = 0.5 * jnp.mean((outputs(w, x) - here) ** 2)
            return loss + function * moved + 0.5 * weight * jnp.sum((w - fitted) ** 2)

        return value

    found = {name: _minimum(objective(kinds), fitted) for name, kinds in UPDATES.items()}
    grid = jnp.linspace(-3.0, 3.0, 241)[:, None]
    far = np.abs(np.asarray(grid[:, 0]) - BATCH_AT) > FAR
    before = np.asarray(outputs(fitted, grid))
    after = {name: np.asarray(outputs(w, grid)) for name, w in found.items()}
    changes = {name: float(np.sqrt(np.mean((curve - before)[far] ** 2))) for name, curve in after.items()}
    lengths = {name: float(jnp.linalg.norm(w - fitted)) for name, w in found.items()}
    reached = {name: float(outputs(w, point)[0] - outputs(fitted, point)[0]) / RAISED for name, w in found.items()}
    values: Values = {
        "change_far_away": changes,
        "change_of_weights": lengths,
        "share_of_the_new_point": reached,
        "far_change_of_function_over_weights": changes["function"] / changes["weights"],
        "weights_of_function_over_weights": lengths["function"] / lengths["weights"],
        "far_change_of_both_over_weights": changes["both"] / changes["weights"],
        "weights_of_both_over_weights": lengths["both"] / lengths["weights"],
        "natural_gradient_difference": _natural_gradient(
            model.apply, unravel, fitted, x, y, point, target, (function_strength, weight_strength)
        ),
    }
    return ProximalUpdates(
        np.asarray(x[:, 0]), np.asarray(y[:, 0]), (BATCH_AT, float(target[0])), np.asarray(grid[:, 0]), before, after,
        values,
    )  # fmt: skip


def _minimum(objective: Callable[[Array], Array], start: Array) -> Array:
    """Where BFGS ends, from ``start``."""
    slope = jax.jit(jax.value_and_grad(objective))

    def evaluated(w: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = slope(jnp.asarray(w))
        return float(value), np.asarray(gradient)

    found = minimize(evaluated, np.asarray(start), jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 5000})
    return jnp.asarray(found.x)


def _natural_gradient(
    apply: Callable[[Any, Array], Array],
    unravel: Callable[[Array], Any],
    weights: Array,
    x: Array,
    y: Array,
    point: Array,
    target: Array,
    strengths: tuple[float, float],
) -> float:
    """How far the damped natural gradient is from the minimum of the simplified objective, relative to its length.

    The loss is replaced by its tangent, and FSD by its quadratic approximation 1/2 d^T G d with the Gauss-Newton matrix
    G of the squared error at all points.
    """
    params = unravel(weights)
    problem = Supervised(apply, "squared-error")
    curvature = problem.geometry(params, ("gauss-newton",), {"inputs": x, "targets": y}).curvature("gauss-newton")
    parts = problem.partition(params)

    def product(v: Array) -> Array:
        return ravel_pytree(parts.join(curvature.matvec(parts.split(unravel(v)))))[0]

    gradient = jax.grad(lambda w: 0.5 * jnp.sum((apply(unravel(w), point)[:, 0] - target) ** 2))(weights)
    matrix = strengths[0] * jax.vmap(product)(jnp.eye(weights.size)) + strengths[1] * jnp.eye(weights.size)
    step = -jnp.linalg.solve(matrix, gradient)

    def simplified(d: Array) -> Array:
        moved = jax.jvp(lambda w: apply(unravel(w), x)[:, 0], (weights,), (d,))[1]
        return gradient @ d + 0.5 * strengths[0] * jnp.mean(moved**2) + 0.5 * strengths[1] * d @ d

    least = _minimum(simplified, jnp.zeros_like(weights))
    return float(jnp.linalg.norm(least - step) / jnp.linalg.norm(step))
