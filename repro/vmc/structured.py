"""Scores and mixed derivatives of linear maps, from their stored inputs and sensitivities.

With a and e of ``repro.parameters.linear_layers`` at hand, a product with the scores costs one small matrix product a
particle,

    D V = sum_m e_m . (a_m V),

and one with the mixed derivatives two, whatever the number of directions k,

    d_k D V = sum_m [ (d_k e_m) . (a_m V) + (e_m V^T) . (d_k a_m) ];

the transposes cost as many outer products. No derivative of a single walker's ln|psi| in the weights ever exists, but
for those of a few walkers at a time in diagonals and small blocks.

Maps that see the mean of all particles as well, s_m = a_m V + a V' with a = 1/A sum_m a_m, would need one more product.
They need no more than the others in deviations from the mean, a_m = a + h_m with sum_m h_m = 0:

    D (V, V') = (sum_m e_m) . (a (V + V')) + sum_{m < A} (e_m - e_A) . (h_m V),

and likewise for the mixed derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from repro.numerics.batching import largest_divisor, sum_in_batches
from repro.numerics.reductions import one_by_one, over_last, over_leading
from repro.numerics.sharding import mean_from_sums
from repro.parameters.linear_layers import LinearLayer
from repro.vmc.ansatz.tangents import LinearTangents, LocalTangents

ROW_WALKERS = 32
LARGEST_ROW = 2**14
"""Entries of a walker's row beyond which XLA on a processor multiplies dozens of times slower."""


def _flat(values: Array) -> Array:
    """All leading axes in one, ``(..., F)`` to ``(N, F)``."""
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def _outer(inputs: Array, sensitivities: Array) -> Array:
    """Sum of the outer products over all leading axes, ``(..., I)`` and ``(..., O)`` to ``(I, O)``."""
    return _flat(inputs).T @ _flat(sensitivities)


def _total(sensitivity: Array) -> Array:
    """Sum over the particles, whose axis is the last but two."""
    return one_by_one([sensitivity[..., m, :, :] for m in range(sensitivity.shape[-3])])


def _along(tangents: Array | LocalTangents, features: Array) -> Array:
    """sum_{m < A} (d_k a_m) . f_m for features ``(A - 1, W, I)``, shape ``(K, W)``."""
    others = range(features.shape[0])
    if isinstance(tangents, LocalTangents):
        local, common = tangents
        alike = over_last(one_by_one([common[m] * features[m] for m in others]))
        return jnp.pad(over_last(local[:-1] * features), ((0, 1), (0, 0))) + alike
    return over_last(one_by_one([tangents[:, m] * features[m] for m in others]))


def _weighted(weights: Array, tangents: Array | LocalTangents) -> Array:
    """sum_k r_k d_k a for r of shape ``(K, W)``."""
    if isinstance(tangents, LocalTangents):
        total = over_leading(weights).reshape(-1, 1)
        return weights[:, :, None] * tangents.local + total * tangents.common
    return one_by_one([weights[k].reshape(-1, 1) * tangents[k] for k in range(weights.shape[0])])


def dense(tangents: Array | LocalTangents) -> Array:
    """As an array ``(K, A, W, I)``."""
    if not isinstance(tangents, LocalTangents):
        return tangents
    identity = jnp.eye(tangents.local.shape[0], dtype=tangents.local.dtype)
    return identity[:, :, None, None] * tangents.local + tangents.common


class _Modes(NamedTuple):
    """A layer's inputs and sensitivities as what all particles have in common and what sets all but the last apart.

    Attributes:
        mean: a, shape ``(W, I)``.
        deviations: h_m = a_m - a for m < A, shape ``(A - 1, W, I)``.
        total: sum_m e_m, shape ``(W, O)``.
        relative: e_m - e_A for m < A, shape ``(A - 1, W, O)``.
        mean_inputs: a and the constant, ``(I + 1, W)`` or ``(I, W)``: laid out so, inputs enter outer products faster.
        deviation_inputs: shape ``(I, (A - 1) W)``.
    """

    mean: Array
    deviations: Array
    total: Array
    relative: Array
    mean_inputs: Array
    deviation_inputs: Array


def _modes(layer: LinearLayer) -> _Modes:
    particles = layer.own.shape[0]
    seen = layer.mean.shape[-1] > 0
    mean = layer.mean if seen else one_by_one([layer.own[m] for m in range(particles)]) / particles
    deviations = layer.own[:-1] - mean
    relative = layer.sensitivity[:-1] - layer.sensitivity[-1]
    mean_inputs = jnp.concatenate([mean, layer.constant], axis=-1).T
    return _Modes(mean, deviations, _total(layer.sensitivity), relative, mean_inputs, _flat(deviations).T)


class _Matrix(NamedTuple):
    """The rows of a layer's matrix: what acts on deviations, on the mean, and the bias, ``(1, O)`` or ``(0, O)``."""

    deviations: Array
    mean: Array
    bias: Array


def _matrix(layer: LinearLayer, block: Array) -> _Matrix:
    count, moving = layer.own.shape[-1], layer.mean.shape[-1]
    own = block[:count]
    mean = own + block[count : count + moving] if moving else own
    return _Matrix(own, mean, block[count + moving :])


def _biased(mapped: Array, bias: Array) -> Array:
    return mapped + bias[0] if bias.shape[0] else mapped


def _rows(layer: LinearLayer, of_mean: Array, of_deviations: Array) -> Array:
    """The transpose of :func:`_matrix`: a block from the sums over the inputs of :class:`_Modes`."""
    count = layer.own.shape[-1]
    common, bias = of_mean[:count], of_mean[count:]
    moving = [common] if layer.mean.shape[-1] else []
    return jnp.concatenate([of_deviations + common, *moving, bias])


class Scores:
    """D = d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = 1."""

    def __init__(self, layers: tuple[LinearLayer, ...]) -> None:
        self.layers = layers
        self.modes = tuple(_modes(layer) for layer in layers)
        self.blocks = len(layers)
        self.shape = (1, layers[0].own.shape[1])

    def push(self, index: int, block: Array) -> Array:
        """D V, shape ``(1, W)``."""
        modes, matrix = self.modes[index], _matrix(self.layers[index], block)
        mapped = modes.deviations @ matrix.deviations
        common = modes.total * _biased(modes.mean @ matrix.mean, matrix.bias)
        return over_last(one_by_one([common, *(e * s for e, s in zip(modes.relative, mapped, strict=True))]))[None]

    def pull(self, index: int, weights: Array) -> Array:
        """D^T r for r of shape ``(1, W)``."""
        modes, column = self.modes[index], weights[0, :, None]
        of_deviations = modes.deviation_inputs @ _flat(column * modes.relative)
        return _rows(self.layers[index], modes.mean_inputs @ (column * modes.total), of_deviations)

    def squares(self, index: int) -> Array:
        """E[D^2], entry by entry."""
        layer, total = self.layers[index], self.modes[index].total
        own, shared, e = layer.own, layer.shared, layer.sensitivity
        squares = [_sum_of_squares(_score_rows, (own,), (e,)), _outer(shared**2, total**2)]
        return mean_from_sums(jnp.concatenate(squares), self.shape[1])

    def gram(self, index: int) -> Array:
        """E[D D^T], one block, as a matrix."""
        layer, total = self.layers[index], self.modes[index].total

        def rows(a: Array, s: Array, b: Array, total: Array) -> Array:
            return jnp.concatenate([_score_rows(a, b), s[:, :, None] * total[:, None]], axis=1)

        return mean_from_sums(_gram(rows, layer.own, layer.shared, layer.sensitivity, total), self.shape[1])


class _ModeTangents(NamedTuple):
    """Derivatives of :class:`_Modes`: of the mean ``(K, W, I)``, of total ``(K, W, O)`` and relative sensitivities."""

    mean: Array
    total: Array
    relative: Array


def _mode_tangents(tangents: LinearTangents) -> _ModeTangents:
    own, e = tangents.own, tangents.sensitivity
    if tangents.mean.shape[-1]:
        mean = tangents.mean
    elif isinstance(own, LocalTangents):
        mean = (own.local + one_by_one(list(own.common))) / own.local.shape[0]
    else:
        mean = _total(own) / own.shape[1]
    return _ModeTangents(mean, _total(e), e[:, :-1] - e[:, -1:])


class MixedDerivatives:
    """d_xk d ln|psi| / d theta as a :class:`~repro.curvature.jacobian.Jacobian` with N = K = A."""

    def __init__(self, layers: tuple[LinearLayer, ...], tangents: tuple[LinearTangents, ...]) -> None:
        self.layers, self.tangents = layers, tangents
        self.modes = tuple(_modes(layer) for layer in layers)
        self.mode_tangents = tuple(_mode_tangents(tangent) for tangent in tangents)
        self.blocks = len(layers)
        self.shape = tangents[0].sensitivity.shape[0], layers[0].own.shape[1]

    def push(self, index: int, block: Array) -> Array:
        """d_k D V, shape ``(K, W)``."""
        modes, matrix = self.modes[index], _matrix(self.layers[index], block)
        d_mean, d_total, d_relative = self.mode_tangents[index]
        mapped, back = modes.deviations @ matrix.deviations, modes.relative @ matrix.deviations.T
        others = range(mapped.shape[0])
        of_mean = d_total * _biased(modes.mean @ matrix.mean, matrix.bias)
        to = one_by_one([of_mean, *(d_relative[:, m] * mapped[m] for m in others)])
        common = one_by_one([modes.total @ matrix.mean.T, *(-back[m] for m in others)])
        parts = [over_last(to), over_last(d_mean * common)]
        if others:
            parts.append(_along(self.tangents[index].own, back))
        # Also this sum as a product: XLA would repeat a plain one for every weight that the result multiplies later.
        return over_last(jnp.stack(parts, axis=-1))

    def pull(self, index: int, weights: Array) -> Array:
        """sum_k (d_k D)^T r_k for r of shape ``(K, W)``."""
        modes, layer = self.modes[index], self.layers[index]
        d_mean, d_total, d_relative = self.mode_tangents[index]
        mean = _weighted(weights, d_mean)
        deviations = _weighted(weights, self.tangents[index].own)[:-1] - mean
        of_deviations = modes.deviation_inputs @ _flat(_weighted(weights, d_relative))
        of_deviations += _outer(deviations, modes.relative)
        of_mean = modes.mean_inputs @ _weighted(weights, d_total)
        of_mean = of_mean.at[: mean.shape[-1]].add(_outer(mean, modes.total))
        return _rows(layer, of_mean, of_deviations)

    def squares(self, index: int) -> Array:
        """sum_k E[(d_k D)^2], entry by entry."""
        layer = self.layers[index]
        own, shared, e = layer.own, layer.shared, layer.sensitivity
        d_own, d_shared, d_e = self.tangents[index]
        total, d_total = self.modes[index].total, self.mode_tangents[index].total
        directions = range(d_e.shape[0])

        own_part = _sum_of_squares(_mixed_rows, (own, dense(d_own)), (e, d_e))
        # The summed sensitivity is smooth where two particles meet: here the square can be multiplied out.
        shared_part = _outer(shared**2, one_by_one([d_total[k] ** 2 for k in directions]))
        moving = d_shared.shape[-1]
        squares = _outer(one_by_one([d_shared[k] ** 2 for k in directions]), total**2)
        products = 2.0 * _outer(shared[:, :moving] * d_shared, d_total * total)
        shared_part = shared_part.at[:moving].add(squares + products)
        return mean_from_sums(jnp.concatenate([own_part, jnp.maximum(shared_part, 0.0)]), self.shape[1])

    def gram(self, index: int) -> Array:
        """sum_k E[(d_k D)(d_k D)^T], one block, as a matrix."""
        layer = self.layers[index]
        own, shared, e = layer.own, layer.shared, layer.sensitivity
        d_own, d_shared, d_e = self.tangents[index]

        def rows(a: Array, d_a: Array, s: Array, d_s: Array, b: Array, d_b: Array, total: Array, d_t: Array) -> Array:
            # The inputs beyond those of d_shared are constant.
            moving = jnp.pad(d_s, ((0, 0), (0, 0), (0, s.shape[-1] - d_s.shape[-1])))
            of_shared = s[:, :, None] * d_t[:, :, None] + moving[..., None] * total[:, None]
            return jnp.concatenate([_mixed_rows(a, d_a, b, d_b), of_shared], axis=2)

        total, d_total = self.modes[index].total, self.mode_tangents[index].total
        return mean_from_sums(_gram(rows, own, dense(d_own), shared, d_shared, e, d_e, total, d_total), self.shape[1])


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

    return sum_in_batches(products, largest_divisor(arguments[0].shape[-2], ROW_WALKERS), *arguments, axis=-2)


def _sum_of_squares(rows: Callable[..., Array], inputs: tuple[Array, ...], sensitivities: tuple[Array, ...]) -> Array:
    """Squares of explicit rows of J, summed over outputs and walkers, a few walkers at a time.

    Wide layers are cut, each piece with some of their units, so that no row has more than :data:`LARGEST_ROW` entries.

    Multiplying the square out over pairs of particles would need no rows, but its terms grow as 1/d^4 at a distance d
    from a node and cancel: single precision does not survive it.
    """

    def square(*part: Array) -> Array:
        found = rows(*part)
        return jnp.sum(found * found, axis=tuple(range(found.ndim - 2)))

    chunk = largest_divisor(inputs[0].shape[-2], ROW_WALKERS)
    units = max(1, LARGEST_ROW // inputs[0].shape[-1])
    pieces = math.ceil(sensitivities[0].shape[-1] / units)
    cut = zip(*(jnp.array_split(values, pieces, axis=-1) for values in sensitivities), strict=True)
    return jnp.concatenate([sum_in_batches(square, chunk, *inputs, *piece, axis=-2) for piece in cut], axis=-1)
