"""The points that a rule visits, which says of each point where the next one is."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

Function = Callable[[Array], Array]
"""A number of a point, shape ``(n,)`` to ``()``."""

Step = Callable[[Array], Array]
"""From a point to the next one, shape ``(n,)`` to ``(n,)``."""


def scanned(step: Step, start: Array, steps: int) -> Array:
    """A start and the points after 1, 2, ... steps, shape ``(steps + 1, n)``; may be traced."""

    def moved(point: Array, _: None) -> tuple[Array, Array]:
        following = step(point)
        return following, following

    _, visited = jax.lax.scan(moved, start, length=steps)
    return jnp.concatenate([start[None], visited])


def points_of(step: Step, start: ArrayLike, steps: int) -> np.ndarray:
    """As :func:`scanned`, computed."""
    return np.asarray(jax.jit(lambda first: scanned(step, first, steps))(jnp.asarray(start)))


def descending(function: Function, rate: float) -> Step:
    """Gradient descent: w - rate * gradient."""
    return lambda point: point - rate * jax.grad(function)(point)


def newton(function: Function, damping: float = 0.0) -> Step:
    """Newton's method: w - (H + damping)^-1 gradient, with the Hessian H."""

    def step(point: Array) -> Array:
        curvature = jax.hessian(function)(point) + damping * jnp.eye(point.size)
        return point - jnp.linalg.solve(curvature, jax.grad(function)(point))

    return step
