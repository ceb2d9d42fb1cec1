"""Seconds and memory: of whole epochs, of their parts, of other packages at the same work."""
