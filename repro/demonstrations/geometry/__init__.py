"""Natural gradients on statistical models and in function space: the demonstrations of two lectures."""
