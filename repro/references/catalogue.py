"""One door to all reference energies."""

from __future__ import annotations

from dataclasses import dataclass

from repro.config import SystemConfig
from repro.errors import InputError, ReproError
from repro.references.configuration_interaction import ci_energy
from repro.references.hartree_fock import hartree_fock_energy
from repro.references.two_body import two_body_energy

METHODS = ("exact", "ci", "hf")
STUDY_MODES = 20
MAX_HARTREE_FOCK_PARTICLES = 20


@dataclass(frozen=True)
class Reference:
    """A reference energy in hbar omega.

    Attributes:
        energy: the value.
        error: numerical error *of the method's own value*: eigensolver residual for "ci", grid error for "hf"; what
            truncation (ci) or the mean field (hf) leave out is not part of it.
        method: "exact", "ci" or "hf".
        particles: A.
        v0: interaction strength.
        sigma0: interaction range.
        modes: oscillator modes M of "ci", None otherwise.
    """

    energy: float
    error: float
    method: str
    particles: int
    v0: float
    sigma0: float
    modes: int | None = None


def reference(method: str, system: SystemConfig, modes: int | None = None) -> Reference:
    """Computes a reference energy.

    Args:
        method: one of :data:`METHODS`.
        system: the Hamiltonian.
        modes: for "ci" only; None for the 20 modes of the study.

    Raises:
        InputError: for an unknown method, ``modes`` where they mean nothing, or a case that the method cannot do.
    """
    particles, v0, sigma0 = system.particles, system.v0, system.sigma0
    if method not in METHODS:
        raise InputError(f"method = {method!r}: unknown; choose one of {', '.join(METHODS)}")
    if method != "ci" and modes is not None:
        raise InputError(f"modes = {modes}: only --method ci has modes; leave --modes out")
    if method == "ci":
        chosen = STUDY_MODES if modes is None else modes
        energy, error = ci_energy(particles, chosen, v0, sigma0)
        return Reference(energy, error, method, particles, v0, sigma0, chosen)
    if method == "hf":
        if particles > MAX_HARTREE_FOCK_PARTICLES:
            raise InputError(f"particles = {particles}: Hartree-Fock takes at most {MAX_HARTREE_FOCK_PARTICLES}")
        energy, error = hartree_fock_energy(particles, v0, sigma0)
    elif v0 == 0.0 or particles == 1:
        energy, error = 0.5 * particles**2, 0.0
    elif particles == 2:
        energy, error = two_body_energy(v0, sigma0)
    else:
        raise InputError(
            f"particles = {particles}: exact energies are known for 2 particles, or for any number at v0 = 0; "
            "use --method ci"
        )
    return Reference(energy, error, method, particles, v0, sigma0)


def known_energy(system: SystemConfig) -> float | None:
    """The exact energy where it is known at once, else None."""
    try:
        return reference("exact", system).energy
    except ReproError:
        return None
