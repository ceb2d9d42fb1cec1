"""Profiles: three sizes at which everything can be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from repro.config import (
    BEYOND,
    AnsatzConfig,
    EvaluationConfig,
    PretrainingConfig,
    RunConfig,
    SamplingConfig,
    Sweeps,
    SystemConfig,
    optimizer_config,
    option_parameters,
)
from repro.config.checks import choice
from repro.config.options import takes

Value = TypeVar("Value")


@dataclass(frozen=True)
class Profile:
    """Defaults for the size of a run; any option overrides them."""

    walkers: int
    sweeps: int
    pretrain_epochs: int
    epochs: int
    evaluation_batches: int
    purpose: str


PROFILES = {
    "smoke": Profile(256, 10, 100, 100, 20, "seconds: does it run?"),
    "laptop": Profile(1024, 40, 1000, 1000, 200, "minutes on two cores: does it converge?"),
    "paper": Profile(4096, 400, 1000, 1000, 100, "the study's own settings"),
}


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: if there is none.
    """
    choice("profile", name, tuple(PROFILES))
    return PROFILES[name]


def _choose(value: Value | None, default: Value) -> Value:
    """The value, or the default where there is none."""
    return default if value is None else value


@takes(option_parameters())
def configure(
    *,
    particles: int,
    v0: float,
    optimizer: str = "adam",
    profile: str = "laptop",
    sigma0: float = 0.5,
    seed: int = 0,
    epochs: int | None = None,
    pretrain_epochs: int | None = None,
    pretrain_learning_rate: float | None = None,
    network: str = "",
    walkers: int | None = None,
    sweeps: Sweeps | None = None,
    layers: int = 2,
    hidden: int = 64,
    determinants: int = 1,
    dtype: str = "float32",
    evaluation_batches: int | None = None,
    **optimizer_options: Any,
) -> RunConfig:
    """A complete configuration from a profile and what overrides it.

    ``optimizer_options`` are those of the optimiser, see :func:`repro.config.options_of`; None stands for its default.
    The others are the configuration's own.

    Raises:
        InputError: for any value out of its bounds.
    """
    size = profile_named(profile)

    return RunConfig(
        system=SystemConfig(particles, v0, sigma0),
        ansatz=AnsatzConfig(layers, hidden, determinants),
        sampling=SamplingConfig(_choose(walkers, size.walkers), _choose(sweeps, size.sweeps)),
        pretraining=PretrainingConfig(
            _choose(pretrain_epochs, 0 if network else size.pretrain_epochs),
            _choose(pretrain_learning_rate, PretrainingConfig.learning_rate),
            network,
        ),
        optimizer=optimizer_config(optimizer, **optimizer_options),
        evaluation=EvaluationConfig(_choose(evaluation_batches, size.evaluation_batches)),
        epochs=_choose(epochs, size.epochs),
        seed=seed,
        dtype=dtype,
    )


EPOCHS = {"adam": 10_000} | dict.fromkeys(BEYOND, 500)
"""The deck lets Adam run so long; the other optimisers of the study have the profile's epochs."""


def study_run(optimizer: str, system: SystemConfig, seed: int = 0, profile: str = "laptop") -> RunConfig:
    """The run of the study for an optimiser and a case: every regulator as released."""
    return configure(
        particles=system.particles,
        v0=system.v0,
        sigma0=system.sigma0,
        optimizer=optimizer,
        seed=seed,
        profile=profile,
        epochs=EPOCHS.get(optimizer),
    )
