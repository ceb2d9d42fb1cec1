"""How many products with the curvature a solution takes: gradient descent, heavy ball, and conjugate gradients.

All three minimise 1/2 v^T C v + g^T v (lecture, slide "Computation: Hessian-Free Optimization"). An error is measured
in the norm of C, relative to the one at the start; every iteration takes one product with C.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.solvers import conjugate_gradients

METHODS = ("gradient-descent", "momentum", "conjugate-gradients")
DISTINCT = (1.0, 3.0, 10.0, 40.0, 100.0)
"""Eigenvalues of the curvature that conjugate gradients solve in as many steps."""
PASSES = 4
"""Conjugate gradients may take so many products for each eigenvalue: rounding keeps them from ending after one each."""
SEEN = 1e-7
"""Smaller relative errors are rounding: they are read from differences of the model's value."""


@dataclass(frozen=True)
class ProductCosts:
    """Iterations against condition number.

    Attributes:
        condition_numbers: shape ``(K,)``.
        iterations: of each method, shape ``(K,)``.
        errors: of each method at the largest condition number, one more than its iterations.
        bound: 2 q^k at that condition number, q = (sqrt(kappa) - 1) / (sqrt(kappa) + 1).
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    condition_numbers: np.ndarray
    iterations: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    bound: np.ndarray
    values: Values


@in_double_precision
def products(
    *,
    size: int = 1000,
    condition_numbers: tuple[float, ...] = (10.0, 31.6, 100.0, 316.0, 1000.0, 3160.0, 10000.0),
    tolerance: float = 1e-6,
    seed: int = 0,
) -> ProductCosts:
    """Solves systems with eigenvalues that are spread evenly in their logarithm, from 1 to the condition number.

    Args:
        size: of the matrix.
        condition_numbers: kappa, increasing.
        tolerance: relative error in the norm of C at which a method has arrived.
        seed: of the gradient, with entries from N(0, 1).
    """
    gradient = np.random.default_rng(seed).normal(size=size)
    curves = []
    for kappa in condition_numbers:
        eigenvalues = np.logspace(0.0, np.log10(kappa), size)
        curves.append({name: _errors(name, eigenvalues, gradient, tolerance) for name in METHODS})
    iterations = {name: np.array([len(curve[name]) - 1 for curve in curves]) for name in METHODS}
    logarithms = np.log(condition_numbers)
    slopes = {name: float(np.polyfit(logarithms, np.log(iterations[name]), 1)[0]) for name in METHODS}
    bounds = [bound(kappa, len(curve[METHODS[2]])) for kappa, curve in zip(condition_numbers, curves, strict=True)]
    over = [
        np.max(np.where(curve[METHODS[2]] > SEEN, curve[METHODS[2]] / limit, 0.0))
        for curve, limit in zip(curves, bounds, strict=True)
    ]
    values: Values = {
        "slopes": slopes,
        **{f"slope_{name.replace('-', '_')}": slope for name, slope in slopes.items()},
        "iterations": {
            f"{name}, {kappa:g}": float(count)
            for name in METHODS
            for kappa, count in zip(condition_numbers, iterations[name], strict=True)
        },
        "error_over_bound": float(max(over)),
        "error_with_five_eigenvalues": five_eigenvalues(size, seed),
        "difference_from_line_search": one_iteration(size, seed),
        "error_after_50_of_50": float(_conjugate_gradients(np.logspace(0.0, 3.0, 50), gradient[:50], 50)[-1]),
    }
    return ProductCosts(np.array(condition_numbers), iterations, curves[-1], bounds[-1], values)


def bound(kappa: float, count: int) -> np.ndarray:
    """The bound 2 q^k on the error of conjugate gradients after k = 0 ... count - 1 iterations."""
    q = (np.sqrt(kappa) - 1.0) / (np.sqrt(kappa) + 1.0)
    return 2.0 * q ** np.arange(count)


def _errors(method: str, eigenvalues: np.ndarray, gradient: np.ndarray, tolerance: float) -> np.ndarray:
    """Relative errors after 0, 1, ... iterations, up to the first that is at most ``tolerance``."""
    if method == "conjugate-gradients":
        errors = _conjugate_gradients(eigenvalues, gradient, PASSES * len(eigenvalues))
        return errors[: int(np.argmax(errors <= tolerance)) + 1]
    least, most = np.sqrt(eigenvalues[[0, -1]])
    step, momentum = 2.0 / (least**2 + most**2), 0.0
    if method == "momentum":
        step, momentum = 4.0 / (least + most) ** 2, ((most - least) / (most + least)) ** 2
    solution = -gradient / eigenvalues
    scale = np.sqrt(np.sum(eigenvalues * solution**2))
    curve, now, before = [1.0], np.zeros_like(solution), np.zeros_like(solution)
    while curve[-1] > tolerance:
        now, before = now - step * (eigenvalues * now + gradient) + momentum * (now - before), now
        curve.append(float(np.sqrt(np.sum(eigenvalues * (now - solution) ** 2)) / scale))
    return np.array(curve)


def _conjugate_gradients(eigenvalues: np.ndarray, gradient: np.ndarray, iterations: int) -> np.ndarray:
    """Relative errors after 0, 1, ... iterations: the model's value is its least one plus half the error's square."""
    matrix = jnp.asarray(eigenvalues)
    found = conjugate_gradients(lambda v: matrix * v, jnp.asarray(-gradient), iterations=iterations, progress=0.0)
    least = -0.5 * np.sum(gradient**2 / eigenvalues)
    values = np.asarray(found.values)[: int(found.iterations) + 1]
    return np.sqrt(np.maximum(1.0 - values / least, 0.0))


def five_eigenvalues(size: int, seed: int) -> float:
    """The relative error after five iterations where the curvature has five distinct eigenvalues."""
    rng = np.random.default_rng(seed)
    eigenvalues = np.repeat(DISTINCT, size // len(DISTINCT))
    gradient = rng.normal(size=len(eigenvalues))
    matrix = jnp.asarray(eigenvalues)
    found = conjugate_gradients(lambda v: matrix * v, jnp.asarray(-gradient), iterations=len(DISTINCT), progress=0.0)
    solution = -gradient / eigenvalues
    apart = np.asarray(found.x) - solution
    return float(np.sqrt(np.sum(eigenvalues * apart**2) / np.sum(eigenvalues * solution**2)))


def one_iteration(size: int, seed: int) -> float:
    """The relative distance of one iteration from steepest descent with the exact length g^T g / g^T C g."""
    gradient = np.random.default_rng(seed).normal(size=size)
    eigenvalues = np.logspace(0.0, 3.0, size)
    matrix = jnp.asarray(eigenvalues)
    found = conjugate_gradients(lambda v: matrix * v, jnp.asarray(-gradient), iterations=1, progress=0.0)
    searched = -gradient * (gradient @ gradient) / (gradient @ (eigenvalues * gradient))
    return float(np.linalg.norm(np.asarray(found.x) - searched) / np.linalg.norm(searched))
