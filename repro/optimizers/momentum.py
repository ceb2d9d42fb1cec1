"""Natural gradient descent with momentum, in the space of the parameters or in that of the functions.

With O the rows and e the residuals of the linearised problem (:class:`repro.problems.base.SampleSpace`), so that the
metric is G = O^T O and the gradient O^T e, one update is

    p_k = -alpha (G_k + lambda)^-1 O_k^T e_k + beta m_k,

and the kinds differ in what m_k is:

    parameter             p_(k-1), the last update: Polyak's heavy ball in the parameters;
    transported           (G_k + lambda)^-1 O_k^T O_(k-1) p_(k-1): the last update's effect on the function, to first
                          order, brought back by the present tangent space;
    function-difference   (G_k + lambda)^-1 O_k^T (e_k - e_(k-1)): what the last update really did to the function;
    last-gradient         -(G_k + lambda)^-1 O_k^T e_(k-1): the last gradient in function space;
    nesterov              the function difference, taken before the gradient: the natural step is made at the point
                          that the momentum leads to, with that point's own tangent space.

Quantities of the last update are evaluated anew on the present samples. For squared errors e_k - e_(k-1) is the
difference of the functions themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.errors import InputError
from repro.optimizers.base import Optimizer, checked_params
from repro.problems.base import Problem, SampleSpace
from repro.solvers.sample_space import damped_least_squares

KINDS = ("parameter", "transported", "function-difference", "last-gradient", "nesterov")
NAME = "natural-momentum"


class MomentumState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        previous: the last update, as one vector.
        position: the parameters that it started from, as one vector; for ``nesterov`` those before the momentum.
    """

    previous: Array
    position: Array


def natural_momentum(
    problem: Problem,
    *,
    learning_rate: float = 1.0,
    damping: float = 1e-6,
    momentum: float = 0.9,
    kind: str = "transported",
) -> Optimizer:
    """The optimiser for a problem.

    With ``nesterov`` the parameters between two updates are those that the momentum leads to.

    Args:
        problem: what is optimised. Monte Carlo has the kinds "parameter" and "transported" only, and its O^T e is half
            of the gradient.
        learning_rate: alpha > 0.
        damping: lambda > 0, in units of the metric.
        momentum: beta, at least 0 and below 1.
        kind: one of :data:`KINDS`.

    Raises:
        InputError: for a value out of bounds, an unknown kind, or a kind that the problem does not have: local energies
            are not errors of ln|psi|, so that their differences say nothing about a change of the function.
    """
    _refuse(problem, learning_rate, damping, momentum, kind)

    def at(restore: Any, position: Array, batch: Mapping[str, Any]) -> SampleSpace:
        return problem.geometry(restore(position), (), batch).sample_space()

    def natural(space: SampleSpace, right: Array) -> Array:
        return damped_least_squares(space.rows, right, damping)

    def init(params: Any) -> MomentumState:
        flat = ravel_pytree(checked_params(params, NAME))[0]
        return MomentumState(jnp.zeros_like(flat), jnp.array(flat, copy=True))

    def update(grads: Any, state: MomentumState, params: Any = None, **batch: Any) -> tuple[Any, MomentumState]:
        del grads  # the residuals say more
        here, restore = ravel_pytree(checked_params(params, NAME))
        now = at(restore, here, batch)
        step = -learning_rate * natural(now, now.residuals)
        if kind == "nesterov":
            made = here + step
            there, before = at(restore, made, batch), at(restore, state.position, batch)
            step += momentum * natural(there, there.residuals - before.residuals)
            return restore(step), MomentumState(step, made)
        if momentum > 0.0:
            step += momentum * carried(now, state, restore, batch)
        return restore(step), MomentumState(step, here)

    def carried(now: SampleSpace, state: MomentumState, restore: Any, batch: Mapping[str, Any]) -> Array:
        """m_k."""
        if kind == "parameter":
            return state.previous
        before = at(restore, state.position, batch)
        if kind == "transported":
            return natural(now, before.rows @ state.previous)
        if kind == "function-difference":
            return natural(now, now.residuals - before.residuals)
        # There is no last gradient before the first update.
        begun = jnp.any(state.previous != 0.0)
        return jnp.where(begun, -natural(now, before.residuals), 0.0)

    return Optimizer(init, update, lambda state: {"lambda": jnp.asarray(damping, state.previous.dtype)})


def _refuse(problem: Problem, learning_rate: float, damping: float, momentum: float, kind: str) -> None:
    if not hasattr(problem, "geometry"):
        raise InputError(
            f"{NAME}: needs a problem, not {type(problem).__name__}; for ln|psi| take "
            "repro.MonteCarlo(repro.trial_state(log_psi))"
        )
    for name, value in (("learning_rate", learning_rate), ("damping", damping)):
        if not 0.0 < value < float("inf"):
            raise InputError(f"{name} = {value:g}: must be positive and finite")
    if not 0.0 <= momentum < 1.0:
        raise InputError(f"momentum = {momentum:g}: must be at least 0 and below 1")
    if kind not in KINDS:
        raise InputError(f"kind = {kind!r}: must be one of {', '.join(KINDS)}")
    if kind not in ("parameter", "transported") and not problem.residuals_follow_outputs:
        raise InputError(
            f"kind = {kind!r}: subtracts functions by their residuals, and those of this problem are not errors of "
            "outputs; take parameter or transported"
        )
