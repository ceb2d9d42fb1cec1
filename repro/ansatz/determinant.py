"""Determinants of many small matrices, by plain elimination with pivoting.

Layout: matrices are ``(n, n, *batch)``, the batch *last*, so that every operation is elementwise over the walkers and
vectorises. No LAPACK call is made: on batches of tiny matrices it is slow, and inside a compiled epoch on two
threads it has been seen to deadlock (JAX 0.10.2).

Pivots smaller than machine precision times the largest entry of their matrix are replaced by that bound, so that a
walker on a node gives large but finite numbers, never NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Elimination(NamedTuple):
    """P M = L U with unit lower L, and L^-1 P applied to further columns.

    Attributes:
        pivots: diagonal of U, floored away from zero, shape ``(n, *batch)``.
        upper: rows of U, shape ``(n, n, *batch)``; entries below the diagonal are meaningless.
        right: L^-1 P R, shape ``(n, m, *batch)``.
        parity: sign of the permutation P, shape ``(*batch)``.
    """

    pivots: Array
    upper: Array
    right: Array
    parity: Array


def _away_from_zero(x: Array, bound: Array | float) -> Array:
    bound = jnp.asarray(bound, x.dtype)
    return jnp.where(jnp.abs(x) < bound, jnp.where(x < 0, -bound, bound), x)


def eliminate(matrix: Array, right: Array) -> Elimination:
    """Gaussian elimination with partial pivoting, carrying the columns of ``right`` along.

    Args:
        matrix: shape ``(n, n, *batch)``.
        right: shape ``(n, m, *batch)``, m may be 0.

    Returns:
        The factors, see :class:`Elimination`.
    """
    n = matrix.shape[0]
    info = jnp.finfo(matrix.dtype)
    largest = jnp.max(jnp.abs(matrix), axis=(0, 1))
    bound = jnp.maximum(info.eps * largest, info.tiny)
    rows = [matrix[i] for i in range(n)]
    tails = [right[i] for i in range(n)]
    parity = jnp.ones_like(bound)
    pivots = []
    for c in range(n):
        for r in range(c + 1, n):
            swap = jnp.abs(rows[r][c]) > jnp.abs(rows[c][c])
            rows[c], rows[r] = jnp.where(swap, rows[r], rows[c]), jnp.where(swap, rows[c], rows[r])
            tails[c], tails[r] = jnp.where(swap, tails[r], tails[c]), jnp.where(swap, tails[c], tails[r])
            parity = jnp.where(swap, -parity, parity)
        pivots.append(_away_from_zero(rows[c][c], bound))
        for r in range(c + 1, n):
            factor = rows[r][c] / pivots[c]
            rows[r] = rows[r] - factor * rows[c]
            tails[r] = tails[r] - factor * tails[c]
    return Elimination(jnp.stack(pivots), jnp.stack(rows), jnp.stack(tails), parity)


def _sign_log(factors: Elimination) -> tuple[Array, Array]:
    """Sign and logarithm of |det M| from its elimination."""
    sign = factors.parity * jnp.prod(jnp.sign(factors.pivots), axis=0)
    return sign, jnp.sum(jnp.log(jnp.abs(factors.pivots)), axis=0)


@jax.custom_jvp
def inverse(matrix: Array) -> Array:
    """Inverses of ``(n, n, *batch)`` matrices; d(M^-1) = -M^-1 dM M^-1."""
    n = matrix.shape[0]
    eye = jnp.eye(n, dtype=matrix.dtype).reshape(n, n, *(1,) * (matrix.ndim - 2))
    lower = eliminate(matrix, jnp.broadcast_to(eye, matrix.shape))
    solution: list[Array] = []
    for i in reversed(range(n)):
        row = lower.right[i]
        for k, solved in zip(range(n - 1, i, -1), solution, strict=True):
            row = row - lower.upper[i, k] * solved
        solution.append(row / lower.pivots[i])
    return jnp.stack(solution[::-1])


@inverse.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (tangent,) = primals, tangents
    result = inverse(matrix)
    return result, -_product(_product(result, tangent), result)


def _product(a: Array, b: Array) -> Array:
    n = a.shape[1]
    terms = [a[:, k, None] * b[None, k] for k in range(n)]
    return sum(terms[1:], start=terms[0])


@jax.custom_jvp
def slogdet(matrix: Array) -> tuple[Array, Array]:
    """Sign and ln|det M| of ``(n, n, *batch)`` matrices; d ln|det M| = tr(M^-1 dM).

    Returns:
        Two arrays of shape ``(*batch)``.
    """
    return _sign_log(eliminate(matrix, matrix[:, :0]))


@slogdet.defjvp
def _slogdet_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (matrix,), (tangent,) = primals, tangents
    sign, log = slogdet(matrix)
    trace = jnp.sum(jnp.swapaxes(inverse(matrix), 0, 1) * tangent, axis=(0, 1))
    return (sign, log), (jnp.zeros_like(sign), trace)


def log_sum_determinants(matrices: Array) -> tuple[Array, Array]:
    """Sign and ln|sum_d det M_d|, stable for determinants of very different sizes.

    Args:
        matrices: shape ``(n, n, D, W)``.

    Returns:
        Sign and logarithm, each of shape ``(W,)``.
    """
    signs, logs = slogdet(matrices)
    largest = jax.lax.stop_gradient(jnp.max(logs, axis=0))
    total = _away_from_zero(jnp.sum(signs * jnp.exp(logs - largest), axis=0), float(jnp.finfo(logs.dtype).eps))
    return jnp.sign(total), jnp.log(jnp.abs(total)) + largest


def sum_laplacian_ratio(matrices: Array, jacobian: Array, laplacian: Array) -> Array:
    """(sum_k d_k^2 psi) / psi for psi = sum_d det M_d, accurate near its nodes.

    With B_k = M^-1 d_k M, one determinant has

        (d_k^2 det M) / det M = tr(M^-1 d_k^2 M) + tr(B_k)^2 - tr(B_k^2).

    Close to a node, at distance d, the last two terms grow as 1/d^2 and cancel to 1/d: in float32 nothing would be
    left. Their difference is twice the sum of the principal 2 x 2 minors of B_k. From P M = L U = L diag(u) U1
    follows that B_k is similar to Y diag(1/u) with Y = L^-1 P (d_k M) U1^-1, in which only one pivot is small, so that

        tr(B_k)^2 - tr(B_k^2) = 2 sum_{i<j} (Y_ii Y_jj - Y_ij Y_ji) / (u_i u_j)

    never forms the 1/d^2 terms at all.

    Args:
        matrices: orbital matrices, shape ``(n, n, D, W)``.
        jacobian: d_k of them, shape ``(K, n, n, D, W)``.
        laplacian: sum_k d_k^2 of them, shape ``(n, n, D, W)``.

    Returns:
        The ratio, shape ``(W,)``.
    """
    n, directions = matrices.shape[0], jacobian.shape[0]
    right = jnp.concatenate([jnp.moveaxis(jacobian, 0, 1).reshape(n, -1, *matrices.shape[2:]), laplacian], axis=1)
    factors = eliminate(matrices, right)
    columns = factors.right.reshape(n, directions + 1, n, *matrices.shape[2:])
    # Y U1 = L^-1 P [d_1 M, ..., d_K M, lap M], column by column.
    solved: list[Array] = []
    for j in range(n):
        column = columns[:, :, j]
        for i in range(j):
            column = column - solved[i] * (factors.upper[i, j] / factors.pivots[i])
        solved.append(column)
    ratio = sum(solved[i][i, directions] / factors.pivots[i] for i in range(n))
    for j in range(n):
        for i in range(j):
            yi, yj = solved[i][:, :directions], solved[j][:, :directions]
            minor = jnp.sum(yi[i] * yj[j] - yj[i] * yi[j], axis=0)
            ratio = ratio + 2.0 * minor / (factors.pivots[i] * factors.pivots[j])
    signs, logs = _sign_log(factors)
    weights = signs * jnp.exp(logs - jnp.max(logs, axis=0))
    total = _away_from_zero(jnp.sum(weights, axis=0), float(jnp.finfo(weights.dtype).eps))
    return jnp.sum(weights * ratio, axis=0) / total
