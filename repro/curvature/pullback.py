"""Curvatures as operators, and the pull-back of a metric over outputs through a Jacobian: G = E[J^T G_z J]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from repro.curvature.jacobian import Jacobian
from repro.curvature.linearized import LinearizedJacobian
from repro.curvature.output_metrics import Euclidean, OutputMetric
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


@dataclass(frozen=True)
class Pullback:
    """M = 1/S sum_s J_s^T G_z J_s, positive semi-definite; see :class:`Curvature`.

    Attributes:
        jacobian: J, of N outputs at S samples.
        output: G_z, the metric over the outputs.
        estimated: the diagonal of a layer, of the shape of its block, where it is estimated or known from elsewhere;
            None where it is computed from the rows of J.
    """

    jacobian: Jacobian
    output: OutputMetric
    estimated: Callable[[int], Array] | None = None

    def features(self, v: Blocks) -> Array:
        """J v, shape ``(N, S)``."""
        if isinstance(self.jacobian, LinearizedJacobian):
            return self.jacobian.push_all(v)
        first, *others = (self.jacobian.push(index, block) for index, block in enumerate(v))
        return sum(others, start=first)

    def _weighted(self, features: Array) -> Array:
        return self.output.apply(features, 1.0 / global_count(self.jacobian.shape[1]))

    def matvec(self, v: Blocks) -> Blocks:
        """M v."""
        weights = self._weighted(self.features(v))
        if isinstance(self.jacobian, LinearizedJacobian):
            return psum(self.jacobian.pull_all(weights))
        return psum(tuple(self.jacobian.pull(index, weights) for index in range(len(v))))

    def block_matvec(self, index: int, block: Array) -> Array:
        """The diagonal block of one layer, times that layer's part of a vector."""
        return psum(self.jacobian.pull(index, self._weighted(self.jacobian.push(index, block))))

    def block_diagonal(self, v: Blocks) -> Blocks:
        """M without what couples different layers, times v."""
        return tuple(self.block_matvec(index, block) for index, block in enumerate(v))

    def diagonal(self, index: int) -> Array:
        """Diagonal entries of M that belong to one layer, of the shape of its block."""
        if self.estimated is not None:
            return self.estimated(index)
        if isinstance(self.output, Euclidean):
            return self.output.scale * self.jacobian.squares(index)
        return self._explicit.squares(index, self.output)

    def block_matrix(self, index: int) -> Array:
        """The diagonal block of one layer as a matrix, rows and columns in the order of its flattened block."""
        if isinstance(self.output, Euclidean):
            return self.output.scale * self.jacobian.gram(index)
        return self._explicit.gram(index, self.output)

    @property
    def _explicit(self) -> LinearizedJacobian:
        if not isinstance(self.jacobian, LinearizedJacobian):
            raise TypeError("a metric that is not Euclidean needs a LinearizedJacobian for its diagonal and its blocks")
        return self.jacobian

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """v_i^T M v_j, shape ``(n, n)``."""
        features = jnp.stack([self.features(v) for v in vectors])
        flat = features.reshape(len(vectors), -1)
        if isinstance(self.output, Euclidean):
            return psum(self._weighted(flat) @ flat.T)
        return psum(jax.vmap(self._weighted)(features).reshape(flat.shape) @ flat.T)


@dataclass(frozen=True)
class CurvatureSum:
    """The sum of several curvatures over the same parameters; see :class:`Curvature`.

    Attributes:
        terms: at least one.
    """

    terms: tuple[Curvature, ...]

    def _sum(self, of_term: Callable[[Curvature], Any]) -> Any:
        return jax.tree.map(lambda *parts: sum(parts[1:], start=parts[0]), *map(of_term, self.terms))

    def matvec(self, v: Blocks) -> Blocks:
        """M v."""
        return self._sum(lambda term: term.matvec(v))

    def block_matvec(self, index: int, block: Array) -> Array:
        """The diagonal block of one layer, times that layer's part of a vector."""
        return self._sum(lambda term: term.block_matvec(index, block))

    def block_diagonal(self, v: Blocks) -> Blocks:
        """M without what couples different layers, times v."""
        return self._sum(lambda term: term.block_diagonal(v))

    def diagonal(self, index: int) -> Array:
        """Diagonal entries of M that belong to one layer, of the shape of its block."""
        return self._sum(lambda term: term.diagonal(index))

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """v_i^T M v_j, shape ``(n, n)``."""
        return self._sum(lambda term: term.gram(vectors))
