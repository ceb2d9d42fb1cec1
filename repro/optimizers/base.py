"""The interface between optimisers and the training loop: optax's ``init`` and ``update``, and how a step is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from repro.errors import InputError

Report = Callable[[Any], dict[str, Array]]
"""State -> scalars by the names of the curve's columns."""


class StepJudge(NamedTuple):
    """How an optimiser wants its step judged by the objective that it led to.

    Attributes:
        due: ``state -> bool``: whether the step just made is to be judged.
        judge: ``(state, values before, values after) -> (state, ratio)``: values of the objective, shape ``(S,)``, the
            second at the new parameters on samples that belong to them; the ratio is that of actual to predicted
            change.
    """

    due: Callable[[Any], Array]
    judge: Callable[[Any, Array, Array], tuple[Any, Array]]


def _nothing(state: Any) -> dict[str, Array]:
    del state
    return {}


class Optimizer(optax.GradientTransformationExtraArgs):
    """An ``optax.GradientTransformationExtraArgs`` and what the training loop may ask besides.

    A pair ``(init, update)`` for optax: its wrappers and chains take it as any other. Only what holds parameters back
    (``masked``, ``multi_transform``) is for those that treat each parameter by itself, as Adam does. Steps of ``minsr``
    and ``spring`` are made from the samples alone: what a wrapper does to the gradient before changes nothing.

    Attributes:
        init: ``params -> state``.
        update: ``(grads, state, params, **batch) -> (updates, state)`` with the problem's batch, for Monte Carlo
            ``walkers`` and ``local_energies``; ``optax.apply_updates`` adds the updates to the parameters.
        report: what to write down of the last update.
        judge: how steps are judged by further samples, or None if they are not.
        further: names in the report that the study's optimisers do not have: further columns of the curve.
    """

    report: Report
    judge: StepJudge | None
    further: tuple[str, ...]

    def __new__(  # noqa: D102
        cls,
        init: Callable[[Any], Any],
        update: Callable[..., tuple[Any, Any]],
        report: Report = _nothing,
        judge: StepJudge | None = None,
        further: Iterable[str] = (),
    ) -> Optimizer:
        made = super().__new__(cls, init, update)
        made.report, made.judge, made.further = report, judge, tuple(further)
        return made


def from_optax(transformation: optax.GradientTransformation) -> Optimizer:
    """Any transformation of optax as an optimiser that reports nothing and whose steps are not judged.

    Args:
        transformation: such as ``optax.adam(...)``, or a chain with an optimiser of this package in it.
    """
    extended = optax.with_extra_args_support(transformation)
    return Optimizer(extended.init, extended.update)


def distinct_zeros(names: Iterable[str], dtype: jnp.dtype) -> dict[str, Array]:
    """A zero for each name, none of which shares its buffer with another: states are donated leaf by leaf."""
    return {name: jnp.zeros((), dtype) for name in names}


def checked_params(params: Any, optimizer: str) -> Any:
    """The parameters, if an optimiser of this package can work with them.

    Raises:
        InputError: if there are none, if some are masked, or if one is not a real number of single or double precision.
    """
    if params is None:
        raise InputError(f"{optimizer}: update(grads, state, params, ...) needs the parameters")
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda part: isinstance(part, optax.MaskedNode))
    if not leaves:
        raise InputError(f"{optimizer}: there are no parameters")
    for path, leaf in leaves:
        where = jax.tree_util.keystr(path) or "the parameters"
        if isinstance(leaf, optax.MaskedNode):
            raise InputError(
                f"{optimizer}: {where} is masked, and the metric couples all parameters; hold a parameter by leaving "
                "it out of the tree and closing over it in the model"
            )
        dtype = jnp.result_type(leaf)
        if dtype not in (jnp.float32, jnp.float64):
            kind = "complex: give real and imaginary part as two leaves" if dtype.kind == "c" else str(dtype)
            raise InputError(f"{optimizer}: {where} is {kind}; parameters must be float32 or float64")
    dtypes = {str(jnp.result_type(leaf)) for _, leaf in leaves}
    if len(dtypes) > 1:
        raise InputError(f"{optimizer}: parameters are of several types, {', '.join(sorted(dtypes))}; make them one")
    return params


def checked_grads(grads: Any, params: Any, optimizer: str) -> Any:
    """The gradient, if it is a tree like that of the parameters, leaf by leaf of the same shape and type.

    Raises:
        InputError: naming the first leaf that is missing, too many or another.
    """
    remedy = "give the gradient in these parameters, as jax.grad returns it"
    found: Any
    right: Any
    wanted, given = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (params, grads)
    )
    for kind, odd in (("no", wanted.keys() - given.keys()), ("a further", given.keys() - wanted.keys())):
        if odd:
            raise InputError(f"{optimizer}: grads has {kind} leaf {min(odd) or 'of its own'}; {remedy}")
    found, right = jax.tree.structure(grads), jax.tree.structure(params)
    if found != right:
        raise InputError(f"{optimizer}: grads is a tree of other containers than the parameters; {remedy}")
    for where, leaf in wanted.items():
        found, right = (f"{jnp.result_type(one)} of shape {jnp.shape(one)}" for one in (given[where], leaf))
        if found != right:
            raise InputError(f"{optimizer}: grads{where} is {found}, its parameter {right}; {remedy}")
    return grads
