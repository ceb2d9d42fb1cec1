"""Comparisons that are more than a row of runs: ablations, many particles, the authors' data, the ledger."""
