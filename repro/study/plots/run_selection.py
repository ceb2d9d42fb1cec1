"""Which runs a figure shows, and in which groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repro.config import ALL_OPTIMIZERS, RunConfig, SystemConfig
from repro.study.claims.statements import claims_of
from repro.study.plots.style import LOOKS
from repro.study.runs.cases import CASES, exact_energy
from repro.study.runs.profiles import study_run
from repro.study.runs.store import Run, RunSource


def wanted_configs(figure: str, profile: str, grid: bool = False) -> list[RunConfig]:
    """The runs that the claims of a figure are about, each once.

    Args:
        figure: such as "F02".
        profile: size of the runs, in place of the claims' own.
        grid: whether those of the claims about all 25 cases, or those of the other claims.
    """
    claims = [claim for claim in claims_of(figure) if (claim.cases == CASES) is grid]
    return each_once([config for claim in claims for config in replace(claim, profile=profile).configs])


def each_once(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The same configurations in their order, without repetitions."""
    return list({config.content_hash: config for config in configs}.values())


def runs_at_hand(configs: Sequence[RunConfig], source: RunSource) -> list[Run]:
    """Those of the runs that are there; how many of each optimiser is printed."""
    runs = source.available(configs)
    for name in names_of(configs):
        found, wanted = of_optimizer(runs, name), sum(config.optimizer.name == name for config in configs)
        print(f"{LOOKS[name].label}: {len(found)} of {wanted} runs are there")
    return runs


def whole_grids(runs: Sequence[Run]) -> list[Run]:
    """The runs of those optimisers and seeds that have every case; how many others there are is printed.

    Were a seed counted that has some of the cases, those would count more than others.
    """
    there: dict[tuple[str, int], set[SystemConfig]] = {}
    for run in runs:
        there.setdefault((run.config.optimizer.name, run.config.seed), set()).add(run.config.system)
    cut = {key: len(systems) for key, systems in there.items() if not systems.issuperset(CASES)}
    for (name, seed), count in cut.items():
        print(f"{LOOKS[name].label}, seed {seed}: {count} of {len(CASES)} cases; not counted")
    return [run for run in runs if (run.config.optimizer.name, run.config.seed) not in cut]


def common_runs(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of those cases and seeds that each of the optimisers has, so that all are counted in the same ones."""
    there: dict[tuple[SystemConfig, int], set[str]] = {}
    for run in runs:
        there.setdefault((run.config.system, run.config.seed), set()).add(run.config.optimizer.name)
    return [run for run in runs if there[run.config.system, run.config.seed] >= set(names)]


def large_configs(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs of seed 0 among these, at the study's own size."""
    return [study_run(config.optimizer.name, config.system, 0, "paper") for config in configs if config.seed == 0]


def names_of(configs: Sequence[RunConfig]) -> list[str]:
    """The optimisers of some runs, in the order of the study."""
    used = {config.optimizer.name for config in configs}
    return [name for name in ALL_OPTIMIZERS if name in used]


def of_optimizer(runs: Sequence[Run], name: str) -> list[Run]:
    """The runs of one optimiser."""
    return [run for run in runs if run.config.optimizer.name == name]


def grouped(runs: Sequence[Run], names: Sequence[str], system: SystemConfig) -> list[list[Run]]:
    """The runs of one case, a list for each optimiser that has any."""
    mine = [run for run in runs if run.config.system == system]
    return [group for name in names if (group := of_optimizer(mine, name))]


def exact_of(run: Run) -> float:
    """The exact energy of a run's case."""
    return exact_energy(run.config.system)
