"""The points that an optimiser of optax visits: without samples, from a start, with the exact gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike


def iterates(
    optimizer: optax.GradientTransformation,
    cost: Callable[[Array], Array],
    start: ArrayLike,
    steps: int,
    noise: ArrayLike = 0.0,
) -> np.ndarray:
    """Where an optimiser comes from a start.

    Args:
        optimizer: any of optax's.
        cost: of a point of shape ``(n,)``.
        start: shape ``(n,)``.
        steps: T.
        noise: added to the gradient of each step, shape ``(T, n)``.

    Returns:
        The points from the start on, shape ``(T + 1, n)``.
    """

    def step(carry: tuple[Array, Any], error: Array) -> tuple[tuple[Array, Any], Array]:
        point, state = carry
        update, state = optimizer.update(jax.grad(cost)(point) + error, state, point)
        moved = point + update
        return (moved, state), moved

    start = jnp.asarray(start)
    errors = jnp.broadcast_to(jnp.asarray(noise, start.dtype), (steps, *start.shape))
    _, visited = jax.lax.scan(step, (start, optimizer.init(start)), errors)
    return np.concatenate([np.asarray(start)[None], np.asarray(visited)])


def quadratic(curvatures: ArrayLike | tuple[float, ...]) -> Callable[[Array], Array]:
    """1/2 sum_i c_i w_i^2, of points of shape ``(..., n)``."""

    def cost(w: Array) -> Array:
        return 0.5 * jnp.sum(jnp.asarray(curvatures) * w**2, axis=-1)

    return cost
