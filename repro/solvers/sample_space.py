"""Damped least squares in the space of the samples: (O O^T + damping)^-1 e, for fewer samples than parameters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


def damped_solve(rows: Array, damping: Array | float, right: Array) -> Array:
    """(O O^T + lambda)^-1 r, by Cholesky where rounding allows it.

    Near nodes of a wavefunction rows are so large that in single precision the matrix need not come out positive. Then
    its factor is taken from a QR decomposition of the rows themselves, which costs several times as much.

    Args:
        rows: O, shape ``(S, P)``.
        damping: lambda > 0.
        right: r, shape ``(S,)``.
    """
    shift = damping * jnp.eye(len(right), dtype=rows.dtype)
    found = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(rows @ rows.T + shift), right)

    def by_qr() -> Array:
        factor = jnp.linalg.qr(jnp.concatenate([rows.T, jnp.sqrt(shift)]), mode="r")
        return jax.scipy.linalg.cho_solve((factor, False), right)

    return jax.lax.cond(jnp.all(jnp.isfinite(found)), lambda: found, by_qr)


def damped_least_squares(rows: Array, right: Array, damping: Array | float) -> Array:
    """The d that minimises |O d - r|^2 + lambda |d|^2, by the smaller of the two systems that give it.

    Args:
        rows: O, shape ``(S, P)``.
        right: r, shape ``(S,)``.
        damping: lambda > 0.

    Returns:
        d = O^T (O O^T + lambda)^-1 r = (O^T O + lambda)^-1 O^T r, shape ``(P,)``.
    """
    samples, parameters = rows.shape
    if samples <= parameters:
        return damped_solve(rows, damping, right) @ rows
    return damped_solve(rows.T, damping, right @ rows)


class ThinFactors(NamedTuple):
    """A singular value decomposition O = U diag(s) V^T with K = min(S, P) values.

    It keeps the digits that O^T O loses, whose condition number is the square of that of O, and serves every damping.

    Attributes:
        left: U, shape ``(S, K)``.
        values: s, shape ``(K,)``, largest first.
        right: V^T, shape ``(K, P)``.
    """

    left: Array
    values: Array
    right: Array

    def damped(self, right: Array, damping: Array | float) -> Array:
        """The d that minimises |O d - r|^2 + lambda |d|^2, shape ``(P,)``; lambda > 0, r of shape ``(S,)``."""
        return (self.values / (self.values**2 + damping) * (right @ self.left)) @ self.right

    def cut_off(self, right: Array, cutoff: Array | float) -> Array:
        """The least d that minimises |O d - r|, without singular values below ``cutoff`` times the largest."""
        kept = self.values > cutoff * self.values[0]
        return (jnp.where(kept, right @ self.left / jnp.where(kept, self.values, 1.0), 0.0)) @ self.right


def thin_factors(rows: Array) -> ThinFactors:
    """The decomposition of O, shape ``(S, P)``."""
    return ThinFactors(*jnp.linalg.svd(rows, full_matrices=False))
