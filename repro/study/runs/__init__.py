"""The runs of the study: which there are, where they are stored, how they are made, when one has converged."""
