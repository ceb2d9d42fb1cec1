"""The optimisers, with optax's interface: ``init(params)`` and ``update(grads, state, params, **batch)``."""

from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.momentum import natural_momentum
from repro.optimizers.presets import (
    adam,
    build_optimizer,
    dgd,
    gauss_newton,
    hessian_free,
    kfac,
    minsr,
    ngd,
    proximal_dgd,
    qn_kfac,
    qn_mr_kfac,
    sgd,
    spring,
)

__all__ = [
    "Optimizer",
    "adam",
    "build_optimizer",
    "dgd",
    "from_optax",
    "gauss_newton",
    "hessian_free",
    "kfac",
    "minsr",
    "natural_momentum",
    "ngd",
    "proximal_dgd",
    "qn_kfac",
    "qn_mr_kfac",
    "sgd",
    "spring",
]
