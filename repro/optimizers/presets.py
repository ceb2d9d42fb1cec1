"""The rows of the study's table, and an optimiser for every name."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

import optax
import optax.contrib
from jax import Array

from repro.config import (
    REGISTRY,
    AdamConfig,
    OptimizerConfig,
    ProximalConfig,
    SecondOrderConfig,
    SgdConfig,
    SpringConfig,
    deck_points,
    lower_median,
    optimizer_config,
    options_of,
)
from repro.config.optimizers import (
    GaussNewtonConfig,
    HessianFreeConfig,
    LbfgsConfig,
    MuonConfig,
    NaturalMomentumConfig,
    ProximalLeastSquaresConfig,
    UnitFisherConfig,
)
from repro.config.options import parameter, takes
from repro.errors import InputError
from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.fisher_by_unit import unit_fisher as by_units
from repro.optimizers.gauss_newton import dense_gauss_newton
from repro.optimizers.hessian_free import free_of_matrices
from repro.optimizers.limited_memory import limited_memory
from repro.optimizers.momentum import momentum_descent
from repro.optimizers.proximal_least_squares import proximal_least_squares
from repro.optimizers.proximal_step import proximal as proximal_step
from repro.optimizers.sample_space import stochastic_reconfiguration
from repro.optimizers.second_order import Composition, second_order
from repro.problems.base import Problem
from repro.vmc.ansatz.trial import TrialState, trial_state
from repro.vmc.problem import MonteCarlo

CURVATURES_OF: dict[str, tuple[str | None, str]] = {
    "kfac": (None, "fisher"),
    "qn-kfac": (None, "quasi-hessian"),
    "qn-mr-kfac": ("fisher", "quasi-hessian"),
    "ngd": ("fisher", "fisher"),
    "dgd": ("decision", "decision"),
}
"""The study's table: whose layer blocks MINRES inverts, and the quadratic model that scales the step."""

LogPsi = Callable[[Any, Array], Array]
"""(params, one walker of any shape) -> ln|psi|, a scalar."""
Optimised = Problem | TrialState | LogPsi
Function = TypeVar("Function", bound=Callable[..., Any])


def composition_of(config: SecondOrderConfig, problem: Problem) -> Composition:
    """What the protocol of a configuration makes of its row of the table; what is printed, where there are none.

    The released implementation leaves the 4 of F = 4 Cov(D, D) and the mean of D out of the quadratic model, and the 4
    out of the Kronecker factors; it takes clipped local energies in the quasi-Hessian.
    """
    printed = deck_points(config.protocol) if problem.has_protocols else deck_points("deck")
    metric, model = CURVATURES_OF[config.name]
    if model == "fisher" and "fisher" not in printed:
        model = "uncentred-fisher"
    if model == "quasi-hessian" and "clipping" in printed:
        model = "unclipped-quasi-hessian"
    return Composition(
        metric,
        model,
        # The released factors centre a and e instead of D.
        centred_factors="factors" not in printed,
        factor_scale=problem.factor_scale if "factors" in printed else 1.0,
        shifted_start="residual" in printed,
        signed_ratio="ratio" in printed,
        robust_reference="energies" not in printed,
    )


def _adam(problem: Problem, config: AdamConfig) -> Optimizer:
    del problem  # the gradient is enough
    return from_optax(optax.adam(config.learning_rate))


def _sgd(problem: Problem, config: SgdConfig) -> Optimizer:
    del problem
    return from_optax(optax.sgd(config.learning_rate, config.momentum, nesterov=True))


def _muon(problem: Problem, config: MuonConfig) -> Optimizer:
    del problem
    return from_optax(optax.contrib.muon(config.learning_rate))


def _row(problem: Problem, config: SecondOrderConfig) -> Optimizer:
    if not problem.has_protocols and config.protocol != SecondOrderConfig.protocol:
        raise InputError(f"protocol = {config.protocol!r}: only the energies of the study have protocols; leave it out")
    return second_order(problem, composition_of(config, problem), config)


BUILDERS: dict[type, Callable[[Problem, Any], Optimizer]] = {
    AdamConfig: _adam,
    SgdConfig: _sgd,
    SecondOrderConfig: _row,
    ProximalConfig: proximal_step,
    SpringConfig: stochastic_reconfiguration,
    GaussNewtonConfig: dense_gauss_newton,
    HessianFreeConfig: free_of_matrices,
    ProximalLeastSquaresConfig: proximal_least_squares,
    NaturalMomentumConfig: momentum_descent,
    LbfgsConfig: limited_memory,
    MuonConfig: _muon,
    UnitFisherConfig: by_units,
}
"""What makes an optimiser for a problem, by the class of its configuration in :data:`repro.config.REGISTRY`."""


FIRST_ORDER = (AdamConfig, SgdConfig, MuonConfig)
"""Configurations of optimisers for which the gradient is enough."""


def build_optimizer(config: OptimizerConfig, problem: Problem) -> Optimizer:
    """The optimiser that a configuration names, for a problem.

    Args:
        config: of the optimiser.
        problem: what is optimised.

    Raises:
        InputError: if the problem does not have what the optimiser needs of it.
    """
    return BUILDERS[type(config)](problem, config)


def as_problem(given: Optimised, config: OptimizerConfig, walker_chunk: int | None) -> Problem:
    """A problem as it is; a trial state, or a function ln|psi| of one walker, as its energy."""
    if hasattr(given, "geometry"):
        return cast("Problem", given)
    psi = trial_state(given) if callable(given) else given
    return MonteCarlo(psi, walker_chunk, lower_median=lower_median(config))


class Preset(Protocol):
    """The function of an optimiser: what is optimised, and options by keyword, to an optimiser."""

    def __call__(self, problem: Optimised, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
        """See its own docstring and signature, which are made from the table of options."""


PROBLEM = (
    "what is optimised; or a trial state, or any function (params, x) -> ln|psi| of one walker x of any shape, whose "
    "energy is then optimised."
)
LAYERED = "what is optimised, a problem that knows its linear maps; or a state that does, for its energy."
UNNEEDED = "may be left out, as the gradient is enough."
WALKER_CHUNK = "walkers differentiated at once, to bound the memory; all of them when left out."
RETURNS = (
    "An optimiser with optax's init and update; update takes the problem's batch besides, for an energy walkers and "
    "local_energies."
)
RAISES = "InputError: for an option that does not exist or is out of bounds."


def _entry(name: str, text: str) -> str:
    """An indented entry of a docstring."""
    return textwrap.fill(
        f"{name}{text}", 100, initial_indent=4 * " ", subsequent_indent=(8 if name else 4) * " ", break_on_hyphens=False
    )


def docstring(name: str) -> str:
    """What ``help`` says of an optimiser: every option with its meaning, bounds, unit, default and reference."""
    known = REGISTRY[name]
    entries = []
    for flat, place in options_of(name).items():
        said = place.option
        unit = f" Unit: {said.unit}." if said.unit else ""
        told = f"{said.meaning}. Bounds: {said.bounds.told}.{unit} Default: {place.shown_default}. ({said.reference})"
        entries.append(_entry(f"{flat}: ", told))
    problem = UNNEEDED if known.config in FIRST_ORDER else LAYERED if "factors" in known.parts else PROBLEM
    chunk = [] if known.config in FIRST_ORDER else [_entry("walker_chunk: ", WALKER_CHUNK)]
    lines = [f"{known.summary}.", "", f"Reference: {known.reference}.", ""]
    lines += ["Args:", _entry("problem: ", problem), *chunk, *entries, ""]
    return "\n".join([*lines, "Returns:", _entry("", RETURNS), "", "Raises:", _entry("", RAISES), ""])


def _described(name: str) -> Callable[[Function], Function]:
    """Gives a function the signature and the docstring of an optimiser."""

    def described(function: Function) -> Function:
        function.__name__ = function.__qualname__ = name.replace("-", "_")
        function.__doc__ = docstring(name)
        return takes(parameter(flat, place.kind, place.default) for flat, place in options_of(name).items())(function)

    return described


def preset(name: str) -> Preset:
    """The function of an optimiser; what it takes and says of itself are made from the table of options."""

    @_described(name)
    def made(problem: Optimised, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
        config = optimizer_config(name, **options)
        return build_optimizer(config, as_problem(problem, config, walker_chunk))

    return made


def first_order(name: str) -> Callable[..., Optimizer]:
    """As :func:`preset`, for an optimiser that needs no problem."""

    @_described(name)
    def made(problem: Optimised | None = None, **options: Any) -> Optimizer:
        return build_optimizer(optimizer_config(name, **options), cast("Problem", problem))

    return made


adam = first_order("adam")
sgd = first_order("sgd")
kfac = preset("kfac")
MARTENS_GROSSE: Mapping[str, Any] = MappingProxyType(
    {
        "damping": 150.0,
        "gamma_interval": 20,
        "factor_memory": 0.95,
        "inverse_interval": 20,
        "factor_inverse": "cholesky",
        "factor_fraction": 1 / 8,
        "model_fraction": 1 / 4,
    }
)
"""Options of ``kfac`` for minibatches, ``kfac(problem, **MARTENS_GROSSE)``; the others are the defaults.

(J. Martens, R. Grosse, ICML 2015, sections 5 to 8 and 13: lambda_0, T2, the memory, T3, tau1 and tau2.)
"""
qn_kfac = preset("qn-kfac")
qn_mr_kfac = preset("qn-mr-kfac")
ngd = preset("ngd")
dgd = preset("dgd")
proximal_dgd = preset("proximal-dgd")
minsr = preset("minsr")
spring = preset("spring")
gauss_newton = preset("gauss-newton")
hessian_free = preset("hessian-free")
proximal = preset("proximal")
levenberg_marquardt = preset("levenberg-marquardt")
natural_momentum = preset("natural-momentum")
lbfgs = preset("lbfgs")
muon = first_order("muon")
unit_fisher = preset("unit-fisher")
