"""Functions that a loop repeats, traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def traced_once(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], Any]:
    """A function for the body of a loop, and the shapes of what it returns, which the loop begins with.

    Both come from one trace; the program is the one that two would give.

    Args:
        function: any that can be traced.
        arguments: like those that the loop calls it with.

    Returns:
        The function, and the tree of shapes and types of its result.
    """
    traced = jax.jit(function, inline=True)
    return traced, jax.eval_shape(traced, *arguments)
