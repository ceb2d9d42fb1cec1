"""The optimisers, with optax's interface: ``init(params)`` and ``update(grads, state, params, **batch)``."""

from repro.optimizers.averaging import averaged, averaged_params
from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.momentum import natural_momentum
from repro.optimizers.presets import (
    MARTENS_GROSSE,
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
    "MARTENS_GROSSE",
    "Optimizer",
    "adam",
    "averaged",
    "averaged_params",
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
