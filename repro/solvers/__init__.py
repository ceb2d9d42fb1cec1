"""Linear solvers: MINRES and conjugate gradients, which need products only, and dense damped least squares."""

from repro.solvers.cg import CGResult, conjugate_gradients
from repro.solvers.minres import MinresResult, minres
from repro.solvers.sample_space import damped_least_squares, damped_solve

__all__ = [
    "CGResult",
    "MinresResult",
    "conjugate_gradients",
    "damped_least_squares",
    "damped_solve",
    "minres",
]
