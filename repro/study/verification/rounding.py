"""How much two trainings of one run differ by rounding alone, for each block of epochs, as measured on replicas.

Sums are ordered otherwise by another processor, another number of threads or another compiler. Nothing comes of that
until a walker, on the border between two moves, takes the other; from then on the walks are independent, and the
networks drift apart. While energies still fall steeply, two such runs differ by many standard errors of their walkers.

Replicas are trainings of one run that differ by rounding alone. In their differences the noise of the walkers is known,
and what is left is taken for proportional to the distance from the exact energy: that is what is still to be gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
COLUMNS = ("run", "replica", "optimizer", "exact", "block", "energy", "noise", *COMPARED)
"""Of the stored table of replicas."""
LEAST = 0.02
"""The smallest spread that is assumed, of the energy in units of its distance from the exact one, and of logarithms."""
TINY = 1e-30
ALARMS = 0.01
"""The probability, at most, that a sound run is outside of its replicas."""


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
    before, now = _columns(stored, len(found)), _columns(found, len(found))
    # An exact state has no variance, and its energy is known to single precision.
    resolution = 1e-5 * np.abs(now["energy"])
    unit = np.sqrt(2.0 * now["noise"] ** 2 + (max(spread.energy, LEAST) * (now["energy"] - exact)) ** 2 + resolution**2)
    apart = {"energy": _largest((before["energy"] - now["energy"]) / unit)}
    for name in COMPARED:
        if np.isnan(before[name]).all() and np.isnan(now[name]).all():
            continue
        apart[name] = _largest((before[name] - now[name]) / max(spread.columns.get(name, 0.0), LEAST))
    return apart


def _columns(blocks: pd.DataFrame, count: int) -> dict[str, np.ndarray]:
    """Energy, noise and what is compared of the first blocks; no numbers where there are not so many."""
    names = ["energy", "noise", *COMPARED]
    found = np.full((len(names), count), np.nan)
    there = blocks[names].to_numpy(dtype=float)[:count].T
    found[:, : there.shape[1]] = there
    return dict(zip(names, found, strict=True))


def outside(
    stored: pd.DataFrame, replicas: Sequence[pd.DataFrame], exact: float, spread: Spread
) -> dict[str, tuple[float, float]]:
    """How far a training is from a cloud of replicas, as Student's t of each column's worst block, and its bound.

    The unit is the spread of the replicas in the block or in all blocks on average, the walkers' noise, or what is
    usual for the optimiser, whichever is largest. Energies are taken over their distance from the exact one, other
    columns as logarithms. Under rounding alone all trainings are draws of one distribution. In the least favourable
    case, blocks that rise and fall together, t has as many degrees of freedom as there are replicas, less one. Half
    of :data:`ALARMS` is the energy's, half is shared out among the other columns.

    Args:
        stored: blocks of the curve that is examined.
        replicas: blocks of the same epochs of two replicas or more.
        exact: the exact energy.
        spread: of the optimiser.

    Returns:
        By column, "energy" and :data:`COMPARED`, t and its bound; t is infinite where one has no number.
    """
    from scipy.stats import t

    count = max(map(len, replicas))
    before, cloud = _columns(stored, count), [_columns(one, count) for one in replicas]
    drawn = {name: np.stack([one[name] for one in cloud]) for name in before}
    noise, middle = np.mean(drawn["noise"] ** 2, axis=0), np.mean(drawn["energy"], axis=0)
    away = np.maximum(np.abs(middle - exact), np.sqrt(noise) + 1e-5 * np.abs(middle))
    measured = [name for name in COMPARED if not (np.isnan(before[name]).all() and np.isnan(drawn[name]).all())]
    freedom = len(replicas) - 1
    bounds = [float(t.isf(ALARMS / 4, freedom)), float(t.isf(ALARMS / 4 / max(1, len(measured)), freedom))]
    scaled = drawn["energy"] / away
    found = {"energy": (_student(before["energy"] / away, scaled, noise / away**2, spread.energy), bounds[0])}
    for name in measured:
        found[name] = (_student(before[name], drawn[name], 0.0, spread.columns.get(name, 0.0)), bounds[1])
    return found


def _student(stored: np.ndarray, replicas: np.ndarray, known: np.ndarray | float, usual: float) -> float:
    """Of blocks ``(B,)`` and those of replicas ``(R, B)``, whose variance is known to be at least so large."""
    variance = replicas.var(axis=0, ddof=1)
    least = max(float(variance.mean()), LEAST**2, usual**2 / 2.0)  # that of a difference is twice that of each
    variance = np.maximum(variance, np.maximum(least, known))
    return _largest((stored - replicas.mean(axis=0)) / np.sqrt(variance * (1.0 + 1.0 / len(replicas))))


def _largest(values: np.ndarray) -> float:
    return math.inf if np.isnan(values).any() else float(np.abs(values).max())


def spread_of(replicas: pd.DataFrame, optimizer: str) -> Spread:
    """The spread of an optimiser's runs, from a table of replicas.

    Where it has no two replicas of one run, it is that of the run in the middle of all optimisers'.

    Args:
        replicas: as read by :func:`stored_replicas`.
        optimizer: its name.
    """
    table = replicas[replicas.groupby("run")["replica"].transform("nunique") > 1]
    own = table[table["optimizer"] == optimizer]
    squares = pd.DataFrame([_squares(run) for _, run in (own if len(own) else table).groupby("run")])
    typical = squares.mean() if len(own) else squares.median()
    roots = np.sqrt(typical.clip(lower=0.0)).dropna().to_dict()
    return Spread(
        float(roots.pop("energy", 0.0)), {str(name): float(root) for name, root in roots.items()}, len(squares)
    )


def _squares(run: pd.DataFrame) -> dict[str, float]:
    """Mean squares over the pairs of replicas of a run and their blocks, see :class:`Spread`."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("energy", *COMPARED)}
    tables = [rows.set_index("block") for _, rows in run.groupby("replica")]
    for one, other in combinations(tables, 2):
        noise = one["noise"] ** 2 + other["noise"] ** 2
        away = ((one["energy"] + other["energy"]) / 2.0 - one["exact"]).abs().clip(lower=TINY)
        # Where the walkers' noise is as large as the distance, it says nothing of what is proportional to that.
        told = noise < (0.3 * away) ** 2
        found["energy"].append((((one["energy"] - other["energy"]) ** 2 - noise) / away**2)[told].to_numpy())
        for name in COMPARED:
            found[name].append(((one[name] - other[name]) ** 2).dropna().to_numpy())
    joined = {name: np.concatenate(values) for name, values in found.items()}
    return {name: float(values.mean()) if len(values) else math.nan for name, values in joined.items()}


def stored_replicas(root: Path) -> pd.DataFrame:
    """The stored table of ``repro bench rounding``: a row for each run, replica and block.

    Raises:
        InputError: if it is missing or damaged.
    """
    path = root / TABLE
    try:
        table = pd.read_csv(path)
        missing = [name for name in COLUMNS if name not in table]
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
