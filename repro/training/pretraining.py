"""Pretraining: the network is fitted to the oscillator's orbitals before its energy is minimised."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from repro.config import Sweeps
from repro.numerics.sharding import global_count, psum
from repro.problems.base import Metrics
from repro.training.epoch import Epoch
from repro.training.state import TrainState
from repro.vmc.ansatz.trial import Params
from repro.vmc.ansatz.wavefunction import Wavefunction
from repro.vmc.physics.oscillator import oscillator_orbitals
from repro.vmc.problem import density, sweeps_found
from repro.vmc.sampling.metropolis import walk


def pretraining_epoch(
    wavefunction: Wavefunction, optimizer: optax.GradientTransformation, sweeps: Sweeps, unroll: int = 1
) -> Epoch:
    """Walk on the network's own |psi|^2, then one step on the distance to the oscillator's orbitals.

    The loss is the mean over walkers of sum_{d,i,j} (M^d_ij - phi_j(x_i))^2, with M the orbital matrices, envelope
    included.
    """

    def loss(params: Params, x: Array) -> Array:
        target = jnp.moveaxis(oscillator_orbitals(x, x.shape[-1]), 0, -1)  # (A, A, W)
        distance = wavefunction.orbitals(params, x) - target[:, :, None]
        return jnp.sum(distance**2) / global_count(x.shape[0])

    def epoch(state: TrainState, key: Array, coefficients: Any) -> tuple[TrainState, Metrics]:
        del coefficients  # the oscillator's orbitals know nothing of the interaction
        chain, acceptance = walk(density(wavefunction, state.params), state.data, key, sweeps, unroll)
        value, grads = psum(jax.value_and_grad(loss)(state.params, chain.walkers))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics = {"loss": value, "acceptance": acceptance, "proposal_width": chain.width}
        metrics |= sweeps_found(state.data, sweeps)
        new_params: Any = optax.apply_updates(state.params, updates)
        return TrainState(new_params, opt_state, chain, state.epoch + 1), metrics

    return epoch
