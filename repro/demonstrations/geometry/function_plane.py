"""Functions in a plane of L^2(0, 1): models of them, losses, Gram matrices, and the paths of optimisers.

The plane is spanned by the orthonormal functions Phi_1 = 1 and Phi_2 = sqrt(2) sin(2 pi x), so that a function is a
point with two coefficients. A model with parameters theta has the coefficients

    v = B^T theta + 1/2 theta^T Q theta,

and its loss is 1/2 |v - u|_K^2 = 1/2 (v - u)^T K (v - u), with the target u. (Talk, slides "Toy example".)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import ArrayLike
from scipy.linalg import sqrtm

from repro.demonstrations.base import Values
from repro.demonstrations.optimisation.paths import iterates
from repro.demonstrations.optimisation.stepping import Step, newton, points_of
from repro.optimizers import natural_momentum
from repro.problems.residual import LeastSquares
from repro.solvers.sample_space import damped_least_squares

POINTS = (np.arange(4)[:, None] + 0.5) / 4.0
"""Of (0, 1), shape ``(4, 1)``: means over them are the integrals of products of two functions of the plane."""

SKEW = ((1.0, 0.0), (0.2, 0.25))
"""B of the linear models; the talk does not give its own."""
WEIGHT = ((0.2, 0.0), (0.0, 1.0))
"""K of the losses that are not isotropic; the talk does not give its own."""
START = (0.8, 0.6)
"""The coefficients of the first function; the target is zero."""
RATE = 0.1
"""alpha, read off the curves of the talk: a loss that is multiplied by 0.81 in every step."""

NO_DAMPING = 1e-18
"""Added to a metric whose eigenvalues are above 0.01, it changes nothing in double precision."""


def basis(points: ArrayLike) -> Array:
    """Phi at points of shape ``(S, 1)``: ``(S, 2)``."""
    x = jnp.asarray(points)[:, 0]
    return jnp.stack([jnp.ones_like(x), jnp.sqrt(2.0) * jnp.sin(2.0 * jnp.pi * x)], axis=1)


@dataclass(frozen=True)
class Plane:
    """A model in the plane, and a loss.

    Attributes:
        mixing: B, shape ``(2, 2)``.
        bending: Q, shape ``(2, 2, 2)``: a symmetric matrix for each coefficient; zero for a linear model.
        weight: K, shape ``(2, 2)``, symmetric and positive definite.
        target: the coefficients of u, shape ``(2,)``.
    """

    mixing: np.ndarray
    bending: np.ndarray = field(default_factory=lambda: np.zeros((2, 2, 2)))
    weight: np.ndarray = field(default_factory=lambda: np.eye(2))
    target: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def coefficients(self, theta: ArrayLike) -> Array:
        """The v of parameters of shape ``(..., 2)``, of the same shape; may be traced."""
        theta = jnp.asarray(theta)
        return theta @ self.mixing + 0.5 * jnp.einsum("...a,cab,...b->...c", theta, self.bending, theta)

    def values(self, theta: ArrayLike) -> np.ndarray:
        """The same, in NumPy."""
        theta = np.asarray(theta)
        return theta @ self.mixing + 0.5 * (self._bent(theta) @ theta[..., None])[..., 0]

    def jacobian(self, theta: ArrayLike) -> np.ndarray:
        """The derivative dv / dtheta, a row for each coefficient, of parameters ``(..., 2)``: ``(..., 2, 2)``."""
        return self.mixing.T + self._bent(np.asarray(theta))

    def _bent(self, theta: np.ndarray) -> np.ndarray:
        """Q theta, shape ``(..., 2, 2)``."""
        return (self.bending @ theta[..., None, :, None])[..., 0]

    def loss(self, theta: ArrayLike) -> Array:
        """1/2 |v - u|_K^2 of parameters of shape ``(2,)``, a number; may be traced."""
        error = self.coefficients(theta) - self.target
        return 0.5 * error @ self.weight @ error

    def loss_at(self, coefficients: ArrayLike) -> np.ndarray:
        """The same of coefficients of shape ``(..., 2)``, in NumPy: shape ``(...,)``."""
        error = np.asarray(coefficients) - self.target
        return 0.5 * np.einsum("...a,ab,...b->...", error, self.weight, error)

    def residuals(self, theta: Array, points: Array, root: ArrayLike = ((1.0, 0.0), (0.0, 1.0))) -> Array:
        """The error v - u at points, shape ``(S, 1)``; the coefficients are multiplied by a matrix first."""
        return (basis(points) @ (jnp.asarray(root) @ (self.coefficients(theta) - self.target)))[:, None]

    def least_squares(self) -> LeastSquares:
        """The loss as a problem of the package, whose metric is G^H = J^T K J."""
        return LeastSquares(partial(self.residuals, root=np.real(sqrtm(self.weight))))

    def start(self, coefficients: ArrayLike) -> np.ndarray:
        """The parameters of a linear model that have these coefficients."""
        return np.linalg.solve(self.mixing.T, np.asarray(coefficients))


@dataclass(frozen=True)
class Toy:
    """Paths of several methods in one plane.

    Attributes:
        plane: the model and the loss.
        parameters: theta of each method, shape ``(T + 1, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    plane: Plane
    parameters: dict[str, np.ndarray]
    values: Values

    @property
    def functions(self) -> dict[str, np.ndarray]:
        """The coefficients of each method, shape ``(T + 1, 2)``."""
        return {name: self.plane.values(theta) for name, theta in self.parameters.items()}

    @property
    def losses(self) -> dict[str, np.ndarray]:
        """The loss of each method, shape ``(T + 1,)``."""
        return {name: self.plane.loss_at(functions) for name, functions in self.functions.items()}


def gram_by_points(plane: Plane, theta: ArrayLike) -> np.ndarray:
    """The Gram matrix of the derivatives of the model, <dv/dtheta_i, dv/dtheta_j>, from its values at the points."""
    rows = np.asarray(jax.jit(partial(_rows, plane))(jnp.asarray(theta)))
    return rows.T @ rows


def descent_path(plane: Plane, start: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Gradient descent in the parameters: theta, shape ``(steps + 1, 2)``."""
    return iterates(optax.sgd(rate), plane.loss, start, steps)


def natural_path(
    problem: LeastSquares,
    start: np.ndarray,
    rate: float,
    steps: int,
    momentum: float = 0.0,
    kind: str = "transported",
) -> np.ndarray:
    """The package's natural gradient descent, with momentum or without: theta, shape ``(steps + 1, n)``.

    Args:
        problem: a loss of functions on :data:`POINTS`.
        start: theta, shape ``(n,)``.
        rate: alpha.
        steps: how many.
        momentum: beta.
        kind: of the momentum, see :data:`repro.optimizers.momentum.KINDS`.
    """
    points = jnp.asarray(POINTS)
    # Of a problem, momentum asks for the geometry only.
    chosen = natural_momentum(cast(Any, problem), learning_rate=rate, damping=NO_DAMPING, momentum=momentum, kind=kind)

    def update(gradient: Array, state: optax.OptState, theta: Array) -> tuple[Array, optax.OptState]:
        return chosen.update(gradient, state, theta, points=points)

    # The update takes no gradient: that of any function of the parameters will do.
    return iterates(optax.GradientTransformation(chosen.init, update), jnp.sum, start, steps)


def projected_path(plane: Plane, start: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Steps along the projection of the loss's gradient in L^2 on the tangent space: theta, ``(steps + 1, 2)``.

    The metric is the Gram matrix of the model, whatever the loss is. The projection of a function is its fit by the
    derivatives of the model, by least squares at the points.
    """

    def step(theta: Array) -> Array:
        gradient = basis(POINTS) @ (plane.weight @ (plane.coefficients(theta) - plane.target))
        scaled = gradient / jnp.sqrt(1.0 * len(POINTS))
        return theta - rate * damped_least_squares(_rows(plane, theta), scaled, NO_DAMPING)

    return points_of(step, start, steps)


def newton_path(plane: Plane, start: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Newton's method in the parameters, with steps of a part of their length: theta, ``(steps + 1, 2)``."""
    return points_of(part_of(newton(plane.loss), rate), start, steps)


def part_of(step: Step, rate: float) -> Step:
    """A step of which only a part is made."""
    return lambda point: point + rate * (step(point) - point)


def largest_distance_from_line(coefficients: np.ndarray, target: np.ndarray) -> float:
    """How far a path, shape ``(T, 2)``, is from the straight line between its first point and the target, at most."""
    first = coefficients[0] - target
    normal = np.array([-first[1], first[0]]) / np.linalg.norm(first)
    return float(np.max(np.abs((coefficients - target) @ normal)))


def steps_to(losses: np.ndarray, level: float) -> float:
    """The first step after which a loss is at most as large; infinity if there is none."""
    below = np.flatnonzero(losses <= level)
    return float(below[0]) if below.size else float("inf")


def _rows(plane: Plane, theta: Array) -> Array:
    """The derivatives of the model at the points, shape ``(S, 2)``, scaled such that O^T O is the Gram matrix."""
    problem = LeastSquares(plane.residuals)
    return problem.geometry(theta, (), {"points": jnp.asarray(POINTS)}).sample_space().rows


def hessian(plane: Plane, theta: ArrayLike) -> np.ndarray:
    """Of the loss in the parameters, shape ``(2, 2)``."""
    return np.asarray(jax.jit(jax.hessian(plane.loss))(jnp.asarray(theta)))
