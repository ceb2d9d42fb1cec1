"""Exact ground state of two particles, by separating the centre of mass.

With R = (x1 + x2)/sqrt(2) and q = (x1 - x2)/sqrt(2) the Hamiltonian splits into an oscillator in R, ground state 1/2,
and

    -1/2 d^2/dq^2 + 1/2 q^2 + V(sqrt(2) q),

whose odd states are the fermionic ones. Two independent discretisations, both exponentially convergent, check each
other.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from repro.errors import ReproError
from repro.references.quadrature import Reals, gauss_hermite
from repro.references.sinc import sinc_kinetic
from repro.vmc.physics.hamiltonian import gaussian_interaction
from repro.vmc.physics.oscillator import oscillator_orbitals

TOLERANCE = 1e-12
MAX_FUNCTIONS = 256
EXTENT, MAX_POINTS = 9.0, 4000
"""How far the grid reaches, in oscillator lengths of the relative motion, and how many points it may have."""
LENGTHS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def relative_interaction(v0: float, sigma0: float, functions: int, length: float) -> Reals:
    """V(sqrt(2) q) between the first odd oscillator functions of a given length, shape ``(functions, functions)``.

    The matrix elements are exact: they are Gaussians times polynomials, integrated on scaled Gauss-Hermite nodes.
    """
    scale = np.sqrt(1.0 + (length / sigma0) ** 2)
    nodes, weights = gauss_hermite(2 * functions + 1)
    y = nodes / scale
    odd = oscillator_orbitals(y, 2 * functions)[:, 1::2]
    interaction = gaussian_interaction(np.sqrt(2.0) * length * y, v0, sigma0)
    return np.asarray(odd.T @ ((weights / scale * interaction)[:, None] * odd))


def relative_oscillator(functions: int, length: float) -> Reals:
    """-1/2 d^2/dq^2 + 1/2 q^2 between the same functions."""
    n = np.arange(1, 2 * functions, 2)
    beside = 0.5 * np.sqrt((n[:-1] + 1.0) * (n[:-1] + 2.0))
    square, momentum = length**2, 1.0 / length**2
    matrix = 0.5 * (square + momentum) * np.diag(n + 0.5)
    matrix += 0.5 * (square - momentum) * (np.diag(beside, 1) + np.diag(beside, -1))
    return np.asarray(matrix)


def relative_energy_oscillator(v0: float, sigma0: float, functions: int, length: float) -> float:
    """Lowest odd energy of the relative motion in the first odd oscillator functions of a given length."""
    matrix = relative_oscillator(functions, length) + relative_interaction(v0, sigma0, functions, length)
    return float(eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])


def relative_energy_sinc(v0: float, sigma0: float, spacing: float, extent: float = EXTENT) -> float:
    """The same on a uniform grid, by odd combinations of sinc functions.

    The kinetic energy is that of Colbert and Miller, J. Chem. Phys. 96, 1982 (1992).
    """
    index = np.arange(1, int(extent / spacing) + 1)
    q = spacing * index
    total = np.add.outer(index, index)
    kinetic = sinc_kinetic(len(index), spacing) - (-1.0) ** total / (total * spacing) ** 2
    matrix = kinetic + np.diag(0.5 * q**2 + gaussian_interaction(np.sqrt(2.0) * q, v0, sigma0))
    return float(eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0])


def two_body_energy(v0: float, sigma0: float) -> tuple[float, float]:
    """Exact ground-state energy of A = 2 and its numerical error.

    The length of the basis is the variationally best of a few; the basis is then doubled until the energy stands still.
    The error is the larger of the last change and the distance between the two discretisations.

    Returns:
        Energy and error in hbar omega.

    Raises:
        ReproError: if the energy does not converge, or its check would need too many points.
    """
    functions = 32
    length = min(LENGTHS, key=lambda b: relative_energy_oscillator(v0, sigma0, functions, b))
    energy, change = relative_energy_oscillator(v0, sigma0, functions, length), np.inf
    while change > TOLERANCE * max(1.0, abs(energy)):
        functions *= 2
        if functions > MAX_FUNCTIONS:
            raise ReproError(
                f"v0 = {v0:g}, sigma0 = {sigma0:g}: the two-body energy is not converged with {MAX_FUNCTIONS} "
                "functions; so strong or so narrow an interaction is beyond this basis: lower |v0| or raise sigma0"
            )
        finer = relative_energy_oscillator(v0, sigma0, functions, length)
        energy, change = finer, abs(finer - energy)
    spacing = min(0.06, sigma0 / 8.0)
    if EXTENT / spacing > MAX_POINTS:
        raise ReproError(
            f"sigma0 = {sigma0:g}: {EXTENT / spacing:,.0f} points would be needed to check the two-body energy, but "
            f"{MAX_POINTS:,} are the most; sigma0 of {8 * EXTENT / MAX_POINTS:g} and more can be checked"
        )
    check = relative_energy_sinc(v0, sigma0, spacing)
    return 0.5 + energy, float(max(change, abs(check - energy)))
