"""L-BFGS of optax on a problem of this package: its search for the step asks for the loss on the step's samples."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from repro.config.optimizers import LbfgsConfig
from repro.errors import InputError
from repro.optimizers.base import Optimizer, checked_params
from repro.problems.base import Problem
from repro.problems.mean_loss import LossProblem


def limited_memory(problem: Problem, config: LbfgsConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised, a mean of losses.
        config: how much is remembered.

    Raises:
        InputError: if the objective is an energy: samples that move with the state give no function to search along.
    """
    if not isinstance(problem, LossProblem):
        raise InputError(f"optimizer = {config.name!r}: searches along a loss, and an energy is none; take another")
    chosen = optax.lbfgs(memory_size=config.memory)

    def update(grads: Any, state: Any, params: Any = None, **batch: Any) -> tuple[Any, Any]:
        terms = problem.terms_of(batch)

        def loss(theta: Any) -> Array:
            return sum((jnp.mean(term.values(theta)) for term in terms), jnp.zeros(()))

        checked_params(params, config.name)
        return chosen.update(grads, state, params, value=loss(params), grad=grads, value_fn=loss)

    return Optimizer(chosen.init, update)
