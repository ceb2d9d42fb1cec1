"""Densities of the exact ground state, from its no-core shell model vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from repro.config import SystemConfig
from repro.errors import InputError
from repro.references.quadrature import Reals
from repro.references.shell_model import LENGTHS, Space, full_hamiltonian, lowest_state
from repro.vmc.physics.oscillator import oscillator_orbitals

QUANTA = {2: 64, 3: 64, 4: 56, 5: 48, 6: 40}
"""Quanta above the lowest determinant, by the number of particles: seconds each."""


@dataclass(frozen=True)
class Densities:
    """Observables of a ground state; lengths in oscillator lengths.

    Attributes:
        energy: of the vector they belong to, an upper bound of the exact one.
        x: where.
        one_body: n(x), shape ``(X,)``.
        pair: n_2(x, y), shape ``(X, X)``.
        occupations: of the natural orbitals, largest first; they sum to A.
        basis: how they were computed, in words.
    """

    energy: float
    x: Reals
    one_body: Reals
    pair: Reals
    occupations: Reals
    basis: str


def one_body_matrix(space: Space, densities: tuple[Reals, Reals]) -> Reals:
    """<a_i^t a_j> between oscillator functions, by tracing one particle out of the pair density matrices.

    Args:
        space: where.
        densities: of pairs, from :meth:`Space.pair_densities`.
    """
    modes = space.modes
    matrix = np.zeros((modes, modes))
    for those, density in zip(space.pairs, densities, strict=True):
        position = np.full((modes, modes), -1)
        position[those.first, those.second] = position[those.second, those.first] = np.arange(len(those.first))
        for spectator in range(modes):
            others = np.flatnonzero(position[:, spectator] >= 0)
            sign = np.where(others < spectator, 1.0, -1.0)
            chosen = position[others, spectator]
            matrix[np.ix_(others, others)] += sign[:, None] * density[np.ix_(chosen, chosen)] * sign
    return matrix / (space.particles - 1.0)


_space = cache(Space)
"""One for all couplings: in it only the matrices between pairs differ."""


def ground_state_densities(system: SystemConfig, x: Reals, quanta: int | None = None) -> Densities:
    """Densities and natural occupations of the ground state in the trap.

    Here the centre of mass is part of the state, so that the whole Hamiltonian is diagonalised, in the best of a few
    lengths. Without interaction the ground state is the lowest determinant of the oscillator itself.

    Args:
        system: the Hamiltonian, 2 to 6 particles.
        x: where, a uniform grid or any other points.
        quanta: above the lowest determinant; :data:`QUANTA` when left out.

    Raises:
        InputError: for a number of particles out of these bounds.
    """
    if system.particles not in QUANTA:
        raise InputError(f"particles = {system.particles}: exact densities are computed for 2 to {max(QUANTA)}")
    if system.v0 == 0.0:
        length, quanta = 1.0, 0
    else:
        coarse = _space(system.particles, 24)
        length = min(
            (length for length in LENGTHS if 0.35 < length <= 1.0),
            key=lambda b: lowest_state(coarse, full_hamiltonian(coarse, system.v0, system.sigma0, b)).energy,
        )
    space = _space(system.particles, QUANTA[system.particles] if quanta is None else quanta)
    state = lowest_state(space, full_hamiltonian(space, system.v0, system.sigma0, length))
    densities = space.pair_densities(state.vector)
    matrix = one_body_matrix(space, densities)
    orbitals = oscillator_orbitals(x / length, space.modes) / np.sqrt(length)
    pair = np.zeros((len(x), len(x)))
    for those, density in zip(space.pairs, densities, strict=True):
        values, vectors = np.linalg.eigh(density)
        for weight, vector in zip(values, vectors.T, strict=True):
            if weight < 1e-12:
                continue
            amplitudes = np.zeros((space.modes, space.modes))
            amplitudes[those.first, those.second] = vector / np.sqrt(2.0)
            wave = orbitals @ (amplitudes - amplitudes.T) @ orbitals.T
            pair += 2.0 * weight * wave**2
    return Densities(
        energy=state.energy,
        x=x,
        one_body=np.einsum("xi,ij,xj->x", orbitals, matrix, orbitals),
        pair=pair,
        occupations=np.asarray(np.linalg.eigvalsh(matrix)[::-1], np.float64),
        basis=f"no-core shell model, {space.quanta} quanta, length {length:.3f}, {space.dimension} determinants",
    )
