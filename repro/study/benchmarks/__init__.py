"""Benchmarks: seconds and memory of whole epochs, of their parts, and of other packages at the same work."""
