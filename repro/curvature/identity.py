"""A multiple of the identity: the curvature of a quadratic penalty."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from repro.parameters.partition import Blocks, inner


@dataclass(frozen=True)
class MultipleOfIdentity:
    """eta I; see :class:`repro.curvature.pullback.Curvature`.

    Attributes:
        eta: the multiple.
        blocks: of the parameters, for their shapes.
    """

    eta: float
    blocks: Blocks

    def matvec(self, v: Blocks) -> Blocks:
        """Eta v."""
        return tuple(self.eta * block for block in v)

    def block_matvec(self, index: int, block: Array) -> Array:
        """Eta times one layer's part of a vector."""
        del index
        return self.eta * block

    def block_diagonal(self, v: Blocks) -> Blocks:
        """Eta v: no layers are coupled."""
        return self.matvec(v)

    def diagonal(self, index: int) -> Array:
        """Eta for each parameter of a layer, of the shape of its block."""
        return jnp.full_like(self.blocks[index], self.eta)

    def gram(self, vectors: tuple[Blocks, ...]) -> Array:
        """Eta v_i^T v_j, shape ``(n, n)``."""
        return self.eta * jnp.stack([jnp.stack([inner(v, w) for w in vectors]) for v in vectors])
