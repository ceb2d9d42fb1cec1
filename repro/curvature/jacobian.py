"""Linear maps from a change of parameters to numbers per walker, one layer block at a time.

Two of them carry all metrics of the study: the *scores* D = d ln|psi| / d theta, one number a walker, and the *mixed
derivatives* d_xk D, K = A numbers a walker.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array

from repro.numerics.sharding import global_count, pmean, psum


class Jacobian(Protocol):
    """A linear map J from parameter space, cut into blocks, to N numbers for each of W walkers."""

    @property
    def blocks(self) -> int:
        """How many blocks."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, W)."""

    def push(self, index: int, block: Array) -> Array:
        """J v for a v that is zero outside of this block; shape ``(N, W)``."""

    def pull(self, index: int, weights: Array) -> Array:
        """This block of J^T r, for r of shape ``(N, W)``: a sum over the walkers of this device."""

    def squares(self, index: int) -> Array:
        """Squared entries of J, summed over outputs, averaged over the walkers of all devices; of a block's shape."""

    def gram(self, index: int) -> Array:
        """This diagonal block of J^T J, averaged over the walkers of all devices, as a matrix; for small blocks."""


def centred(values: Array, axis: int = -1) -> Array:
    """Less the mean over the walkers, which are on one axis."""
    return values - pmean(values, axis, keepdims=True)


class CentredScores:
    """Scores less their mean over the walkers, D - E[D]."""

    def __init__(self, scores: Jacobian) -> None:
        self.scores = scores
        self.blocks, self.shape = scores.blocks, scores.shape

    def push(self, index: int, block: Array) -> Array:
        """D v - E[D v], shape ``(1, W)``."""
        return centred(self.scores.push(index, block))

    def pull(self, index: int, weights: Array) -> Array:
        """(D - E[D])^T r = D^T (r - mean r)."""
        return self.scores.pull(index, centred(weights))

    def squares(self, index: int) -> Array:
        """E[D^2] - E[D]^2, kept from rounding to less than nothing."""
        squares = self.scores.squares(index)
        return jnp.maximum(squares - self._mean(index, squares.dtype) ** 2, 0.0)

    def gram(self, index: int) -> Array:
        """E[D D^T] - E[D] E[D]^T, one block, as a matrix."""
        gram = self.scores.gram(index)
        score = self._mean(index, gram.dtype).ravel()
        return gram - jnp.outer(score, score)

    def _mean(self, index: int, dtype: jnp.dtype) -> Array:
        """E[D], one block."""
        return psum(self.scores.pull(index, jnp.full(self.shape, 1.0 / global_count(self.shape[1]), dtype)))
