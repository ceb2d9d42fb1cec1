"""The length of a step: minimum of a quadratic model over the plane of two directions."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def plane_minimum(matrix: Array, slope: Array) -> Array:
    """Stationary point of 1/2 w^T Q w + b^T w over the two weights w = (alpha, mu).

    The directions are first scaled to unit curvature. Where they are then parallel to machine precision, or one of
    them is zero, the plane is a line: the first direction alone is used, and mu = 0.

    Args:
        matrix: Q, the damped curvature between the directions, shape ``(2, 2)``, symmetric, not necessarily positive.
        slope: b, the gradient along them, shape ``(2,)``.

    Returns:
        (alpha, mu), shape ``(2,)``; zero where the first direction has no curvature.
    """
    diagonal = jnp.diagonal(matrix)
    used = diagonal != 0
    scale = jnp.where(used, 1.0 / jnp.sqrt(jnp.abs(jnp.where(used, diagonal, 1.0))), 0.0)
    first, second = jnp.sign(diagonal)
    cross = matrix[0, 1] * scale[0] * scale[1]
    b0, b1 = slope * scale
    determinant = first * second - cross**2
    plane = jnp.abs(determinant) > 16.0 * jnp.finfo(matrix.dtype).eps
    safe = jnp.where(plane, determinant, 1.0)
    both = jnp.stack([cross * b1 - second * b0, cross * b0 - first * b1]) / safe
    line = jnp.stack([-first * b0, jnp.zeros_like(b0)])
    return scale * jnp.where(plane, both, line)
