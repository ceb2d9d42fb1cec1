"""The configuration of a run: frozen, validated, complete, and hashable into the run's name.

What is not in here (device, threads, versions, how many walkers are differentiated at once) is not meant to change a
result beyond its statistical error and is recorded in ``result.json`` instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from repro.errors import InputError

SCHEMA = 1
OPTIMIZERS = ("adam", "kfac", "qn-kfac", "qn-mr-kfac", "ngd", "dgd")
PROTOCOLS = ("released", "deck")
PROTOCOL_POINTS = ("fisher", "factors", "residual", "ratio", "energies", "clipping")
"""Where the printed algorithm and the released implementation differ: the Fisher metric in the quadratic model, the
Kronecker factors, MINRES' first residual, how a step is judged, the energies it is judged by, and the local energies in
the quasi-Hessian."""
BEYOND = ("proximal-dgd", "minsr", "spring")
"""Optimisers that the study does not have."""
ALL_OPTIMIZERS = (*OPTIMIZERS, *BEYOND)
PROXIMAL_PARTS = (
    "momentum",
    "coupling",
    "information",
    "kinetic",
    "limit",
    "rejection",
    "basis",
)
"""What an ablation can take from proximal-dgd: the previous update; what couples layers; the Fisher metric in the
damping, in favour of the identity; the kinetic energy in the damping; the longest step; the rejection of steps; the
eigenbases in which the system is preconditioned."""
STARTS = ("anti-aligned", "aligned")
DTYPES = ("float32", "float64")
MAX_SEED = 2**32 - 1
AUTO: Literal["auto"] = "auto"
Sweeps = int | Literal["auto"]


def _unknown_optimizer(name: object) -> InputError:
    return InputError(f"optimizer = {name!r}: unknown; choose one of {', '.join(ALL_OPTIMIZERS)}")


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


def _fraction(part: object, attribute: str, name: str) -> None:
    _real(part, attribute, positive=True, name=name)
    if (value := getattr(part, attribute)) >= 1:
        raise InputError(f"{name} = {value:g}: must be below 1")


def _clamp(part: DampingConfig | FactorsConfig, name: str) -> None:
    _real(part, "least", positive=True, name=f"{name}_min")
    _real(part, "most", positive=True, name=f"{name}_max")
    if part.least > part.most:
        raise InputError(f"{name}_min = {part.least:g}: must not exceed {name}_max, {part.most:g}")
    if part.initial is not None and not part.least <= part.initial <= part.most:
        raise InputError(f"{name} = {part.initial:g}: must be between {name}_min, {part.least:g}, and {part.most:g}")


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
    """The Markov chains: how many walkers, sweeps between two epochs ("auto": found by the chains themselves)."""

    walkers: int
    sweeps: Sweeps

    def __post_init__(self) -> None:
        _integer("walkers", self.walkers, 2)
        if not isinstance(self.sweeps, str):
            _integer("sweeps", self.sweeps, 1)
        elif self.sweeps != AUTO:
            raise InputError(f"sweeps = {self.sweeps!r}: must be a whole number, or {AUTO!r}")


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
        if self.name != "adam":
            raise _unknown_optimizer(self.name)
        _real(self, "learning_rate", positive=True)


@dataclass(frozen=True)
class DampingConfig:
    """The damping lambda and its Levenberg-Marquardt rule.

    Attributes:
        initial: lambda of the first epoch.
        factor: w1; lambda is multiplied or divided by w1^interval.
        interval: epochs between two adaptations, the first of them in epoch 0.
        low: ratio of actual to predicted change below which lambda grows.
        high: ratio above which it shrinks.
        least: lower clamp.
        most: upper clamp.
    """

    initial: float = 1e3
    factor: float = 19 / 20
    interval: int = 5
    low: float = 0.25
    high: float = 0.75
    least: float = 1e-7
    most: float = 1e20

    def __post_init__(self) -> None:
        _real(self, "initial", positive=True, name="damping")
        _fraction(self, "factor", "damping_factor")
        _integer("damping_interval", self.interval, 1)
        for attribute, name in (("low", "ratio_low"), ("high", "ratio_high")):
            _real(self, attribute, name=name)
        if not self.low < self.high:
            raise InputError(f"ratio_low = {self.low:g}: must be below ratio_high, {self.high:g}")
        _clamp(self, "damping")


@dataclass(frozen=True)
class FactorsConfig:
    """The Kronecker factors: their memory, and the factored Tikhonov regularisation gamma with its greedy rule.

    Attributes:
        initial: gamma of the first epoch; None for the square root of the damping's.
        factor: w2; gamma w2^interval, gamma and gamma / w2^interval are compared.
        interval: epochs between two comparisons, the first of them in epoch 0.
        least: lower clamp.
        most: upper clamp.
        memory: largest weight of the past in the moving averages of the factors.
    """

    initial: float | None = None
    factor: float = math.sqrt(19 / 20)
    interval: int = 5
    least: float = 1e-4
    most: float = 1e20
    memory: float = 0.9

    def __post_init__(self) -> None:
        if self.initial is not None:
            _real(self, "initial", positive=True, name="gamma")
        _fraction(self, "factor", "gamma_factor")
        _integer("gamma_interval", self.interval, 1)
        _clamp(self, "gamma")
        _real(self, "memory", name="factor_memory")
        if not 0 <= self.memory < 1:
            raise InputError(f"factor_memory = {self.memory:g}: must be at least 0 and below 1")


@dataclass(frozen=True)
class MinresConfig:
    """The MINRES solver; its preconditioner is (diagonal + preconditioner_shift)^preconditioner_power.

    Attributes:
        iterations: the most in one epoch.
        tolerance: relative residual at which it stops.
        preconditioner_shift: kappa.
        preconditioner_power: xi; 0 turns preconditioning off.
    """

    iterations: int = 50
    tolerance: float = 1e-8
    preconditioner_shift: float = 1e-2
    preconditioner_power: float = 0.75

    def __post_init__(self) -> None:
        _integer("minres_iterations", self.iterations, 1)
        _real(self, "tolerance", name="minres_tolerance")
        if self.tolerance < 0:
            raise InputError(f"minres_tolerance = {self.tolerance:g}: must not be negative")
        _real(self, "preconditioner_shift", positive=True)
        _real(self, "preconditioner_power")
        if not 0 <= self.preconditioner_power <= 1:
            raise InputError(f"preconditioner_power = {self.preconditioner_power:g}: must be between 0 and 1")


@dataclass(frozen=True)
class StartConfig:
    """Where MINRES starts from: a multiple of the previous update.

    Attributes:
        decay: zeta.
        sign: "anti-aligned" starts from +zeta delta_prev, as the study does although the solution points uphill;
            "aligned" from -zeta delta_prev.
    """

    decay: float = 0.95
    sign: str = "anti-aligned"

    def __post_init__(self) -> None:
        _real(self, "decay", name="start_decay")
        if not 0 <= self.decay <= 1:
            raise InputError(f"start_decay = {self.decay:g}: must be between 0 and 1")
        if self.sign not in STARTS:
            raise InputError(f"start = {self.sign!r}: unknown; choose one of {', '.join(STARTS)}")


def deck_points(protocol: str) -> frozenset[str]:
    """The points of :data:`PROTOCOL_POINTS` in which a protocol follows the printed algorithm.

    Raises:
        InputError: for an unknown protocol or point, or points that are not in their order.
    """
    base, slash, listed = protocol.partition("/")
    if base not in PROTOCOLS:
        raise InputError(f"protocol = {protocol!r}: unknown; choose one of {', '.join(PROTOCOLS)}")
    if base == "deck" and not slash:
        return frozenset(PROTOCOL_POINTS)
    points = listed.split(",") if slash else []
    # One spelling for each set, so that one protocol has one content hash.
    ordered = [point for point in PROTOCOL_POINTS if point in points]
    if base == "deck" or points != ordered or (slash and not points):
        raise InputError(
            f"protocol = {protocol!r}: after released/ come points as in the deck, in this order and separated by "
            f"commas: {', '.join(PROTOCOL_POINTS)}"
        )
    return frozenset(points)


@dataclass(frozen=True)
class SecondOrderConfig:
    """A second-order optimiser: which row of the study's table, in whose protocol, with which regulators.

    Attributes:
        name: one of :data:`PARTS_OF`.
        protocol: "released", what the authors' implementation does; "deck", what the slides print; or the first with
            some points as in the second, as in "released/ratio,energies".
        damping: every row has it.
        factors: rows that invert Kronecker factors; None for the others.
        minres: rows that solve by MINRES.
        start: rows whose MINRES starts from the previous update.
    """

    name: str
    protocol: str = "released"
    damping: DampingConfig = field(default_factory=DampingConfig)
    factors: FactorsConfig | None = None
    minres: MinresConfig | None = None
    start: StartConfig | None = None

    def __post_init__(self) -> None:
        if self.name not in PARTS_OF:
            raise _unknown_optimizer(self.name)
        deck_points(self.protocol)
        for part in ("factors", "minres", "start"):
            if (getattr(self, part) is not None) != (part in PARTS_OF[self.name]):
                wrong = "missing" if part in PARTS_OF[self.name] else f"{self.name} has no such part; leave it out"
                raise InputError(f"optimizer.{part}: {wrong}")


PARTS_OF: dict[str, tuple[str, ...]] = {
    "kfac": ("factors",),
    "qn-kfac": ("factors",),
    "qn-mr-kfac": ("factors", "minres"),
    "ngd": ("minres", "start"),
    "dgd": ("minres", "start"),
}
"""Which regulators, besides the damping, each second-order optimiser has."""


@dataclass(frozen=True)
class ProximalConfig:
    """Proximal decisional gradient descent, which has no number to tune.

    Attributes:
        name: "proximal-dgd".
        without: parts of :data:`PROXIMAL_PARTS` that are left out, in their order and separated by commas.
    """

    name: str = "proximal-dgd"
    without: str = ""

    def __post_init__(self) -> None:
        if self.name != "proximal-dgd":
            raise _unknown_optimizer(self.name)
        if not isinstance(self.without, str):
            raise InputError(f"without = {self.without!r}: must be a text")
        listed = self.without.split(",") if self.without else []
        # One spelling for each set, so that one ablation has one content hash.
        if listed != [part for part in PROXIMAL_PARTS if part in listed]:
            raise InputError(
                f"without = {self.without!r}: must be parts in this order, separated by commas: "
                f"{', '.join(PROXIMAL_PARTS)}"
            )

    @property
    def left_out(self) -> frozenset[str]:
        """The parts that are left out."""
        return frozenset(self.without.split(",")) - {""}


@dataclass(frozen=True)
class SpringConfig:
    """Natural gradients in the walkers' space, as the field has them today; defaults as tuned, see docs/proximal.md.

    Attributes:
        name: "minsr" or "spring".
        learning_rate: tau, a step in imaginary time.
        damping: lambda, added to O O^T.
        momentum: mu; zero for minSR.
        step_limit: the largest |tau phi|^2; longer steps are cut.
    """

    name: str = "spring"
    learning_rate: float = 0.1
    damping: float = 0.1
    momentum: float = 0.99
    step_limit: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in ("minsr", "spring"):
            raise _unknown_optimizer(self.name)
        for attribute in ("learning_rate", "damping", "step_limit"):
            _real(self, attribute, positive=True)
        if self.name == "spring":
            _fraction(self, "momentum", "momentum")
        elif self.momentum != 0:
            raise InputError(f"optimizer.momentum = {self.momentum!r}: minsr has none; make it 0")


_OPTIMIZER_PARTS: dict[str, type] = {
    "damping": DampingConfig,
    "factors": FactorsConfig,
    "minres": MinresConfig,
    "start": StartConfig,
}

OPTIMIZER_OPTIONS: dict[str, tuple[str, str]] = {
    "damping": ("damping", "initial"),
    "damping_factor": ("damping", "factor"),
    "damping_interval": ("damping", "interval"),
    "damping_min": ("damping", "least"),
    "damping_max": ("damping", "most"),
    "ratio_low": ("damping", "low"),
    "ratio_high": ("damping", "high"),
    "gamma": ("factors", "initial"),
    "gamma_factor": ("factors", "factor"),
    "gamma_interval": ("factors", "interval"),
    "gamma_min": ("factors", "least"),
    "gamma_max": ("factors", "most"),
    "factor_memory": ("factors", "memory"),
    "minres_iterations": ("minres", "iterations"),
    "minres_tolerance": ("minres", "tolerance"),
    "preconditioner_shift": ("minres", "preconditioner_shift"),
    "preconditioner_power": ("minres", "preconditioner_power"),
    "start_decay": ("start", "decay"),
    "start": ("start", "sign"),
}
"""The regulators as flat options: name -> (part, attribute)."""

OptimizerConfig = AdamConfig | SecondOrderConfig | ProximalConfig | SpringConfig


class _Flat(NamedTuple):
    """An optimiser whose options are its own, not those of the second-order table."""

    kind: type
    options: tuple[str, ...]
    defaults: Mapping[str, float] = MappingProxyType({})


_FLAT = {
    "adam": _Flat(AdamConfig, ("learning_rate",)),
    "proximal-dgd": _Flat(ProximalConfig, ("without",)),
    "minsr": _Flat(
        SpringConfig,
        ("learning_rate", "damping", "step_limit"),
        {"momentum": 0.0, "damping": 1e-3},
    ),
    "spring": _Flat(SpringConfig, ("learning_rate", "damping", "momentum", "step_limit")),
}


def optimizer_config(name: str, **options: Any) -> OptimizerConfig:
    """The configuration of an optimiser from flat options; those that are None keep the study's values.

    Args:
        name: one of :data:`OPTIMIZERS` or :data:`BEYOND`.
        options: for the rows of :data:`PARTS_OF` ``protocol`` and the names in :data:`OPTIMIZER_OPTIONS`; for the
            others their own.

    Raises:
        InputError: for an unknown name, an option that this optimiser does not have, or a value out of bounds.
    """
    if name not in ALL_OPTIMIZERS:
        raise _unknown_optimizer(name)
    given = {option: value for option, value in options.items() if value is not None}
    parts = ("damping", *PARTS_OF[name]) if name in PARTS_OF else ()
    flat = _FLAT.get(name)
    own = flat.options if flat else ("protocol",)
    allowed = (*own, *(option for option, (part, _) in OPTIMIZER_OPTIONS.items() if part in parts))
    for option, value in given.items():
        if option not in allowed:
            raise InputError(f"{option} = {value!r}: has no effect on {name}, which takes {', '.join(allowed)}")
    if flat:
        made: OptimizerConfig = flat.kind(name=name, **{**flat.defaults, **given})
        return made
    values: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for option, (part, attribute) in OPTIMIZER_OPTIONS.items():
        if option in given:
            values[part][attribute] = given[option]
    built = {part: _OPTIMIZER_PARTS[part](**values[part]) for part in parts}
    return SecondOrderConfig(name, given.get("protocol", "released"), **built)


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
    optimizer: OptimizerConfig = field(default_factory=AdamConfig)
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
        if "optimizer" in parts:
            parts["optimizer"] = _build_optimizer(parts["optimizer"])
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
    "evaluation": EvaluationConfig,
}


def _build_optimizer(data: object) -> OptimizerConfig:
    name = str(data.get("name")) if isinstance(data, dict) else ""
    if not isinstance(data, dict) or name not in PARTS_OF:
        return _build(_FLAT[name].kind if name in _FLAT else AdamConfig, data, "optimizer.")
    parts = {
        key: _build(_OPTIMIZER_PARTS[key], value, f"optimizer.{key}.")
        if key in _OPTIMIZER_PARTS and value is not None
        else value
        for key, value in data.items()
    }
    return _build(SecondOrderConfig, parts, "optimizer.")


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
