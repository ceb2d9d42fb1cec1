"""Markov chains over walker positions."""

from repro.vmc.sampling.metropolis import Chain, LogDensity, initial_chain, walk

__all__ = ["Chain", "LogDensity", "initial_chain", "walk"]
