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

from repro.numerics.reductions import one_by_one, over_leading

WRITTEN_OUT = 8
"""The largest n whose elimination is written out entry by entry. That runs fastest, but the compiler's work grows
faster than n^3: at n = 16 it takes minutes and gigabytes."""


class Elimination(NamedTuple):
    """P M = L U with unit lower L.

    Attributes:
        pivots: diagonal of U, floored away from zero, shape ``(n, *batch)``.
        upper: rows of U, shape ``(n, n, *batch)``; entries below the diagonal are meaningless.
        lower: L^-1 P, shape ``(n, n, *batch)``.
        parity: sign of the permutation P, shape ``(*batch)``.
    """

    pivots: Array
    upper: Array
    lower: Array
    parity: Array


def _away_from_zero(x: Array, bound: Array | float) -> Array:
    bound = jnp.asarray(bound, x.dtype)
    return jnp.where(jnp.abs(x) < bound, jnp.where(x < 0, -bound, bound), x)


def _bound(matrix: Array) -> Array:
    """The least modulus of a pivot."""
    info = jnp.finfo(matrix.dtype)
    return jnp.maximum(info.eps * jnp.max(jnp.abs(matrix), axis=(0, 1)), info.tiny)


def eliminate(matrix: Array) -> Elimination:
    """Gaussian elimination with partial pivoting.

    One column at a time in a loop that stays a loop: written out, XLA fuses the steps and computes most of them over
    and over again, fifty times slower for an inverse at n = 6.

    Args:
        matrix: shape ``(n, n, *batch)``.

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

    eye = jnp.broadcast_to(_identity(matrix), matrix.shape)
    start = (jnp.concatenate([matrix, eye], axis=1), jnp.zeros_like(matrix[0]), jnp.ones_like(bound))
    rows, pivots, parity = jax.lax.fori_loop(0, n, step, start)
    return Elimination(pivots, rows[:, :n], rows[:, n:], parity)


def _sign_log(pivots: list[Array], parity: Array) -> tuple[Array, Array]:
    """Sign and logarithm of |det M| from the diagonal of a triangular factor and the determinant of the other."""
    sign, log = parity * jnp.sign(pivots[0]), jnp.log(jnp.abs(pivots[0]))
    for pivot in pivots[1:]:
        sign, log = sign * jnp.sign(pivot), log + jnp.log(jnp.abs(pivot))
    return sign, log


class Frame(NamedTuple):
    """M^-1 = right left, from P M = L diag(u) U1 with unit triangular L and U1.

    ``left B right`` is similar to M^-1 B. Where M is nearly singular a pivot is small, and with it a row of ``left`` is
    large; ``right`` and all other rows stay moderate.

    Attributes:
        left: diag(1/u) L^-1 P, shape ``(n, n, *batch)``.
        right: U1^-1, shape ``(n, n, *batch)``.
        pivots: u, shape ``(n, *batch)``.
        parity: sign of the permutation P, shape ``(*batch)``.
    """

    left: Array
    right: Array
    pivots: Array
    parity: Array


def frame_of(matrix: Array) -> Frame:
    """Both factors of the inverses of ``(n, n, *batch)`` matrices."""
    n = matrix.shape[0]
    eye = jnp.broadcast_to(_identity(matrix), matrix.shape)
    found = eliminate(matrix)
    upper = found.upper / found.pivots[:, None]

    def substitute(step: Array, solution: Array) -> Array:
        # Rows below i are solved, the others still zero.
        i = n - 1 - step
        above = jax.lax.dynamic_index_in_dim(upper, i, axis=0, keepdims=False)
        row = jax.lax.dynamic_index_in_dim(eye, i, axis=0, keepdims=False)
        for k in range(n):
            row = row - jnp.where(k > i, above[k], 0.0) * solution[k]
        return jax.lax.dynamic_update_index_in_dim(solution, row, i, axis=0)

    right = jax.lax.fori_loop(0, n, substitute, jnp.zeros_like(matrix))
    return Frame(found.lower / found.pivots[:, None], right, found.pivots, found.parity)


def _identity(matrix: Array) -> Array:
    n = matrix.shape[0]
    return jnp.eye(n, dtype=matrix.dtype).reshape(n, n, *(1,) * (matrix.ndim - 2))


def _times(a: Array, stack: Array) -> Array:
    """Products a b, for every b of ``(K, n, n, *batch)``."""
    return one_by_one([a[:, k, None] * stack[:, k][:, None] for k in range(a.shape[1])])


def _by(stack: Array, b: Array) -> Array:
    """Products a b, for every a of ``(K, n, n, *batch)``."""
    return one_by_one([stack[:, :, k, None] * b[k] for k in range(b.shape[0])])


@jax.custom_jvp
def inverse(matrix: Array) -> Array:
    """Inverses of ``(n, n, *batch)`` matrices; d(M^-1) = -M^-1 dM M^-1."""
    frame = frame_of(matrix)
    return _product(frame.right, frame.left)


@inverse.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (tangent,) = primals, tangents
    result = inverse(matrix)
    return result, -_product(_product(result, tangent), result)


def _product(a: Array, b: Array) -> Array:
    return _times(a, b[None])[0]


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


def _diagonal_by_reflections(matrix: Array) -> tuple[list[Array], Array]:
    """Diagonal of R in M = Q R, and det Q: Householder's reflections need no search for pivots.

    Each walker's search would be a chain of comparisons for every entry; so it takes half the time of elimination at
    n = 10 and six to eight tenths at n = 20, and half as long to compile.
    """
    bound, tiny = _bound(matrix), jnp.finfo(matrix.dtype).tiny
    diagonal, rows = [], matrix
    for size in range(matrix.shape[0], 1, -1):
        column = rows[:, 0]
        norm = jnp.sqrt(one_by_one([column[r] ** 2 for r in range(size)]))
        image = jnp.where(column[0] > 0, -norm, norm)
        diagonal.append(_away_from_zero(image, bound))
        scale = 1.0 / jnp.maximum(norm * (norm + jnp.abs(column[0])), tiny)
        # The barriers keep these from being computed again for every entry that they change.
        axis = jax.lax.optimization_barrier(jnp.concatenate([(column[0] - image)[None], column[1:]]))
        shadow = one_by_one([axis[r] * rows[r, 1:] for r in range(size)])
        shadow = jax.lax.optimization_barrier(scale * shadow)
        rows = jax.lax.optimization_barrier(rows[1:, 1:] - axis[1:, None] * shadow)
    diagonal.append(_away_from_zero(rows[0, 0], bound))
    return diagonal, jnp.full_like(bound, (-1.0) ** (matrix.shape[0] - 1))


@jax.custom_jvp
def slogdet(matrix: Array) -> tuple[Array, Array]:
    """Sign and ln|det M| of ``(n, n, *batch)`` matrices; d ln|det M| = tr(M^-1 dM).

    Returns:
        Two arrays of shape ``(*batch)``.
    """
    pivots, parity = (_pivots_written_out if matrix.shape[0] <= WRITTEN_OUT else _diagonal_by_reflections)(matrix)
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

    Args:
        matrices: orbital matrices, shape ``(n, n, D, W)``.
        jacobian: d_k of them, shape ``(K, n, n, D, W)``.
        laplacian: sum_k d_k^2 of them, shape ``(n, n, D, W)``.

    Returns:
        The ratio, shape ``(W,)``.
    """
    signs, logs, ratios = laplacian_ratios(matrices, jacobian, laplacian)
    weights = signs * jnp.exp(logs - jax.lax.stop_gradient(jnp.max(logs, axis=0)))
    total = _away_from_zero(jnp.sum(weights, axis=0), float(jnp.finfo(weights.dtype).eps))
    return jnp.sum(weights * ratios, axis=0) / total


@jax.custom_jvp
def laplacian_ratios(matrix: Array, jacobian: Array, laplacian: Array) -> tuple[Array, Array, Array]:
    """Sign, ln|det M| and (sum_k d_k^2 det M) / det M, accurate where det M is nearly zero.

    With B_k = M^-1 d_k M,

        (d_k^2 det M) / det M = tr(M^-1 d_k^2 M) + tr(B_k)^2 - tr(B_k^2).

    Close to a node, at distance d, the last two terms grow as 1/d^2 and cancel to 1/d: in float32 nothing would be
    left. Their difference is twice the sum of the principal 2 x 2 minors of B_k, or of any matrix similar to it. In
    the :class:`Frame` of M only one row grows, as 1/d, and

        tr(B)^2 - tr(B^2) = 2 sum_{i<j} (B_ii B_jj - B_ij B_ji)

    never forms the 1/d^2 terms at all.

    The derivative is written out below, by the same rule: automatic differentiation of the elimination takes up to
    nine times as long for twenty particles, and carries every direction of differentiation through it.

    Args:
        matrix: shape ``(n, n, *batch)``.
        jacobian: d_k M, shape ``(K, n, n, *batch)``.
        laplacian: sum_k d_k^2 M, shape ``(n, n, *batch)``.

    Returns:
        Three arrays of shape ``(*batch)``.
    """
    return _in_frame(matrix, jacobian, laplacian)[2]


def _in_frame(matrix: Array, jacobian: Array, laplacian: Array) -> tuple[Frame, Array, tuple[Array, Array, Array]]:
    """The frame, what :func:`laplacian_ratios` sees in it, and its values.

    What it sees is M^-1 d_1 M, ..., M^-1 d_K M, M^-1 sum_k d_k^2 M, shape ``(K + 1, n, n, *batch)``.
    """
    frame = frame_of(matrix)
    seen = _by(_times(frame.left, jnp.concatenate([jacobian, laplacian[None]])), frame.right)
    return frame, seen, (*_sign_log(list(frame.pivots), frame.parity), _trace_and_minors(seen))


def _trace_and_minors(seen: Array) -> Array:
    """The ratio tr Z + 2 sum_k sum_{i<j} (B_ii B_jj - B_ij B_ji), from B_1, ..., B_K, Z."""
    n, b = seen.shape[1], seen[:-1]
    diagonal = jnp.stack([b[:, i, i] for i in range(n)], axis=1)
    ratio = one_by_one([seen[-1, i, i] for i in range(n)])
    for i in range(n - 1):
        minors = diagonal[:, i, None] * diagonal[:, i + 1 :] - b[:, i + 1 :, i] * b[:, i, i + 1 :]
        ratio = ratio + 2.0 * over_leading(minors, 2)
    return ratio


@laplacian_ratios.defjvp
def _laplacian_ratios_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """The derivatives of the trace and of the minors.

    With X, W_k, V the changes of M, d_k M and of the Laplacian, times M^-1, in the frame: dB_k = W_k - X B_k, and

        d(tr Z) = tr V - tr(X Z),
        d(tr(B)^2 - tr(B^2)) / 2 = sum_{i != j} (B_ii W_jj - B_ij W_ji) - sum_ij X_ij Q_ji,
        Q_ji = sum_{l != i, j} (B_ll B_ji - B_jl B_li),

    where Q is tr(B) B - B^2 without the terms that cancel.
    """
    (matrix, jacobian, laplacian), (d_matrix, d_jacobian, d_laplacian) = primals, tangents
    frame, seen, values = _in_frame(matrix, jacobian, laplacian)
    n, b = matrix.shape[0], seen[:-1]
    one = _identity(matrix)
    terms = []
    for k in range(n):
        others = (1.0 - one[k])[:, None] * (1.0 - one[k])
        terms.append(others * (b[:, k, k][:, None, None] * b - b[:, :, k][:, :, None] * b[:, k][:, None]))
    to_matrix = -2.0 * over_leading(one_by_one(terms), 1) - seen[-1]
    diagonal = jnp.stack([b[:, i, i] for i in range(n)])
    rest = ((1.0 - jnp.eye(n, dtype=b.dtype)) @ diagonal.reshape(n, -1)).reshape(diagonal.shape)
    to_jacobian = 2.0 * (one * jnp.moveaxis(rest, 0, 1)[:, :, None] - (1.0 - one) * jnp.swapaxes(b, 1, 2))

    # What multiplies each entry of the changes, taken out of the frame again.
    to_laplacian = jnp.broadcast_to(one, matrix.shape)
    slopes = jnp.concatenate([to_jacobian, to_laplacian[None], jnp.swapaxes(to_matrix, 0, 1)[None]])
    slopes = _by(_times(jnp.swapaxes(frame.left, 0, 1), slopes), jnp.swapaxes(frame.right, 0, 1))
    changes = jnp.concatenate([d_jacobian, d_laplacian[None], d_matrix[None]])
    d_ratio = over_leading(slopes * changes, 3)
    d_log = over_leading(slopes[-2] * d_matrix, 2)  # the derivative by the Laplacian is M^-1
    return values, (jnp.zeros_like(values[0]), d_log, d_ratio)
