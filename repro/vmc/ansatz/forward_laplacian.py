"""Jets: a quantity with its first derivatives and its Laplacian in the particle positions.

The local energy needs sum_k d^2/dx_k^2 of the orbitals. Differentiating twice along every direction costs about 2A
passes through the network; carrying the *summed* second derivative forward costs one pass for the value, A for
the first derivatives and one for the Laplacian (the "forward Laplacian"). The rules are those of the chain rule,

    lap f(g) = f'(g) lap g + f''(g) sum_k (d_k g)^2,      lap (f g) = f lap g + 2 sum_k d_k f d_k g + g lap f,

and a module written with the operations of this file runs on plain arrays and on jets alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from repro.numerics.reductions import one_by_one


@partial(jax.tree_util.register_dataclass, data_fields=("value", "jacobian", "laplacian"), meta_fields=())
@dataclass(frozen=True)
class Jet:
    """Per-particle features with their derivatives.

    Attributes:
        value: shape ``(A, W, F)``: particles, walkers, features.
        jacobian: d value / d x_k, shape ``(K, A, W, F)`` with K = A directions.
        laplacian: sum_k d^2 value / d x_k^2, shape ``(A, W, F)``.
    """

    value: Array
    jacobian: Array
    laplacian: Array

    def __add__(self, other: Jet | Array) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.jacobian + other.jacobian, self.laplacian + other.laplacian)
        return Jet(self.value + other, self.jacobian, self.laplacian)

    def __mul__(self, other: Jet | Array) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value * other, self.jacobian * other, self.laplacian * other)
        cross = _over_directions(self.jacobian * other.jacobian)
        return Jet(
            self.value * other.value,
            self.value * other.jacobian + self.jacobian * other.value,
            self.value * other.laplacian + 2.0 * cross + self.laplacian * other.value,
        )

    def __matmul__(self, weights: Array) -> Jet:
        return Jet(self.value @ weights, self.jacobian @ weights, self.laplacian @ weights)

    def compose(self, value: Array, slope: Array, bend: Array) -> Jet:
        """The jet of f(self) from f, f' and f'' at ``self.value``, elementwise."""
        square = _over_directions(self.jacobian**2)
        return Jet(value, slope * self.jacobian, slope * self.laplacian + bend * square)


F = TypeVar("F", Jet, Array)
"""What the modules take: features of shape ``(A, W, F)``, with their derivatives or without."""


def position_jet(x: Array) -> Jet:
    """The positions themselves as one feature per particle.

    Args:
        x: shape ``(A, W, 1)``.

    Returns:
        The jet with d x_a / d x_k = delta_ak and no Laplacian.
    """
    particles = x.shape[0]
    identity = jnp.eye(particles, dtype=x.dtype)[:, :, None, None]
    return Jet(x, jnp.broadcast_to(identity, (particles, *x.shape)), jnp.zeros_like(x))


def tanh(h: F) -> F:
    """Hyperbolic tangent, elementwise."""
    if not isinstance(h, Jet):
        return jnp.tanh(h)
    value = jnp.tanh(h.value)
    slope = 1.0 - value**2
    return h.compose(value, slope, -2.0 * value * slope)


def gaussian(h: F) -> F:
    """exp(-h^2), elementwise."""
    if not isinstance(h, Jet):
        return jnp.exp(-(h**2))
    value = jnp.exp(-(h.value**2))
    return h.compose(value, -2.0 * h.value * value, (4.0 * h.value**2 - 2.0) * value)


def particle_mean(h: F) -> F:
    """Mean over the particles, whose axis is kept with length 1."""
    if isinstance(h, Jet):
        return Jet(_mean(h.value, 0), _mean(h.jacobian, 1), _mean(h.laplacian, 0))
    return _mean(h, 0)


def over_particles(h: F, particles: int) -> F:
    """Repeats what is the same for all particles, axis of length 1, along their axis."""
    if isinstance(h, Jet):
        spread = partial(_spread, count=particles)
        return Jet(spread(h.value, 0), spread(h.jacobian, 1), spread(h.laplacian, 0))
    return _spread(h, 0, particles)


# XLA's CPU backend turns a reduction over a leading axis, fused with what feeds it, into code up to ten times slower.
# Such sums are sums of slices here, and the derivatives of mean and repetition, whose transposes are reductions as
# well, are products with a vector of ones.


def _over_directions(products: Array) -> Array:
    """Sum over the leading axis."""
    return one_by_one([products[k] for k in range(products.shape[0])])


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _mean(h: Array, axis: int) -> Array:
    count = h.shape[axis]
    slices = [jax.lax.slice_in_dim(h, i, i + 1, axis=axis) for i in range(count)]
    return one_by_one(slices) / count


@_mean.defjvp
def _mean_jvp(axis: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (h,), (tangent,) = primals, tangents
    count = h.shape[axis]
    return _mean(h, axis), _along(tangent, axis, jnp.full((1, count), 1.0 / count, h.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _spread(h: Array, axis: int, count: int) -> Array:
    return jnp.broadcast_to(h, (*h.shape[:axis], count, *h.shape[axis + 1 :]))


@_spread.defjvp
def _spread_jvp(axis: int, count: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (h,), (tangent,) = primals, tangents
    return _spread(h, axis, count), _along(tangent, axis, jnp.ones((count, 1), h.dtype))


def _along(h: Array, axis: int, matrix: Array) -> Array:
    """``matrix`` times ``h`` along one axis."""
    leading, trailing = h.shape[:axis], h.shape[axis + 1 :]
    product = matrix @ h.reshape(*leading, h.shape[axis], -1)
    return product.reshape(*leading, matrix.shape[0], *trailing)
