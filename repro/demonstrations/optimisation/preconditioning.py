"""Preconditioned gradient descent is gradient descent in other coordinates.

With w = R u + b, gradient descent in u is w <- w - step * R R^T gradient, and the Hessian in u is R^T H R (second
lecture, slides "Preconditioning"). Newton's method is the case R = H^-1/2, where the Hessian in u is the identity. Even
a diagonal helps: here with the diagonal of a Gauss-Newton matrix whose parameters have different scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.curvature.linearized import LinearizedJacobian
from repro.curvature.output_metrics import Euclidean
from repro.curvature.pullback import Pullback
from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.newton_step import hills
from repro.demonstrations.optimisation.stepping import Function, descending, points_of
from repro.parameters.partition import partition

VALLEY = ((13.0, 9.0), (9.0, 7.0))
"""The Hessian in the minimum of the function in the plane that is drawn."""
START = (-1.5, 0.6)
STEP_IN_U = 0.3
"""Of the descent in u that is drawn; there the Hessian in the minimum is the identity."""


@dataclass(frozen=True)
class Preconditioning:
    """The same points in two coordinate systems, and spectra before and after a diagonal scaling.

    Attributes:
        points: of preconditioned descent in w, shape ``(steps + 1, 2)``.
        turned: of gradient descent in u, shape ``(steps + 1, 2)``.
        plain: of gradient descent in w, shape ``(steps + 1, 2)``.
        root: R of the plane, shape ``(2, 2)``.
        before: eigenvalues of the Gauss-Newton matrix, increasing, shape ``(P,)``.
        after: of the matrix scaled by its diagonal.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    points: np.ndarray
    turned: np.ndarray
    plain: np.ndarray
    root: np.ndarray
    before: np.ndarray
    after: np.ndarray
    values: Values


def valley(w: Array) -> Array:
    """1/2 w^T H w + (w_1 - w_2)^4 / 50 of points of shape ``(2,)``: its minimum is the origin."""
    return 0.5 * w @ jnp.asarray(VALLEY) @ w + 0.02 * (w[0] - w[1]) ** 4


@in_double_precision
def change_of_coordinates(
    *, steps: int = 100, size: int = 10, samples: int = 200, largest_scale: float = 1e3, seed: int = 0
) -> Preconditioning:
    """Descends in both ways, and compares the points; whitens a Hessian; scales a Gauss-Newton matrix.

    Args:
        steps: of both descents.
        size: of the vectors where descents are compared, and of the Gauss-Newton matrix.
        samples: of the regression whose Gauss-Newton matrix is scaled.
        largest_scale: of its columns; scales are spread evenly in logarithm from 1.
        seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    hessian, start = np.asarray(jax.jit(jax.hessian(valley))(np.zeros(2))), np.array(START)
    roots = roots_of_inverse(hessian)
    root = roots["symmetric root"]
    points, turned = both_descents(valley, root, np.zeros(2), start, STEP_IN_U, steps)
    in_many = in_many_dimensions(rng, size, steps)
    matrix, diagonal = gauss_newton_of_regression(rng, samples, size, largest_scale)
    spectra = [np.linalg.eigvalsh(one) for one in (matrix, matrix / np.sqrt(np.outer(diagonal, diagonal)))]
    conditions = [float(spectrum[-1] / spectrum[0]) for spectrum in spectra]
    values: Values = {
        "path_difference": {"2 dimensions": _largest(points - turned @ root.T), f"{size} dimensions": in_many},
        "whitened_deviation": {name: _largest(r.T @ hessian @ r - np.eye(2)) for name, r in roots.items()},
        "condition_before": conditions[0],
        "condition_after": conditions[1],
        "condition_cut": conditions[0] / conditions[1],
    }
    plain = points_of(descending(valley, 2.0 / float(np.trace(hessian))), start, steps)
    return Preconditioning(points, turned, plain, root, spectra[0], spectra[1], values)


def roots_of_inverse(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Two R with R R^T = C^-1, for positive definite C: C^-1/2, and the Cholesky factor of C^-1."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return {
        "symmetric root": (vectors / np.sqrt(eigenvalues)) @ vectors.T,
        "Cholesky factor": np.linalg.cholesky(np.linalg.inv(matrix)),
    }


def both_descents(
    function: Function, root: np.ndarray, offset: np.ndarray, start: np.ndarray, rate: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The points of preconditioned descent in w, and those of gradient descent in u, shape ``(steps + 1, n)`` each.

    Args:
        function: of w.
        root: R of w = R u + b.
        offset: b.
        start: w at the start.
        rate: the step.
        steps: how many.
    """
    inverse = jnp.asarray(root @ root.T)
    preconditioned = points_of(lambda w: w - rate * (inverse @ jax.grad(function)(w)), start, steps)
    in_u = descending(lambda u: function(jnp.asarray(root) @ u + jnp.asarray(offset)), rate)
    return preconditioned, points_of(in_u, np.linalg.solve(root, start - offset), steps)


def in_many_dimensions(rng: np.random.Generator, size: int, steps: int) -> float:
    """The largest distance of the two descents on a random convex function, with a random R that is not symmetric."""
    rows = rng.normal(size=(2 * size, size))
    function = hills(jnp.asarray(rows), jnp.asarray(rng.normal(size=2 * size)))
    root, offset, start = rng.normal(size=(size, size)), rng.normal(size=size), rng.normal(size=size)
    most = np.linalg.norm(root.T @ (rows.T @ rows + 0.1 * np.eye(size)) @ root, 2)
    points, turned = both_descents(function, root, offset, start, float(1.0 / most), steps)
    return _largest(points - (turned @ root.T + offset))


def gauss_newton_of_regression(
    rng: np.random.Generator, samples: int, size: int, largest_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss-Newton matrix of a linear regression whose inputs have scales from 1 on, and its diagonal."""
    inputs = rng.normal(size=(samples, size)) * np.logspace(0.0, np.log10(largest_scale), size)
    params = jnp.zeros(size)
    jacobian = LinearizedJacobian(
        lambda w, x: (x @ w)[None], params, jnp.asarray(inputs), partition(params), chunk=samples
    )
    curvature = Pullback(jacobian, Euclidean())
    return np.asarray(curvature.block_matrix(0)), np.asarray(curvature.diagonal(0))


def _largest(difference: np.ndarray) -> float:
    return float(np.max(np.abs(difference)))
