"""Reference energies without Monte Carlo: exact, configuration interaction, Hartree-Fock, DMRG."""

from repro.references.catalogue import METHODS, Reference, reference
from repro.references.stored import known_energy, reference_of, stored_reference

__all__ = ["METHODS", "Reference", "known_energy", "reference", "reference_of", "stored_reference"]
