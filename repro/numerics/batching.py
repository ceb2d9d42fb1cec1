"""Walkers a few at a time, so that memory is bounded by a chunk of them and not by all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.numerics.loops import traced_once


def largest_divisor(count: int, most: int) -> int:
    """The largest divisor of ``count`` that is at most ``most``."""
    return next(size for size in range(min(count, most), 0, -1) if count % size == 0)


def _split(values: Array, chunk: int, axis: int) -> Array:
    """``(..., W, ...)`` to ``(W / chunk, ..., chunk, ...)``, the walkers on ``axis``."""
    axis %= values.ndim
    shape = values.shape
    parts = shape[axis] // chunk
    return jnp.moveaxis(values.reshape(*shape[:axis], parts, chunk, *shape[axis + 1 :]), axis, 0)


def _join(parts: Array, axis: int) -> Array:
    """Undoes :func:`_split`; ``axis``, counted from the end, is that of the walkers in a part."""
    moved = jnp.moveaxis(parts, 0, axis - 1)
    begin = moved.ndim + axis
    walkers = moved.shape[begin - 1] * moved.shape[begin]  # no -1: another axis may be empty
    return moved.reshape(*moved.shape[: begin - 1], walkers, *moved.shape[begin + 1 :])


def map_in_batches(function: Callable[[Array], Any], x: Array, chunk: int, axis: int = -1) -> Any:
    """``function(x)`` for walkers ``(W, A)``, evaluated ``chunk`` walkers at a time.

    Args:
        function: walkers to arrays that hold the walkers on ``axis``.
        x: walkers, shape ``(W, A)``.
        chunk: the most walkers at a time; the largest divisor of W up to it is taken.
        axis: counted from the end, so negative.
    """
    chunk = largest_divisor(x.shape[0], chunk)
    if chunk == x.shape[0]:
        return function(x)
    return jax.tree.map(partial(_join, axis=axis), jax.lax.map(function, _split(x, chunk, 0)))


def sum_in_batches(function: Callable[..., Any], chunk: int, *arguments: Array, axis: int = 0) -> Any:
    """Sum over chunks of ``function(*one chunk's arguments)``.

    Args:
        function: arrays of ``chunk`` walkers to arrays without walkers.
        chunk: the most walkers at a time; the largest divisor of W up to it is taken.
        arguments: arrays that hold the walkers on ``axis``.
        axis: of the walkers.
    """
    chunk = largest_divisor(arguments[0].shape[axis], chunk)
    if chunk == arguments[0].shape[axis]:
        return function(*arguments)
    parts = tuple(_split(argument, chunk, axis) for argument in arguments)
    function, shapes = traced_once(function, *(part[0] for part in parts))
    start = jax.tree.map(jnp.zeros_like, shapes)

    def add(total: Any, part: tuple[Array, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*part)), None

    return jax.lax.scan(add, start, parts)[0]
