"""Comparisons that need more than a list of runs: ablations, many particles, the authors' data, the ledger."""
