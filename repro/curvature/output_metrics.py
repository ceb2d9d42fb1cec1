"""Metrics over the outputs of a model, which a Jacobian pulls back to its parameters: G = E[J^T G_z J].

A loss L(z, y) = -ln p(y | z), with p an exponential family and z its natural parameters, has the Hessian
G_z = d^2 L / dz^2 = Cov(y | z), whatever y is: its Gauss-Newton matrix is its Fisher matrix (N. N. Schraudolph,
Neural Comput. 14, 1723 (2002); J. Martens, J. Mach. Learn. Res. 21, 146 (2020)). Each metric has a factor, G_z = B B^T.

Arrays hold the N outputs on their first and the S samples on their last axis, ``(N, S)``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array


class OutputMetric(Protocol):
    """A positive semi-definite matrix G_z = B B^T for every sample."""

    def apply(self, u: Array, weight: float = 1.0) -> Array:
        """Weight times G_z u, for u of shape ``(N, S)``."""

    def factor_transpose(self, u: Array) -> Array:
        """B^T u, shape ``(N, S)``."""

    def solve_factor(self, u: Array) -> Array:
        """The e of least norm with B e = u, for a u in the range of B, such as the gradient of the loss."""

    def sample(self, key: Array, like: Array) -> Array:
        """Pseudo-gradients with mean zero and covariance G_z, shape and type of ``like``."""

    def of_sample(self, index: Array) -> OutputMetric:
        """The metric of one sample, on arrays ``(N, 1)``."""


def factor_columns(metric: OutputMetric, outputs: Array) -> Array:
    """The columns of B, N vectors at each sample, shape ``(N, N, S)`` with the number of the column first.

    Args:
        metric: G_z = B B^T.
        outputs: of the shape ``(N, S)`` and type that its vectors have.
    """
    transposed = jax.linear_transpose(metric.factor_transpose, outputs)
    units = jnp.eye(outputs.shape[0], dtype=outputs.dtype)
    return jax.vmap(lambda unit: transposed(jnp.broadcast_to(unit[:, None], outputs.shape))[0])(units)


class Euclidean(NamedTuple):
    """G_z = scale: squared errors of a Gaussian with variance 1 / scale.

    Attributes:
        scale: positive.
    """

    scale: float = 1.0

    def apply(self, u: Array, weight: float = 1.0) -> Array:
        """Weight times scale times u."""
        return self.scale * weight * u

    def factor_transpose(self, u: Array) -> Array:
        """The square root of the scale, times u."""
        return self.scale**0.5 * u

    def solve_factor(self, u: Array) -> Array:
        """U over the square root of the scale."""
        return u / self.scale**0.5

    def sample(self, key: Array, like: Array) -> Array:
        """Normal numbers with variance ``scale``."""
        return self.scale**0.5 * jax.random.normal(key, like.shape, like.dtype)

    def of_sample(self, index: Array) -> Euclidean:
        """The same."""
        del index
        return self


class Softmax(NamedTuple):
    """G_z = diag(p) - p p^T: cross entropy of the categorical distribution p = softmax(z).

    Its factor is B = diag(s) - p s^T with s = sqrt(p), as s^T s = 1.

    Attributes:
        logits: z, shape ``(N, S)``.
    """

    logits: Array

    @property
    def probabilities(self) -> Array:
        """p, shape ``(N, S)``."""
        return jax.nn.softmax(self.logits, axis=0)

    def apply(self, u: Array, weight: float = 1.0) -> Array:
        """Weight times (p u - p (p . u))."""
        p = self.probabilities
        return weight * p * (u - jnp.sum(p * u, axis=0))

    def factor_transpose(self, u: Array) -> Array:
        """S u - s (p . u)."""
        p = self.probabilities
        return jnp.sqrt(p) * (u - jnp.sum(p * u, axis=0))

    def solve_factor(self, u: Array) -> Array:
        """U / s: B of it is u, as the entries of u in the range of B sum to zero."""
        root = jnp.exp(0.5 * jax.nn.log_softmax(self.logits, axis=0))
        return u / jnp.maximum(root, jnp.finfo(u.dtype).tiny ** 0.5)

    def sample(self, key: Array, like: Array) -> Array:
        """P - y with y drawn from p, one class a sample."""
        drawn = jax.random.categorical(key, self.logits, axis=0)
        return (self.probabilities - jax.nn.one_hot(drawn, like.shape[0], axis=0)).astype(like.dtype)

    def of_sample(self, index: Array) -> Softmax:
        """With the logits of one sample."""
        return Softmax(jax.lax.dynamic_slice_in_dim(self.logits, index, 1, axis=1))


class Bernoulli(NamedTuple):
    """G_z = diag(p (1 - p)): cross entropy of independent binary outputs with p = sigmoid(z).

    Attributes:
        logits: z, shape ``(N, S)``.
    """

    logits: Array

    @property
    def variances(self) -> Array:
        """P (1 - p), shape ``(N, S)``."""
        p = jax.nn.sigmoid(self.logits)
        return p * jax.nn.sigmoid(-self.logits)

    def apply(self, u: Array, weight: float = 1.0) -> Array:
        """Weight times p (1 - p) u."""
        return weight * self.variances * u

    def factor_transpose(self, u: Array) -> Array:
        """The square root of p (1 - p), times u."""
        return jnp.sqrt(self.variances) * u

    def solve_factor(self, u: Array) -> Array:
        """U over the square root of p (1 - p)."""
        return u / jnp.maximum(jnp.sqrt(self.variances), jnp.finfo(u.dtype).tiny ** 0.5)

    def sample(self, key: Array, like: Array) -> Array:
        """P - y with every y drawn from p."""
        p = jax.nn.sigmoid(self.logits)
        return (p - jax.random.bernoulli(key, p)).astype(like.dtype)

    def of_sample(self, index: Array) -> Bernoulli:
        """With the logits of one sample."""
        return Bernoulli(jax.lax.dynamic_slice_in_dim(self.logits, index, 1, axis=1))
