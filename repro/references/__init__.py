"""Reference energies that owe nothing to Monte Carlo: exact, configuration interaction, Hartree-Fock."""

from repro.references.catalogue import METHODS, Reference, known_energy, reference

__all__ = ["METHODS", "Reference", "known_energy", "reference"]
