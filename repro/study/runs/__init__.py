"""The runs of the study: the list, the store, how runs are made, and when a run has converged."""
