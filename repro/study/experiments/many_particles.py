"""Runs with more particles than the study has: do they train on an ordinary machine?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from repro.config import PretrainingConfig, RunConfig, SystemConfig
from repro.study.runs.convergence import last_errors, relative_error
from repro.study.runs.profiles import configure
from repro.study.runs.store import Run
from repro.vmc.physics.oscillator import oscillator_orbitals

PARTICLES = (10, 16, 20)
COUPLED = (-5.0, 5.0)
"""Of the smallest number of particles, where DMRG gives the exact energy."""
STUDIED, BASELINE, OWN = ("kfac", "dgd"), "spring", "proximal-dgd"
OPTIMIZERS = (*STUDIED, BASELINE, OWN)
EPOCHS = 100
BATCHES = 50
PRETRAINING_RATE = 1e-3
"""Of the larger ones. With the study's 1e-4, a thousand epochs leave sixteen particles at twice the exact energy."""
FREE = tuple(SystemConfig(count, 0.0) for count in PARTICLES)
SYSTEMS = (*FREE, *(SystemConfig(PARTICLES[0], v0) for v0 in COUPLED))


def large_run(name: str, system: SystemConfig, pretraining_rate: float | None = None) -> RunConfig:
    """The run of an optimiser at the laptop's size, with its settings as in the 25 cases.

    Args:
        name: of the optimiser.
        system: one of :data:`SYSTEMS`.
        pretraining_rate: in place of the study's, or of :data:`PRETRAINING_RATE` for the larger ones.
    """
    usual = None if system.particles == PARTICLES[0] else PRETRAINING_RATE
    return configure(
        particles=system.particles,
        v0=system.v0,
        optimizer=name,
        epochs=EPOCHS,
        evaluation_batches=BATCHES,
        pretrain_learning_rate=pretraining_rate or usual,
    )


def study_pretrained() -> RunConfig:
    """Sixteen particles from where the study's pretraining leaves them."""
    return large_run(OWN, FREE[1], PretrainingConfig.learning_rate)


def large_runs(names: Sequence[str]) -> list[RunConfig]:
    """The runs of some optimisers in all systems."""
    return [large_run(name, system) for name in names for system in SYSTEMS]


def excess_left(run: Run, exact: float) -> float:
    """How much of the first epoch's excess over the exact energy the last twentieth of the epochs has, by its median.

    Infinite for a run that diverged.
    """
    if not run.complete:
        return math.inf
    first = relative_error(run.curve["energy"], exact).iloc[0]
    return float(abs(last_errors(run, exact).median() / first))


def free_density(particles: int, x: np.ndarray) -> np.ndarray:
    """n(x) of particles without interaction, the sum of |phi_n(x)|^2 over the oscillator's A lowest functions.

    Args:
        particles: A.
        x: positions, any shape.
    """
    return np.asarray(np.sum(oscillator_orbitals(x, particles) ** 2, axis=-1))


def density_distance(density: pd.DataFrame, particles: int) -> float:
    """Share of the particles that a sampled density has elsewhere than without interaction: 1/2 int |n - n_0| dx / A.

    Args:
        density: columns x, n, of bins of equal width.
        particles: A.
    """
    x = density["x"].to_numpy()
    apart = np.abs(density["n"].to_numpy() - free_density(particles, x))
    return float(0.5 * apart.sum() * (x[1] - x[0]) / particles)
