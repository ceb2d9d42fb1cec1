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

With a cutoff, the damped inverse is replaced by that of the largest singular values of O (N. Schwencke, C. Furtlehner,
arXiv:2412.10782). With a search, alpha is the best of a few halvings on the samples of the step (J. Müller, M.
Zeinhofer, ICML 2023). Quantities of the last update are evaluated anew on the present samples. For squared errors
e_k - e_(k-1) is the difference of the functions themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config.optimizers import MOMENTUM_KINDS, NaturalMomentumConfig
from repro.errors import InputError
from repro.optimizers.base import Optimizer, checked_params
from repro.problems.base import Problem, SampleSpace, rows_of
from repro.solvers.sample_space import damped_least_squares, thin_factors

KINDS = MOMENTUM_KINDS
NAME = "natural-momentum"
HALVINGS = 14
"""Of alpha in a search, the first being none."""
AT_LEAST = ("parameter", "transported")
"""Kinds for which residuals need not be errors of outputs."""


class MomentumState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        previous: the last update, as one vector.
        position: the parameters that it started from, as one vector; for ``nesterov`` those before the momentum.
    """

    previous: Array
    position: Array


class MomentumNumbers(NamedTuple):
    """The numbers of :class:`repro.config.optimizers.NaturalMomentumConfig`, which JAX may trace."""

    learning_rate: Array | float
    damping: Array | float
    momentum: Array | float
    cutoff: Array | float = 0.0


def momentum_descent(problem: Problem, config: NaturalMomentumConfig) -> Optimizer:
    """The optimiser for a problem.

    With ``nesterov`` the parameters between two updates are those that the momentum leads to.

    Args:
        problem: what is optimised. Monte Carlo has the kinds "parameter" and "transported" only, and its O^T e is half
            of the gradient.
        config: rate, damping, momentum and their kind.

    Raises:
        InputError: for a kind that the problem does not have: local energies are not errors of ln|psi|, so that their
            differences say nothing about a change of the function.
    """
    if config.kind not in AT_LEAST and not problem.residuals_follow_outputs:
        raise InputError(
            f"kind = {config.kind!r}: subtracts functions by their residuals, and those of this problem are not errors "
            "of outputs; take parameter or transported"
        )
    numbers = MomentumNumbers(config.learning_rate, config.damping, config.momentum, config.cutoff)
    return with_numbers(
        problem,
        numbers,
        config.kind if config.momentum > 0.0 else "none",
        cuts_off=config.cutoff > 0.0,
        searches=config.search != "none",
    )


def with_numbers(
    problem: Problem, numbers: MomentumNumbers, kind: str, *, cuts_off: bool = False, searches: bool = False
) -> Optimizer:
    """As :func:`momentum_descent`, with numbers that JAX may trace.

    Args:
        problem: what is optimised.
        numbers: rate, damping, momentum, and the cutoff.
        kind: one of :data:`KINDS`, or "none".
        cuts_off: whether small singular values are left out, and nothing is damped.
        searches: whether alpha is searched for.
    """

    def at(restore: Any, position: Array, batch: Mapping[str, Any]) -> SampleSpace:
        return rows_of(problem.geometry(restore(position), (), batch), NAME)

    def natural(space: SampleSpace, right: Array) -> Array:
        if cuts_off:
            return thin_factors(space.rows).cut_off(right, numbers.cutoff)
        return damped_least_squares(space.rows, right, numbers.damping)

    def init(params: Any) -> MomentumState:
        flat = ravel_pytree(checked_params(params, NAME))[0]
        return MomentumState(jnp.zeros_like(flat), jnp.array(flat, copy=True))

    def update(grads: Any, state: MomentumState, params: Any = None, **batch: Any) -> tuple[Any, MomentumState]:
        del grads  # the residuals say more
        here, restore = ravel_pytree(checked_params(params, NAME))
        now = at(restore, here, batch)
        descent = -numbers.learning_rate * natural(now, now.residuals)
        if kind in ("none", "nesterov"):
            step = longest_useful(descent, jnp.zeros_like(descent), restore, params, batch)
            if kind == "none":
                return restore(step), MomentumState(step, here)
            made = here + step
            there, before = at(restore, made, batch), at(restore, state.position, batch)
            step += numbers.momentum * natural(there, there.residuals - before.residuals)
            return restore(step), MomentumState(step, made)
        kept = numbers.momentum * carried(now, state, restore, batch)
        step = longest_useful(descent, kept, restore, params, batch)
        return restore(step), MomentumState(step, here)

    def longest_useful(descent: Array, kept: Array, restore: Any, params: Any, batch: Mapping[str, Any]) -> Array:
        """The momentum, and the descent times the factor after which the loss is least."""
        if not searches:
            return descent + kept
        trial = problem.geometry(params, (), batch).trial()
        factors = 0.5 ** jnp.arange(HALVINGS, dtype=descent.dtype)
        changes = jax.lax.map(lambda factor: trial.change(restore(kept + factor * descent)).change, factors)
        return kept + factors[jnp.argmin(jnp.where(jnp.isfinite(changes), changes, jnp.inf))] * descent

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

    return Optimizer(init, update, lambda state: {"lambda": jnp.asarray(numbers.damping, state.previous.dtype)})
