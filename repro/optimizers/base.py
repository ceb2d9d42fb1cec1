"""The face that every optimiser of the study shows to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jax import Array

Report = Callable[[Any], dict[str, Array]]
"""State -> scalars by the names of the curve's columns."""


class Trial(NamedTuple):
    """How an optimiser wants its step judged by the energy that it led to.

    Attributes:
        due: ``state -> bool``: whether the step just made is to be judged.
        judge: ``(state, local energies before, local energies after) -> (state, ratio)``: energies of shape ``(W,)``,
            the second from walkers propagated on the new parameters; the ratio is that of actual to predicted change.
    """

    due: Callable[[Any], Array]
    judge: Callable[[Any, Array, Array], tuple[Any, Array]]


class Optimizer(NamedTuple):
    """An ``optax.GradientTransformationExtraArgs`` and what the training loop may ask besides.

    Attributes:
        init: ``params -> state``.
        update: ``(grads, state, params, *, walkers, local_energies) -> (updates, state)`` with walkers ``(W, A)`` and
            their unclipped local energies ``(W,)``; ``optax.apply_updates`` adds the updates to the parameters.
        report: what to write down of the last update.
        trial: how steps are judged by a further walk, or None if they are not.
        further: names in the report that the study's optimisers do not have: further columns of the curve.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]
    report: Report
    trial: Trial | None = None
    further: tuple[str, ...] = ()


def from_optax(transformation: optax.GradientTransformation) -> Optimizer:
    """An optimiser of optax that needs the gradient only, such as Adam."""
    extended = optax.with_extra_args_support(transformation)
    return Optimizer(extended.init, extended.update, lambda _: {})
