"""What builds the problems that have a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro.config import ProblemConfig
from repro.config.problems import AutoencoderConfig, DigitsConfig, HelmholtzConfig, MackeyGlassConfig, PinnConfig
from repro.problems.autoencoder import autoencoder
from repro.problems.digits import digits
from repro.problems.helmholtz import helmholtz
from repro.problems.pinn import boundary_layer
from repro.problems.regression import mackey_glass
from repro.problems.trainable import Trainable

BUILDERS: dict[type, Callable[[Any, str], Trainable]] = {
    AutoencoderConfig: autoencoder,
    DigitsConfig: digits,
    HelmholtzConfig: helmholtz,
    MackeyGlassConfig: mackey_glass,
    PinnConfig: boundary_layer,
}
"""(configuration, "float32" or "float64") -> the problem, by the class of its configuration in
:data:`repro.config.PROBLEMS`."""


def build_problem(config: ProblemConfig, dtype: str) -> Trainable:
    """The problem that a configuration names, with its data.

    Args:
        config: of the problem.
        dtype: of data and parameters.

    Raises:
        InputError: if the data are not at hand, or too few.
    """
    return BUILDERS[type(config)](config, dtype)
