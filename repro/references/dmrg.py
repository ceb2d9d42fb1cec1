"""Ground states on a grid, by the density-matrix renormalisation group (the library block2).

An independent check of the shell model: another basis, sinc functions on a uniform grid of spacing h, in which the
kinetic energy hops between all sites and the interaction is diagonal,

    H = sum_ij t_ij c_i^t c_j + sum_i 1/2 x_i^2 n_i + sum_{i<j} V(x_i - x_j) n_i n_j,

and another solver. The number of particles is a symmetry; parity and centre of mass are not used.
"""

from __future__ import annotations

import math
import tempfile
from typing import Any

import numpy as np

from repro.errors import InputError
from repro.references.progress import Progress
from repro.references.quadrature import Reals
from repro.references.sinc import sinc_kinetic
from repro.vmc.physics.hamiltonian import gaussian_interaction

MAX_PARTICLES = 10
FIRST_SPACING, FINER, FINEST = 0.25, 0.8, 0.1
TOLERANCE = 1e-6
SWEEP_TOLERANCE = 1e-10
BOND_DIMENSIONS = (50, 100, 200, 300)
CUTOFF = 1e-14
_SEED = 20240301


def grid(particles: int, v0: float, spacing: float) -> Reals:
    """Points from the left to the right edge of what the particles reach."""
    # Without interaction the outermost orbital turns at sqrt(2 A - 1); repulsion pushes further, attraction pulls in.
    reach = math.sqrt(2.0 * particles - 1.0) + (4.2 if v0 > 0 else 3.7)
    half = math.ceil(reach / spacing)
    return np.asarray(spacing * (np.arange(2 * half) - half + 0.5), np.float64)


def _lowest(particles: int, v0: float, sigma0: float, spacing: float, folder: str) -> tuple[float, float, int]:
    """Energy, its change with the last bond dimension, and the number of sites."""
    from pyblock2.driver.core import DMRGDriver, SymmetryTypes

    x = grid(particles, v0, spacing)
    sites = len(x)
    one_body = sinc_kinetic(sites, spacing) + np.diag(0.5 * x**2)
    interaction = np.asarray(gaussian_interaction(np.subtract.outer(x, x), v0, sigma0))
    driver: Any = DMRGDriver(scratch=folder, symm_type=SymmetryTypes.SGF, n_threads=1, stack_mem=2 << 30)
    driver.initialize_system(n_sites=sites, n_elec=particles)
    builder = driver.expr_builder()
    builder.add_sum_term("CD", one_body)
    # n_i n_j = c_i^t c_j^t c_j c_i; the sum over i and j counts every pair twice.
    i, j = (index.ravel() for index in np.nonzero(~np.eye(sites, dtype=bool)))
    builder.add_term("CCDD", np.stack([i, j, j, i], axis=1).ravel(), 0.5 * interaction[i, j])
    operator = driver.get_mpo(builder.finalize(adjust_order=True), iprint=0, cutoff=CUTOFF)
    driver.bw.b.Random.rand_seed(_SEED)
    state = driver.get_random_mps(tag="KET", bond_dim=BOND_DIMENSIONS[0], nroots=1)
    energies = []
    for stage, bond in enumerate(BOND_DIMENSIONS):
        noises = [1e-4] * 4 + [1e-6] * 4 + [0.0] * 4 if stage == 0 else [1e-7] * 2 + [0.0] * 4
        energies.append(
            driver.dmrg(
                operator,
                state,
                n_sweeps=len(noises),
                bond_dims=[bond],
                noises=noises,
                thrds=[SWEEP_TOLERANCE],
                tol=SWEEP_TOLERANCE,
                cutoff=CUTOFF,
                iprint=0,
            )
        )
    return float(energies[-1]), float(abs(energies[-1] - energies[-2])), sites


def dmrg_energy(particles: int, v0: float, sigma0: float, progress: Progress | None = None) -> tuple[float, float, str]:
    """Ground-state energy on finer and finer grids, until it stands still.

    Args:
        particles: A >= 2.
        v0: interaction strength.
        sigma0: interaction range.
        progress: told of each grid.

    Returns:
        Energy; the last change from one grid to the next plus that from one bond dimension to the next, plus the
        tolerance at which sweeps end; and how.

    Raises:
        InputError: if block2 is not installed, for more particles than were tried, or for too short a range.
    """
    if not 2 <= particles <= MAX_PARTICLES:
        raise InputError(f"particles = {particles}: dmrg takes 2 to {MAX_PARTICLES}")
    if v0 != 0.0 and sigma0 < FINEST:
        raise InputError(f"sigma0 = {sigma0:g}: dmrg takes {FINEST:g} and more, the spacing of its finest grid")
    try:
        import pyblock2.driver.core  # noqa: F401
    except ImportError as error:
        raise InputError(
            "method = 'dmrg': needs the library block2, which is not installed; make setup LOCK=dmrg, or use exact"
        ) from error
    spacing, before, distance = FIRST_SPACING, np.inf, np.inf
    while distance > TOLERANCE and spacing >= FINEST:
        with tempfile.TemporaryDirectory() as folder:
            energy, change, sites = _lowest(particles, v0, sigma0, spacing, folder)
        basis = f"sinc functions on {sites} sites {spacing:.3f} apart, bond dimension {BOND_DIMENSIONS[-1]}"
        distance = abs(energy - before) + change + SWEEP_TOLERANCE
        if progress is not None:
            progress(f"{basis}: E = {energy:.9f}, {distance:.1e} from the last")
        spacing, before = FINER * spacing, energy
    return energy, distance, basis
