"""The effect of single precision on an energy: local energies of the same walkers are compared in double precision.

A determinant is the same however its orbitals are mixed, so nothing that walkers say keeps orbitals from becoming
dependent. Where they are, to single precision, an energy can be wrong by far more than its statistical error.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from repro.vmc.ansatz import Wavefunction
from repro.vmc.ansatz.trial import Params
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import walker_energies


def energy_rounding(
    exact: Wavefunction, params: Params, walkers: np.ndarray, system: System, energies: np.ndarray, walker_chunk: int
) -> float:
    """How far rounding may have moved the mean of local energies, in hbar omega.

    Args:
        exact: the wavefunction in double precision.
        params: its parameters, in single.
        walkers: shape ``(W, A)``, in single.
        system: the couplings.
        energies: the walkers' local energies in single precision, shape ``(W,)``.
        walker_chunk: walkers taken at once, a divisor of W.

    Returns:
        sqrt(m^2 + s^2), with m the mean over the walkers of what rounding adds and s its standard error.
    """
    with jax.enable_x64(True):
        precise = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (params, walkers, system))
        found = jax.jit(lambda p, x, couplings: walker_energies(exact, p, x, couplings, walker_chunk))(*precise)
        added = np.asarray(energies, np.float64) - np.asarray(found)
    return float(np.hypot(np.mean(added), np.std(added) / np.sqrt(len(added))))
