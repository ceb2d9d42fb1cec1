"""The configuration of a run of any problem but the energies of the study, and how either kind is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from repro.config.checks import choice, integer
from repro.config.content import Configuration, built_from, document_of
from repro.config.optimizers import AdamConfig, OptimizerConfig, built_optimizer
from repro.config.problems import ProblemConfig, built_problem
from repro.config.run import DTYPES, MAX_SEED, RunConfig

EVALUATION_INTERVAL = 10


@dataclass(frozen=True)
class ProblemRunConfig(Configuration):
    """Everything that determines the results of a run of a problem on a given machine.

    Attributes:
        problem: with its model and data.
        steps: of the optimiser.
        optimizer: with its options.
        seed: of everything random.
        dtype: "float32" or "float64".
        evaluation_interval: steps from one evaluation, such as of the test error, to the next.
    """

    problem: ProblemConfig
    steps: int
    optimizer: OptimizerConfig = field(default_factory=AdamConfig)
    seed: int = 0
    dtype: str = "float32"
    evaluation_interval: int = EVALUATION_INTERVAL

    def __post_init__(self) -> None:
        integer("steps", self.steps, 1)
        integer("seed", self.seed, 0, MAX_SEED)
        integer("evaluation_interval", self.evaluation_interval, 1)
        choice("dtype", self.dtype, DTYPES)

    def decisive(self) -> dict[str, Any]:
        """All but the folder of the data: its files are known by their names and checksums."""
        data = self.to_dict()
        if "data_dir" in data["problem"]:
            data["problem"]["data_dir"] = ""
        return data

    @property
    def run_name(self) -> str:
        """A directory name that a person can read and the hash makes unique."""
        return f"{self.optimizer.name}-{self.problem.name}-seed{self.seed}-{self.content_hash[:8]}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ProblemRunConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a missing or unknown key, or a value out of bounds.
        """
        return built_from(cls, data, {"problem": built_problem, "optimizer": built_optimizer})


AnyRunConfig = RunConfig | ProblemRunConfig


def _kind_of(data: object) -> type[RunConfig] | type[ProblemRunConfig]:
    return ProblemRunConfig if isinstance(data, dict) and "problem" in data else RunConfig


def config_from_dict(data: dict[str, Any]) -> AnyRunConfig:
    """A configuration of either kind from plain data; errors as :meth:`Configuration.from_dict`."""
    return _kind_of(data).from_dict(data)


def config_from_json(text: str, source: str) -> AnyRunConfig:
    """A configuration of either kind from ``config.json``; arguments and errors as :meth:`Configuration.from_json`."""
    return _kind_of(document_of(text, source)[0]).from_json(text, source)
