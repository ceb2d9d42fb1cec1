"""Reference energies without Monte Carlo: exact, configuration interaction, Hartree-Fock, DMRG."""

from repro.references.catalogue import METHODS, Reference, reference
from repro.references.stored import known_energy, stored_reference

__all__ = ["METHODS", "Reference", "known_energy", "reference", "stored_reference"]
