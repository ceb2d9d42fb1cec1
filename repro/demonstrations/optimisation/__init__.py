"""From gradient descent to K-FAC: the demonstrations of an introduction and of a lecture on optimisation."""
