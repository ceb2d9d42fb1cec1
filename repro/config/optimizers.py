"""The configurations of the optimisers, and their options as a command line has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from repro.config.checks import built, choice, fraction, integer, real, shown, text
from repro.errors import InputError

OPTIMIZERS = ("adam", "kfac", "qn-kfac", "qn-mr-kfac", "ngd", "dgd")
PROTOCOLS = ("released", "deck")
PROTOCOL_POINTS = ("fisher", "factors", "residual", "ratio", "energies", "clipping")
"""Where the printed algorithm and the released implementation differ: the Fisher metric in the quadratic model, the
Kronecker factors, MINRES' first residual, how a step is judged, the energies it is judged by, and the local energies in
the quasi-Hessian."""
MEDIAN = "median"
"""A further point, in which both texts agree and this package differs from the released implementation unless asked
for it: the median that local energies are clipped around is there the lower of the two middle values (PyTorch's)."""
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


def _clamp(part: DampingConfig | FactorsConfig, name: str) -> None:
    real(part, "least", positive=True, name=f"{name}_min")
    real(part, "most", positive=True, name=f"{name}_max")
    if part.least > part.most:
        raise InputError(f"{name}_min = {part.least:g}: must not exceed {name}_max, {part.most:g}")
    if part.initial is not None and not part.least <= part.initial <= part.most:
        raise InputError(f"{name} = {part.initial:g}: must be between {name}_min, {part.least:g}, and {part.most:g}")


@dataclass(frozen=True)
class AdamConfig:
    """Adam with optax's defaults for everything but the learning rate."""

    learning_rate: float = 1e-4
    name: str = "adam"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("adam",))
        real(self, "learning_rate", positive=True)


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
        real(self, "initial", positive=True, name="damping")
        fraction(self, "factor", "damping_factor")
        integer("damping_interval", self.interval, 1)
        for attribute, name in (("low", "ratio_low"), ("high", "ratio_high")):
            real(self, attribute, name=name)
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
            real(self, "initial", positive=True, name="gamma")
        fraction(self, "factor", "gamma_factor")
        integer("gamma_interval", self.interval, 1)
        _clamp(self, "gamma")
        real(self, "memory", name="factor_memory")
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
        integer("minres_iterations", self.iterations, 1)
        real(self, "tolerance", name="minres_tolerance")
        if self.tolerance < 0:
            raise InputError(f"minres_tolerance = {self.tolerance:g}: must not be negative")
        real(self, "preconditioner_shift", positive=True)
        real(self, "preconditioner_power")
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
        real(self, "decay", name="start_decay")
        if not 0 <= self.decay <= 1:
            raise InputError(f"start_decay = {self.decay:g}: must be between 0 and 1")
        choice("start", self.sign, STARTS)


def deck_points(protocol: str) -> frozenset[str]:
    """The points of :data:`PROTOCOL_POINTS` in which a protocol follows the printed algorithm.

    Raises:
        InputError: for an unknown protocol or point, or points that are not in their order.
    """
    text("protocol", protocol)
    base, slash, listed = protocol.partition("/")
    choice("protocol", base, PROTOCOLS)
    if base == "deck" and not slash:
        return frozenset(PROTOCOL_POINTS)
    points = listed.split(",") if slash else []
    # One spelling for each set, so that one protocol has one content hash.
    ordered = [point for point in (*PROTOCOL_POINTS, MEDIAN) if point in points]
    if base == "deck" or points != ordered or (slash and not points):
        raise InputError(
            f"protocol = {shown(protocol)}: after released/ come points as in the deck, in this order and separated by "
            f"commas: {', '.join(PROTOCOL_POINTS)}; last may come {MEDIAN}, PyTorch's"
        )
    return frozenset(points)


def lower_median(config: OptimizerConfig) -> bool:
    """Whether local energies are clipped around the lower of the two middle values, see :data:`MEDIAN`."""
    return isinstance(config, SecondOrderConfig) and MEDIAN in deck_points(config.protocol)


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
        choice("optimizer", self.name, tuple(PARTS_OF))
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
        choice("optimizer", self.name, ("proximal-dgd",))
        text("without", self.without)
        listed = self.without.split(",") if self.without else []
        # One spelling for each set, so that one ablation has one content hash.
        if listed != [part for part in PROXIMAL_PARTS if part in listed]:
            raise InputError(
                f"without = {shown(self.without)}: must be parts in this order, separated by commas: "
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
        choice("optimizer", self.name, ("minsr", "spring"))
        for attribute in ("learning_rate", "damping", "step_limit"):
            real(self, attribute, positive=True)
        if self.name == "spring":
            fraction(self, "momentum", "momentum")
        elif self.momentum != 0:
            raise InputError(f"optimizer.momentum = {shown(self.momentum)}: minsr has none; make it 0")


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
    choice("optimizer", name, ALL_OPTIMIZERS)
    given = {option: value for option, value in options.items() if value is not None}
    parts = ("damping", *PARTS_OF[name]) if name in PARTS_OF else ()
    flat = _FLAT.get(name)
    own = flat.options if flat else ("protocol",)
    allowed = (*own, *(option for option, (part, _) in OPTIMIZER_OPTIONS.items() if part in parts))
    for option, value in given.items():
        if option not in allowed:
            raise InputError(f"{option} = {shown(value)}: has no effect on {name}, which takes {', '.join(allowed)}")
    if flat:
        made: OptimizerConfig = flat.kind(name=name, **{**flat.defaults, **given})
        return made
    values: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for option, (part, attribute) in OPTIMIZER_OPTIONS.items():
        if option in given:
            values[part][attribute] = given[option]
    built = {part: _OPTIMIZER_PARTS[part](**values[part]) for part in parts}
    return SecondOrderConfig(name, given.get("protocol", "released"), **built)


def built_optimizer(data: object) -> OptimizerConfig:
    """The configuration of an optimiser from plain data."""
    name = str(data.get("name")) if isinstance(data, dict) else ""
    if isinstance(data, dict) and "name" in data:
        choice("optimizer", data["name"], ALL_OPTIMIZERS)
    if not isinstance(data, dict) or name not in PARTS_OF:
        return built(_FLAT[name].kind if name in _FLAT else AdamConfig, data, "optimizer.")
    parts = {
        key: built(_OPTIMIZER_PARTS[key], value, f"optimizer.{key}.")
        if key in _OPTIMIZER_PARTS and value is not None
        else value
        for key, value in data.items()
    }
    return built(SecondOrderConfig, parts, "optimizer.")
