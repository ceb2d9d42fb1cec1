"""Scores and mixed derivatives of any state, by ``jax.linearize``.

Slower than the structured path, and the reference for it: one product costs a pass through the whole state, forward or
backward. With fewer walkers differentiated at a time than there are, what a pass needs is recomputed in each instead
of stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.numerics.batching import largest_divisor, map_in_batches, sum_in_batches
from repro.numerics.sharding import mean_from_sums
from repro.parameters.partition import Partition, replaced

PerWalker = Callable[[Any, Array], Array]
"""(params, walkers (W, A)) -> numbers (N, W)."""

DIAGONAL_WALKERS = 32


def in_chunks(function: Callable[[Array], Array], x: Array, chunk: int) -> Array:
    """``function(x)``, ``(W, A)`` to ``(N, W)``, computed and differentiated ``chunk`` walkers at a time."""
    return map_in_batches(function if chunk >= x.shape[0] else jax.checkpoint(function), x, chunk)


class GenericJacobian:
    """The derivative of any numbers per walker in the parameters."""

    def __init__(self, function: PerWalker, params: Any, x: Array, parts: Partition, chunk: int) -> None:
        values = parts.split(params)
        self.blocks = len(values)
        self._function, self._x, self._parts, self._values = function, x, parts, values
        self._pushes, self._pulls = [], []
        for index, block in enumerate(values):

            def of_block(value: Array, index: int = index) -> Array:
                return in_chunks(lambda y: function(self._with(index, value), y), x, chunk)

            numbers, push = jax.linearize(of_block, block)
            self.shape = numbers.shape
            self._pushes.append(push)
            self._pulls.append(jax.linear_transpose(push, block))

    def _with(self, index: int, value: Array) -> Any:
        return self._parts.join(replaced(self._values, index, value))

    def push(self, index: int, block: Array) -> Array:
        """J v for a v that is zero outside of this block; shape ``(N, W)``."""
        return self._pushes[index](block)

    def pull(self, index: int, weights: Array) -> Array:
        """This block of J^T r."""
        return self._pulls[index](weights)[0]

    def squares(self, index: int) -> Array:
        """Squared entries of J, from explicit rows of a few walkers at a time."""
        squares = sum_over_walkers(lambda x: jnp.sum(self._rows(index, x) ** 2, axis=0), self._x)
        return mean_from_sums(squares, self._x.shape[0])

    def gram(self, index: int) -> Array:
        """This diagonal block of J^T J, from the same rows."""

        def of_walker(walker: Array) -> Array:
            rows = self._rows(index, walker).reshape(self.shape[0], -1)
            return rows.T @ rows

        return mean_from_sums(sum_over_walkers(of_walker, self._x), self._x.shape[0])

    def _rows(self, index: int, walker: Array) -> Array:
        """J of one walker ``(A,)``, shape ``(N, *block)``."""
        rows = jax.jacrev(lambda value: self._function(self._with(index, value), walker[None])[:, 0])
        return rows(self._values[index])


def sum_over_walkers(function: Callable[..., Any], *arguments: Array) -> Any:
    """Sum of ``function(*one walker's arguments)``, a few walkers at a time; each argument has a leading axis W."""

    def of_chunk(*part: Array) -> Any:
        return jax.tree.map(lambda values: jnp.sum(values, axis=0), jax.vmap(function)(*part))

    return sum_in_batches(of_chunk, largest_divisor(arguments[0].shape[0], DIAGONAL_WALKERS), *arguments)
