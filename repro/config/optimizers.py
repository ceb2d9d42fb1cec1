"""The configurations of the optimisers with all their options, and the registry of what has which name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from repro.config.checks import SMALLEST, built, choice, fraction, shown, text
from repro.config.options import (
    BELOW_ONE,
    COUNT,
    FRACTION,
    FROM_0_TO_1,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    REAL,
    Bounds,
    Place,
    check_options,
    chosen,
    nested,
    one_of,
    option,
    parts_of,
    places,
    table_of,
    table_parameters,
    whole,
)
from repro.errors import InputError

PROTOCOLS = ("released", "deck")
PROTOCOL_POINTS = ("fisher", "factors", "residual", "ratio", "energies", "clipping")
"""Where the printed algorithm and the released implementation differ: the Fisher metric in the quadratic model, the
Kronecker factors, MINRES' first residual, how a step is judged, the energies it is judged by, and the local energies in
the quasi-Hessian."""
MEDIAN = "median"
"""A further point, in which both texts agree and this package differs from the released implementation unless asked
for it: the median that local energies are clipped around is there the lower of the two middle values (PyTorch's)."""
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
INVERSES = ("eigenvectors", "cholesky")
FACTOR_TARGETS = ("sampled", "exact", "empirical")


ADAM = "D. Kingma, J. Ba, ICLR 2015"
NESTEROV = "I. Sutskever, J. Martens, G. Dahl, G. Hinton, ICML 2013"
HESSIAN_FREE = "J. Martens, ICML 2010"
KRONECKER = "J. Martens, R. Grosse, ICML 2015"
DRISSI = "M. Drissi et al., arXiv:2401.17550"
MINSR = "A. Chen, M. Heyl, Nat. Phys. 20, 1476 (2024)"
SPRING = "G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516, 113351 (2024)"
MARQUARDT = "D. Marquardt, SIAM J. Appl. Math. 11, 431 (1963)"
FUNCTION_MOMENTUM = "talk on momentum in function space, SMAI 2025"
ANAGRAM = "N. Schwencke, C. Furtlehner, arXiv:2412.10782"
ENERGY_NATURAL = "J. Müller, M. Zeinhofer, ICML 2023"
LBFGS = "D. Liu, J. Nocedal, Math. Program. 45, 503 (1989)"
MUON = "K. Jordan et al. (2024), as in optax.contrib"
MOMENTUM_KINDS = ("parameter", "transported", "function-difference", "last-gradient", "nesterov")
SEARCHES = ("none", "halving")
RATES, WALKERS_SPACE = "Learning rate", "Walkers' space"
METRIC = "that of the metric M: 1 for the Fisher metric, hbar omega for the decision metric"

_damping_option = partial(option, group="Damping lambda", reference=f"{KRONECKER}, section 6")
_factors_option = partial(option, group="Kronecker factors", reference=f"{KRONECKER}, section 6")
_minres_option = partial(option, group="MINRES", reference=DRISSI)
_start_option = partial(option, group="Start of MINRES", reference=DRISSI)


def _check_rule(part: DampingConfig | FactorsConfig, name: str) -> None:
    if part.factor**part.interval < SMALLEST:
        longest = math.floor(math.log(SMALLEST) / math.log(part.factor))
        raise InputError(
            f"{name}_interval = {part.interval}: must be at most {longest} with {name}_factor = {part.factor:g}, whose "
            f"power the rule multiplies by; to hold {name} fixed, give {name}_min and {name}_max its value"
        )
    if part.least > part.most:
        raise InputError(f"{name}_min = {part.least:g}: must not exceed {name}_max, {part.most:g}")
    if part.initial is not None and not part.least <= part.initial <= part.most:
        raise InputError(f"{name} = {part.initial:g}: must be between {name}_min, {part.least:g}, and {part.most:g}")


@dataclass(frozen=True)
class AdamConfig:
    """Adam with optax's defaults for everything but the learning rate."""

    learning_rate: float = option(
        1e-4,
        "learning_rate",
        "the largest change of a parameter in one step, nearly",
        unit="1",
        bounds=POSITIVE,
        group=RATES,
        reference=ADAM,
    )
    name: str = "adam"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("adam",))
        check_options(self)


@dataclass(frozen=True)
class SgdConfig:
    """Gradient descent on the samples of each step, with Nesterov's momentum."""

    learning_rate: float = option(
        1e-3,
        "learning_rate",
        "what the gradient, with its momentum, is multiplied by",
        unit="1 / that of the objective",
        bounds=POSITIVE,
        group=RATES,
        reference=NESTEROV,
    )
    momentum: float = option(
        0.9,
        "momentum",
        "mu, what is kept of the sum of the gradients so far; 0 for none",
        unit="1",
        bounds=BELOW_ONE,
        group=RATES,
        reference=NESTEROV,
    )
    name: str = "sgd"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("sgd",))
        check_options(self)


@dataclass(frozen=True)
class DampingConfig:
    """The damping lambda and its Levenberg-Marquardt rule."""

    initial: float = _damping_option(
        1e3,
        "damping",
        "lambda of the first epoch, in the quadratic model 1/2 d^T (M + lambda) d + g^T d that a step minimises",
        unit=METRIC,
        bounds=Bounds("above 0, from damping_min to damping_max", POSITIVE.check),
    )
    factor: float = _damping_option(
        19 / 20,
        "damping_factor",
        "w1; lambda is multiplied by w1^T where the step did better than ratio_high, divided by it below ratio_low",
        unit="1",
        bounds=FRACTION,
    )
    interval: int = _damping_option(
        5,
        "damping_interval",
        "T; epochs from one adaptation of lambda to the next, the first of them in epoch 0",
        unit="epochs",
        bounds=COUNT,
    )
    low: float = _damping_option(
        0.25,
        "ratio_low",
        "ratio rho of actual to predicted change below which lambda grows",
        unit="1",
        bounds=Bounds("below ratio_high", REAL.check),
    )
    high: float = _damping_option(
        0.75,
        "ratio_high",
        "ratio rho of actual to predicted change above which lambda shrinks",
        unit="1",
        bounds=Bounds("above ratio_low", REAL.check),
    )
    least: float = _damping_option(1e-7, "damping_min", "the least lambda", unit="that of damping", bounds=POSITIVE)
    most: float = _damping_option(1e20, "damping_max", "the largest lambda", unit="that of damping", bounds=POSITIVE)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.low < self.high:
            raise InputError(f"ratio_low = {self.low:g}: must be below ratio_high, {self.high:g}")
        _check_rule(self, "damping")


@dataclass(frozen=True)
class FactorsConfig:
    """The Kronecker factors: their memory, how often they are inverted, what they and the model are estimated from.

    Besides, the factored Tikhonov regularisation gamma with its greedy rule.
    """

    initial: float | None = _factors_option(
        None,
        "gamma",
        "gamma of the first epoch; the factors are inverted as A + gamma pi and S + gamma / pi, pi^2 the ratio of "
        "their mean eigenvalues",
        unit="the square root of that of damping",
        bounds=Bounds("above 0, from gamma_min to gamma_max", POSITIVE.check),
        unset="the square root of damping plus the strength of the problem's penalty",
    )
    factor: float = _factors_option(
        math.sqrt(19 / 20),
        "gamma_factor",
        "w2; of gamma w2^T, gamma and gamma / w2^T the one of least predicted objective is taken",
        unit="1",
        bounds=FRACTION,
    )
    interval: int = _factors_option(
        5,
        "gamma_interval",
        "T; epochs from one comparison of gammas to the next, the first of them in epoch 0",
        unit="epochs",
        bounds=COUNT,
    )
    least: float = _factors_option(1e-4, "gamma_min", "the least gamma", unit="that of gamma", bounds=POSITIVE)
    most: float = _factors_option(1e20, "gamma_max", "the largest gamma", unit="that of gamma", bounds=POSITIVE)
    memory: float = _factors_option(
        0.9,
        "factor_memory",
        "largest weight of the past in the moving averages of the factors, min(1 - 1 / (epoch + 1), factor_memory)",
        unit="1",
        bounds=BELOW_ONE,
        reference=f"{KRONECKER}, section 5",
    )
    inverse_interval: int = _factors_option(
        1,
        "inverse_interval",
        "T3; the factors are inverted in epochs 0, 1 and 2 and in each multiple of T3, and with cholesky whenever "
        "gammas are compared; the other epochs use the last inverses. The factors are averaged in every epoch",
        unit="epochs",
        bounds=COUNT,
        reference=f"{KRONECKER}, section 8",
        later=True,
    )
    inverse: str = _factors_option(
        "eigenvectors",
        "factor_inverse",
        "how A + gamma pi and S + gamma / pi are inverted: eigenvectors of A and S serve every gamma; cholesky inverts "
        "anew for each gamma, and halves the cost of the epochs that use the last inverses",
        unit="",
        bounds=one_of(INVERSES),
        reference=f"{KRONECKER}, section 6.3",
        later=True,
    )
    factor_fraction: float = _factors_option(
        1.0,
        "factor_fraction",
        "tau1; the factors are estimated from this part of the batch, drawn at random",
        unit="1",
        bounds=PART,
        reference=f"{KRONECKER}, section 8",
        later=True,
    )
    model_fraction: float = _factors_option(
        1.0,
        "model_fraction",
        "tau2; the metric M of the quadratic model, which sets alpha and mu, is that of this part of the batch, drawn "
        "at random and apart from the factors' one; the gradient is that of all of it",
        unit="1",
        bounds=PART,
        reference=f"{KRONECKER}, section 8",
        later=True,
    )
    targets: str = _factors_option(
        "sampled",
        "factor_targets",
        "targets whose gradients e make up S = E[e e^T]: sampled from the model, once for each sample; exact, all of "
        "them, by the columns of the output metric's factor B, which costs a backward pass for each output; empirical, "
        "those of the data, which makes factors of the empirical Fisher matrix. Energies have sampled: walkers are",
        unit="",
        bounds=one_of(FACTOR_TARGETS),
        reference=f"{KRONECKER}, section 5",
        later=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        _check_rule(self, "gamma")


@dataclass(frozen=True)
class MinresConfig:
    """The MINRES solver; its preconditioner is (diagonal + preconditioner_shift)^preconditioner_power."""

    iterations: int = _minres_option(
        50, "minres_iterations", "the most iterations in one epoch", unit="iterations", bounds=COUNT
    )
    tolerance: float = _minres_option(
        1e-8, "minres_tolerance", "relative residual at which MINRES stops", unit="1", bounds=NOT_NEGATIVE
    )
    preconditioner_shift: float = _minres_option(
        1e-2,
        "preconditioner_shift",
        "kappa of the preconditioner (diagonal + kappa)^xi",
        unit="that of damping",
        bounds=POSITIVE,
    )
    preconditioner_power: float = _minres_option(
        0.75,
        "preconditioner_power",
        "xi of the preconditioner (diagonal + kappa)^xi; 0 turns it off",
        unit="1",
        bounds=FROM_0_TO_1,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class StartConfig:
    """Where MINRES starts from: a multiple of the previous update."""

    decay: float = _start_option(
        0.95,
        "start_decay",
        "zeta; MINRES starts from this multiple of the previous update",
        unit="1",
        bounds=FROM_0_TO_1,
    )
    sign: str = _start_option(
        "anti-aligned",
        "start",
        "sign of the start of MINRES: anti-aligned is +zeta delta_prev, as in the study although the solution points "
        "uphill; aligned is -zeta delta_prev",
        unit="",
        bounds=one_of(STARTS),
    )

    def __post_init__(self) -> None:
        check_options(self)


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


def _check_protocol(part: Any, attribute: str, name: str) -> None:
    del name
    deck_points(getattr(part, attribute))


@dataclass(frozen=True)
class SecondOrderConfig:
    """A second-order optimiser: which row of the study's table, in whose protocol, with which regulators.

    Attributes:
        name: one of :data:`PARTS_OF`.
        damping: every row has it.
        factors: rows that invert Kronecker factors; None for the others.
        minres: rows that solve by MINRES.
        start: rows whose MINRES starts from the previous update.
    """

    name: str
    protocol: str = option(
        "released",
        "protocol",
        "released is what the authors' code does, deck the printed algorithm; released/ and points of the deck follow "
        f"it in those, as released/ratio, of {', '.join(PROTOCOL_POINTS)}; released/{MEDIAN} clips around PyTorch's "
        "median",
        unit="",
        bounds=Bounds("released, deck, or released/ and points in this order, separated by commas", _check_protocol),
        group="Protocol",
        reference=DRISSI,
    )
    damping: DampingConfig = field(default_factory=DampingConfig)
    factors: FactorsConfig | None = None
    minres: MinresConfig | None = None
    start: StartConfig | None = None

    def __post_init__(self) -> None:
        choice("optimizer", self.name, tuple(PARTS_OF))
        check_options(self)
        for part in ("factors", "minres", "start"):
            if (getattr(self, part) is not None) != (part in PARTS_OF[self.name]):
                wrong = "missing" if part in PARTS_OF[self.name] else f"{self.name} has no such part; leave it out"
                raise InputError(f"optimizer.{part}: {wrong}")


def _check_without(part: Any, attribute: str, name: str) -> None:
    value = getattr(part, attribute)
    text(name, value)
    listed = value.split(",") if value else []
    # One spelling for each set, so that one ablation has one content hash.
    if listed != [known for known in PROXIMAL_PARTS if known in listed]:
        raise InputError(
            f"{name} = {shown(value)}: must be parts in this order, separated by commas: {', '.join(PROXIMAL_PARTS)}"
        )


@dataclass(frozen=True)
class ProximalConfig:
    """Proximal decisional gradient descent, which has no number to tune."""

    name: str = "proximal-dgd"
    without: str = option(
        "",
        "without",
        f"parts that an ablation leaves out, of {', '.join(PROXIMAL_PARTS)}",
        unit="",
        bounds=Bounds("parts in this order, separated by commas", _check_without),
        group="Ablation",
        reference="docs/proximal.md",
    )

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("proximal-dgd",))
        check_options(self)

    @property
    def left_out(self) -> frozenset[str]:
        """The parts that are left out."""
        return frozenset(self.without.split(",")) - {""}


_spring_option = partial(option, group=WALKERS_SPACE, reference=SPRING)


def _check_momentum(part: SpringConfig, attribute: str, name: str) -> None:
    if part.name == "spring":
        fraction(part, attribute, name)
    elif part.momentum != 0:
        raise InputError(f"optimizer.momentum = {shown(part.momentum)}: minsr has none; make it 0")


@dataclass(frozen=True)
class SpringConfig:
    """Natural gradients in the walkers' space, as the field has them today; defaults as tuned, see docs/proximal.md."""

    name: str = "spring"
    learning_rate: float = _spring_option(
        0.1,
        "learning_rate",
        "tau, a step in imaginary time: -tau phi",
        unit="1 / (hbar omega)",
        bounds=POSITIVE,
        group=RATES,
        reference=f"{MINSR}; {SPRING}",
    )
    damping: float = _spring_option(
        0.1,
        "damping",
        "lambda, added to O O^T of the scores: phi = O^T (O O^T + lambda)^-1 (e - mu O phi_prev) + mu phi_prev",
        unit="1",
        bounds=POSITIVE,
        reference=f"{MINSR}; {SPRING}",
    )
    momentum: float = _spring_option(
        0.99,
        "momentum",
        "mu, what is kept of the previous direction phi_prev",
        unit="1",
        bounds=Bounds(FRACTION.told, _check_momentum),
    )
    step_limit: float = _spring_option(
        0.1, "step_limit", "the largest |tau phi|^2; longer steps are cut", unit="1", bounds=POSITIVE
    )

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("minsr", "spring"))
        check_options(self)


@dataclass(frozen=True)
class GaussNewtonConfig:
    """Plain damped Gauss-Newton with Levenberg and Marquardt's rule, for few parameters."""

    name: str = "gauss-newton"
    damping: DampingConfig = field(default_factory=DampingConfig)

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("gauss-newton",))


_hessian_free_option = partial(option, group="Conjugate gradients", reference=HESSIAN_FREE)


@dataclass(frozen=True)
class HessianFreeConfig:
    """Hessian-free optimisation: damped Gauss-Newton by conjugate gradients."""

    name: str = "hessian-free"
    cg_iterations: int = _hessian_free_option(
        60, "cg_iterations", "the most iterations in one epoch", unit="iterations", bounds=COUNT
    )
    cg_progress: float = _hessian_free_option(
        5e-4,
        "cg_progress",
        "epsilon; iterations end when the last tenth of them, at least 10, has improved the model by less than this "
        "part of its value an iteration",
        unit="1",
        bounds=NOT_NEGATIVE,
    )
    cg_start_decay: float = _hessian_free_option(
        0.95,
        "cg_start_decay",
        "zeta; iterations start from this multiple of the last solution",
        unit="1",
        bounds=FROM_0_TO_1,
    )
    cg_preconditioner_power: float = _hessian_free_option(
        0.75,
        "cg_preconditioner_power",
        "xi of the preconditioner (E[g^2] + lambda)^xi, with the gradients g of single samples; 0 turns it off",
        unit="1",
        bounds=FROM_0_TO_1,
    )
    curvature_fraction: float = _hessian_free_option(
        0.25,
        "curvature_fraction",
        "part of the batch, drawn at random, whose Gauss-Newton matrix is that of the model; the gradient is that of "
        "all of it",
        unit="1",
        bounds=PART,
    )
    damping: DampingConfig = field(default_factory=DampingConfig)

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("hessian-free",))
        check_options(self)


SQUARES, UNITS = "Least squares", "Helmholtz machines"
_squares_option = partial(option, group=SQUARES)
NATURAL_WAKE_SLEEP = "C. Varady, R. Volpi, L. Malago, N. Ay, arXiv:2008.06687"
_units_option = partial(option, group=UNITS, reference=NATURAL_WAKE_SLEEP)


def _check_carried(part: ProximalLeastSquaresConfig, attribute: str, name: str) -> None:
    if part.name == "proximal":
        BELOW_ONE.check(part, attribute, name)
    elif part.momentum != 0:
        raise InputError(f"optimizer.momentum = {shown(part.momentum)}: {part.name} has none; make it 0")


@dataclass(frozen=True)
class ProximalLeastSquaresConfig:
    """The proximal step for losses: momentum inside of the problem, damped and rejected by itself."""

    name: str = "proximal"
    momentum: float = _squares_option(
        0.5,
        "momentum",
        "zeta; the damping holds a step at this multiple of the previous one",
        unit="1",
        bounds=Bounds(BELOW_ONE.told, _check_carried),
        reference=SPRING,
    )
    damping: float = _squares_option(
        1e-5,
        "damping",
        "lambda of the first step; after it lambda adapts itself",
        unit="the largest eigenvalue of the metric",
        bounds=POSITIVE,
        reference=MARQUARDT,
    )

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("proximal", "levenberg-marquardt"))
        check_options(self)


@dataclass(frozen=True)
class NaturalMomentumConfig:
    """Natural gradient descent with a fixed damping, and momentum in the parameters or in function space."""

    name: str = "natural-momentum"
    learning_rate: float = _squares_option(
        1.0,
        "learning_rate",
        "alpha, what the natural gradient is multiplied by",
        unit="1",
        bounds=POSITIVE,
        group=RATES,
        reference=FUNCTION_MOMENTUM,
    )
    damping: float = _squares_option(
        1e-6,
        "damping",
        "lambda, added to the metric G = O^T O of the samples' rows O",
        unit="that of the metric",
        bounds=POSITIVE,
        reference=FUNCTION_MOMENTUM,
    )
    momentum: float = _squares_option(
        0.9,
        "momentum",
        "beta, what is kept of the last update; 0 for natural gradient descent",
        unit="1",
        bounds=BELOW_ONE,
        reference=FUNCTION_MOMENTUM,
    )
    kind: str = _squares_option(
        "transported",
        "kind",
        "where the momentum is: parameter, the last update itself; transported, its effect on the function, brought "
        "back by the present tangent space; function-difference, what it really did to the function; last-gradient, "
        "the last gradient of functions; nesterov, the difference taken before the gradient",
        unit="",
        bounds=one_of(MOMENTUM_KINDS),
        reference=FUNCTION_MOMENTUM,
    )
    cutoff: float = _squares_option(
        0.0,
        "cutoff",
        "singular values of O below this part of the largest are left out, and the others are not damped; 0 damps them",
        unit="1",
        bounds=BELOW_ONE,
        reference=ANAGRAM,
    )
    search: str = _squares_option(
        "none",
        "search",
        "halving looks in each step for the best of alpha, alpha / 2, alpha / 4 ... on the step's samples",
        unit="",
        bounds=one_of(SEARCHES),
        group=RATES,
        reference=ENERGY_NATURAL,
    )

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("natural-momentum",))
        check_options(self)


@dataclass(frozen=True)
class LbfgsConfig:
    """The quasi-Newton method of limited memory, with optax's search for the step."""

    memory: int = _squares_option(
        10,
        "memory",
        "pairs of steps and changes of the gradient that are kept",
        unit="pairs",
        bounds=whole(1, 1000),
        reference=LBFGS,
    )
    name: str = "lbfgs"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("lbfgs",))
        check_options(self)


@dataclass(frozen=True)
class MuonConfig:
    """Muon, with optax's defaults for everything but the learning rate: orthogonalised momentum of matrices."""

    learning_rate: float = option(
        1e-2,
        "learning_rate",
        "the size of a step",
        unit="1",
        bounds=POSITIVE,
        group=RATES,
        reference=MUON,
    )
    name: str = "muon"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("muon",))
        check_options(self)


@dataclass(frozen=True)
class UnitFisherConfig:
    """Natural gradients of Helmholtz machines, by the Fisher blocks of single units."""

    learning_rate: float = option(
        0.05,
        "learning_rate",
        "what the natural gradient, times 1 + alpha, is multiplied by",
        unit="1",
        bounds=POSITIVE,
        group=RATES,
        reference=NATURAL_WAKE_SLEEP,
    )
    damping: float = _units_option(
        0.2, "damping", "alpha, added to each block", unit="that of the blocks", bounds=POSITIVE
    )
    interval: int = _units_option(
        10, "fisher_interval", "T; the blocks are inverted anew in every T-th step", unit="steps", bounds=COUNT
    )
    name: str = "unit-fisher"

    def __post_init__(self) -> None:
        choice("optimizer", self.name, ("unit-fisher",))
        check_options(self)


OptimizerConfig = (
    AdamConfig
    | SgdConfig
    | SecondOrderConfig
    | ProximalConfig
    | SpringConfig
    | GaussNewtonConfig
    | HessianFreeConfig
    | ProximalLeastSquaresConfig
    | NaturalMomentumConfig
    | LbfgsConfig
    | MuonConfig
    | UnitFisherConfig
)

STUDY, BEYOND_STUDY, APART = "study", "beyond the study", "apart"


class Known(NamedTuple):
    """A row of the registry.

    Attributes:
        config: class of its configuration.
        summary: what it does, in a line.
        reference: where it is from.
        role: :data:`STUDY`, one that the study compares; :data:`BEYOND_STUDY`, one that its figures and claims show
            besides; :data:`APART`, none of these.
        parts: attributes of the configuration that it has.
        defaults: of options for which they are not those of the configuration's class.
        fixed: attributes that are no option of this optimiser.
    """

    config: type
    summary: str
    reference: str
    role: str = APART
    parts: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = MappingProxyType({})
    fixed: Mapping[str, Any] = MappingProxyType({})


_FACTORED = ("damping", "factors")
_STARTED = ("damping", "minres", "start")
_PROJECTED = f"{DRISSI}; {KRONECKER}, sections 6 and 7"

REGISTRY: dict[str, Known] = {
    "adam": Known(AdamConfig, "Adam, with optax's defaults for everything but the learning rate", ADAM, STUDY),
    "sgd": Known(SgdConfig, "Gradient descent with Nesterov's momentum, optax's", NESTEROV),
    "kfac": Known(
        SecondOrderConfig,
        "KFAC: Kronecker factors of the Fisher metric, scaled with the exact one",
        f"{KRONECKER}, sections 5 to 7",
        STUDY,
        _FACTORED,
    ),
    "qn-kfac": Known(
        SecondOrderConfig,
        "Quasi-Newton KFAC: KFAC's direction, scaled with the quasi-Hessian",
        _PROJECTED,
        STUDY,
        _FACTORED,
    ),
    "qn-mr-kfac": Known(
        SecondOrderConfig,
        "QN-KFAC with its direction corrected by MINRES on the exact Fisher metric",
        _PROJECTED,
        STUDY,
        (*_FACTORED, "minres"),
    ),
    "ngd": Known(
        SecondOrderConfig,
        "Natural gradient descent: exact Fisher metric by MINRES in layer blocks, and in the scale",
        _PROJECTED,
        STUDY,
        _STARTED,
    ),
    "dgd": Known(
        SecondOrderConfig,
        "Decisional gradient descent: decision metric, MINRES by layer blocks, scaled with the full metric",
        _PROJECTED,
        STUDY,
        _STARTED,
    ),
    "proximal-dgd": Known(
        ProximalConfig,
        "Proximal decisional gradient descent, which has no number to tune",
        "docs/proximal.md",
        BEYOND_STUDY,
    ),
    "minsr": Known(
        SpringConfig,
        "minSR: stochastic reconfiguration in the walkers' space",
        MINSR,
        BEYOND_STUDY,
        defaults={"damping": 1e-3},
        fixed={"momentum": 0.0},
    ),
    "spring": Known(SpringConfig, "SPRING: minSR with momentum", SPRING, BEYOND_STUDY),
    "gauss-newton": Known(
        GaussNewtonConfig,
        "Plain damped Gauss-Newton: the decision metric as a dense matrix, for few parameters",
        f"{KRONECKER}, section 6",
        APART,
        ("damping",),
        {"damping": 1.0},
    ),
    "hessian-free": Known(
        HessianFreeConfig,
        "Hessian-free: damped Gauss-Newton by conjugate gradients, judged on all samples",
        HESSIAN_FREE,
        APART,
        ("damping",),
        {"damping": 45.0, "damping_factor": 2 / 3, "damping_interval": 1},
    ),
    "proximal": Known(
        ProximalLeastSquaresConfig,
        "The proximal step for losses: SPRING's momentum, damped and rejected by itself, solved exactly",
        "docs/proximal.md",
    ),
    "levenberg-marquardt": Known(
        ProximalLeastSquaresConfig,
        "Levenberg-Marquardt: the proximal step for losses without its momentum",
        MARQUARDT,
        fixed={"momentum": 0.0},
    ),
    "natural-momentum": Known(
        NaturalMomentumConfig,
        "Natural gradient descent with momentum in the parameters or in function space",
        FUNCTION_MOMENTUM,
    ),
    "lbfgs": Known(LbfgsConfig, "L-BFGS, optax's, with its search for the step", LBFGS),
    "unit-fisher": Known(
        UnitFisherConfig,
        "Natural gradients of Helmholtz machines, by the Fisher blocks of single units",
        NATURAL_WAKE_SLEEP,
    ),
    "muon": Known(MuonConfig, "Muon, optax's, with its defaults for everything but the learning rate", MUON),
}
"""Every optimiser by its name. ``repro.optimizers.presets`` says what builds it."""


def _of_role(role: str) -> tuple[str, ...]:
    return tuple(name for name, known in REGISTRY.items() if known.role == role)


OPTIMIZERS = _of_role(STUDY)
BEYOND = _of_role(BEYOND_STUDY)
"""Optimisers that the study does not have."""
ALL_OPTIMIZERS = (*OPTIMIZERS, *BEYOND)
"""Those of figures and claims."""
KNOWN_OPTIMIZERS = tuple(REGISTRY)
"""All that can be named."""
PARTS_OF: dict[str, tuple[str, ...]] = {
    name: known.parts[1:] for name, known in REGISTRY.items() if known.config is SecondOrderConfig
}
"""Which regulators, besides the damping, each second-order optimiser has."""


def options_of(name: str) -> Mapping[str, Place]:
    """The options of an optimiser by their flat names, each with its default, unit, bounds and reference.

    Args:
        name: one of :data:`KNOWN_OPTIMIZERS`.

    Raises:
        InputError: for an unknown name.
    """
    choice("optimizer", name, KNOWN_OPTIMIZERS)
    return _options_of(name)


@cache
def _options_of(name: str) -> Mapping[str, Place]:
    known, found = REGISTRY[name], {}
    for place in places(known.config, known.parts):
        flat = place.option.name
        if place.path[-1] not in known.fixed:
            found[flat] = place._replace(default=known.defaults.get(flat, place.default))
    return MappingProxyType(found)


OPTIONS = table_of({name: options_of(name) for name in KNOWN_OPTIMIZERS})
"""The table of options: flat name -> optimiser -> its place, default, unit, bounds and reference."""


def option_parameters() -> list[inspect.Parameter]:
    """Every option of any optimiser as a keyword argument that is None where it is left out."""
    return table_parameters(OPTIONS)


def optimizer_config(name: str, **options: Any) -> OptimizerConfig:
    """The configuration of an optimiser from flat options; those that are None keep their defaults.

    Args:
        name: one of :data:`KNOWN_OPTIMIZERS`.
        options: by their flat names, see :func:`options_of`.

    Raises:
        InputError: for an unknown name, an option that this optimiser does not have, or a value out of bounds.
    """
    choice("optimizer", name, KNOWN_OPTIMIZERS)
    known, tree = REGISTRY[name], nested(chosen(name, options, OPTIONS))
    kinds = parts_of(known.config)
    made = {part: kinds[part][0](**tree.pop(part)) for part in known.parts}
    return known.config(name=name, **made, **tree, **known.fixed)


def built_optimizer(data: object) -> OptimizerConfig:
    """The configuration of an optimiser from plain data."""
    if not isinstance(data, dict) or "name" not in data:
        return built(AdamConfig, data, "optimizer.")
    choice("optimizer", data["name"], KNOWN_OPTIMIZERS)
    config = REGISTRY[data["name"]].config
    kinds = parts_of(config)
    parts = {
        key: built(kinds[key][0], value, f"optimizer.{key}.")
        if key in kinds and not (value is None and kinds[key][1])
        else value
        for key, value in data.items()
    }
    return built(config, parts, "optimizer.")
