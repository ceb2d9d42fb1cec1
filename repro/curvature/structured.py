"""Scores and mixed derivatives of linear maps, from their stored inputs and sensitivities.

With a and e of ``repro.ansatz.linear`` at hand, a product with the scores costs one small matrix product a layer,

    D V = sum_m e_m . (a_m V),

and one with the mixed derivatives two, whatever the number of directions k,

    d_k D V = sum_m [ (d_k e_m) . (a_m V) + (e_m V^T) . (d_k a_m) ];

the transposes cost as many outer products. No derivative of a single walker's ln|psi| in the weights ever exists, but
for those of a few walkers at a time in diagonals and small blocks. The inputs that all particles share see only the
summed sensitivity, sum_m e_m.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from repro.ansatz.linear import LinearLayer, LinearTangents, LocalTangents
from repro.chunks import largest_divisor, sum_walkers

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


def _flat(values: Array) -> Array:
    """All leading axes in one, ``(..., F)`` to ``(N, F)``."""
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def _outer(inputs: Array, sensitivities: Array) -> Array:
    """Sum of the outer products over all leading axes, ``(..., I)`` and ``(..., O)`` to ``(I, O)``."""
    return _flat(inputs).T @ _flat(sensitivities)


def _total(sensitivity: Array) -> Array:
    """Sum over the particles, whose axis is the last but two."""
    return _sum([sensitivity[..., m, :, :] for m in range(sensitivity.shape[-3])])


def _along(tangents: Array | LocalTangents, features: Array) -> Array:
    """sum_m (d_k a_m) . f_m for features ``(A, W, I)``, shape ``(K, W)``."""
    particles = features.shape[0]
    if isinstance(tangents, LocalTangents):
        local, common = tangents
        alike = _over_features(_sum([common[m] * features[m] for m in range(particles)]))
        return _over_features(local * features) + alike
    return _over_features(_sum([tangents[:, m] * features[m] for m in range(particles)]))


def _weighted(weights: Array, tangents: Array | LocalTangents) -> Array:
    """sum_k r_k d_k a for r of shape ``(K, W)``."""
    if isinstance(tangents, LocalTangents):
        total = (jnp.ones((weights.shape[0],), weights.dtype) @ weights).reshape(-1, 1)
        return weights[:, :, None] * tangents.local + total * tangents.common
    return _sum([weights[k].reshape(-1, 1) * tangents[k] for k in range(weights.shape[0])])


def _dense(tangents: Array | LocalTangents) -> Array:
    """As an array ``(K, A, W, I)``."""
    if not isinstance(tangents, LocalTangents):
        return tangents
    identity = jnp.eye(tangents.local.shape[0], dtype=tangents.local.dtype)
    return identity[:, :, None, None] * tangents.local + tangents.common


def _transposed_inputs(layer: LinearLayer) -> tuple[Array, Array]:
    """Own and shared inputs, ``(I, A W)`` and ``(S, W)``: laid out so, they enter outer products a third faster."""
    return _flat(layer.own).T, layer.shared.T


class Scores:
    """D = d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = 1."""

    def __init__(self, layers: tuple[LinearLayer, ...]) -> None:
        self.layers = layers
        self.totals = tuple(_total(layer.sensitivity) for layer in layers)
        self.transposed = tuple(_transposed_inputs(layer) for layer in layers)
        self.blocks = len(layers)
        self.shape = (1, layers[0].own.shape[1])

    def push(self, index: int, block: Array) -> Array:
        """D V, shape ``(1, W)``."""
        own, shared, e = self.layers[index]
        count = own.shape[-1]
        mapped = own @ block[:count]
        terms = [e[m] * mapped[m] for m in range(e.shape[0])]
        return _over_features(_sum([*terms, self.totals[index] * (shared @ block[count:])]))[None]

    def pull(self, index: int, weights: Array) -> Array:
        """D^T r for r of shape ``(1, W)``."""
        own, shared = self.transposed[index]
        column = weights[0, :, None]
        parts = [own @ _flat(column * self.layers[index].sensitivity), shared @ (column * self.totals[index])]
        return jnp.concatenate(parts)

    def squares(self, index: int) -> Array:
        """E[D^2], entry by entry."""
        own, shared, e = self.layers[index]

        squares = [_sum_of_squares(_score_rows, own, e), _outer(shared**2, self.totals[index] ** 2)]
        return jnp.concatenate(squares) / self.shape[1]

    def gram(self, index: int) -> Array:
        """E[D D^T], one block, as a matrix."""
        own, shared, e = self.layers[index]

        def rows(a: Array, s: Array, b: Array, total: Array) -> Array:
            return jnp.concatenate([_score_rows(a, b), s[:, :, None] * total[:, None]], axis=1)

        return _gram(rows, own, shared, e, self.totals[index]) / self.shape[1]


class MixedDerivatives:
    """d_xk d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = K = A."""

    def __init__(self, layers: tuple[LinearLayer, ...], tangents: tuple[LinearTangents, ...]) -> None:
        self.layers, self.tangents = layers, tangents
        self.totals = tuple(_total(layer.sensitivity) for layer in layers)
        self.total_tangents = tuple(_total(tangent.sensitivity) for tangent in tangents)
        self.transposed = tuple(_transposed_inputs(layer) for layer in layers)
        self.blocks = len(layers)
        self.shape = tangents[0].sensitivity.shape[0], layers[0].own.shape[1]

    def push(self, index: int, block: Array) -> Array:
        """d_k D V, shape ``(K, W)``."""
        own, shared, e = self.layers[index]
        d_own, d_shared, d_e = self.tangents[index]
        total, d_total = self.totals[index], self.total_tangents[index]
        particles, count = own.shape[0], own.shape[-1]
        moving = block[count : count + d_shared.shape[-1]]
        mapped, back = own @ block[:count], e @ block[:count].T
        to = _sum([d_e[:, m] * mapped[m] for m in range(particles)] + [d_total * (shared @ block[count:])])
        parts = [_over_features(to), _along(d_own, back), _over_features(d_shared * (total @ moving.T))]
        # Also this sum as a product: XLA would repeat a plain one for every weight that the result multiplies later.
        return _over_features(jnp.stack(parts, axis=-1))

    def pull(self, index: int, weights: Array) -> Array:
        """sum_k (d_k D)^T r_k for r of shape ``(K, W)``."""
        own, shared = self.transposed[index]
        d_own, d_shared, d_e = self.tangents[index]

        own_part = own @ _flat(_weighted(weights, d_e))
        own_part += _outer(_weighted(weights, d_own), self.layers[index].sensitivity)
        shared_part = shared @ _weighted(weights, self.total_tangents[index])
        moving = _outer(_weighted(weights, d_shared), self.totals[index])
        return jnp.concatenate([own_part, shared_part.at[: moving.shape[0]].add(moving)])

    def squares(self, index: int) -> Array:
        """sum_k E[(d_k D)^2], entry by entry."""
        own, shared, e = self.layers[index]
        d_own, d_shared, d_e = self.tangents[index]
        total, d_total = self.totals[index], self.total_tangents[index]
        directions = range(d_e.shape[0])

        own_part = _sum_of_squares(_mixed_rows, own, _dense(d_own), e, d_e)
        # The summed sensitivity is smooth where two particles meet: here the square can be multiplied out.
        shared_part = _outer(shared**2, _sum([d_total[k] ** 2 for k in directions]))
        moving = d_shared.shape[-1]
        squares = _outer(_sum([d_shared[k] ** 2 for k in directions]), total**2)
        products = 2.0 * _outer(shared[:, :moving] * d_shared, d_total * total)
        shared_part = shared_part.at[:moving].add(squares + products)
        return jnp.concatenate([own_part, jnp.maximum(shared_part, 0.0)]) / self.shape[1]

    def gram(self, index: int) -> Array:
        """sum_k E[(d_k D)(d_k D)^T], one block, as a matrix."""
        own, shared, e = self.layers[index]
        d_own, d_shared, d_e = self.tangents[index]

        def rows(a: Array, d_a: Array, s: Array, d_s: Array, b: Array, d_b: Array, total: Array, d_t: Array) -> Array:
            # The inputs beyond those of d_shared are constant.
            moving = jnp.pad(d_s, ((0, 0), (0, 0), (0, s.shape[-1] - d_s.shape[-1])))
            of_shared = s[:, :, None] * d_t[:, :, None] + moving[..., None] * total[:, None]
            return jnp.concatenate([_mixed_rows(a, d_a, b, d_b), of_shared], axis=2)

        total, d_total = self.totals[index], self.total_tangents[index]
        return _gram(rows, own, _dense(d_own), shared, d_shared, e, d_e, total, d_total) / self.shape[1]


# Rows are products of matrices of two or a dozen columns, one for each walker and direction. With the walkers in front
# they are several times faster than an einsum over the arrays as they lie.


def _score_rows(own: Array, e: Array) -> Array:
    """sum_m a_m e_m of each walker, shape ``(W, I, O)``."""
    return jnp.moveaxis(own, 0, -1) @ jnp.moveaxis(e, 0, -2)


def _mixed_rows(own: Array, d_own: Array, e: Array, d_e: Array) -> Array:
    """sum_m (d_k a_m e_m + a_m d_k e_m), shape ``(K, W, I, O)``: one product of inner dimension 2 A each."""
    left = jnp.concatenate([jnp.broadcast_to(own, d_own.shape), d_own], axis=1)
    right = jnp.concatenate([d_e, jnp.broadcast_to(e, d_e.shape)], axis=1)
    return jnp.moveaxis(left, 1, -1) @ jnp.moveaxis(right, 1, -2)


def _gram(rows: Callable[..., Array], *arguments: Array) -> Array:
    """Products of explicit rows of J ``(..., I, O)``, summed over outputs and walkers, a few walkers at a time."""

    def products(*part: Array) -> Array:
        found = rows(*part)
        flat = found.reshape(-1, found.shape[-2] * found.shape[-1])
        return flat.T @ flat

    return sum_walkers(products, largest_divisor(arguments[0].shape[-2], ROW_WALKERS), *arguments, axis=-2)


def _sum_of_squares(rows: Callable[..., Array], *arguments: Array) -> Array:
    """Squares of explicit rows of J, summed over outputs and walkers, a few walkers at a time.

    Multiplying the square out over pairs of particles would need no rows, but its terms grow as 1/d^4 at a distance d
    from a node and cancel: single precision does not survive it.
    """

    def square(*part: Array) -> Array:
        found = rows(*part)
        return jnp.sum(found * found, axis=tuple(range(found.ndim - 2)))

    chunk = largest_divisor(arguments[0].shape[-2], ROW_WALKERS)
    return sum_walkers(square, chunk, *arguments, axis=-2)
