"""Trial states: permutation-equivariant Slater determinants, and whatever a user brings."""

from repro.vmc.ansatz.trial import TrialState, trial_state
from repro.vmc.ansatz.wavefunction import Wavefunction, slater_wavefunction

__all__ = ["TrialState", "Wavefunction", "slater_wavefunction", "trial_state"]
