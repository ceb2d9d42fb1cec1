"""Configurations from flat options, as the command line and grids have them: of energies, or of other problems."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from repro.config import (
    PROBLEM_OPTIONS,
    PROBLEMS,
    AnyRunConfig,
    ProblemRunConfig,
    optimizer_config,
    option_parameters,
    problem_config,
)
from repro.config.checks import choice, shown, suggestion
from repro.config.options import table_parameters, takes
from repro.errors import InputError
from repro.study.runs.profiles import configure


@takes([*table_parameters(PROBLEM_OPTIONS), *option_parameters()])
def configure_problem(
    *,
    problem: str,
    optimizer: str = "adam",
    steps: int = 1000,
    seed: int = 0,
    dtype: str | None = None,
    evaluation_interval: int = ProblemRunConfig.evaluation_interval,
    **options: Any,
) -> ProblemRunConfig:
    """A complete configuration of a run of a problem.

    ``options`` are those of the problem, see :func:`repro.config.problem_options_of`, and of the optimiser, see
    :func:`repro.config.options_of`; None stands for the default. The others are the configuration's own.

    Raises:
        InputError: for any value out of its bounds.
    """
    choice("problem", problem, tuple(PROBLEMS))
    of_problem = {name: value for name, value in options.items() if name in PROBLEM_OPTIONS}
    of_optimizer = {name: value for name, value in options.items() if name not in PROBLEM_OPTIONS}
    return ProblemRunConfig(
        problem=problem_config(problem, **of_problem),
        steps=steps,
        optimizer=optimizer_config(optimizer, **of_optimizer),
        seed=seed,
        dtype=PROBLEMS[problem].dtype if dtype is None else dtype,
        evaluation_interval=evaluation_interval,
    )


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


ENERGY_KEYS = tuple(name for name in _names(configure) if name != "network")
"""The hash of a network is taken from ``--pretrained``."""
PROBLEM_KEYS = _names(configure_problem)
KEYS = tuple(dict.fromkeys((*ENERGY_KEYS, *PROBLEM_KEYS)))
"""All options of a run: those of ``repro train`` with underscores, and the keys of a ``[[runs]]`` table."""


def configured(given: Mapping[str, Any], network: str = "") -> AnyRunConfig:
    """The configuration that options stand for: of a problem where one is named, else of an energy.

    Args:
        given: those of :data:`KEYS` that were given; None stands for one that was not.
        network: see :class:`repro.config.PretrainingConfig`.

    Raises:
        InputError: for an option that does not belong there, one that is missing, or a value out of its bounds.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if unknown := next((name for name in options if name not in KEYS), None):
        raise InputError(f"unknown option {unknown}; {suggestion(unknown, KEYS)}known are {', '.join(KEYS)}")
    if "problem" in options:
        choice("problem", options["problem"], tuple(PROBLEMS))
        if astray := next((name for name in options if name not in PROBLEM_KEYS), None):
            raise InputError(
                f"{astray} = {shown(options[astray])}: is an option of energies, and problem = {options['problem']} "
                "has none; leave one of the two out"
            )
        return configure_problem(**options)
    if astray := next((name for name in options if name not in ENERGY_KEYS), None):
        have = ", ".join(PROBLEM_OPTIONS.get(astray, PROBLEMS))
        raise InputError(
            f"{astray} = {shown(options[astray])}: is no option of an energy; leave it out, or name a problem that has "
            f"it with --problem: {have}"
        )
    if missing := next((name for name in ("particles", "v0") if name not in options), None):
        raise InputError(
            f"{missing}: missing; an energy needs particles and v0, and every other problem its name, such as "
            f"--problem {next(iter(PROBLEMS))}"
        )
    return configure(**options, network=network)
