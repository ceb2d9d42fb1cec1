"""Scores and mixed derivatives of linear maps, from their stored inputs and sensitivities.

With a and e of ``repro.ansatz.linear`` at hand, a product with the scores costs one small matrix product a layer,

    D V = sum_m e_m . (a_m V),

and one with the mixed derivatives two, whatever the number of directions k,

    d_k D V = sum_m [ (d_k e_m) . (a_m V) + (e_m V^T) . (d_k a_m) ];

the transposes cost as many outer products. No derivative of a single walker's ln|psi| in the weights ever exists. The
inputs that all particles share see only the summed sensitivity, sum_m e_m.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.ansatz.linear import LinearLayer, LinearTangents


ROW_WALKERS = 32


def _sum(terms: list[Array]) -> Array:
    # Slices are added one by one: XLA's CPU backend is slow at reductions over a leading axis.
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _over_features(values: Array) -> Array:
    """Sum over the last axis, as a matrix product: several times faster than XLA's reduction on a CPU."""
    return values @ jnp.ones((values.shape[-1],), values.dtype)


def _outer(inputs: Array, sensitivities: Array) -> Array:
    """Sum of the outer products over all leading axes, ``(..., I)`` and ``(..., O)`` to ``(I, O)``."""
    rows = math.prod(inputs.shape[:-1])
    return inputs.reshape(rows, inputs.shape[-1]).T @ sensitivities.reshape(rows, sensitivities.shape[-1])


def _total(sensitivity: Array) -> Array:
    """Sum over the particles, whose axis is the last but two."""
    return _sum([sensitivity[..., m, :, :] for m in range(sensitivity.shape[-3])])


class Scores:
    """D = d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = 1."""

    def __init__(self, layers: tuple[LinearLayer, ...]) -> None:
        self.layers = layers
        self.blocks = len(layers)
        self.shape = (1, layers[0].own.shape[1])

    def push(self, index: int, block: Array) -> Array:
        """D V, shape ``(1, W)``."""
        own, shared, e = self.layers[index]
        count = own.shape[-1]
        mapped = own @ block[:count]
        terms = [e[m] * mapped[m] for m in range(e.shape[0])]
        return _over_features(_sum([*terms, _total(e) * (shared @ block[count:])]))[None]

    def pull(self, index: int, weights: Array) -> Array:
        """D^T r for r of shape ``(1, W)``."""
        own, shared, e = self.layers[index]
        weighted = weights[0, :, None] * e
        return jnp.concatenate([_outer(own, weighted), _outer(shared, _total(weighted))])

    def squares(self, index: int) -> Array:
        """E[D^2], entry by entry."""

        def rows(layer: LinearLayer) -> Array:
            own, shared, e = layer
            own_rows = jnp.einsum("mwi,mwo->wio", own, e)
            shared_rows = jnp.einsum("wi,wo->wio", shared, _total(e))
            return jnp.concatenate([own_rows, shared_rows], axis=-2)

        return _mean_of_squares(rows, self.layers[index])


class MixedDerivatives:
    """d_xk d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = K = A."""

    def __init__(self, layers: tuple[LinearLayer, ...], tangents: tuple[LinearTangents, ...]) -> None:
        self.layers, self.tangents = layers, tangents
        self.blocks = len(layers)
        self.shape = (tangents[0].own.shape[0], layers[0].own.shape[1])

    def push(self, index: int, block: Array) -> Array:
        """d_k D V, shape ``(K, W)``."""
        own, shared, e = self.layers[index]
        d_own, d_shared, d_e = self.tangents[index]
        particles, count = own.shape[0], own.shape[-1]
        moving = block[count : count + d_shared.shape[-1]]
        mapped, back = own @ block[:count], e @ block[:count].T
        total, shared_mapped = _total(e), shared @ block[count:]
        to = _sum([d_e[:, m] * mapped[m] for m in range(particles)] + [_total(d_e) * shared_mapped])
        fro = _sum([d_own[:, m] * back[m] for m in range(particles)])
        return _over_features(to) + _over_features(fro) + _over_features(d_shared * (total @ moving.T))

    def pull(self, index: int, weights: Array) -> Array:
        """sum_k (d_k D)^T r_k for r of shape ``(K, W)``."""
        own, shared, e = self.layers[index]
        d_own, d_shared, d_e = self.tangents[index]
        directions = range(weights.shape[0])
        from_e = _sum([weights[k, :, None] * d_e[k] for k in directions])
        from_own = _sum([weights[k, :, None] * d_own[k] for k in directions])
        from_shared = _sum([weights[k, :, None] * d_shared[k] for k in directions])
        own_part = _outer(own, from_e) + _outer(from_own, e)
        shared_part = _outer(shared, _total(from_e))
        moving = _outer(from_shared, _total(e))
        return jnp.concatenate([own_part, shared_part.at[: moving.shape[0]].add(moving)])

    def squares(self, index: int) -> Array:
        """sum_k E[(d_k D)^2], entry by entry."""

        def rows(layer: LinearLayer, tangents: LinearTangents) -> Array:
            (own, shared, e), (d_own, d_shared, d_e) = layer, tangents
            # One matrix product of inner dimension 2 A for each walker and direction.
            left = jnp.concatenate([jnp.broadcast_to(own, d_own.shape), d_own], axis=1)
            right = jnp.concatenate([d_e, jnp.broadcast_to(e, d_e.shape)], axis=1)
            own_rows = jnp.einsum("kmwi,kmwo->kwio", left, right)
            shared_rows = jnp.einsum("wi,kwo->kwio", shared, _total(d_e))
            moving = jnp.einsum("kwi,wo->kwio", d_shared, _total(e))
            shared_rows = shared_rows.at[:, :, : moving.shape[2]].add(moving)
            return jnp.concatenate([own_rows, shared_rows], axis=-2)

        return _mean_of_squares(rows, self.layers[index], self.tangents[index])


def _mean_of_squares(rows: Callable[..., Array], *arguments: LinearLayer | LinearTangents) -> Array:
    """Squares of explicit rows of J, summed over outputs and averaged over walkers, a few walkers at a time.

    Multiplying the square out over pairs of particles would need no rows, but its terms grow as 1/d^4 at a distance d
    from a node and cancel: single precision does not survive it.
    """
    walkers = arguments[0].own.shape[-2]
    chunk = next(size for size in range(min(walkers, ROW_WALKERS), 0, -1) if walkers % size == 0)

    def split(values: Array) -> Array:
        return jnp.moveaxis(values.reshape(*values.shape[:-2], walkers // chunk, chunk, values.shape[-1]), -3, 0)

    def square(part: tuple[Any, ...]) -> Array:
        found = rows(*part)
        return jnp.sum(found**2, axis=tuple(range(found.ndim - 2)))

    parts = jax.tree.map(split, arguments)
    shape = jax.eval_shape(lambda all_parts: square(jax.tree.map(lambda values: values[0], all_parts)), parts)
    start = jnp.zeros(shape.shape, shape.dtype)
    return jax.lax.scan(lambda total, part: (total + square(part), None), start, parts)[0] / walkers
