"""Builds the model of an energy: the wavefunction, the two phases of epochs, and the numerics that they run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from repro.config import RunConfig, lower_median
from repro.optimizers import build_optimizer
from repro.optimizers.base import from_optax
from repro.training.base import Model, Phase
from repro.training.curve import CURVE_COLUMNS, PRETRAINING_COLUMNS, with_sweeps
from repro.training.environment import fixed_settings
from repro.training.epoch import training_epoch
from repro.training.pretraining import pretraining_epoch
from repro.training.state import (
    INIT_STREAM,
    PRETRAINING,
    PRETRAINING_STREAM,
    TRAINING,
    TRAINING_STREAM,
    WALKER_STREAM,
    TrainState,
    stream_key,
)
from repro.vmc.ansatz import Wavefunction, slater_wavefunction
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import MonteCarlo
from repro.vmc.sampling.metropolis import initial_chain, unrolled_sweeps


@dataclass(frozen=True)
class EnergyModel(Model):
    """The functions that the configuration of an energy stands for."""

    config: RunConfig
    walker_chunk: int
    unroll: int
    wavefunction: Wavefunction
    problem: MonteCarlo
    phases: tuple[Phase, Phase]

    @property
    def system(self) -> System:
        """The couplings, in the run's precision."""
        dtype = jnp.dtype(self.config.dtype)
        return System(jnp.asarray(self.config.system.v0, dtype), jnp.asarray(self.config.system.sigma0, dtype))

    @property
    def coefficients(self) -> System:
        """The couplings."""
        return self.system

    def initial_state(self) -> TrainState:
        """Fresh parameters and walkers, at the beginning of the first phase."""
        config = self.config
        params = self.wavefunction.init(stream_key(self.seed, INIT_STREAM))
        walker_key = stream_key(self.seed, WALKER_STREAM)
        sampling = config.sampling
        chain = initial_chain(walker_key, sampling.walkers, config.system.particles, config.dtype, sampling.sweeps)
        return TrainState(params, self.phases[0].optimizer.init(params), chain, jnp.zeros((), jnp.int32))

    def recorded(self) -> dict[str, int]:
        """The walkers differentiated at once."""
        return {"walker_chunk": self.walker_chunk}


def wavefunction_of(config: RunConfig, dtype: str) -> Wavefunction:
    """The ansatz of a configuration, in either precision."""
    ansatz = config.ansatz
    return slater_wavefunction(config.system.particles, ansatz.layers, ansatz.hidden, ansatz.determinants, dtype)


def build_model(config: RunConfig, walker_chunk: int, platform: str = "cpu") -> EnergyModel:
    """Wavefunction, optimisers and epochs of a configuration; nothing is computed yet.

    Args:
        config: the run.
        walker_chunk: walkers differentiated at once.
        platform: of the device that it is for, "cpu" or "gpu"; on the other one the same numbers take longer.
    """
    unroll = unrolled_sweeps(config.system.particles, platform)
    sweeps, wavefunction = config.sampling.sweeps, wavefunction_of(config, config.dtype)
    before, during = (with_sweeps(columns, sweeps) for columns in (PRETRAINING_COLUMNS, CURVE_COLUMNS))
    fit = from_optax(optax.adam(config.pretraining.learning_rate))
    energy = MonteCarlo(wavefunction, walker_chunk, sweeps, unroll, lower_median(config.optimizer))
    optimizer = build_optimizer(config.optimizer, energy)
    first = pretraining_epoch(wavefunction, fit, sweeps, unroll)
    second = training_epoch(energy, optimizer)
    return EnergyModel(
        config,
        walker_chunk,
        unroll,
        wavefunction,
        energy,
        (
            Phase(PRETRAINING, config.pretraining.epochs, PRETRAINING_STREAM, first, fit, before),
            Phase(TRAINING, config.epochs, TRAINING_STREAM, second, optimizer, (*during, *optimizer.further)),
        ),
    )


@contextmanager
def numerics(dtype: str, device: jax.Device) -> Iterator[None]:
    """Precision, device and settings of everything computed inside, whatever the environment says of them.

    There is no TF32, there are doubles only where asked for, and the random numbers are those of JAX's defaults.
    """
    with (
        fixed_settings(),
        jax.enable_x64(dtype == "float64"),
        jax.default_matmul_precision("highest"),
        jax.default_device(device),
    ):
        yield
