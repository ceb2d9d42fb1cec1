"""The energy of a state: many further batches of walkers at fixed parameters; and what other problems have for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from repro.errors import DivergedError
from repro.training import environment
from repro.training.base import Model
from repro.training.epoch import Epoch, chunk_of_epochs
from repro.training.executor import Executor
from repro.training.model import EnergyModel, numerics, wavefunction_of
from repro.training.models import executor_of
from repro.training.phase import NotFiniteError, in_chunks_of_a_second, not_finite
from repro.training.problem_model import ProblemModel
from repro.training.reporting import Reporter, Silent
from repro.training.restart import load_state
from repro.training.rounding import energy_rounding
from repro.training.rundir import RunDirectory
from repro.training.state import EVALUATION, EVALUATION_STREAM, Metrics, TrainState
from repro.training.statistics import estimate_energy
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import density, walker_energies
from repro.vmc.sampling.metropolis import walk

EVALUATION_CAPACITY = 16


def evaluation_epoch(model: EnergyModel) -> Epoch:
    """A walk at fixed parameters: ``energies`` of all walkers after it, and its ``acceptance``."""

    def epoch(state: TrainState, key: jax.Array, system: System) -> tuple[TrainState, Metrics]:
        chain, acceptance = walk(
            density(model.wavefunction, state.params), state.data, key, model.config.sampling.sweeps, model.unroll
        )
        energies = walker_energies(model.wavefunction, state.params, chain.walkers, system, model.walker_chunk)
        return state._replace(data=chain, epoch=state.epoch + 1), {"energies": energies, "acceptance": acceptance}

    return epoch


def held(state: TrainState) -> TrainState:
    """What matters of a state whose parameters are fixed: they and the walkers; epochs are counted anew."""
    return TrainState(state.params, (), state.data, jnp.zeros((), jnp.int32))


class Sampled(NamedTuple):
    """Local energies of many batches, shape ``(batches, walkers)``, and the walkers of the last of them."""

    energies: np.ndarray
    walkers: np.ndarray


def sample_energies(model: EnergyModel, state: TrainState, reporter: Reporter, executor: Executor) -> Sampled:
    """Local energies of many further batches at fixed parameters.

    A tenth as many batches again go before, unrecorded, to let the walkers forget the last update.
    """
    burn_in = max(1, model.config.evaluation.batches // 10)
    batches = burn_in + model.config.evaluation.batches
    chunk = chunk_of_epochs(evaluation_epoch(model), EVALUATION_STREAM, EVALUATION_CAPACITY)
    fixed = held(state)
    reporter.start(EVALUATION, 0, batches)
    parts = []
    compiled = executor.compile(EVALUATION, chunk, fixed, model.seed, model.system)
    chunks = in_chunks_of_a_second(compiled, fixed, model.seed, model.system, batches, EVALUATION_CAPACITY)
    for state, metrics, _ in chunks:
        parts.append(metrics["energies"])
        counted = np.concatenate(parts)[burn_in:]
        reporter.advance(int(state.epoch), {"energy": float(np.mean(counted))} if len(counted) else {})
    reporter.finish()
    return Sampled(np.concatenate(parts)[burn_in:], np.asarray(state.data.walkers))


def energy_of(model: EnergyModel, state: TrainState, reporter: Reporter, executor: Executor) -> dict[str, float | None]:
    """The energy of a state, with its statistical error and how far rounding may have moved it."""
    samples = sample_energies(model, state, reporter, executor)
    if not np.all(np.isfinite(samples.energies)):
        first = int(np.flatnonzero(~np.all(np.isfinite(samples.energies), axis=1))[0])
        raise NotFiniteError(EVALUATION, first + 1, "energy")
    estimate = asdict(estimate_energy(samples.energies))
    energy, error = estimate.pop("energy"), estimate.pop("error")
    rounding = None
    if model.config.dtype == "float32":
        exact, last = wavefunction_of(model.config, "float64"), samples.energies[-1]
        rounding = energy_rounding(exact, state.params, samples.walkers, model.system, last, model.walker_chunk)
        if rounding > error:
            reporter.note(
                f"rounding may have moved the energy by {rounding:.1e}, its statistical error is {error:.1e}: "
                "--dtype float64 computes without"
            )
    return {"energy": energy, "energy_error": error, **estimate, "rounding": rounding}


def measure(model: Model, state: TrainState, reporter: Reporter, executor: Executor) -> dict[str, Any]:
    """What there is to say of a state: its energy, or, under "evaluation", the numbers that its problem measures.

    Raises:
        NotFiniteError: naming the first that is not finite.
    """
    if isinstance(model, EnergyModel):
        return energy_of(model, state, reporter, executor)
    assert isinstance(model, ProblemModel)
    found = model.evaluate(state.params)
    if bad := not_finite(found):
        raise NotFiniteError(EVALUATION, int(state.epoch) + 1, bad)
    return {"evaluation": found}


def evaluate(path: str | Path, *, device: str | None = None, reporter: Reporter | None = None) -> dict[str, Any]:
    """What the state in a run's checkpoint is worth: its final energy, or what its problem measures.

    Args:
        path: a run directory with a checkpoint.
        device: as for :func:`repro.training.run.train`.
        reporter: told of the progress.

    Returns:
        ``energy``, ``energy_error``, ``rhat``, ``ess``, ``variance``, ``rounding`` (None in double precision), with the
        ``phase`` and ``epoch`` of the state. Of a run of another problem, ``evaluation`` takes the place of the first
        six: numbers by name.

    Raises:
        InputError: if there is no run, or no usable checkpoint in it.
        DivergedError: if the state has no finite energy.
    """
    run = RunDirectory(Path(path))
    config = run.read_any_config()
    chosen = environment.select_device(device)
    with numerics(config.dtype, chosen):
        model, phase, state, _ = load_state(config, run, None, chosen.platform)
        try:
            measured = measure(model, state, reporter or Silent(), executor_of(config, chosen))
        except NotFiniteError as error:
            raise DivergedError(f"{run.path}: {error.quantity} is not finite") from error
    return {**measured, "phase": phase.name, "epoch": int(state.epoch)}
