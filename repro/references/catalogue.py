"""All reference energies, by the name of the method.

A method is imported when it computes: most of what asks for a reference finds it stored, and JAX takes seconds to load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from repro.config import SystemConfig
from repro.config.checks import choice
from repro.errors import InputError, ReproError
from repro.reading import told
from repro.references.progress import Progress

METHODS = ("exact", "ci", "hf", "dmrg")
STUDY_MODES = 20
MAX_HARTREE_FOCK_PARTICLES = 20


@dataclass(frozen=True)
class Reference:
    """A reference energy in hbar omega.

    Attributes:
        energy: the value.
        error: numerical error *of the method's own value*: what is missing to convergence for "exact" and "dmrg",
            eigensolver residual for "ci", grid error for "hf"; what truncation (ci) or the mean field (hf) leave out
            is not part of it.
        method: one of :data:`METHODS`.
        particles: A.
        v0: interaction strength.
        sigma0: interaction range.
        basis: how it was computed, in words.
        modes: oscillator modes M of "ci", None otherwise.
    """

    energy: float
    error: float
    method: str
    particles: int
    v0: float
    sigma0: float
    basis: str
    modes: int | None = None

    @property
    def system(self) -> SystemConfig:
        """Whose energy it is."""
        return SystemConfig(self.particles, self.v0, self.sigma0)


def _exact(system: SystemConfig, progress: Progress | None) -> tuple[float, float, str]:
    particles, v0, sigma0 = system.particles, system.v0, system.sigma0
    if v0 == 0.0 or particles == 1:
        return 0.5 * particles**2, 0.0, "no interaction"
    if particles == 2:
        from repro.references.two_body import two_body_energy

        return *two_body_energy(v0, sigma0), "centre of mass separated"
    from repro.references.shell_model import shell_model_energy

    energy, error, steps = shell_model_energy(particles, v0, sigma0, progress=progress)
    return energy, error, f"no-core shell model, {steps[-1].basis}"


MILDER = "lower |v0|, or bring sigma0 closer to 1"


def _case(method: str, system: SystemConfig) -> str:
    return f"{method}, particles = {system.particles}, v0 = {system.v0:g}, sigma0 = {system.sigma0:g}"


def _computed(
    method: str, system: SystemConfig, modes: int | None, progress: Progress | None
) -> tuple[float, float, str]:
    """Energy, error and basis by any method."""
    particles, v0, sigma0 = system.particles, system.v0, system.sigma0
    if method == "ci":
        from repro.references.configuration_interaction import ci_energy

        assert modes is not None
        return *ci_energy(particles, modes, v0, sigma0), f"{modes} oscillator modes"
    if method == "hf":
        from repro.references.hartree_fock import hartree_fock_energy

        if particles > MAX_HARTREE_FOCK_PARTICLES:
            raise InputError(f"particles = {particles}: Hartree-Fock takes at most {MAX_HARTREE_FOCK_PARTICLES}")
        return hartree_fock_energy(particles, v0, sigma0)
    if method == "dmrg":
        from repro.references.dmrg import dmrg_energy

        return dmrg_energy(particles, v0, sigma0, progress)
    return _exact(system, progress)


def reference(
    method: str, system: SystemConfig, modes: int | None = None, progress: Progress | None = None
) -> Reference:
    """Computes a reference energy.

    Args:
        method: one of :data:`METHODS`.
        system: the Hamiltonian.
        modes: for "ci" only; None for the 20 modes of the study.
        progress: told a line for every step of a long calculation.

    Raises:
        InputError: for an unknown method, ``modes`` where they mean nothing, or a case that the method cannot do.
        ReproError: if the method does not converge.
    """
    choice("method", method, METHODS)
    if method != "ci" and modes is not None:
        raise InputError(f"modes = {modes}: only --method ci has modes; leave --modes out")
    chosen = (STUDY_MODES if modes is None else modes) if method == "ci" else None
    try:
        energy, error, basis = _computed(method, system, chosen, progress)
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as failed:  # of numpy, scipy and block2
        raise ReproError(f"{_case(method, system)}: did not converge ({told(failed)}); {MILDER}") from failed
    if not (math.isfinite(energy) and error >= 0):
        raise ReproError(f"{_case(method, system)}: gives no number ({energy} +- {error}); {MILDER}")
    return Reference(energy, error, method, system.particles, system.v0, system.sigma0, basis, chosen)
