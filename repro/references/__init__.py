"""Reference energies that owe nothing to the variational Monte Carlo: exact, configuration interaction, Hartree-Fock."""

from repro.references.catalogue import METHODS, Reference, known_energy, reference

__all__ = ["METHODS", "Reference", "known_energy", "reference"]
