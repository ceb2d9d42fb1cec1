"""The configuration of a run: frozen, validated, complete, and hashable into the run's name.

What is not in here (device, threads, versions, how many walkers are differentiated at once) is not meant to change a
result beyond its statistical error and is recorded in ``result.json`` instead.
"""

from repro.config.optimizers import (
    ALL_OPTIMIZERS,
    BEYOND,
    MEDIAN,
    OPTIMIZER_OPTIONS,
    OPTIMIZERS,
    PARTS_OF,
    PROXIMAL_PARTS,
    AdamConfig,
    DampingConfig,
    FactorsConfig,
    MinresConfig,
    OptimizerConfig,
    ProximalConfig,
    SecondOrderConfig,
    SpringConfig,
    StartConfig,
    deck_points,
    lower_median,
    optimizer_config,
)
from repro.config.run import (
    AUTO,
    AnsatzConfig,
    EvaluationConfig,
    PretrainingConfig,
    RunConfig,
    SamplingConfig,
    Sweeps,
    SystemConfig,
    differences,
)

__all__ = [
    "ALL_OPTIMIZERS",
    "AUTO",
    "BEYOND",
    "MEDIAN",
    "OPTIMIZERS",
    "OPTIMIZER_OPTIONS",
    "PARTS_OF",
    "PROXIMAL_PARTS",
    "AdamConfig",
    "AnsatzConfig",
    "DampingConfig",
    "EvaluationConfig",
    "FactorsConfig",
    "MinresConfig",
    "OptimizerConfig",
    "PretrainingConfig",
    "ProximalConfig",
    "RunConfig",
    "SamplingConfig",
    "SecondOrderConfig",
    "SpringConfig",
    "StartConfig",
    "Sweeps",
    "SystemConfig",
    "deck_points",
    "differences",
    "lower_median",
    "optimizer_config",
]
