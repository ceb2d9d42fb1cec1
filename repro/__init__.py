"""Second-order optimisers, natural and decisional gradients, for quantum states and any other model written in JAX.

    import repro

    optimizer = repro.dgd(repro.MonteCarlo(psi))

States, problems, optimisers, ``minimise`` for problems of one's own, ``train`` for the study's runs, ``load_run`` for
what they left. Each is loaded when it is first asked for: ``import repro`` alone does not load JAX.
"""

from __future__ import annotations

# Nothing is imported here, not even of the library: `python -m repro` has not yet left the working directory, where a
# file may be called typing.py.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from repro.optimizers import (
        adam,
        dgd,
        gauss_newton,
        hessian_free,
        kfac,
        lbfgs,
        levenberg_marquardt,
        minsr,
        muon,
        natural_momentum,
        ngd,
        proximal,
        proximal_dgd,
        qn_kfac,
        qn_mr_kfac,
        sgd,
        spring,
        unit_fisher,
    )
    from repro.problems.haiku_layers import HaikuLayers
    from repro.problems.residual import LeastSquares
    from repro.problems.supervised import Supervised
    from repro.training.loading import load_run
    from repro.training.minimisation import minimise
    from repro.training.run import train
    from repro.vmc.ansatz import slater_wavefunction, trial_state
    from repro.vmc.physics.hamiltonian import System
    from repro.vmc.problem import MonteCarlo
    from repro.vmc.sampling import initial_chain

__version__ = "0.1.0"

_HOMES = {
    "repro.optimizers": (
        *("adam", "dgd", "gauss_newton", "hessian_free", "kfac", "lbfgs", "levenberg_marquardt", "minsr", "muon"),
        *(
            "natural_momentum",
            "ngd",
            "proximal",
            "proximal_dgd",
            "qn_kfac",
            "qn_mr_kfac",
            "sgd",
            "spring",
            "unit_fisher",
        ),
    ),
    "repro.problems.haiku_layers": ("HaikuLayers",),
    "repro.problems.residual": ("LeastSquares",),
    "repro.problems.supervised": ("Supervised",),
    "repro.training.loading": ("load_run",),
    "repro.training.minimisation": ("minimise",),
    "repro.training.run": ("train",),
    "repro.vmc.ansatz": ("slater_wavefunction", "trial_state"),
    "repro.vmc.physics.hamiltonian": ("System",),
    "repro.vmc.problem": ("MonteCarlo",),
    "repro.vmc.sampling": ("initial_chain",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_ROOMS = ("optimizers", "problems", "vmc", "curvature", "solvers")

__all__ = [
    "HaikuLayers",
    "LeastSquares",
    "MonteCarlo",
    "Supervised",
    "System",
    "__version__",
    "adam",
    "dgd",
    "gauss_newton",
    "hessian_free",
    "initial_chain",
    "kfac",
    "lbfgs",
    "levenberg_marquardt",
    "load_run",
    "minimise",
    "minsr",
    "muon",
    "natural_momentum",
    "ngd",
    "proximal",
    "proximal_dgd",
    "qn_kfac",
    "qn_mr_kfac",
    "sgd",
    "slater_wavefunction",
    "spring",
    "train",
    "trial_state",
    "unit_fisher",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"repro.{name}")
    raise AttributeError(f"module 'repro' has no attribute {name!r}; it has {', '.join(sorted((*_HOME_OF, *_ROOMS)))}")


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]
