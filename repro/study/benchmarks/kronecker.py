"""How well Kronecker factors approximate the Fisher metric, in small states of many seeds: a table for the claims.

A state is trained in some ten seconds and is the same wherever it is trained, but for rounding: it is a matter of
doubles and of Adam. So the table is confirmed by training any one of its states again, as F12 and ``repro verify`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from repro.config.checks import integer
from repro.errors import InputError
from repro.study.benchmarks.subprocesses import keep, write_table
from repro.study.experiments.fisher_images import FisherMatrices, fisher_matrices, small_run

NUMBERS = ("energy", "distance", "gain")
"""What is known of a state: attributes of :class:`repro.study.experiments.fisher_images.FisherMatrices`."""
AGREEMENT = 1e-6
"""Relative. Another compiled program, which sums in another order, changed them by 1e-14, another seed by a tenth."""


def quality(seed: int, matrices: FisherMatrices) -> dict[str, Any]:
    """A row of the table, from the matrices of the state of a seed."""
    return {"seed": seed} | {name: float(getattr(matrices, name)) for name in NUMBERS}


MOST_STATES = 10_000
"""Each takes some ten seconds."""


def bench_kronecker(seeds: int, out: Path, tell: Callable[[str], None]) -> pd.DataFrame:
    """Trains the states of that many seeds and forms their metrics.

    Args:
        seeds: how many, from 0 on.
        out: where the table is written, anew after each state.
        tell: receives a line for each.

    Returns:
        A row for each seed: ``seed`` and :data:`NUMBERS`.

    Raises:
        InputError: for no seed at all, or if the table is there already.
    """
    integer("seeds", seeds, 1, MOST_STATES)
    keep(out)
    rows = []
    for seed in range(seeds):
        rows.append(quality(seed, fisher_matrices(small_run(seed))))
        tell(f"seed {seed}: distance {rows[-1]['distance']:.3f}, gain {rows[-1]['gain']:.3f}")
        write_table(pd.DataFrame(rows), out, digits=12)
    return pd.DataFrame(rows)


def differences(stored: pd.DataFrame, row: dict[str, Any]) -> list[str]:
    """One line for each number of a state that the stored table has otherwise by more than :data:`AGREEMENT`.

    Args:
        stored: the table.
        row: as from :func:`quality`.

    Raises:
        InputError: if the table has no row, or several, for this seed.
    """
    mine = stored[stored["seed"] == row["seed"]]
    if len(mine) != 1:
        raise InputError(f"seed = {row['seed']}: {len(mine)} rows of the stored table are about it, not one")
    known = mine.iloc[0]
    return [
        f"Kronecker factors, seed {row['seed']}: {name} is {row[name]:.9g} now, {known[name]:.9g} in the table"
        for name in NUMBERS
        if not abs(row[name] - known[name]) <= AGREEMENT * abs(known[name])
    ]
