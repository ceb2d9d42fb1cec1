"""The Hamiltonian and its observables: pure functions of arrays."""
