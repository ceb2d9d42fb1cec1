"""Vectors of parameter space, cut into the blocks of single layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

Blocks = tuple[Any, ...]
"""Parameters, or a vector of their space, cut into blocks: as a rule one array for each layer."""


class Partition(NamedTuple):
    """How parameters are cut into blocks, one array each, and put together again; both linear and isometric."""

    split: Callable[[Any], Blocks]
    join: Callable[[Blocks], Any]


def partition(params: Any) -> Partition:
    """One flat vector for each child of the root, in JAX's own order: a module's parameters in Haiku's trees.

    Parameters that are a single array make a single block; a child without any, such as {} or None, makes none.

    Args:
        params: any tree of real floating arrays.
    """
    structure: Any
    # A child without arrays makes no block: an empty one would not know their type.
    children, structure = jax.tree.flatten(
        params, is_leaf=lambda part: part is not params and bool(jax.tree.leaves(part))
    )
    restore = [ravel_pytree(part)[1] for part in children]

    def split(tree: Any) -> Blocks:
        return tuple(ravel_pytree(part)[0] for part in structure.flatten_up_to(tree))

    def join(blocks: Blocks) -> Any:
        return structure.unflatten([back(block) for back, block in zip(restore, blocks, strict=True)])

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
