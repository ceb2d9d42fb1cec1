"""Hartree-Fock in real space, on a uniform grid with the sinc kinetic energy.

In this basis the interaction is diagonal, so that for a density matrix g (trace A, g^2 = g)

    E[g] = tr(h g) + 1/2 sum_ij V_ij ( g_ii g_jj - g_ij^2 ),    F[g] = h + diag(V diag g) - V o g.

The optimal damping algorithm (Cances and Le Bris, Int. J. Quantum Chem. 79, 82 (2000)) lowers the energy at every
step, from several starts, for the minimum need not have the symmetry of the trap; DIIS (Pulay 1980) then converges it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import eigh

from repro.errors import InputError, ReproError
from repro.references.quadrature import Reals
from repro.references.sinc import sinc_kinetic
from repro.vmc.physics.hamiltonian import gaussian_interaction
from repro.vmc.physics.oscillator import oscillator_orbitals

EXTENT = 7.0
UNRESOLVED = 3.0
"""In a range so many times shorter than their distance, neighbours on a grid see a hundredth of the interaction."""
_SEED = 20240301


class _Problem:
    def __init__(self, particles: int, v0: float, sigma0: float, points: int) -> None:
        extent = EXTENT + np.sqrt(2.0 * particles)
        self.particles = particles
        self.x = np.linspace(-extent, extent, points)
        self.spacing = float(self.x[1] - self.x[0])
        self.core = sinc_kinetic(points, self.spacing) + np.diag(0.5 * self.x**2)
        self.interaction = gaussian_interaction(np.subtract.outer(self.x, self.x), v0, sigma0)

    def two_body(self, g: Reals) -> Reals:
        return np.diag(self.interaction @ np.diag(g)) - self.interaction * g

    def fock(self, g: Reals) -> Reals:
        return self.core + self.two_body(g)

    def energy(self, g: Reals) -> float:
        return float(np.sum((self.core + 0.5 * self.two_body(g)) * g))

    def aufbau(self, fock: Reals) -> Reals:
        orbitals = eigh(fock, subset_by_index=[0, self.particles - 1])[1]
        return np.asarray(orbitals @ orbitals.T)

    def starts(self) -> Iterator[Reals]:
        """Oscillator orbitals, equally spaced packets, and fillings of a few random potentials."""
        yield self._project(oscillator_orbitals(self.x, self.particles))
        for distance in (0.6, 1.2):
            centres = distance * (np.arange(self.particles) - 0.5 * (self.particles - 1))
            yield self._project(np.exp(-2.0 * (self.x[:, None] - centres) ** 2))
        random = np.random.default_rng(_SEED)
        for _ in range(2):
            waves = np.sin(np.outer(self.x, random.uniform(0.5, 2.5, 4)) + random.uniform(0, 2 * np.pi, 4))
            yield self.aufbau(self.core + np.diag(waves @ random.normal(0.0, 2.0, 4)))

    @staticmethod
    def _project(functions: Reals) -> Reals:
        q, _ = np.linalg.qr(functions)
        return np.asarray(q @ q.T)


def _damped(problem: _Problem, g: Reals, steps: int = 300, tolerance: float = 1e-3) -> Reals:
    for _ in range(steps):
        fock = problem.fock(g)
        direction = problem.aufbau(fock) - g
        slope = float(np.sum(fock * direction))
        if -slope < tolerance**2:
            break
        bend = 0.5 * float(np.sum(problem.two_body(direction) * direction))
        g = g + direction * (1.0 if bend <= -0.5 * slope else -slope / (2.0 * bend))
    return problem.aufbau(problem.fock(g))


def _converged(problem: _Problem, g: Reals, steps: int = 300, depth: int = 8) -> tuple[Reals, float]:
    focks: list[Reals] = []
    residuals: list[Reals] = []
    for _ in range(steps):
        fock = problem.fock(g)
        residual = fock @ g - g @ fock
        focks, residuals = [*focks, fock][-depth:], [*residuals, residual][-depth:]
        if np.linalg.norm(residual) < 1e-9:
            break
        count = len(focks)
        gram = np.zeros((count + 1, count + 1))
        gram[:count, :count] = [[np.sum(a * b) for b in residuals] for a in residuals]
        gram[count, :count] = gram[:count, count] = 1.0
        weights = np.linalg.lstsq(gram, np.eye(count + 1)[count], rcond=None)[0][:count]
        g = problem.aufbau(np.tensordot(weights, focks, 1))
    return g, float(np.linalg.norm(residual))


def _solve(problem: _Problem, start: Reals) -> float:
    g, residual = _converged(problem, _damped(problem, start))
    return problem.energy(g) if residual < 1e-6 else np.inf


def hartree_fock_energy(particles: int, v0: float, sigma0: float, points: int = 120) -> tuple[float, float, str]:
    """Lowest Hartree-Fock energy, its grid error, and the grid in words.

    A coarse grid, half as fine, tells which start leads lowest; it is then followed on two finer ones, with
    ``points`` and with 4/3 as many points, whose distance is the error.

    Raises:
        InputError: if the interaction is too narrow for the grid.
        ReproError: if no start converges.
    """
    finer = _Problem(particles, v0, sigma0, points)
    if v0 != 0.0 and sigma0 < finer.spacing / UNRESOLVED:
        raise InputError(
            f"sigma0 = {sigma0:g}: must be at least {finer.spacing / UNRESOLVED:.2g} for Hartree-Fock, or neighbours "
            f"on its grid, {finer.spacing:.2g} apart, do not feel each other"
        )
    coarse = _Problem(particles, v0, sigma0, points // 2)
    energies = [_solve(coarse, start) for start in coarse.starts()]
    best = int(np.argmin(energies))
    first, second = (
        _solve(problem, list(problem.starts())[best])
        for problem in (_Problem(particles, v0, sigma0, count) for count in (points, 4 * points // 3))
    )
    if not np.isfinite(first + second):
        raise ReproError(f"Hartree-Fock for A = {particles}, v0 = {v0:g}, sigma0 = {sigma0:g} did not converge")
    return second, abs(second - first), f"sinc functions on {4 * points // 3} points"
