"""How far rounding alone takes two trainings of one run apart, block of epochs by block, as measured on replicas.

Sums are ordered otherwise by another processor, another number of threads or another compiler. Nothing comes of that
until a walker, on the border between two moves, takes the other; from then on the walks are independent, and the
networks drift apart. While energies still fall steeply, two such runs differ by many standard errors of their walkers.

Replicas are trainings of one run that differ by rounding alone. In their differences the noise of the walkers is known,
and what is left is taken for proportional to the distance from the exact energy: that is what is still to be gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from repro.errors import InputError
from repro.training.curve import CURVE_COLUMNS

BLOCK = 10
"""Epochs that are averaged."""
TABLE = "rounding/replicas.csv"
COMPARED = tuple(name for name in CURVE_COLUMNS if name not in ("epoch", "energy", "seconds", "rho"))
"""The columns beside the energy. That of rho is measured in every fifth epoch only, and its sign is chance."""
LEAST = 0.02
"""The smallest spread that is assumed, of the energy in units of its distance from the exact one, and of logarithms."""
TINY = 1e-30


def blocks(curve: pd.DataFrame) -> pd.DataFrame:
    """A curve in blocks of :data:`BLOCK` epochs, a last shorter one included.

    Returns:
        Columns ``block``, from 0; ``energy``, the mean; ``noise``, its standard error; and those of :data:`COMPARED`:
        the logarithm of the median modulus, or not a number where an optimiser does not have it.
    """
    number = np.arange(len(curve)) // BLOCK
    count = pd.Series(number).groupby(number).size()
    found = pd.DataFrame({"block": count.index, "energy": curve["energy"].groupby(number).mean()})
    found["noise"] = np.sqrt((curve["energy_error"] ** 2).groupby(number).sum()) / count
    for name in COMPARED:
        found[name] = np.log(curve[name].abs().groupby(number).median().clip(lower=TINY))
    return found.reset_index(drop=True)


@dataclass(frozen=True)
class Spread:
    """What rounding does to the runs of an optimiser, as root mean squares of differences of two replicas.

    Attributes:
        energy: of block means, over their distance from the exact energy, without the noise of the walkers.
        columns: of the logarithms of :data:`COMPARED`.
        runs: how many runs it was measured with.
    """

    energy: float
    columns: dict[str, float]
    runs: int


def distances(stored: pd.DataFrame, found: pd.DataFrame, exact: float, spread: Spread) -> dict[str, float]:
    """How far two trainings are apart, in units of what rounding and the noise of the walkers make of one run.

    The units come from ``found`` and from the spread, never from ``stored``: what is examined does not set its own
    tolerance.

    Args:
        stored: blocks of the curve that is examined.
        found: blocks of the same epochs, trained again.
        exact: the exact energy.
        spread: of the optimiser.

    Returns:
        By column, "energy" and :data:`COMPARED`, the largest distance of a block; infinite where one of the two has
        no number.
    """
    before = stored.head(len(found))
    # An exact state has no variance, and its energy is known to single precision.
    resolution = 1e-5 * found["energy"].abs()
    unit = np.sqrt(
        2.0 * found["noise"] ** 2 + (max(spread.energy, LEAST) * (found["energy"] - exact)) ** 2 + resolution**2
    )
    apart = {"energy": _largest((before["energy"] - found["energy"]) / unit)}
    for name in COMPARED:
        if before[name].isna().all() and found[name].isna().all():
            continue
        apart[name] = _largest((before[name] - found[name]) / max(spread.columns.get(name, 0.0), LEAST))
    return apart


def _largest(values: pd.Series) -> float:
    return math.inf if values.isna().any() else float(values.abs().max())


def spread_of(replicas: pd.DataFrame, optimizer: str) -> Spread:
    """The spread of an optimiser's runs, from a table of replicas; of all optimisers' where it has no two of one run.

    Args:
        replicas: as read by :func:`stored_replicas`.
        optimizer: its name.
    """
    table = replicas[replicas.groupby("run")["replica"].transform("nunique") > 1]
    table = own if len(own := table[table["optimizer"] == optimizer]) else table
    squares: list[np.ndarray] = []
    logarithms: dict[str, list[np.ndarray]] = {name: [] for name in COMPARED}
    for _, run in table.groupby("run"):
        for one, other in combinations((rows for _, rows in run.groupby("replica")), 2):
            one, other = one.set_index("block"), other.set_index("block")
            noise = one["noise"] ** 2 + other["noise"] ** 2
            away = ((one["energy"] + other["energy"]) / 2.0 - one["exact"]).abs().clip(lower=TINY)
            # Where the walkers' noise is as large as the distance, it says nothing of what is proportional to that.
            told = noise < (0.3 * away) ** 2
            squares.append((((one["energy"] - other["energy"]) ** 2 - noise) / away**2)[told].to_numpy())
            for name in COMPARED:
                logarithms[name].append((one[name] - other[name]).dropna().to_numpy())
    energy = float(np.mean(np.concatenate(squares))) if sum(map(len, squares)) else 0.0
    columns = {
        name: float(np.sqrt(np.mean(np.concatenate(found) ** 2)))
        for name, found in logarithms.items()
        if sum(map(len, found))
    }
    return Spread(math.sqrt(max(energy, 0.0)), columns, table["run"].nunique())


def stored_replicas(root: Path) -> pd.DataFrame:
    """The stored table of ``repro bench rounding``: a row for each run, replica and block.

    Raises:
        InputError: if it is missing or damaged.
    """
    path = root / TABLE
    try:
        table = pd.read_csv(path)
        missing = [name for name in ("run", "replica", "optimizer", "exact", "block", "noise") if name not in table]
        if missing or not len(table):
            raise ValueError(f"no column {missing[0]}" if missing else "no rows")
        return table
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be used ({error}); make it again with `repro bench rounding`") from error


def replica_rows(run: str, replica: str, optimizer: str, exact: float, curve: pd.DataFrame) -> pd.DataFrame:
    """The rows of a replica in the table."""
    found = blocks(curve)
    found.insert(0, "exact", exact)
    found.insert(0, "optimizer", optimizer)
    found.insert(0, "replica", replica)
    found.insert(0, "run", run)
    return found
