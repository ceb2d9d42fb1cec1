"""The two metrics of the study, the exact Fisher metric and the decision metric, as pull-backs."""

from __future__ import annotations

from repro.curvature.jacobian import CentredScores
from repro.curvature.output_metrics import Euclidean
from repro.curvature.pullback import Pullback
from repro.vmc.derivatives import Derivatives


def fisher(derivatives: Derivatives, centred: bool = True, scale: float = 4.0) -> Pullback:
    """Exact Fisher metric F = 4 Cov(D, D) (S. Amari, Neural Comput. 10, 251 (1998), with ln p = 2 ln|psi|).

    Args:
        derivatives: at the walkers.
        centred: False gives scale E[D D^T] instead.
        scale: the factor.
    """
    return Pullback(CentredScores(derivatives.scores) if centred else derivatives.scores, Euclidean(scale))


def decision_metric(derivatives: Derivatives) -> Pullback:
    """G = sum_k E[(d_k D)(d_k D)^T], the metric that the scoring rule S(x, p) = -E_L(x) induces.

    It is the Hessian at p' = p of the divergence 1/8 sum_k E[(d_k ln p - d_k ln p')^2].

    Raises:
        ValueError: if the derivatives were evaluated without the mixed ones.
    """
    if derivatives.mixed is None:
        raise ValueError("the decision metric needs derivatives(..., mixed=True)")
    return Pullback(derivatives.mixed, Euclidean())
