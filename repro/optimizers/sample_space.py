"""Today's natural gradients in the walkers' own space: minSR and SPRING, for comparison.

With D = d ln|psi| / d theta at W walkers, O = (D - E[D]) / sqrt(W), shape ``(W, P)``, and e = (E_L - E[E_L]) / sqrt(W),
stochastic reconfiguration takes the step -tau phi with

    phi = argmin_p |O p - e|^2 + lambda |p - mu phi_prev|^2 = O^T (O O^T + lambda)^-1 (e - mu O phi_prev) + mu phi_prev,

a system of W equations, which is the smaller one where there are more parameters than walkers. With mu = 0 this is
minSR (A. Chen, M. Heyl, Nat. Phys. 20, 1476 (2024); R. Rende et al., Commun. Phys. 7, 260 (2024)), else SPRING (G.
Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516, 113351 (2024)), which also limits |tau phi|^2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import SpringConfig
from repro.numerics.sharding import all_gather
from repro.optimizers.base import Optimizer, checked_grads, checked_params
from repro.problems.base import Problem
from repro.solvers.sample_space import damped_solve


class SpringState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        previous: phi of the last epoch, as one vector.
    """

    previous: Array


def stochastic_reconfiguration(problem: Problem, config: SpringConfig) -> Optimizer:
    """The optimiser for a problem.

    Args:
        problem: what is optimised.
        config: learning rate, damping, momentum and the longest step.
    """

    def init(params: Any) -> SpringState:
        return SpringState(jnp.zeros_like(ravel_pytree(checked_params(params, config.name))[0]))

    def update(grads: Any, state: SpringState, params: Any = None, **batch: Any) -> tuple[Any, SpringState]:
        restore = ravel_pytree(checked_params(params, config.name))[1]
        checked_grads(grads, params, config.name)  # and no more: the samples' residuals are what the step is made of
        rows, residuals = problem.geometry(params, (), batch).sample_space()
        start = config.momentum * state.previous
        everyone = all_gather(rows)
        right = all_gather(residuals - rows @ start)
        phi = damped_solve(everyone, config.damping, right) @ everyone + start
        step = config.learning_rate * phi
        step *= jnp.minimum(1.0, jnp.sqrt(config.step_limit / (step @ step)))
        return restore(-step), SpringState(phi)

    return Optimizer(init, update, lambda state: {"lambda": jnp.asarray(config.damping, state.previous.dtype)})
