"""Conjugate gradients for a positive definite operator, with the stopping rule of Hessian-free optimisation.

M. R. Hestenes, E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952); the rule: J. Martens, ICML 2010, section 4.4. With
phi(x) = 1/2 x^T M x - b^T x, the value of the quadratic model, the iteration i ends when i > k, phi(x_i) < 0 and

    (phi(x_i) - phi(x_(i-k))) / phi(x_i) < k epsilon,        k = max(10, i / 10),

that is, when the last tenth of the iterations has improved the model by less than epsilon an iteration.

Differs from ``jax.scipy.sparse.linalg.cg`` in that
1. it ends by the value of the model, not by the residual, as a step needs no more;
2. it says why and where it ended;
3. an operator that is not positive along a search direction ends it, as a breakdown, with the iterate before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

LEAST_WINDOW = 10
"""The least k."""
WINDOW_SHARE = 10
"""k is the number of iterations over this."""


class CGResult(NamedTuple):
    """Where the iteration ended.

    Attributes:
        x: the iterate, of the shape of the right-hand side.
        value: phi(x), of the quadratic model.
        residual: |b - M x| in the norm of the preconditioner, by recurrence.
        iterations: how many were done, int32.
        positive: whether M was positive along all search directions.
        kept: iterates of the way, shape ``(K, *x.shape)``, see ``keep`` of :func:`conjugate_gradients`.
        last_kept: which of them is the last iterate; those after it are zero.
        values: phi after 0, 1, ... iterations, shape ``(iterations asked for + 1,)``; zero beyond those that were done.
    """

    x: Array
    value: Array
    residual: Array
    iterations: Array
    positive: Array
    kept: Array
    last_kept: Array
    values: Array


class _State(NamedTuple):
    x: Array
    r: Array
    direction: Array
    rz: Array
    value: Array
    history: Array
    iterations: Array
    positive: Array
    kept: Array
    stop: Array


def conjugate_gradients(
    matvec: Callable[[Array], Array],
    b: Array,
    *,
    x0: Array | None = None,
    shift: ArrayLike = 0.0,
    preconditioner: Callable[[Array], Array] | None = None,
    iterations: int,
    progress: float = 5e-4,
    keep: tuple[int, ...] = (),
) -> CGResult:
    """Solves (M + shift) x = b approximately for positive semi-definite M and shift > 0.

    Args:
        matvec: v -> M v, for arrays of the shape of ``b``.
        b: right-hand side, any shape, real floating.
        x0: where to start; zero when left out.
        shift: added to the diagonal of M.
        preconditioner: v -> P^-1 v with P symmetric positive definite; none when left out.
        iterations: the most that are done, at least 1.
        progress: epsilon of the stopping rule.
        keep: numbers of iterations, growing, whose iterates are kept besides the last one.

    Returns:
        The last iterate, see :class:`CGResult`.

    Raises:
        ValueError: if ``iterations`` is below 1 or ``progress`` is negative.
    """
    if iterations < 1:
        raise ValueError(f"iterations = {iterations}: conjugate gradients need at least one")
    if progress < 0:
        raise ValueError(f"progress = {progress}: must not be negative")
    if list(keep) != sorted(set(keep)) or min(keep, default=1) < 1:
        raise ValueError(f"keep = {keep}: must be numbers of iterations from 1, growing")
    apply = preconditioner or (lambda v: v)
    shift = jnp.asarray(shift, b.dtype)

    def product(v: Array) -> Array:
        return matvec(v) + shift * v

    start = jnp.zeros_like(b) if x0 is None else x0
    r = b if x0 is None else b - product(start)
    z = apply(r)
    zero = jnp.zeros((), b.dtype)

    def value_of(x: Array, residual: Array) -> Array:
        # M x = b - r, so that phi = -1/2 x^T (b + r).
        return -0.5 * jnp.vdot(x, b + residual)

    places = jnp.asarray(keep, jnp.int32)

    def place(done: Array) -> Array:
        """Of an iterate: that of the next number to keep, where a later one takes its place."""
        return jnp.searchsorted(places, done)

    def step(state: _State) -> _State:
        along = product(state.direction)
        curvature = jnp.vdot(state.direction, along)
        positive = curvature > 0
        length = jnp.where(positive, state.rz / jnp.where(positive, curvature, 1.0), 0.0)
        x, r = state.x + length * state.direction, state.r - length * along
        z = apply(r)
        rz = jnp.vdot(r, z)
        direction = z + rz / jnp.where(state.rz > 0, state.rz, 1.0) * state.direction
        done, value = state.iterations + 1, value_of(x, r)
        history = state.history.at[done].set(value)
        window = jnp.maximum(LEAST_WINDOW, done // WINDOW_SHARE)
        earlier = history[jnp.maximum(done - window, 0)]
        slow = (done > window) & (value < 0) & (value - earlier > window * progress * value)
        kept = state.kept.at[place(done)].set(x)
        return _State(x, r, direction, rz, value, history, done, positive, kept, slow | ~positive | (rz <= 0))

    value = value_of(start, r)
    history = jnp.zeros((iterations + 1,), b.dtype).at[0].set(value)
    rz = jnp.vdot(r, z)
    kept = jnp.zeros((len(keep) + 1, *b.shape), b.dtype).at[0].set(start)
    begin = _State(start, r, z, rz, value, history, jnp.zeros((), jnp.int32), jnp.ones((), bool), kept, rz <= 0)
    end = jax.lax.while_loop(lambda state: (state.iterations < iterations) & ~state.stop, step, begin)
    residual = jnp.sqrt(jnp.maximum(end.rz, zero))
    last = place(end.iterations)
    return CGResult(end.x, end.value, residual, end.iterations, end.positive, end.kept, last, end.history)
