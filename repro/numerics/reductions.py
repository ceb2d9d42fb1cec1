"""Sums that XLA's CPU backend is slow at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array


def one_by_one(terms: Sequence[Array]) -> Array:
    """The terms added up in their order: a reduction over a leading axis would take XLA ten times as long."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def over_leading(values: Array, axes: int = 1) -> Array:
    """Sum over the first axes, as a product with a row of ones."""
    count = math.prod(values.shape[:axes])
    return (jnp.ones((count,), values.dtype) @ values.reshape(count, -1)).reshape(values.shape[axes:])


def over_last(values: Array) -> Array:
    """Sum over the last axis, as a product with a column of ones."""
    return values @ jnp.ones((values.shape[-1],), values.dtype)
