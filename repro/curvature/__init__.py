"""The curvatures of the study as operators: products, quadratic forms, layer blocks; never a dense matrix."""

from repro.curvature.kronecker import KroneckerFactors, kronecker_factors, kronecker_solve, moving_average
from repro.curvature.metric import Curvature, GramMetric, decision_metric, fisher
from repro.curvature.quasi_hessian import QuasiHessian, quasi_hessian

__all__ = [
    "Curvature",
    "GramMetric",
    "KroneckerFactors",
    "QuasiHessian",
    "decision_metric",
    "fisher",
    "kronecker_factors",
    "kronecker_solve",
    "moving_average",
    "quasi_hessian",
]
