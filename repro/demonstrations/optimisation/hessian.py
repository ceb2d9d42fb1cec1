"""The Hessian of a function by hand and by automatic differentiation, and what its eigenvalues say of a surface.

The function x^2 y + x y^3 and its Hessian are printed on the slide "Hessian" of the first lecture. Its determinant
-4 x^2 - 9 y^4 is negative everywhere but in the origin, so that every other point of it curves both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.stepping import Function

SURFACES = {
    "bowl": ((1.5, 0.5), (0.5, 1.0)),
    "dome": ((-1.5, -0.5), (-0.5, -1.0)),
    "saddle": ((1.0, 1.0), (1.0, -0.5)),
}
"""The matrix A of 1/2 w^T A w. Chosen: the slides' own surfaces are lost."""


def printed_function(point: Array) -> Array:
    """x^2 y + x y^3 of points of shape ``(2,)``."""
    x, y = point
    return x**2 * y + x * y**3


def printed_hessian(point: np.ndarray) -> np.ndarray:
    """The Hessian as the slide prints it, shape ``(2, 2)``."""
    x, y = point
    mixed = 2.0 * x + 3.0 * y**2
    return np.array([[2.0 * y, mixed], [mixed, 6.0 * x * y]])


@dataclass(frozen=True)
class SecondDerivatives:
    """Hessians, and how surfaces rise around a stationary point.

    Attributes:
        matrices: the Hessian of each surface in the origin, from automatic differentiation, shape ``(2, 2)``.
        eigenvalues: of these, increasing, shape ``(2,)``.
        eigenvectors: of these, in columns, shape ``(2, 2)``.
        points: where the printed Hessian was compared, shape ``(N, 2)``.
        eigenvalues_at_points: of the printed function, increasing, shape ``(N, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    matrices: dict[str, np.ndarray]
    eigenvalues: dict[str, np.ndarray]
    eigenvectors: dict[str, np.ndarray]
    points: np.ndarray
    eigenvalues_at_points: np.ndarray
    values: Values


@in_double_precision
def second_derivatives(*, count: int = 100, extent: float = 2.0, seed: int = 0) -> SecondDerivatives:
    """Compares the printed Hessian with that of ``jax.hessian``, and eigenvalues with the shape of a surface.

    Args:
        count: of the random points.
        extent: the points are uniform in the square from -extent to extent.
        seed: of the points.
    """
    points = np.random.default_rng(seed).uniform(-extent, extent, (count, 2))
    derived = np.asarray(jax.jit(jax.vmap(jax.hessian(printed_function)))(points))
    printed = np.array([printed_hessian(point) for point in points])
    matrices, eigenvalues, eigenvectors = {}, {}, {}
    for name in SURFACES:
        matrices[name] = np.asarray(jax.jit(jax.hessian(surface(name)))(np.zeros(2)))
        eigenvalues[name], eigenvectors[name] = np.linalg.eigh(matrices[name])
    rises = {name: rise_on_a_circle(surface(name)) for name in SURFACES}
    at_points = np.linalg.eigvalsh(derived)
    values: Values = {
        "largest_difference": float(np.max(np.abs(derived - printed))),
        "eigenvalues_of_bowl": eigenvalues["bowl"].tolist(),
        "eigenvalues_of_dome": eigenvalues["dome"].tolist(),
        "eigenvalues_of_saddle": eigenvalues["saddle"].tolist(),
        "rise_of_bowl": [float(rises["bowl"].min()), float(rises["bowl"].max())],
        "rise_of_dome": [float(rises["dome"].min()), float(rises["dome"].max())],
        "least_rise": {name: float(rise.min()) for name, rise in rises.items()},
        "greatest_rise": {name: float(rise.max()) for name, rise in rises.items()},
        "rise_apart_from_eigenvalues": float(
            max(np.max(np.abs([rises[n].min(), rises[n].max()] - 0.5 * eigenvalues[n])) for n in SURFACES)
        ),
        "largest_determinant": float(np.max(np.prod(at_points, axis=1))),
    }
    return SecondDerivatives(matrices, eigenvalues, eigenvectors, points, at_points, values)


def surface(name: str) -> Function:
    """1/2 w^T A w with one of :data:`SURFACES`, of points of shape ``(2,)``."""
    return lambda point: 0.5 * point @ jnp.asarray(SURFACES[name]) @ point


def rise_on_a_circle(function: Function, directions: int = 3600) -> np.ndarray:
    """f(u) - f(0) for unit vectors u all around, shape ``(directions,)``.

    For a quadratic function, its least and its greatest number are half the eigenvalues of the Hessian.
    """
    angles = np.linspace(0.0, 2.0 * np.pi, directions, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(jax.jit(jax.vmap(function))(circle)) - float(function(jnp.zeros(2)))
