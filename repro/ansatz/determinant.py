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

WRITTEN_OUT = 8
"""The largest n whose steps are written out entry by entry. That runs fastest, but the compiler's work grows faster
than n^3: at n = 16 it takes minutes and gigabytes."""


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


def _bound(matrix: Array) -> Array:
    """The least modulus of a pivot."""
    info = jnp.finfo(matrix.dtype)
    return jnp.maximum(info.eps * jnp.max(jnp.abs(matrix), axis=(0, 1)), info.tiny)


def eliminate(matrix: Array, right: Array) -> Elimination:
    """Gaussian elimination with partial pivoting, carrying the columns of ``right`` along.

    One column at a time in a loop that stays a loop: written out, XLA fuses the steps and computes most of them over
    and over again, fifty times slower for an inverse at n = 6.

    Args:
        matrix: shape ``(n, n, *batch)``.
        right: shape ``(n, m, *batch)``, m may be 0.

    Returns:
        The factors, see :class:`Elimination`.
    """
    n = matrix.shape[0]
    bound = _bound(matrix)

    def step(c: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, pivots, parity = state
        column = jnp.abs(jax.lax.dynamic_index_in_dim(rows, c, axis=1, keepdims=False))
        # The row of the largest entry from the diagonal downwards.
        largest, chosen = jnp.full_like(parity, -1.0), jnp.zeros(parity.shape, jnp.int32)
        for r in range(n):
            better = (r >= c) & (column[r] > largest)
            largest, chosen = jnp.where(better, column[r], largest), jnp.where(better, r, chosen)
        top = jax.lax.dynamic_index_in_dim(rows, c, axis=0, keepdims=False)
        pivot_row = rows[0]
        for r in range(1, n):
            pivot_row = jnp.where(chosen == r, rows[r], pivot_row)
        pivot = _away_from_zero(jax.lax.dynamic_index_in_dim(pivot_row, c, axis=0, keepdims=False), bound)
        following = []
        for r in range(n):
            row = jnp.where(chosen == r, top, rows[r])
            below = row - jax.lax.dynamic_index_in_dim(row, c, axis=0, keepdims=False) / pivot * pivot_row
            following.append(jnp.where(r > c, below, jnp.where(r == c, pivot_row, row)))
        pivots = jax.lax.dynamic_update_index_in_dim(pivots, pivot, c, axis=0)
        return jnp.stack(following), pivots, jnp.where(chosen == c, parity, -parity)

    start = (jnp.concatenate([matrix, right], axis=1), jnp.zeros_like(matrix[0]), jnp.ones_like(bound))
    rows, pivots, parity = jax.lax.fori_loop(0, n, step, start)
    return Elimination(pivots, rows[:, :n], rows[:, n:], parity)


def _sign_log(pivots: list[Array], parity: Array) -> tuple[Array, Array]:
    """Sign and logarithm of |det M| from the pivots of its elimination."""
    sign, log = parity * jnp.sign(pivots[0]), jnp.log(jnp.abs(pivots[0]))
    for pivot in pivots[1:]:
        sign, log = sign * jnp.sign(pivot), log + jnp.log(jnp.abs(pivot))
    return sign, log


@jax.custom_jvp
def inverse(matrix: Array) -> Array:
    """Inverses of ``(n, n, *batch)`` matrices; d(M^-1) = -M^-1 dM M^-1."""
    n = matrix.shape[0]
    eye = jnp.eye(n, dtype=matrix.dtype).reshape(n, n, *(1,) * (matrix.ndim - 2))
    lower = eliminate(matrix, jnp.broadcast_to(eye, matrix.shape))

    def substitute(step: Array, solution: Array) -> Array:
        # Rows below i are solved, the others still zero.
        i = n - 1 - step
        upper = jax.lax.dynamic_index_in_dim(lower.upper, i, axis=0, keepdims=False)
        row = jax.lax.dynamic_index_in_dim(lower.right, i, axis=0, keepdims=False)
        for k in range(n):
            row = row - jnp.where(k > i, upper[k], 0.0) * solution[k]
        pivot = jax.lax.dynamic_index_in_dim(lower.pivots, i, axis=0, keepdims=False)
        return jax.lax.dynamic_update_index_in_dim(solution, row / pivot, i, axis=0)

    return jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(matrix))


@inverse.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (tangent,) = primals, tangents
    result = inverse(matrix)
    return result, -_product(_product(result, tangent), result)


def _product(a: Array, b: Array) -> Array:
    n = a.shape[1]
    terms = [a[:, k, None] * b[None, k] for k in range(n)]
    return sum(terms[1:], start=terms[0])


def _pivots_written_out(matrix: Array) -> tuple[list[Array], Array]:
    """Pivots and parity: with no columns to carry along, all steps fuse into one pass over the walkers."""
    n = matrix.shape[0]
    bound = _bound(matrix)
    entries = [[matrix[i, j] for j in range(n)] for i in range(n)]
    parity = jnp.ones_like(bound)
    pivots = []
    for c in range(n):
        for r in range(c + 1, n):
            swap = jnp.abs(entries[r][c]) > jnp.abs(entries[c][c])
            for j in range(c, n):
                upper, lower = entries[c][j], entries[r][j]
                entries[c][j], entries[r][j] = jnp.where(swap, lower, upper), jnp.where(swap, upper, lower)
            parity = jnp.where(swap, -parity, parity)
        pivots.append(_away_from_zero(entries[c][c], bound))
        for r in range(c + 1, n):
            factor = entries[r][c] / pivots[c]
            for j in range(c + 1, n):
                entries[r][j] = entries[r][j] - factor * entries[c][j]
    return pivots, parity


def _pivots_by_columns(matrix: Array) -> tuple[list[Array], Array]:
    """The same, each step one operation on all that is left of the matrix; up to twice as fast as :func:`eliminate`."""
    bound = _bound(matrix)
    parity, pivots, rows = jnp.ones_like(bound), [], matrix
    for size in range(matrix.shape[0], 0, -1):
        pivot_row, chosen = rows[0], jnp.zeros(parity.shape, jnp.int32)
        for r in range(1, size):
            better = jnp.abs(rows[r, 0]) > jnp.abs(pivot_row[0])
            pivot_row, chosen = jnp.where(better, rows[r], pivot_row), jnp.where(better, r, chosen)
        pivots.append(_away_from_zero(pivot_row[0], bound))
        parity = jnp.where(chosen == 0, parity, -parity)
        number = jnp.arange(1, size).reshape(-1, *(1,) * (rows.ndim - 1))
        below = jnp.where(chosen == number, rows[0], rows[1:])
        rows = below[:, 1:] - below[:, :1] / pivots[-1] * pivot_row[1:]
    return pivots, parity


@jax.custom_jvp
def slogdet(matrix: Array) -> tuple[Array, Array]:
    """Sign and ln|det M| of ``(n, n, *batch)`` matrices; d ln|det M| = tr(M^-1 dM).

    Returns:
        Two arrays of shape ``(*batch)``.
    """
    pivots, parity = (_pivots_written_out if matrix.shape[0] <= WRITTEN_OUT else _pivots_by_columns)(matrix)
    return _sign_log(pivots, parity)


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
    columns = jnp.moveaxis(factors.right.reshape(n, directions + 1, n, *matrices.shape[2:]), 2, 0)

    def substitute(j: Array, solved: Array) -> Array:
        # Y U1 = L^-1 P [d_1 M, ..., d_K M, lap M], column by column; columns from j on are still zero.
        column = jax.lax.dynamic_index_in_dim(columns, j, axis=0, keepdims=False)
        upper = jax.lax.dynamic_index_in_dim(factors.upper, j, axis=1, keepdims=False)
        for i in range(n):
            column = column - solved[i] * jnp.where(i < j, upper[i] / factors.pivots[i], 0.0)
        return jax.lax.dynamic_update_index_in_dim(solved, column, j, axis=0)

    solved = jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(columns))  # (column, row, direction, D, W)
    ratio = sum(solved[i, i, directions] / factors.pivots[i] for i in range(n))
    ratio = (_add_minors_written_out if n <= WRITTEN_OUT else _add_minors_by_rows)(ratio, solved, factors.pivots)
    signs, logs = _sign_log(list(factors.pivots), factors.parity)
    weights = signs * jnp.exp(logs - jnp.max(logs, axis=0))
    total = _away_from_zero(jnp.sum(weights, axis=0), float(jnp.finfo(weights.dtype).eps))
    return jnp.sum(weights * ratio, axis=0) / total


def _add_minors_written_out(ratio: Array, solved: Array, pivots: Array) -> Array:
    """Adds 2 sum_{i<j} sum_k (Y_ii Y_jj - Y_ij Y_ji) / (u_i u_j) for Y ``(column, row, K + 1, *batch)``, k < K."""
    for j in range(pivots.shape[0]):
        for i in range(j):
            directions = range(solved.shape[2] - 1)
            minors = [solved[i, i, k] * solved[j, j, k] - solved[j, i, k] * solved[i, j, k] for k in directions]
            ratio = ratio + 2.0 * sum(minors[1:], start=minors[0]) / (pivots[i] * pivots[j])
    return ratio


def _add_minors_by_rows(ratio: Array, solved: Array, pivots: Array) -> Array:
    """The same, all j at a time."""
    y = solved[:, :, :-1]
    n = y.shape[0]
    diagonal = jnp.stack([y[i, i] for i in range(n)])
    for i in range(n - 1):
        minors = diagonal[i] * diagonal[i + 1 :] - y[i + 1 :, i] * y[i, i + 1 :]
        ratio = ratio + 2.0 * jnp.sum(jnp.sum(minors, axis=1) / pivots[i + 1 :], axis=0) / pivots[i]
    return ratio
