"""Vectors of parameter space, cut into the blocks of single layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.ansatz.trial import Blocks, TrialState


class Partition(NamedTuple):
    """How parameters are cut into blocks, one array each, and put together again; both linear and isometric."""

    split: Callable[[Any], Blocks]
    join: Callable[[Blocks], Any]


def partition(psi: TrialState, params: Any) -> Partition:
    """The blocks of a state: its linear maps where they are known, else one flat vector for each top-level key.

    Haiku puts a module under each key. Parameters that are no mapping make a single block.
    """
    if psi.structure is not None:
        return Partition(psi.structure.split, psi.structure.join)
    parts = dict(params) if isinstance(params, Mapping) else {"": params}
    restore = {name: ravel_pytree(part)[1] for name, part in parts.items()}

    def split(tree: Any) -> Blocks:
        named = tree if isinstance(params, Mapping) else {"": tree}
        return tuple(ravel_pytree(named[name])[0] for name in parts)

    def join(blocks: Blocks) -> Any:
        named = {name: restore[name](block) for name, block in zip(parts, blocks, strict=True)}
        return named if isinstance(params, Mapping) else named[""]

    return Partition(split, join)


def inner(v: Blocks, w: Blocks) -> Array:
    """Inner product of v and w over all blocks."""
    return sum((jnp.vdot(a, b) for a, b in zip(v, w, strict=True)), start=jnp.zeros((), v[0].dtype))


def replaced(blocks: Blocks, index: int, value: Array) -> Blocks:
    """The blocks with another one in one place."""
    return (*blocks[:index], value, *blocks[index + 1 :])


def combine(weights: Array, vectors: tuple[Blocks, ...]) -> Blocks:
    """sum_n weights[n] vectors[n]."""
    return jax.tree.map(lambda *parts: sum(w * part for w, part in zip(weights, parts, strict=True)), *vectors)
