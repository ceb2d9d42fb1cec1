"""The inverses of the Kronecker factors, made anew in some epochs and kept for those between them.

Either the eigenvectors of the factors are kept, A = U diag(a) U^T, which serve any gamma, or the inverses of A + gamma
pi and S + gamma / pi, by Cholesky decompositions, which serve the gamma that they were made for. An epoch that uses
what was kept multiplies with half as many matrices in the second case. (J. Martens, R. Grosse, ICML 2015, sections 6.3,
6.6 and 8: T3.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from repro.config import FactorsConfig
from repro.curvature.kronecker import KroneckerFactors, Spectrum, damped_inverse, kronecker_solve, spectrum
from repro.parameters.partition import Blocks

FIRST_EPOCHS = 3
"""Epochs at the beginning that all invert: the first averages of the factors change most."""

Factors = tuple[KroneckerFactors, ...]


def compares_gammas(epoch: Array, config: FactorsConfig) -> Array:
    """Whether several gammas are tried in an epoch."""
    return epoch % config.interval == 0


def initial_inverses(blocks: Blocks, config: FactorsConfig) -> Any:
    """Room for what is kept, or () where nothing is, as every epoch inverts."""
    if config.inverse_interval == 1:
        return ()

    def zeros(*shape: int) -> Array:
        return jnp.zeros(shape, blocks[0].dtype)

    if config.inverse == "cholesky":
        return tuple(KroneckerFactors(*(zeros(size, size) for size in block.shape)) for block in blocks)
    return tuple(tuple(Spectrum(zeros(size), zeros(size, size)) for size in block.shape) for block in blocks)


class FactorInverses:
    """The inverses of one epoch.

    Args:
        factors: A and S of every layer, as they are now.
        kept: what the last epoch kept.
        epoch: number of this epoch, from 0.
        config: of the factors.
    """

    def __init__(self, factors: Factors, kept: Any, epoch: Array, config: FactorsConfig) -> None:
        self._factors, self._kept, self._config = factors, kept, config
        self._epoch = epoch
        if config.inverse == "eigenvectors":
            self._spectra = self._if_due(lambda: tuple((spectrum(a), spectrum(s)) for a, s in factors))

    def solve(self, grads: Blocks, gamma: Array) -> tuple[Blocks, Any]:
        """(A + gamma pi)^-1 block (S + gamma / pi)^-1 of every layer, and what to keep of the inverses."""
        if self._config.inverse == "eigenvectors":
            pairs = zip(self._spectra, grads, strict=True)
            return tuple(kronecker_solve(a, s, block, gamma) for (a, s), block in pairs), ()
        inverses = self._if_due(lambda: tuple(damped_inverse(factor, gamma) for factor in self._factors))
        solved = tuple(a @ block @ s for (a, s), block in zip(inverses, grads, strict=True))
        return solved, () if self._config.inverse_interval == 1 else inverses

    def to_keep(self, of_step: Any) -> Any:
        """What the state keeps.

        Args:
            of_step: what :meth:`solve` gave with the gamma that was chosen.
        """
        if self._config.inverse_interval == 1 or self._config.inverse == "cholesky":
            return of_step
        return self._spectra

    def _if_due(self, made: Callable[[], Any]) -> Any:
        """Made anew where that is due; the branch that is not taken is not computed."""
        if self._config.inverse_interval == 1:
            return made()
        due = (self._epoch % self._config.inverse_interval == 0) | (self._epoch < FIRST_EPOCHS)
        if self._config.inverse == "cholesky":
            due |= compares_gammas(self._epoch, self._config)
        return jax.lax.cond(due, made, lambda: self._kept)
