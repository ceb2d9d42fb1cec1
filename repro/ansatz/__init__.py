"""Permutation-equivariant Slater determinants: Haiku modules and the algebra of small determinants."""

from repro.ansatz.wavefunction import Wavefunction, slater_wavefunction

__all__ = ["Wavefunction", "slater_wavefunction"]
