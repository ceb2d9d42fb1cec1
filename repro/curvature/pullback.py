"""The two metrics of the study, exact Fisher and decision metric, as Gram matrices of walkers' derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
from jax import Array

from repro.curvature.jacobian import Jacobian
from repro.numerics.sharding import global_count, psum
from repro.parameters.partition import Blocks


class Curvature(Protocol):
    """A symmetric matrix M over parameter space that exists only by its products."""

    def matvec(self, v: Blocks) -> Blocks:
        """M v."""

    def block_matvec(self, index: int, block: Array) -> Array:
        """The diagonal block of one layer, times that layer's part of a vector."""

    def block_diagonal(self, v: Blocks) -> Blocks:
        """M without what couples different layers, times v."""

    def diagonal(self, index: int) -> Array:
        """Diagonal entries of M that belong to one layer, of the shape of its block."""

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """v_i^T M v_j, shape ``(n, n)``."""

    def quadratic(self, v: Blocks, w: Blocks) -> Array:
        """v^T M w."""


@dataclass(frozen=True)
class Pullback:
    """M = scale/W J^T J, positive semi-definite; see :class:`Curvature`."""

    jacobian: Jacobian
    scale: float

    def features(self, v: Blocks) -> Array:
        """J v, shape ``(N, W)``."""
        first, *others = (self.jacobian.push(index, block) for index, block in enumerate(v))
        return sum(others, start=first)

    def _weighted(self, features: Array) -> Array:
        return self.scale / global_count(self.jacobian.shape[1]) * features

    def matvec(self, v: Blocks) -> Blocks:
        """M v."""
        weights = self._weighted(self.features(v))
        return psum(tuple(self.jacobian.pull(index, weights) for index in range(len(v))))

    def block_matvec(self, index: int, block: Array) -> Array:
        """The diagonal block of one layer, times that layer's part of a vector."""
        return psum(self.jacobian.pull(index, self._weighted(self.jacobian.push(index, block))))

    def block_diagonal(self, v: Blocks) -> Blocks:
        """M without what couples different layers, times v."""
        return tuple(self.block_matvec(index, block) for index, block in enumerate(v))

    def diagonal(self, index: int) -> Array:
        """Diagonal entries of M that belong to one layer, of the shape of its block."""
        return self.scale * self.jacobian.squares(index)

    def block_matrix(self, index: int) -> Array:
        """The diagonal block of one layer as a matrix, rows and columns in the order of its flattened block."""
        return self.scale * self.jacobian.gram(index)

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """v_i^T M v_j, shape ``(n, n)``."""
        features = jnp.stack([self.features(v) for v in vectors]).reshape(len(vectors), -1)
        return psum(self._weighted(features) @ features.T)

    def quadratic(self, v: Blocks, w: Blocks) -> Array:
        """v^T M w."""
        return psum(jnp.vdot(self._weighted(self.features(v)), self.features(w)))
