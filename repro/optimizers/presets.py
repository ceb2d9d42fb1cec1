"""The rows of the study's table, and an optimiser for every name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import optax
from jax import Array

from repro.config import (
    AdamConfig,
    OptimizerConfig,
    ProximalConfig,
    SecondOrderConfig,
    SpringConfig,
    deck_points,
    lower_median,
    optimizer_config,
)
from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.proximal import proximal
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
"""(params, one walker (A,)) -> ln|psi|, a scalar."""


def composition_of(config: SecondOrderConfig) -> Composition:
    """What the protocol of a configuration makes of its row of the table.

    The released implementation leaves the 4 of F = 4 Cov(D, D) and the mean of D out of the quadratic model, and the 4
    out of the Kronecker factors; it takes clipped local energies in the quasi-Hessian.
    """
    printed = deck_points(config.protocol)
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
        factor_scale=4.0 if "factors" in printed else 1.0,
        shifted_start="residual" in printed,
        signed_ratio="ratio" in printed,
        robust_reference="energies" not in printed,
    )


def build_optimizer(config: OptimizerConfig, problem: Problem) -> Optimizer:
    """The optimiser that a configuration names, for a problem.

    Args:
        config: of the optimiser.
        problem: what is optimised.

    Raises:
        InputError: if the problem does not have what the optimiser needs of it.
    """
    if isinstance(config, AdamConfig):
        return from_optax(optax.adam(config.learning_rate))
    if isinstance(config, ProximalConfig):
        return proximal(problem, config)
    if isinstance(config, SpringConfig):
        return stochastic_reconfiguration(problem, config)
    return second_order(problem, composition_of(config), config)


def as_problem(given: Problem | TrialState | LogPsi, config: OptimizerConfig, walker_chunk: int | None) -> Problem:
    """A problem as it is; a trial state, or a function ln|psi| of one walker, as its energy."""
    if hasattr(given, "geometry"):
        return cast("Problem", given)
    psi = trial_state(given) if callable(given) else given
    return MonteCarlo(psi, walker_chunk, lower_median=lower_median(config))


def _preset(
    name: str, given: Problem | TrialState | LogPsi, walker_chunk: int | None, options: dict[str, Any]
) -> Optimizer:
    config = optimizer_config(name, **options)
    return build_optimizer(config, as_problem(given, config, walker_chunk))


def dgd(problem: Problem | TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Decisional gradient descent: decision metric, MINRES by layer blocks, scaled with the full metric.

    Args:
        problem: what is optimised; or a state, or any function ``(params, x) -> ln|psi|`` of one walker ``x`` of
            shape ``(A,)``, for its energy.
        walker_chunk: walkers differentiated at once, to bound the memory; all of them when left out.
        options: ``protocol`` and regulators by their names in ``repro.config.OPTIMIZER_OPTIONS``; the study's when left
            out.

    Returns:
        An optimiser with optax's ``init`` and ``update``; its update takes ``walkers`` and ``local_energies`` besides.

    Raises:
        InputError: for an option that does not exist or is out of bounds.
    """
    return _preset("dgd", problem, walker_chunk, options)


def ngd(problem: Problem | TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Natural gradient descent: exact Fisher metric by MINRES in layer blocks, and in the scale; see :func:`dgd`."""
    return _preset("ngd", problem, walker_chunk, options)


def kfac(problem: Problem | TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """KFAC: Kronecker factors of the Fisher metric, scaled with the exact one; arguments as :func:`dgd`.

    The state must know its linear maps.
    """
    return _preset("kfac", problem, walker_chunk, options)


def qn_kfac(problem: Problem | TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Quasi-Newton KFAC: KFAC's direction, scaled with the quasi-Hessian; arguments as :func:`kfac`."""
    return _preset("qn-kfac", problem, walker_chunk, options)


def qn_mr_kfac(problem: Problem | TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """QN-KFAC with its direction corrected by MINRES on the exact Fisher metric; arguments as :func:`kfac`."""
    return _preset("qn-mr-kfac", problem, walker_chunk, options)


def proximal_dgd(
    problem: Problem | TrialState | LogPsi, *, walker_chunk: int | None = None, without: str = ""
) -> Optimizer:
    """Proximal decisional gradient descent, which has no number to tune; see :mod:`repro.optimizers.proximal`.

    Args:
        problem: as for :func:`dgd`.
        walker_chunk: as for :func:`dgd`.
        without: parts that an ablation leaves out, see ``repro.config.PROXIMAL_PARTS``.

    Raises:
        InputError: for a part that does not exist.
    """
    return _preset("proximal-dgd", problem, walker_chunk, {"without": without})


def minsr(problem: Problem | TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Stochastic reconfiguration in the walkers' space; see :mod:`repro.optimizers.sample_space`.

    Args:
        problem: as for :func:`dgd`.
        walker_chunk: as for :func:`dgd`.
        options: ``learning_rate``, ``damping`` and ``step_limit`` of :class:`repro.config.SpringConfig`.

    Raises:
        InputError: for an option that does not exist or is out of bounds.
    """
    return _preset("minsr", problem, walker_chunk, options)


def spring(problem: Problem | TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """SPRING: :func:`minsr` with momentum, and so with the option ``momentum`` besides."""
    return _preset("spring", problem, walker_chunk, options)
