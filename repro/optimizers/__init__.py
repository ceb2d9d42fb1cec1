"""The optimisers behind optax's face: ``init(params)`` and ``update(grads, state, params, **extra)``."""

from repro.optimizers.base import Optimizer
from repro.optimizers.presets import (
    build_optimizer,
    dgd,
    kfac,
    minsr,
    ngd,
    proximal_dgd,
    qn_kfac,
    qn_mr_kfac,
    spring,
)

__all__ = [
    "Optimizer",
    "build_optimizer",
    "dgd",
    "kfac",
    "minsr",
    "ngd",
    "proximal_dgd",
    "qn_kfac",
    "qn_mr_kfac",
    "spring",
]
