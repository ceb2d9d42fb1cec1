"""The configuration of a run of the study: complete, and hashable into the run's name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from repro.config.checks import OPTIONAL, built, choice, integer, real, shown
from repro.config.content import Configuration, built_from
from repro.config.optimizers import AdamConfig, OptimizerConfig, built_optimizer
from repro.errors import InputError

MOST_LAYERS = 100
"""Each is a piece of program of its own."""
DTYPES = ("float32", "float64")
MAX_SEED = 2**32 - 1
STRONGEST = 1e6
"""Of |V0|, in hbar omega times oscillator lengths."""
NARROWEST, WIDEST = 1e-5, 1e5
"""Of sigma0, in oscillator lengths; a position of order one is known to 1e-7."""
AUTO: Literal["auto"] = "auto"
Sweeps = int | Literal["auto"]
SWEEPS_COLUMN = "sweeps"
"""The last column of a run's tables where the number of sweeps is found by the chains themselves."""


@dataclass(frozen=True)
class SystemConfig:
    """The Hamiltonian: A particles, V0 and sigma0 (see ``repro.vmc.physics.hamiltonian``)."""

    particles: int
    v0: float
    sigma0: float = 0.5

    def __post_init__(self) -> None:
        integer("particles", self.particles, 1)
        real(self, "v0")
        real(self, "sigma0", positive=True)
        if abs(self.v0) > STRONGEST:
            raise InputError(
                f"v0 = {self.v0:g}: must be at most {STRONGEST:g} in modulus; no walk of single precision samples more"
            )
        if not NARROWEST <= self.sigma0 <= WIDEST:
            raise InputError(
                f"sigma0 = {self.sigma0:g}: must be between {NARROWEST:g} and {WIDEST:g} oscillator lengths; positions "
                "of single precision resolve no narrower interaction, and a wider one is constant"
            )


@dataclass(frozen=True)
class AnsatzConfig:
    """The network: L layers of H units, D determinants."""

    layers: int = 2
    hidden: int = 64
    determinants: int = 1

    def __post_init__(self) -> None:
        integer("layers", self.layers, 1, MOST_LAYERS)
        integer("hidden", self.hidden, 1)
        integer("determinants", self.determinants, 1)


@dataclass(frozen=True)
class SamplingConfig:
    """The Markov chains: how many walkers, sweeps between two epochs ("auto": found by the chains themselves)."""

    walkers: int
    sweeps: Sweeps

    def __post_init__(self) -> None:
        integer("walkers", self.walkers, 2)
        if not isinstance(self.sweeps, str):
            integer("sweeps", self.sweeps, 1)
        elif self.sweeps != AUTO:
            raise InputError(f"sweeps = {shown(self.sweeps)}: must be a whole number, or {AUTO!r}")


@dataclass(frozen=True)
class PretrainingConfig:
    """The fit of the orbitals to those of the oscillator, by Adam, or the network that takes its place.

    Attributes:
        epochs: of the fit; none where a network is given.
        learning_rate: of Adam.
        network: hash of an imported network to begin with, see :mod:`repro.training.imported`; "" for a fit.
    """

    epochs: int
    learning_rate: float = 1e-4
    network: str = field(default="", metadata=OPTIONAL)

    def __post_init__(self) -> None:
        integer("pretrain_epochs", self.epochs, 0)
        real(self, "learning_rate", positive=True, name="pretraining learning_rate")
        if not isinstance(self.network, str) or not re.fullmatch(r"([0-9a-f]{16})?", self.network):
            raise InputError(f"network = {shown(self.network)}: must be the 16 hexadecimal digits that name a network")
        if self.network and self.epochs:
            raise InputError(
                f"pretrain_epochs = {self.epochs}: an imported network is not pretrained any further; make it 0"
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """The final energy: batches at fixed parameters, one walk of ``sweeps`` apart."""

    batches: int

    def __post_init__(self) -> None:
        # Split R-hat halves every chain and needs a variance in each half.
        integer("evaluation_batches", self.batches, 8)


@dataclass(frozen=True)
class RunConfig(Configuration):
    """Everything that determines the results of a run of the study, an energy, on a given machine."""

    system: SystemConfig
    sampling: SamplingConfig
    pretraining: PretrainingConfig
    evaluation: EvaluationConfig
    epochs: int
    ansatz: AnsatzConfig = field(default_factory=AnsatzConfig)
    optimizer: OptimizerConfig = field(default_factory=AdamConfig)
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        integer("epochs", self.epochs, 1)
        integer("seed", self.seed, 0, MAX_SEED)
        choice("dtype", self.dtype, DTYPES)
        if self.system.particles > self.ansatz.hidden:
            raise InputError(
                f"particles = {self.system.particles}: must not exceed the hidden units, {self.ansatz.hidden}, or the "
                f"orbitals cannot be independent; raise --hidden to at least {self.system.particles}"
            )

    @property
    def run_name(self) -> str:
        """A directory name that a person can read and the hash makes unique."""
        system = self.system
        return f"{self.optimizer.name}-A{system.particles}-V{system.v0:g}-seed{self.seed}-{self.content_hash[:8]}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a missing or unknown key, or a value out of bounds.
        """
        parts = {name: partial(built, part, prefix=f"{name}.") for name, part in _PARTS.items()}
        return built_from(cls, data, parts | {"optimizer": built_optimizer})


_PARTS: dict[str, type] = {
    "system": SystemConfig,
    "ansatz": AnsatzConfig,
    "sampling": SamplingConfig,
    "pretraining": PretrainingConfig,
    "evaluation": EvaluationConfig,
}
