"""Tables of cases and optimisers: numbers of single runs, medians over seeds, and which cell shows which of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from repro.config import SystemConfig
from repro.study.claims.measurements import RUN_QUANTITIES
from repro.study.plots.run_selection import exact_of, grouped
from repro.study.plots.style import LOOKS
from repro.study.plots.tables import error_told, levels_told, seconds_told
from repro.study.runs.cases import exact_energy
from repro.study.runs.convergence import LEVELS, epochs_column, epochs_to, final_error, kind, seconds_column
from repro.study.runs.store import Run
from repro.study.runs.timing import seconds_per_epoch

SPEED_COLUMNS: dict[str, Callable[[float], str]] = {"epoch": epochs_column, "seconds": seconds_column}
"""The column that has when a level was reached, by the unit of time."""
_SPEEDS = [column(level) for column in SPEED_COLUMNS.values() for level in LEVELS]

Cells = dict[tuple[int, int], dict[str, Any]]
"""Rows of a table of numbers by where a table of cases and optimisers shows them: its row and its column."""


def speeds_by_run(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each run: how long it was, and the epochs and seconds until each level was reached.

    Seconds are not numbers without a benchmark.
    """
    columns = ["optimizer", "particles", "v0", "seed", "epochs_run", "seconds_run", *_SPEEDS]
    rows = [
        {
            "optimizer": run.config.optimizer.name,
            "particles": run.config.system.particles,
            "v0": run.config.system.v0,
            "seed": run.config.seed,
            "epochs_run": run.config.epochs,
            "seconds_run": run.config.epochs * (seconds_per_epoch(run.config) or np.nan),
        }
        | {column: RUN_QUANTITIES[column](run, exact_of(run)) for column in _SPEEDS}
        for run in runs
    ]
    return pd.DataFrame(rows, columns=columns)


def energies_by_run(runs: Sequence[Run], names: Sequence[str], cases: Sequence[SystemConfig]) -> pd.DataFrame:
    """One row for each run: its final energy, how far that is from the exact one, and its epochs to 1 %.

    Args:
        runs: one at most of each optimiser and case.
        names: the optimisers, in the order of the rows of a case.
        cases: in their order.

    Returns:
        Energies in units of hbar omega; ``percent`` as from :func:`with_distances`.
    """
    columns = ["particles", "v0", "optimizer", "exact", "status", "energy", "energy_error"]
    rows = [
        {
            "particles": system.particles,
            "v0": system.v0,
            "optimizer": run.config.optimizer.name,
            "exact": exact_energy(system),
            "status": run.result["status"],
            "energy": run.result.get("energy", np.nan),
            "energy_error": run.result.get("energy_error", np.nan),
            "relative_error": final_error(run, exact_of(run)),
            epochs_column(LEVELS[0]): epochs_to(run, exact_of(run)),
        }
        for system in cases
        for group in grouped(runs, names, system)
        for run in group
    ]
    table = pd.DataFrame(rows, columns=[*columns, "relative_error", epochs_column(LEVELS[0])])
    return with_distances(table, "energy_error")


def with_distances(table: pd.DataFrame, error: str) -> pd.DataFrame:
    """Adds how far energies are above the exact ones: in ``percent`` of these, and in standard errors as ``sigma``.

    Args:
        table: columns ``energy``, ``exact`` and ``error``.
        error: the column of the standard errors; where they vanish ``sigma`` is not a number.
    """
    difference = table["energy"] - table["exact"]
    percent, sigma = 100.0 * difference / table["exact"].abs(), difference / table[error].where(table[error] > 0)
    return table.assign(percent=percent, sigma=sigma)


def medians_by_case(
    sizes: Mapping[str, tuple[Sequence[Run], Sequence[SystemConfig]]], names: Sequence[str]
) -> pd.DataFrame:
    """One row for each size, case and optimiser with runs: how many ended how, and medians over their seeds.

    Args:
        sizes: the runs and the cases by the profile's name.
        names: the optimisers, in the order of the rows of a case.
    """
    columns = ["profile", "particles", "v0", "optimizer", "runs", "converged", "unstable", "diverged", "final_error"]
    rows = []
    for profile, (runs, cases) in sizes.items():
        for group in (group for system in cases for group in grouped(runs, names, system)):
            system, exact = group[0].config.system, exact_of(group[0])
            kinds = [kind(run, exact) for run in group]
            row = {
                "profile": profile,
                "particles": system.particles,
                "v0": system.v0,
                "optimizer": group[0].config.optimizer.name,
                "runs": len(group),
                "converged": kinds.count("converged"),
                "unstable": kinds.count("unstable"),
                "diverged": sum(not run.complete for run in group),
            }
            medians = {
                name: float(np.median([RUN_QUANTITIES[name](run, exact) for run in group]))
                for name in ("final_error", *_SPEEDS)
            }
            rows.append(row | medians)
    return pd.DataFrame(rows, columns=[*columns, *_SPEEDS])


def placed(table: pd.DataFrame, cases: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Cells:
    """Where a table of cases (rows) and optimisers (columns) shows the rows of a table of numbers.

    Args:
        table: its columns before ``optimizer`` say which case a row is about.
        cases: the values of these columns.
        names: the optimisers.
    """
    columns = list(table.columns[: list(table.columns).index("optimizer") + 1])
    rows = [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]
    found = {tuple(row[column] for column in columns): row for row in rows}
    keys = {(i, j): (*case, name) for i, case in enumerate(cases) for j, name in enumerate(names)}
    return {place: found[key] for place, key in keys.items() if key in found}


def told_by_case(
    heads: Sequence[Mapping[str, str]], names: Sequence[str], cells: Cells, told: Callable[[Mapping[str, Any]], str]
) -> pd.DataFrame:
    """A table to read with a row for each case and a column for each optimiser; empty cells hold a dash.

    Args:
        heads: what stands at the beginning of each row, by column.
        names: the optimisers.
        cells: as from :func:`placed`.
        told: what is said of a row of numbers.
    """
    texts = {place: told(row) for place, row in cells.items()}
    return pd.DataFrame(
        [
            dict(head) | {LOOKS[name].label: texts.get((i, j), "—") for j, name in enumerate(names)}
            for i, head in enumerate(heads)
        ]
    )


def ending_told(row: Mapping[str, Any]) -> str:
    """The median of the final errors, or how many runs diverged where that leaves none.

    Args:
        row: of :func:`medians_by_case`.
    """
    if np.isinf(row["final_error"]):
        return f"{row['diverged']} of {row['runs']} diverged"
    return error_told(row["final_error"])


def medians_told(row: Mapping[str, Any]) -> str:
    """Epochs and seconds to the levels, the final error, and how many runs converged.

    Args:
        row: of :func:`medians_by_case`.
    """
    return f"{levels_told(row)}; {seconds_told(row)}; {ending_told(row)}; {row['converged']} of {row['runs']}"
