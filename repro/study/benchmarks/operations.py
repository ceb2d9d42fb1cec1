"""How many floating-point operations of matrix products a function has, counted in its traced program."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax


def matrix_operations(function: Callable[..., Any], *arguments: Any, repetitions: Sequence[float] = ()) -> float:
    """Operations of all matrix products in ``function(*arguments)``: 2 M N K for (M, K) times (K, N).

    Sums, tanh and the like are not counted, nor is what a compiler saves or repeats. Loops of known length count as
    often as they run, of the branches of a condition the costliest.

    Args:
        function: what is traced; nothing is computed.
        arguments: arrays, or their shapes.
        repetitions: of the loops whose length is data, from the outermost inwards.

    Raises:
        ValueError: if such loops are nested deeper than ``repetitions`` says.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr, tuple(repetitions))


def _count(jaxpr: Any, repetitions: tuple[float, ...]) -> float:
    return sum((_operations(equation, repetitions) for equation in jaxpr.eqns), start=0.0)


def _operations(equation: Any, repetitions: tuple[float, ...]) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        return 2.0 * math.prod(result) * math.prod(left[axis] for axis in contracted)
    if name == "scan":
        return float(params["length"]) * _count(params["jaxpr"].jaxpr, repetitions)
    if name == "while":
        body = params["body_jaxpr"].jaxpr
        if not _has_products(body):
            return 0.0
        if not repetitions:
            raise ValueError("repetitions: there is a loop whose length is data, and none is given for it")
        return repetitions[0] * _count(body, repetitions[1:])
    if name == "cond":
        return max(_count(branch.jaxpr, repetitions) for branch in params["branches"])
    return sum((_count(inner, repetitions) for inner in _programs(params.values())), start=0.0)


def _has_products(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name == "dot_general" or any(map(_has_products, _programs(equation.params.values())))
        for equation in jaxpr.eqns
    )


def _programs(values: Any) -> Iterator[Any]:
    """The programs among an equation's parameters."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _programs(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
