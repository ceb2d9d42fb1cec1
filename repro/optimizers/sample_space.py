"""Today's natural gradients in the walkers' own space: minSR and SPRING, for comparison.

With D = d ln|psi| / d theta at W walkers, O = (D - E[D]) / sqrt(W), shape ``(W, P)``, and e = (E_L - E[E_L]) / sqrt(W),
stochastic reconfiguration takes the step -tau phi with

    phi = argmin_p |O p - e|^2 + lambda |p - mu phi_prev|^2 = O^T (O O^T + lambda)^-1 (e - mu O phi_prev) + mu phi_prev,

a system of W equations, which is the smaller one where there are more parameters than walkers. With mu = 0 this is
minSR (A. Chen, M. Heyl, Nat. Phys. 20, 1476 (2024); R. Rende et al., Commun. Phys. 7, 260 (2024)), else SPRING (G.
Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516, 113351 (2024)), which also limits |tau phi|^2.

A model of N outputs has N W rows, too many to write down for images. The same phi is then found in the parameters' own
space, phi = mu phi_prev + q with

    (O^T O + lambda) q = O^T e - mu O^T O phi_prev,

by conjugate gradients: O^T O is the Fisher metric and O^T e the gradient, up to the problem's scale, and no row is ever
made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import SpringConfig
from repro.numerics.sharding import all_gather
from repro.optimizers.base import Optimizer, checked_grads, checked_params
from repro.problems.base import MOST_NUMBERS, Geometry, Problem
from repro.solvers.cg import conjugate_gradients
from repro.solvers.sample_space import damped_solve

METRIC = "fisher"
ITERATIONS, PROGRESS = 100, 5e-4
"""Of conjugate gradients: the most of them, and the epsilon of :func:`repro.solvers.cg.conjugate_gradients`."""


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
        geometry = problem.geometry(params, (), batch)
        if jax.eval_shape(geometry.sample_space).rows.size <= MOST_NUMBERS:
            rows, residuals = geometry.sample_space()
            start = config.momentum * state.previous
            everyone = all_gather(rows)
            right = all_gather(residuals - rows @ start)
            phi = damped_solve(everyone, config.damping, right) @ everyone + start
        else:
            geometry = problem.geometry(params, (METRIC,), batch)
            start = config.momentum * state.previous
            phi = _without_rows(geometry, problem.factor_scale, grads, config.damping, start) + start
        step = config.learning_rate * phi
        step *= jnp.minimum(1.0, jnp.sqrt(config.step_limit / (step @ step)))
        return restore(-step), SpringState(phi)

    return Optimizer(init, update, lambda state: {"lambda": jnp.asarray(config.damping, state.previous.dtype)})


def _without_rows(geometry: Geometry, scale: float, grads: Any, damping: float, start: Array) -> Array:
    """(O^T O + lambda)^-1 (O^T e - O^T O start), with O^T O the metric over its scale.

    Args:
        geometry: of the problem.
        scale: of the metric, in units of O^T O; the gradient is the root of it times O^T e.
        grads: the gradient.
        damping: lambda.
        start: mu phi_prev.
    """
    parts, metric = geometry.partition, geometry.curvature(METRIC)
    blocks = parts.split(grads)
    restore = ravel_pytree(blocks)[1]
    in_tree = ravel_pytree(grads)[1]

    def product(v: Array) -> Array:
        return ravel_pytree(metric.matvec(restore(v)))[0] / scale

    diagonal = ravel_pytree(tuple(metric.diagonal(index) for index in range(len(blocks))))[0] / scale + damping
    from_start = ravel_pytree(parts.split(in_tree(start)))[0]
    solved = conjugate_gradients(
        product,
        ravel_pytree(blocks)[0] / scale**0.5 - product(from_start),
        shift=damping,
        preconditioner=lambda v: v / diagonal,
        iterations=ITERATIONS,
        progress=PROGRESS,
    )
    return ravel_pytree(parts.join(restore(solved.x)))[0]
