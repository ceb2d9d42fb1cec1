"""The stored runs of the series and of the boundary layer: the settings that the table chose, with three seeds."""

from __future__ import annotations

from repro.config import ProblemRunConfig
from repro.config.optimizers import NaturalMomentumConfig
from repro.study.runs.grid import read_grid
from repro.study.runs.store import STORED_RUNS, ProblemRun, RunSource, project_path

GRID = "grids/momentum.toml"
KINDS = {"transported": "LM", "function-difference": "FD", "last-gradient": "LG", "nesterov": "Nesterov"}
NAMES = {
    "sgd": "momentum",
    "adam": "Adam",
    "muon": "Muon",
    "lbfgs": "L-BFGS",
    "levenberg-marquardt": "Levenberg-Marquardt",
    "proximal": "proximal",
    "spring": "SPRING",
}
METHODS_DRAWN = ("Adam", "L-BFGS", "NGD", "NGD, search", "LM", "FD", "Levenberg-Marquardt", "proximal")


def method_of(config: ProblemRunConfig) -> str:
    """What the figures call the optimiser of a run."""
    optimizer = config.optimizer
    if not isinstance(optimizer, NaturalMomentumConfig):
        return NAMES[optimizer.name]
    if optimizer.cutoff > 0.0:
        return "ANaGRAM"
    if optimizer.momentum > 0.0:
        return KINDS[optimizer.kind]
    return "NGD, search" if optimizer.search != "none" else "NGD"


def runs_of(problem: str, source: RunSource) -> dict[str, list[ProblemRun]]:
    """The runs of a problem that are at hand, by method; of a fresh source they are trained anew.

    Args:
        problem: its name.
        source: where runs are looked for.
    """
    configs = [config for config in read_grid(project_path(STORED_RUNS) / GRID) if isinstance(config, ProblemRunConfig)]
    found: dict[str, list[ProblemRun]] = {}
    for run in source.available([config for config in configs if config.problem.name == problem]):
        found.setdefault(method_of(run.config), []).append(run)
    return found
