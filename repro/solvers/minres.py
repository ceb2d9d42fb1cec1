"""MINRES for symmetric, possibly indefinite or singular, operators (C. C. Paige, M. A. Saunders, SINUM 12, 617 (1975)).

Lanczos tridiagonalises the operator and plane rotations reduce the tridiagonal matrix to upper triangular form as it
grows, so that the iterate of least residual follows from three vectors. The names below are those of the paper:
``alpha`` and ``beta`` are the entries of the tridiagonal matrix, ``cs`` and ``sn`` the current rotation.

Differs from ``scipy.sparse.linalg.minres`` in that
1. everything is ``jax.lax`` control flow on arrays of any shape, so that it compiles, vmaps and sits inside a loop;
2. the shift has the sign of a damping: the system is (M + shift) x = b, where SciPy solves (M - shift) x = b;
3. the first residual can contain the shift or leave it out. SciPy always leaves it out, and so, from x0 != 0, solves
   another system than it says (see ``shifted_start``);
4. a preconditioner that is not positive ends the iteration, as a breakdown, instead of raising.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


class MinresResult(NamedTuple):
    """Where the iteration ended.

    Attributes:
        x: the iterate, of the shape of the right-hand side.
        residual: |r| / |r_0| in the norm of the preconditioner, with r_0 the residual at the start; by recurrence.
        iterations: how many were done, int32.
    """

    x: Array
    residual: Array
    iterations: Array


class _State(NamedTuple):
    """Between two iterations; vectors first, then the scalars of the recurrences."""

    x: Array
    r1: Array
    r2: Array
    y: Array
    w: Array
    w2: Array
    beta: Array
    old_beta: Array
    dbar: Array
    epsln: Array
    phibar: Array
    cs: Array
    sn: Array
    norm2: Array
    gamma_max: Array
    gamma_min: Array
    iterations: Array
    stop: Array


def minres(
    matvec: Callable[[Array], Array],
    b: Array,
    *,
    x0: Array | None = None,
    shift: ArrayLike = 0.0,
    preconditioner: Callable[[Array], Array] | None = None,
    iterations: int,
    tolerance: float = 1e-8,
    reduction: float = 0.0,
    shifted_start: bool = True,
) -> MinresResult:
    """Solves (M + shift) x = b for symmetric M.

    Args:
        matvec: v -> M v, for arrays of the shape of ``b``.
        b: right-hand side, any shape, real floating.
        x0: where to start; zero when left out.
        shift: added to the diagonal of M.
        preconditioner: v -> P^-1 v with P symmetric positive definite and close to M + shift; none when left out.
        iterations: the most that are done, at least 1.
        tolerance: stop when |r| <= tolerance |M| |x|, or when |M r| <= tolerance |M| |r| (b outside of the range of a
            singular M), with the norms as estimated on the way.
        reduction: stop, besides, when |r| <= reduction |r_0| in the norm of the preconditioner.
        shifted_start: True takes the residual of the system, r_0 = b - (M + shift) x0. False leaves the shift out, r_0
            = b - M x0, and so returns the solution of (M + shift)(x - x0) = b - M x0, which minimises
            1/2 x^T M x - b^T x + shift/2 |x - x0|^2 where M + shift is positive.

    Returns:
        The last iterate, see :class:`MinresResult`. The iteration also ends when the Lanczos process does (an invariant
        subspace was found: the iterate is exact), and when the condition or the residual reach what the precision of
        the arithmetic allows.

    Raises:
        ValueError: if ``iterations`` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations = {iterations}: MINRES needs at least one")
    apply = preconditioner or (lambda v: v)
    shift = jnp.asarray(shift, b.dtype)
    vector = jnp.zeros_like(b)
    if x0 is None:
        start, r = vector, b
    else:
        start, r = x0, b - matvec(x0)
        if shifted_start:
            r = r - shift * x0
    y = apply(r)
    beta1 = jnp.sqrt(jnp.maximum(jnp.vdot(r, y), 0.0))

    def step(state: _State) -> _State:
        return _iteration(state, lambda v: matvec(v) + shift * v, apply, beta1, tolerance, reduction)

    end = jax.lax.while_loop(
        lambda state: (state.iterations < iterations) & ~state.stop, step, _begin(start, r, y, vector, beta1)
    )
    residual = jnp.where(beta1 > 0, end.phibar / jnp.where(beta1 > 0, beta1, 1.0), 0.0)
    return MinresResult(end.x, residual, end.iterations)


def _begin(start: Array, r: Array, y: Array, vector: Array, beta1: Array) -> _State:
    """Before the first iteration; ``vector`` is zero."""
    zero, one = jnp.zeros((), start.dtype), jnp.ones((), start.dtype)
    return _State(
        x=start,
        r1=r,
        r2=r,
        y=y,
        w=vector,
        w2=vector,
        beta=beta1,
        old_beta=one,
        dbar=zero,
        epsln=zero,
        phibar=beta1,
        cs=-one,
        sn=zero,
        norm2=zero,
        gamma_max=zero,
        gamma_min=jnp.asarray(jnp.finfo(start.dtype).max),
        iterations=jnp.zeros((), jnp.int32),
        stop=beta1 == 0.0,
    )


def _iteration(
    state: _State,
    product: Callable[[Array], Array],
    apply: Callable[[Array], Array],
    beta1: Array,
    tolerance: float,
    reduction: float,
) -> _State:
    """One Lanczos vector more, and the rotation that keeps the tridiagonal matrix triangular."""
    eps = jnp.finfo(state.x.dtype).eps
    v = state.y / state.beta
    y = product(v)
    # In the first iteration there is no vector before v.
    y = y - jnp.where(state.iterations > 0, state.beta / state.old_beta, 0.0) * state.r1
    alpha = jnp.vdot(v, y)
    r2 = y - (alpha / state.beta) * state.r2
    y = apply(r2)
    squared = jnp.vdot(r2, y)
    beta = jnp.sqrt(jnp.maximum(squared, 0.0))
    norm2 = state.norm2 + alpha**2 + state.beta**2 * (state.iterations > 0) + beta**2
    # The previous rotation, then the next.
    delta = state.cs * state.dbar + state.sn * alpha
    gbar = state.sn * state.dbar - state.cs * alpha
    epsln, dbar = state.sn * beta, -state.cs * beta
    root = jnp.hypot(gbar, dbar)
    gamma = jnp.maximum(jnp.hypot(gbar, beta), eps)
    cs, sn = gbar / gamma, beta / gamma
    w = (v - state.epsln * state.w2 - delta * state.w) / gamma
    x = state.x + cs * state.phibar * w
    phibar = sn * state.phibar
    gamma_max, gamma_min = jnp.maximum(state.gamma_max, gamma), jnp.minimum(state.gamma_min, gamma)
    norm, size = jnp.sqrt(norm2), jnp.sqrt(jnp.vdot(x, x))
    stop = (
        (phibar <= tolerance * norm * size)
        | (root <= tolerance * norm)
        | (phibar <= reduction * beta1)
        | (norm * size * eps >= beta1)
        | (gamma_max >= 0.1 / eps * gamma_min)
        | (squared <= (10.0 * eps * beta1) ** 2 * (state.iterations == 0))
    )
    return _State(
        x=x,
        r1=state.r2,
        r2=r2,
        y=y,
        w=w,
        w2=state.w,
        beta=beta,
        old_beta=state.beta,
        dbar=dbar,
        epsln=epsln,
        phibar=phibar,
        cs=cs,
        sn=sn,
        norm2=norm2,
        gamma_max=gamma_max,
        gamma_min=gamma_min,
        iterations=state.iterations + 1,
        stop=stop,
    )
