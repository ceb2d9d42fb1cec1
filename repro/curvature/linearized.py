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

from repro.curvature.output_metrics import OutputMetric
from repro.numerics.batching import largest_divisor, map_in_batches, sum_in_batches
from repro.numerics.sharding import mean_from_sums
from repro.parameters.partition import Blocks, Partition, replaced

PerSample = Callable[[Any, Array], Array]
"""(params, walkers (W, A)) -> numbers (N, W)."""

DIAGONAL_WALKERS = 32


def in_chunks(function: Callable[[Array], Array], x: Array, chunk: int) -> Array:
    """``function(x)``, ``(W, A)`` to ``(N, W)``, computed and differentiated ``chunk`` walkers at a time."""
    return map_in_batches(function if chunk >= x.shape[0] else jax.checkpoint(function), x, chunk)


class LinearizedJacobian:
    """The derivative of any numbers per walker in the parameters."""

    def __init__(self, function: PerSample, params: Any, x: Array, parts: Partition, chunk: int) -> None:
        values = parts.split(params)
        self.blocks = len(values)
        self._function, self._x, self._parts, self._values = function, x, parts, values
        self._pushes, self._pulls = [], []
        # A whole vector at once: one pass through the model instead of one for each block.
        _, self._push = jax.linearize(
            lambda blocks: in_chunks(lambda y: function(parts.join(blocks), y), x, chunk), values
        )
        self._pull = jax.linear_transpose(self._push, values)
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

    def push_all(self, v: Blocks) -> Array:
        """J v, shape ``(N, W)``."""
        return self._push(v)

    def pull_all(self, weights: Array) -> Blocks:
        """J^T r for r of shape ``(N, W)``."""
        return self._pull(weights)[0]

    def squares(self, index: int, output: OutputMetric | None = None) -> Array:
        """Squared entries of B^T J (of J without an output metric), from explicit rows of a few samples at a time."""
        squares = self._sum_rows(lambda rows: jnp.sum(rows**2, axis=0), index, output)
        return mean_from_sums(squares, self._x.shape[0])

    def gram(self, index: int, output: OutputMetric | None = None) -> Array:
        """This diagonal block of J^T G_z J (of J^T J without an output metric), from the same rows."""

        def of_sample(rows: Array) -> Array:
            rows = rows.reshape(self.shape[0], -1)
            return rows.T @ rows

        return mean_from_sums(self._sum_rows(of_sample, index, output), self._x.shape[0])

    def _sum_rows(self, function: Callable[[Array], Array], index: int, output: OutputMetric | None) -> Any:
        """Sum over the samples of a function of the rows of B^T J or J of each, shape ``(N, *block)``."""
        if output is None:
            return sum_over_samples(lambda x: function(self._rows(index, x)), self._x)

        def of_sample(x: Array, number: Array) -> Array:
            rows = self._rows(index, x)
            seen = output.of_sample(number).factor_transpose(rows.reshape(rows.shape[0], -1))
            return function(seen.reshape(rows.shape))

        return sum_over_samples(of_sample, self._x, jnp.arange(self._x.shape[0]))

    def _rows(self, index: int, walker: Array) -> Array:
        """J of one sample, shape ``(N, *block)``."""
        rows = jax.jacrev(lambda value: self._function(self._with(index, value), walker[None])[:, 0])
        return rows(self._values[index])


def sum_over_samples(function: Callable[..., Any], *arguments: Array) -> Any:
    """Sum of ``function(*one walker's arguments)``, a few walkers at a time; each argument has a leading axis W."""

    def of_chunk(*part: Array) -> Any:
        return jax.tree.map(lambda values: jnp.sum(values, axis=0), jax.vmap(function)(*part))

    return sum_in_batches(of_chunk, largest_divisor(arguments[0].shape[0], DIAGONAL_WALKERS), *arguments)
