"""Which methods take the same steps when the parameters are written in other coordinates.

Parameters are replaced by u with w = A u + b, every method is run in u as if these were its parameters, and its points
are mapped back. Newton's method, Gauss-Newton and natural gradient descent visit the same points as in w; gradient
descent and everything damped do not (second lecture, slide "Invariance").

The model is a dose-response curve, p(y = 1 | x) = Phi(w_1 + e^w_2 x) with the distribution function Phi of the normal
distribution. Its logit is not its output z = w_1 + e^w_2 x, so that all three curvatures differ: the Hessian H of the
loss, the Gauss-Newton matrix E[l''(z) J^T J] with J = dz / dw, and the Fisher matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr

from repro.curvature.linearized import LinearizedJacobian
from repro.curvature.output_metrics import Bernoulli, Euclidean, OutputMetric
from repro.curvature.pullback import Pullback
from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.stepping import scanned
from repro.parameters.partition import partition

INVARIANT = ("newton", "gauss-newton", "natural-gradient")
DAMPED = tuple(f"damped {name}" for name in INVARIANT)
METHODS = (*INVARIANT, "gradient-descent", *DAMPED)
TRUE_PARAMETERS = (-0.5, 0.3)
START = (0.3, -0.3)
"""The Hessian is positive definite there."""

Curve = Callable[[Array], Array]
"""From the parameters of a coordinate system to w, shape ``(2,)`` to ``(2,)``."""


@dataclass(frozen=True)
class AffineInvariance:
    """Paths in w and in other coordinates, mapped back to w.

    Attributes:
        paths: of each method in w, shape ``(steps + 1, 2)``.
        mapped: of each method in each other coordinate system, mapped back, shape ``(draws, steps + 1, 2)``.
        inputs: x of the samples, shape ``(S,)``.
        targets: y, 0 or 1, shape ``(S,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[str, np.ndarray]
    mapped: dict[str, np.ndarray]
    inputs: np.ndarray
    targets: np.ndarray
    values: Values


@in_double_precision
def other_coordinates(
    *,
    steps: int = 10,
    draws: int = 20,
    condition_number: float = 100.0,
    damping: float = 0.05,
    rate: float = 1.0,
    samples: int = 300,
    seed: int = 0,
) -> AffineInvariance:
    """Runs every method in w and in random coordinates, and compares the points in w.

    Args:
        steps: of each path.
        draws: of A and b.
        condition_number: of A, whose largest singular value is 1.
        damping: of the damped methods.
        rate: of gradient descent.
        samples: of the data.
        seed: of the data, and of A and b.
    """
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-2.0, 2.0, samples)
    chances = np.asarray(jnp.exp(log_ndtr(TRUE_PARAMETERS[0] + np.exp(TRUE_PARAMETERS[1]) * inputs)))
    data = np.stack([inputs, rng.uniform(size=samples) < chances], axis=1)
    systems = [(np.eye(2), np.zeros(2)), *(coordinates(rng, condition_number) for _ in range(draws))]
    matrices, offsets = (jnp.asarray(np.array(parts)) for parts in zip(*systems, strict=True))
    paths, mapped = {}, {}
    for method in METHODS:
        follow = mapped_path(method, jnp.asarray(data), damping, rate, steps)
        paths[method], *others = np.asarray(jax.jit(jax.vmap(follow))(matrices, offsets))
        mapped[method] = np.array(others)
    # The largest distance along a path, for every coordinate system.
    apart = {name: np.linalg.norm(mapped[name] - paths[name], axis=-1).max(axis=-1) for name in METHODS}
    values: Values = {
        "largest_difference": {name: float(apart[name].max()) for name in INVARIANT},
        "least_difference": {name: float(apart[name].min()) for name in METHODS if name not in INVARIANT},
        "median_difference": {name: float(np.median(apart[name])) for name in METHODS},
        "methods_apart": _methods_apart(paths),
        "end": paths["newton"][-1].tolist(),
    }
    return AffineInvariance(paths, mapped, data[:, 0], data[:, 1], values)


def coordinates(rng: np.random.Generator, condition_number: float) -> tuple[np.ndarray, np.ndarray]:
    """A random A with singular values 1 and 1 / condition number, and a random b."""
    left, right = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    return (left * np.array([1.0, 1.0 / condition_number])) @ right, rng.normal(size=2)


def output(w: Array, x: Array) -> Array:
    """The output z = w_1 + e^w_2 x, of the shape of ``x``."""
    return w[0] + jnp.exp(w[1]) * x


def losses(z: Array, y: Array) -> Array:
    """-ln p(y | z), of the shape of ``z``."""
    return -log_ndtr(jnp.where(y > 0.5, z, -z))


def logit(z: Array) -> Array:
    """The natural parameter of the model's Bernoulli distribution, ln Phi(z) - ln Phi(-z)."""
    return log_ndtr(z) - log_ndtr(-z)


def curvature_of(method: str, to_w: Curve, u: Array, data: Array) -> Array:
    """The curvature that a method takes, in the coordinates u, shape ``(2, 2)``.

    Args:
        method: one of :data:`INVARIANT`.
        to_w: the coordinates.
        u: where.
        data: x and y of the samples, shape ``(S, 2)``.
    """
    if method == "newton":
        return jax.hessian(lambda v: jnp.mean(losses(output(to_w(v), data[:, 0]), data[:, 1])))(u)
    fixed = jax.lax.stop_gradient(u)

    def outputs(v: Array, rows: Array) -> Array:
        """The logit for the Fisher matrix; for Gauss-Newton z, times the root of the loss's second derivative."""
        z = output(to_w(v), rows[:, 0])
        if method == "natural-gradient":
            return logit(z)[None]
        second = jax.vmap(jax.grad(jax.grad(losses)))(output(to_w(fixed), rows[:, 0]), rows[:, 1])
        return (jnp.sqrt(second) * z)[None]

    jacobian = LinearizedJacobian(outputs, u, data, partition(u), chunk=data.shape[0])
    metric: OutputMetric = Euclidean() if method == "gauss-newton" else Bernoulli(outputs(u, data))
    product = Pullback(jacobian, metric).matvec
    return jax.vmap(lambda v: product((v,))[0])(jnp.eye(u.size))


def mapped_path(method: str, data: Array, damping: float, rate: float, steps: int) -> Callable[[Array, Array], Array]:
    """A function of A and b that follows a method in u, w = A u + b, and gives its points in w, ``(steps + 1, 2)``.

    Args:
        method: one of :data:`METHODS`.
        data: x and y of the samples, shape ``(S, 2)``.
        damping: of the damped methods.
        rate: of gradient descent.
        steps: of the path.
    """

    def follow(matrix: Array, offset: Array) -> Array:
        def to_w(u: Array) -> Array:
            return matrix @ u + offset

        def loss(u: Array) -> Array:
            return jnp.mean(losses(output(to_w(u), data[:, 0]), data[:, 1]))

        def step(u: Array) -> Array:
            gradient = jax.grad(loss)(u)
            if method == "gradient-descent":
                return u - rate * gradient
            curvature = curvature_of(method.removeprefix("damped "), to_w, u, data)
            return u - jnp.linalg.solve(curvature + (damping * jnp.eye(2) if method in DAMPED else 0.0), gradient)

        points = scanned(step, jnp.linalg.solve(matrix, jnp.array(START) - offset), steps)
        return points @ matrix.T + offset

    return follow


def _methods_apart(paths: dict[str, np.ndarray]) -> float:
    """How far the three invariant methods are apart from each other, at least, somewhere on their paths."""
    pairs = [(one, other) for one in INVARIANT for other in INVARIANT if one < other]
    return min(float(np.linalg.norm(paths[one] - paths[other], axis=1).max()) for one, other in pairs)
