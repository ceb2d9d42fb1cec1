"""Linear solvers for symmetric operators that exist only as products."""

from repro.solvers.minres import MinresResult, minres

__all__ = ["MinresResult", "minres"]
