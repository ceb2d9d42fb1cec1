"""The configuration of a run: frozen, validated, complete, and hashable into the run's name.

What is not in here (device, threads, versions, how many walkers are differentiated at once) is not meant to change a
result beyond its statistical error and is recorded in ``result.json`` instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from repro.errors import InputError

SCHEMA = 1
OPTIMIZERS = ("adam",)
DTYPES = ("float32", "float64")
MAX_SEED = 2**32 - 1
WIDEST_JET = 2**23


def _integer(name: str, value: object, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} = {value!r}: must be a whole number")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InputError(f"{name} = {value}: must be {bounds}")


def _real(part: object, attribute: str, positive: bool = False, name: str | None = None) -> None:
    """Checks a number and stores it as a float, so that -10 and -10.0 are one configuration."""
    name, value = name or attribute, getattr(part, attribute)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} = {value!r}: must be a number")
    if not math.isfinite(value):
        raise InputError(f"{name} = {value}: must be finite")
    if positive and value <= 0:
        raise InputError(f"{name} = {value:g}: must be positive")
    object.__setattr__(part, attribute, float(value))


@dataclass(frozen=True)
class SystemConfig:
    """The Hamiltonian: A particles, V0 and sigma0 (see ``repro.physics.hamiltonian``)."""

    particles: int
    v0: float
    sigma0: float = 0.5

    def __post_init__(self) -> None:
        _integer("particles", self.particles, 1)
        _real(self, "v0")
        _real(self, "sigma0", positive=True)


@dataclass(frozen=True)
class AnsatzConfig:
    """The network: L layers of H units, D determinants."""

    layers: int = 2
    hidden: int = 64
    determinants: int = 1

    def __post_init__(self) -> None:
        _integer("layers", self.layers, 1)
        _integer("hidden", self.hidden, 1)
        _integer("determinants", self.determinants, 1)


@dataclass(frozen=True)
class SamplingConfig:
    """The Markov chains: how many walkers, sweeps between two epochs."""

    walkers: int
    sweeps: int

    def __post_init__(self) -> None:
        _integer("walkers", self.walkers, 2)
        _integer("sweeps", self.sweeps, 1)


@dataclass(frozen=True)
class PretrainingConfig:
    """The fit of the orbitals to those of the oscillator, by Adam."""

    epochs: int
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        _integer("pretrain_epochs", self.epochs, 0)
        _real(self, "learning_rate", positive=True, name="pretraining learning_rate")


@dataclass(frozen=True)
class AdamConfig:
    """Adam with optax's defaults for everything but the learning rate."""

    learning_rate: float = 1e-4
    name: str = "adam"

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise InputError(f"optimizer = {self.name!r}: unknown; choose one of {', '.join(OPTIMIZERS)}")
        _real(self, "learning_rate", positive=True)


@dataclass(frozen=True)
class EvaluationConfig:
    """The final energy: batches at fixed parameters, one walk of ``sweeps`` apart."""

    batches: int

    def __post_init__(self) -> None:
        # Split R-hat halves every chain and needs a variance in each half.
        _integer("evaluation_batches", self.batches, 8)


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run's results on a given machine."""

    system: SystemConfig
    sampling: SamplingConfig
    pretraining: PretrainingConfig
    evaluation: EvaluationConfig
    epochs: int
    ansatz: AnsatzConfig = field(default_factory=AnsatzConfig)
    optimizer: AdamConfig = field(default_factory=AdamConfig)
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _integer("epochs", self.epochs, 1)
        _integer("seed", self.seed, 0, MAX_SEED)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype = {self.dtype!r}: unknown; choose one of {', '.join(DTYPES)}")
        if self.system.particles > self.ansatz.hidden:
            raise InputError(
                f"particles = {self.system.particles}: must not exceed the hidden units, {self.ansatz.hidden}, or the "
                f"orbitals cannot be independent; raise --hidden to at least {self.system.particles}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain data, ready for JSON."""
        return dataclasses.asdict(self)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON form, 16 hexadecimal digits."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def run_name(self) -> str:
        """A directory name that a person can read and the hash makes unique."""
        system = self.system
        return f"{self.optimizer.name}-A{system.particles}-V{system.v0:g}-seed{self.seed}-{self.content_hash[:8]}"

    def to_json(self) -> str:
        """The text of ``config.json``."""
        document = {"schema": SCHEMA, "content_hash": self.content_hash, "config": self.to_dict()}
        return json.dumps(document, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a missing or unknown key, or a value out of bounds.
        """
        parts: dict[str, Any] = dict(data)
        for name, part in _PARTS.items():
            if name in parts:
                parts[name] = _build(part, parts[name], f"{name}.")
        return _build(cls, parts, "")

    @classmethod
    def from_json(cls, text: str, source: str) -> RunConfig:
        """Reads ``config.json`` and verifies its hash.

        Args:
            text: the file's content.
            source: how to call the file in an error.

        Raises:
            InputError: if the text is no valid configuration or was altered.
        """
        try:
            document = json.loads(text)
            schema, stated, data = document["schema"], document["content_hash"], document["config"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{source}: not a run configuration ({error!r})") from error
        if schema != SCHEMA:
            raise InputError(f"{source}: schema {schema!r}, but this version reads schema {SCHEMA}")
        try:
            config = cls.from_dict(data)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        if config.content_hash != stated:
            raise InputError(
                f"{source}: content hash is {config.content_hash}, but the file states {stated}: "
                "the configuration was altered after the run"
            )
        return config


_PARTS: dict[str, type] = {
    "system": SystemConfig,
    "ansatz": AnsatzConfig,
    "sampling": SamplingConfig,
    "pretraining": PretrainingConfig,
    "optimizer": AdamConfig,
    "evaluation": EvaluationConfig,
}


def _build(cls: type, data: object, prefix: str) -> Any:
    if not isinstance(data, dict):
        raise InputError(f"{prefix.rstrip('.') or 'configuration'} = {data!r}: must be an object with keys")
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - known):
        raise InputError(f"unknown key {prefix}{unknown[0]}; known are {', '.join(sorted(known))}")
    if missing := sorted(known - set(data)):
        raise InputError(f"missing key {prefix}{missing[0]}")
    return cls(**data)


def differences(stored: RunConfig, wanted: RunConfig) -> list[str]:
    """One line for each value in which two configurations differ, ``key: stored -> wanted``."""

    def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        items: dict[str, Any] = {}
        for key, value in data.items():
            items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return items

    old, new = flat(stored.to_dict()), flat(wanted.to_dict())
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key)]


def resolve_walker_chunk(config: RunConfig, wanted: int | None = None) -> int:
    """How many walkers to differentiate at once.

    Args:
        config: the run.
        wanted: a choice to check, or None for the largest divisor of the number of walkers whose widest jet, (A + 2)
            A H numbers a walker, stays within :data:`WIDEST_JET` numbers.

    Raises:
        InputError: if ``wanted`` does not divide the number of walkers.
    """
    walkers, particles = config.sampling.walkers, config.system.particles
    if wanted is None:
        most = max(1, WIDEST_JET // ((particles + 2) * particles * config.ansatz.hidden))
        return next(chunk for chunk in range(min(walkers, most), 0, -1) if walkers % chunk == 0)
    _integer("walker_chunk", wanted, 1)
    if walkers % wanted:
        raise InputError(
            f"walker_chunk = {wanted}: must divide the number of walkers, {walkers}; leave it out for a value chosen "
            "from the memory needed"
        )
    return wanted
