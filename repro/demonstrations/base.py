"""What all demonstrations share: their values, and the precision that they are computed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

import jax

from repro.training.environment import fixed_settings

Value = float | list[float] | dict[str, float]
Values = dict[str, Value]
"""The numbers that claims rest on, by name. The standard error of an estimate has its name with ``_error`` added."""

ERROR = "_error"
"""How the name of a standard error ends."""

P = ParamSpec("P")
R = TypeVar("R")


class Demonstration(Protocol):
    """What a demonstration returns, besides the arrays that are drawn."""

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""


def in_double_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Computes a function in float64, with JAX's settings fixed, whatever the environment says of them."""

    @wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        with fixed_settings(), jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return computed
