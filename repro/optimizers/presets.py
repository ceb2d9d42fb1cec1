"""The rows of the study's table, and an optimiser for every name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax
from jax import Array

from repro.config import (
    AdamConfig,
    OptimizerConfig,
    ProximalConfig,
    SpringConfig,
    optimizer_config,
)
from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.proximal import proximal
from repro.optimizers.sample_space import stochastic_reconfiguration
from repro.optimizers.second_order import Composition, second_order
from repro.vmc.ansatz.trial import TrialState, trial_state

COMPOSITIONS = {
    "kfac": Composition(metric=None, model="fisher"),
    "qn-kfac": Composition(metric=None, model="quasi-hessian"),
    "qn-mr-kfac": Composition(metric="fisher", model="quasi-hessian"),
    "ngd": Composition(metric="fisher", model="fisher"),
    "dgd": Composition(metric="decision", model="decision"),
}
"""What distinguishes the optimisers; their regulators follow from ``repro.config.PARTS_OF``."""

LogPsi = Callable[[Any, Array], Array]
"""(params, one walker (A,)) -> ln|psi|, a scalar."""


def build_optimizer(config: OptimizerConfig, psi: TrialState, walker_chunk: int | None = None) -> Optimizer:
    """The optimiser that a configuration names, for a state.

    Args:
        config: of the optimiser.
        psi: the state.
        walker_chunk: walkers differentiated at once, a divisor of their number; all of them when left out.
    """
    if isinstance(config, AdamConfig):
        return from_optax(optax.adam(config.learning_rate))
    if isinstance(config, ProximalConfig):
        return proximal(psi, config, walker_chunk)
    if isinstance(config, SpringConfig):
        return stochastic_reconfiguration(psi, config, walker_chunk)
    return second_order(psi, COMPOSITIONS[config.name], config, walker_chunk)


def _preset(name: str, psi: TrialState | LogPsi, walker_chunk: int | None, options: dict[str, Any]) -> Optimizer:
    return build_optimizer(optimizer_config(name, **options), trial_state(psi) if callable(psi) else psi, walker_chunk)


def dgd(psi: TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Decisional gradient descent: decision metric, MINRES by layer blocks, scaled with the full metric.

    Args:
        psi: a state, or any function ``(params, x) -> ln|psi|`` of one walker ``x`` of shape ``(A,)``.
        walker_chunk: walkers differentiated at once, to bound the memory; all of them when left out.
        options: ``protocol`` and regulators by their names in ``repro.config.OPTIMIZER_OPTIONS``; the study's when left
            out.

    Returns:
        An optimiser with optax's ``init`` and ``update``; its update takes ``walkers`` and ``local_energies`` besides.

    Raises:
        InputError: for an option that does not exist or is out of bounds.
    """
    return _preset("dgd", psi, walker_chunk, options)


def ngd(psi: TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Natural gradient descent: exact Fisher metric by MINRES in layer blocks, and in the scale; see :func:`dgd`."""
    return _preset("ngd", psi, walker_chunk, options)


def kfac(psi: TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """KFAC: Kronecker factors of the Fisher metric, scaled with the exact one; arguments as :func:`dgd`.

    The state must know its linear maps.
    """
    return _preset("kfac", psi, walker_chunk, options)


def qn_kfac(psi: TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Quasi-Newton KFAC: KFAC's direction, scaled with the quasi-Hessian; arguments as :func:`kfac`."""
    return _preset("qn-kfac", psi, walker_chunk, options)


def qn_mr_kfac(psi: TrialState, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """QN-KFAC with its direction corrected by MINRES on the exact Fisher metric; arguments as :func:`kfac`."""
    return _preset("qn-mr-kfac", psi, walker_chunk, options)


def proximal_dgd(psi: TrialState | LogPsi, *, walker_chunk: int | None = None, without: str = "") -> Optimizer:
    """Proximal decisional gradient descent, which has no number to tune; see :mod:`repro.optimizers.proximal`.

    Args:
        psi: as for :func:`dgd`.
        walker_chunk: as for :func:`dgd`.
        without: parts that an ablation leaves out, see ``repro.config.PROXIMAL_PARTS``.

    Raises:
        InputError: for a part that does not exist.
    """
    return _preset("proximal-dgd", psi, walker_chunk, {"without": without})


def minsr(psi: TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """Stochastic reconfiguration in the walkers' space; see :mod:`repro.optimizers.sample_space`.

    Args:
        psi: as for :func:`dgd`.
        walker_chunk: as for :func:`dgd`.
        options: ``learning_rate``, ``damping`` and ``step_limit`` of :class:`repro.config.SpringConfig`.

    Raises:
        InputError: for an option that does not exist or is out of bounds.
    """
    return _preset("minsr", psi, walker_chunk, options)


def spring(psi: TrialState | LogPsi, *, walker_chunk: int | None = None, **options: Any) -> Optimizer:
    """SPRING: :func:`minsr` with momentum, and so with the option ``momentum`` besides."""
    return _preset("spring", psi, walker_chunk, options)
