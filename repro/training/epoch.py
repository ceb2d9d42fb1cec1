"""One epoch as a pure function, and chunks of epochs as one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from repro.config import AUTO, Sweeps
from repro.numerics.batching import map_in_batches, sum_in_batches
from repro.numerics.loops import traced_once
from repro.numerics.sharding import global_count, pmean, psum
from repro.optimizers import Optimizer
from repro.training.curve import SWEEPS
from repro.training.state import Metrics, TrainState, stream_key
from repro.vmc.ansatz.trial import Params, TrialState
from repro.vmc.ansatz.wavefunction import Wavefunction
from repro.vmc.physics.hamiltonian import System
from repro.vmc.physics.local_energy import clip_local_energies, local_energy
from repro.vmc.physics.oscillator import oscillator_orbitals
from repro.vmc.sampling.metropolis import Chain, LogDensity, most_sweeps, planned_sweeps, walk

Epoch = Callable[[TrainState, Array, System], tuple[TrainState, Metrics]]
"""(state, key of this epoch, couplings) -> (state, metrics)."""

Chunk = Callable[[TrainState, Array, System, Array], tuple[TrainState, Metrics]]
"""(state, seed, couplings, number of epochs) -> (state, metrics with a leading axis of the chunk's capacity)."""


def density(psi: TrialState, params: Params) -> LogDensity:
    """ln|psi|^2 of the current state, the target of the walk."""
    return lambda x: 2.0 * psi.log_psi(params, x)


def walker_energies(psi: TrialState, params: Params, x: Array, system: System, chunk: int) -> Array:
    """Local energies of walkers ``(W, A)``, shape ``(W,)``."""
    return map_in_batches(lambda y: local_energy(psi.laplacian_ratio(params, y), y, system), x, chunk)


def energy_gradient(psi: TrialState, params: Params, x: Array, energies: Array, chunk: int) -> Params:
    """G = 2 E[ (E_L - E) d ln|psi| / d theta ].

    Centring the energies centres the product in both factors, since sum_w (E_w - E) = 0 annihilates the mean of the
    other.

    Args:
        psi: the state.
        params: where.
        x: walkers, shape ``(W, A)``.
        energies: local energies, clipped if that is wanted, shape ``(W,)``.
        chunk: walkers differentiated at a time.

    Returns:
        The gradient, of the structure of ``params``.
    """
    weights = 2.0 * (energies - pmean(energies)) / global_count(energies.shape[0])

    def gradient(y: Array, w: Array) -> Params:
        return jax.grad(lambda p: jnp.sum(w * psi.log_psi(p, y)))(params)

    return psum(sum_in_batches(gradient, chunk, x, weights))


def _found_sweeps(chain: Chain, sweeps: Sweeps) -> Metrics:
    return {SWEEPS: planned_sweeps(chain).astype(chain.width.dtype)} if sweeps == AUTO else {}


def training_epoch(
    psi: TrialState,
    optimizer: Optimizer,
    sweeps: Sweeps,
    walker_chunk: int,
    unroll: int = 1,
    lower_median: bool = False,
) -> Epoch:
    """Walk, energy, gradient, update; then, where the optimiser wants its step judged, a further walk and energy.

    The metrics describe the parameters before the update: energy, its error and variance over the walkers
    (unclipped), the clipped mean, the walk's acceptance and proposal width, the norms of the gradient and of the
    step, and what the optimiser reports. ``rho`` is NaN in epochs whose step was not judged. The chains go on from
    the further walk. ``lower_median`` is as for :func:`clip_local_energies`.
    """

    def epoch(state: TrainState, key: Array, system: System) -> tuple[TrainState, Metrics]:
        params = state.params
        chain, acceptance = walk(density(psi, params), state.chain, key, sweeps, unroll)
        energies = walker_energies(psi, params, chain.walkers, system, walker_chunk)
        clipped = clip_local_energies(energies, lower_median)
        grads = energy_gradient(psi, params, chain.walkers, clipped, walker_chunk)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, params, walkers=chain.walkers, local_energies=energies
        )
        average, walkers = pmean(energies), global_count(energies.shape[0])
        variance = psum(jnp.sum((energies - average) ** 2)) / (walkers - 1)
        metrics = {
            "energy": average,
            "energy_error": jnp.sqrt(variance / walkers),
            "variance": variance,
            "energy_clipped": pmean(clipped),
            "acceptance": acceptance,
            "proposal_width": chain.width,
            "grad_norm": optax.tree.norm(grads),
            "step_norm": optax.tree.norm(updates),
            **optimizer.report(opt_state),
            **_found_sweeps(state.chain, sweeps),
        }
        new_params: Any = optax.apply_updates(params, updates)
        if (trial := optimizer.trial) is not None:

            def judged(opt_state: Any, chain: Chain) -> tuple[Any, Chain, Array]:
                # The first walk used fold_in(key, 0 ... sweeps - 1).
                further_key = jax.random.fold_in(key, most_sweeps(sweeps))
                further, _ = walk(density(psi, new_params), chain, further_key, sweeps, unroll)
                new_energies = walker_energies(psi, new_params, further.walkers, system, walker_chunk)
                opt_state, ratio = trial.judge(opt_state, energies, new_energies)
                return opt_state, further, ratio

            def unjudged(opt_state: Any, chain: Chain) -> tuple[Any, Chain, Array]:
                return opt_state, chain, jnp.full((), jnp.nan, energies.dtype)

            opt_state, chain, metrics["rho"] = jax.lax.cond(trial.due(opt_state), judged, unjudged, opt_state, chain)
        return TrainState(new_params, opt_state, chain, state.epoch + 1), metrics

    return epoch


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

    def epoch(state: TrainState, key: Array, system: System) -> tuple[TrainState, Metrics]:
        del system  # the oscillator's orbitals know nothing of the interaction
        chain, acceptance = walk(density(wavefunction, state.params), state.chain, key, sweeps, unroll)
        value, grads = psum(jax.value_and_grad(loss)(state.params, chain.walkers))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics = {"loss": value, "acceptance": acceptance, "proposal_width": chain.width}
        metrics |= _found_sweeps(state.chain, sweeps)
        new_params: Any = optax.apply_updates(state.params, updates)
        return TrainState(new_params, opt_state, chain, state.epoch + 1), metrics

    return epoch


def chunk_of_epochs(epoch: Epoch, stream: int, capacity: int) -> Chunk:
    """Up to ``capacity`` epochs as one loop inside one compiled function.

    The number of epochs is data, not a constant of the compiled program: however a run is cut into chunks, by its
    length, by the clock or by a crash, every epoch is computed by the same machine code and gives the same bits. (A
    ``lax.scan`` of another length is another program.) Rows of the metrics beyond the number asked for are NaN.
    """

    def chunk(state: TrainState, seed: Array, system: System, count: Array) -> tuple[TrainState, Metrics]:
        root = stream_key(seed, stream)
        traced, (_, shapes) = traced_once(epoch, state, root, system)

        def body(row: Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
            current, rows = carry
            following, metrics = traced(current, jax.random.fold_in(root, current.epoch), system)
            return following, {name: rows[name].at[row].set(metrics[name]) for name in rows}

        empty = {name: jnp.full((capacity, *shape.shape), jnp.nan, shape.dtype) for name, shape in shapes.items()}
        return jax.lax.fori_loop(0, count, body, (state, empty))

    return chunk
