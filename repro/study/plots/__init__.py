"""Plotting code that the figures share."""
