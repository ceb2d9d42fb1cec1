"""When a run counts as converged, and how much its energy still fluctuates: defined here and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from repro.study.store import Run

DEFINITION = (
    "Converged: the median over the last 5 % of the epochs of the relative error (E - E_exact) / |E_exact| is at most "
    "1 %, and no energy in that window is further than 10 % away. A run that diverges has not converged."
)
WINDOW, LEVEL, OUTLIER = 0.05, 0.01, 0.10
TAIL = 0.2


def relative_error(energies: pd.Series, exact: float) -> pd.Series:
    """(E - E_exact) / |E_exact|."""
    return (energies - exact) / abs(exact)


def converged(run: Run, exact: float, level: float = LEVEL) -> bool:
    """Whether a run converged, by :data:`DEFINITION`; ``level`` in place of 1 % if given."""
    if not run.complete:
        return False
    window = relative_error(run.curve["energy"], exact).tail(math.ceil(WINDOW * run.config.epochs))
    return bool(abs(window.median()) <= level and window.abs().max() <= OUTLIER)


def fluctuation(run: Run, exact: float) -> float:
    """Half the central 68 % range of the relative error over the last fifth of the epochs; infinite if it diverged."""
    if not run.complete:
        return math.inf
    tail = relative_error(run.curve["energy"], exact).tail(math.ceil(TAIL * run.config.epochs))
    low, high = np.quantile(tail, [0.16, 0.84])
    return float(high - low) / 2.0


def summary(runs: list[Run], exact: float) -> pd.DataFrame:
    """One row for each run: how it ended."""
    rows = []
    for run in runs:
        error = relative_error(run.curve["energy"], exact)
        medians = error.rolling(40).median()
        inside = np.flatnonzero(medians.abs().to_numpy() <= LEVEL)
        rows.append(
            {
                "optimizer": run.config.optimizer.name,
                "walkers": run.config.sampling.walkers,
                "seed": run.config.seed,
                "status": run.result["status"],
                "epochs": len(run.curve),
                "converged": converged(run, exact),
                "within_1_percent_at": int(inside[0]) + 1 if inside.size else math.inf,
                "fluctuation": fluctuation(run, exact),
                "energy": run.result.get("energy", math.nan),
                "energy_error": run.result.get("energy_error", math.nan),
            }
        )
    return pd.DataFrame(rows)


def steadier(table: pd.DataFrame, first: str, second: str) -> list[str]:
    """For each number of walkers: in how many seeds the second optimiser fluctuates less than the first.

    Args:
        table: from :func:`summary`.
        first: an optimiser's name.
        second: another's.

    Returns:
        One sentence for each number of walkers at which both were run.
    """
    lines = []
    for walkers, rows in table.groupby("walkers"):
        fluctuations = rows.pivot_table(index="seed", columns="optimizer", values="fluctuation", dropna=False)
        if not {first, second} <= set(fluctuations):
            continue
        pairs = fluctuations[[first, second]].dropna()
        fewer = int((pairs[first] > pairs[second]).sum())
        told = "; ".join(
            f"{name}: {', '.join('diverged' if math.isinf(value) else f'{value:.2%}' for value in pairs[name])}, "
            f"{int(rows.loc[rows['optimizer'] == name, 'converged'].sum())} of {len(pairs)} converged"
            for name in (first, second)
        )
        lines.append(f"{walkers} walkers: {second} fluctuates less in {fewer} of {len(pairs)} seeds ({told})")
    return lines
