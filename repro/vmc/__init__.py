"""Variational Monte Carlo: the physics, the trial state, the walk, and the derivatives that curvatures are made of."""
