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

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import SpringConfig
from repro.curvature.jacobian import centred
from repro.numerics.batching import map_in_batches
from repro.numerics.sharding import all_gather
from repro.optimizers.base import Optimizer
from repro.vmc.ansatz.trial import TrialState
from repro.vmc.physics.local_energy import clip_local_energies


class SpringState(NamedTuple):
    """Carried from epoch to epoch.

    Attributes:
        previous: phi of the last epoch, as one vector.
    """

    previous: Array


def stochastic_reconfiguration(psi: TrialState, config: SpringConfig, walker_chunk: int | None = None) -> Optimizer:
    """The optimiser for a state.

    Args:
        psi: the state.
        config: learning rate, damping, momentum and the longest step.
        walker_chunk: walkers differentiated at once, a divisor of their number; all of them when left out.
    """

    def init(params: Any) -> SpringState:
        return SpringState(jnp.zeros_like(ravel_pytree(params)[0]))

    def update(
        grads: Any, state: SpringState, params: Any = None, *, walkers: Array, local_energies: Array, **_: Any
    ) -> tuple[Any, SpringState]:
        if params is None:
            raise ValueError("update(grads, state, params, ...): the parameters are needed")
        del grads  # E_L and D say more
        restore = ravel_pytree(params)[1]
        scale = all_gather(local_energies).shape[0] ** -0.5
        scores = scale * centred(_scores(psi, params, walkers, walker_chunk or walkers.shape[0]), axis=0)
        energies = scale * centred(clip_local_energies(local_energies))

        start = config.momentum * state.previous
        everyone = all_gather(scores)
        right = all_gather(energies - scores @ start)
        phi = _damped_solve(everyone, config.damping, right) @ everyone + start
        step = config.learning_rate * phi
        step *= jnp.minimum(1.0, jnp.sqrt(config.step_limit / (step @ step)))
        return restore(-step), SpringState(phi)

    return Optimizer(init, update, lambda state: {"lambda": jnp.asarray(config.damping, state.previous.dtype)})


def _damped_solve(scores: Array, damping: float, right: Array) -> Array:
    """(O O^T + lambda)^-1 r, by Cholesky where rounding allows it.

    Near nodes scores are so large that in single precision the matrix need not come out positive. Then its factor is
    taken from a QR decomposition of the scores themselves, which costs several times as much.

    Args:
        scores: O, shape ``(W, P)``.
        damping: lambda > 0.
        right: r, shape ``(W,)``.
    """
    shift = damping * jnp.eye(len(right), dtype=scores.dtype)
    found = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(scores @ scores.T + shift), right)

    def by_qr() -> Array:
        factor = jnp.linalg.qr(jnp.concatenate([scores.T, jnp.sqrt(shift)]), mode="r")
        return jax.scipy.linalg.cho_solve((factor, False), right)

    return jax.lax.cond(jnp.all(jnp.isfinite(found)), lambda: found, by_qr)


def _scores(psi: TrialState, params: Any, walkers: Array, chunk: int) -> Array:
    """D of every walker, shape ``(W, P)``.

    On one thread of a processor XLA multiplies that by its transpose twice as fast as it does the transpose by that.
    """

    def of_walker(x: Array) -> Array:
        return ravel_pytree(jax.grad(lambda theta: psi.log_psi(theta, x[None])[0])(params))[0]

    return map_in_batches(jax.vmap(of_walker), walkers, chunk, axis=-2)
