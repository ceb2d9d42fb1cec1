"""Ablation of proximal DGD: runs without one part, compared with runs that have all parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pandas as pd

from repro.config import PROXIMAL_PARTS, ProximalConfig, RunConfig, SystemConfig
from repro.study.runs.convergence import LEVELS, SMOOTHING, epochs_column, epochs_to, relative_error
from repro.study.runs.profiles import configure, study_run
from repro.study.runs.store import Run

CASES = (SystemConfig(2, -10.0), SystemConfig(3, 20.0), SystemConfig(4, -20.0))
EPOCHS = 200
"""Of a run without a part, and as many of the run that has them all."""
NOTHING = ""
"""In place of a part, where none is left out."""


def ablation_run(part: str, system: SystemConfig) -> RunConfig:
    """The run without a part of :data:`repro.config.PROXIMAL_PARTS`, or, for :data:`NOTHING`, that of the study."""
    if part == NOTHING:
        return study_run("proximal-dgd", system)
    return configure(particles=system.particles, v0=system.v0, optimizer="proximal-dgd", without=part, epochs=EPOCHS)


def ablation_configs() -> list[RunConfig]:
    """All of them, those with every part first."""
    return [ablation_run(part, system) for part in (NOTHING, *PROXIMAL_PARTS) for system in CASES]


def ablation_table(runs: Sequence[Run], exact: dict[SystemConfig, float]) -> pd.DataFrame:
    """How each of the runs at hand went in its first :data:`EPOCHS` epochs.

    Args:
        runs: of :func:`ablation_configs`, any of them.
        exact: the exact energies of the cases.

    Returns:
        A row for each: the part left out, the case, epochs to 1 % and to 0.1 % by ``convergence.SPEED``, the relative
        error of the last median (infinite for a run that diverged), and the name of the run.
    """
    rows = []
    for run in runs:
        energy = exact[run.config.system]
        begun = replace(run, curve=run.curve.head(EPOCHS))
        errors = relative_error(begun.curve["energy"], energy).tail(SMOOTHING)
        rows.append(
            {
                "without": cast(ProximalConfig, run.config.optimizer).without,
                "particles": run.config.system.particles,
                "v0": run.config.system.v0,
            }
            | {epochs_column(level): epochs_to(begun, energy, level) for level in LEVELS}
            | {
                "error": abs(float(errors.median())) if len(begun.curve) == EPOCHS else math.inf,
                "run": run.path.name,
            }
        )
    columns = ["without", "particles", "v0", *map(epochs_column, LEVELS), "error", "run"]
    return pd.DataFrame(rows, columns=columns)


def losses(table: pd.DataFrame) -> dict[str, tuple[float, tuple[str, ...]]]:
    """For each part whose runs are all there: how many times the epochs are needed without it, where it hurts most.

    Args:
        table: as from :func:`ablation_table`.

    Returns:
        For each part the largest ratio over cases and levels, where a level that is not reached with every part
        says nothing, and the names of the runs.
    """
    columns = [epochs_column(level) for level in LEVELS]
    indexed = table.set_index(["without", "particles", "v0"])
    found = {}
    for part in PROXIMAL_PARTS:
        keys = [(name, system.particles, system.v0) for name in (part, NOTHING) for system in CASES]
        if not all(key in indexed.index for key in keys):
            continue
        rows = indexed.loc[keys]
        without, whole = (rows[columns].to_numpy(float)[half] for half in (slice(len(CASES)), slice(len(CASES), None)))
        ratios = [
            math.inf if math.isinf(more) else more / less
            for more, less in zip(without.ravel(), whole.ravel(), strict=True)
            if math.isfinite(less)
        ]
        found[part] = (max(ratios, default=1.0), tuple(rows["run"]))
    return found
