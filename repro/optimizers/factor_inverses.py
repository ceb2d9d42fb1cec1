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
        self._factors, self._kept, self._epoch, self._config = factors, kept, epoch, config
        self._always, self._cholesky = config.inverse_interval == 1, config.inverse == "cholesky"
        if not self._cholesky:
            self._spectra = self._if_due(self._diagonalised, lambda: kept)

    def solve(self, grads: Blocks, gamma: Array) -> Blocks:
        """(A + gamma pi)^-1 block (S + gamma / pi)^-1 of every layer."""
        if not self._cholesky:
            pairs = zip(self._spectra, grads, strict=True)
            return tuple(kronecker_solve(a, s, block, gamma) for (a, s), block in pairs)

        def applied(inverses: Factors) -> Blocks:
            return tuple(a @ block @ s for (a, s), block in zip(inverses, grads, strict=True))

        # A branch gives the direction, not the inverses: matrices that are only read are not copied.
        return self._if_due(lambda: applied(self._inverted(gamma)), lambda: applied(self._kept))

    def to_keep(self, gamma: Array) -> Any:
        """What the state keeps.

        Args:
            gamma: the one that was chosen. Cholesky decompositions are made once more for it: to carry those of every
                candidate through the comparison would cost all epochs more than that.
        """
        if self._always:
            return ()
        return self._if_due(lambda: self._inverted(gamma), lambda: self._kept) if self._cholesky else self._spectra

    def _diagonalised(self) -> tuple[tuple[Spectrum, Spectrum], ...]:
        return tuple((spectrum(a), spectrum(s)) for a, s in self._factors)

    def _inverted(self, gamma: Array) -> Factors:
        return tuple(damped_inverse(factor, gamma) for factor in self._factors)

    def _if_due(self, made: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """Made anew in the epochs that invert; the branch that is not taken is not computed."""
        if self._always:
            return made()
        due = (self._epoch % self._config.inverse_interval == 0) | (self._epoch < FIRST_EPOCHS)
        if self._cholesky:
            due |= compares_gammas(self._epoch, self._config)
        return jax.lax.cond(due, made, otherwise)
