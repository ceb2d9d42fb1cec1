"""What the table of ``repro bench momentum`` says: steps and errors of natural gradients with and without momentum.

Two problems, the Mackey-Glass series and the boundary layer, are solved by many methods. Each method is tuned on a grid
of at most :data:`MOST_SETTINGS` settings with seeds of its own, and the best setting is run with ten further seeds. A
run that never reaches the level counts as infinitely long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

TABLE = "growth/momentum.csv"
"""Of ``repro bench momentum``, among the stored runs."""
NUMBERS = ("learning_rate", "damping", "momentum")
TABLE_COLUMNS = ("part", "method", "batch", "eps", *NUMBERS, "tuning", "seed", "steps", "loss", "l2_error", "h1_error")
"""``batch`` 0 for all samples; ``eps`` 0 for the series; no ``steps`` where the level was not reached."""
SERIES, STOCHASTIC, LAYER, FEWER_POINTS, SERIES_MAP, LAYER_MAP = (
    "series",
    "series, minibatches",
    "layer",
    "layer, minibatches",
    "series, map",
    "layer, map",
)
"""Parts of the table."""
MOST_SETTINGS = 9
TUNING_SEEDS, SEEDS, MAP_SEEDS = (100, 101, 102), tuple(range(10)), tuple(range(5))
LEVELS = {SERIES: 5e-5, STOCHASTIC: 5e-5, LAYER: 1e-3, FEWER_POINTS: 1e-3, SERIES_MAP: 5e-5, LAYER_MAP: 1e-3}
"""Losses, of all samples, whose steps are counted."""
BATCHES = (2, 5, 10, 20, 50, 100, 200, 500)
LAYERS = (1.0, 0.3, 0.1, 0.03, 0.01)
"""eps."""
POINTS = (10, 20, 50, 100)
MAP_DAMPINGS = tuple(10.0**power for power in range(-10, -2))
MAP_MOMENTA = (0.0, 0.3, 0.6, 0.9)
MAP_EPS = 0.1
WITHOUT_MOMENTUM = ("NGD", "NGD, search", "Levenberg-Marquardt", "ANaGRAM")
PROXIMAL = "proximal"
UNTUNED = (PROXIMAL, "Levenberg-Marquardt", "L-BFGS")
"""Methods with a single setting, their defaults."""


class Chosen(NamedTuple):
    """The best setting of a method in one place of a part.

    Attributes:
        learning_rate: and the other numbers of :data:`NUMBERS`.
        rows: its measured runs, one for each seed.
        settings: how many were tried.
    """

    learning_rate: float
    damping: float
    momentum: float
    rows: pd.DataFrame
    settings: int

    @property
    def steps(self) -> float:
        """The median of the steps to the level."""
        return median_steps(self.rows)


def median_steps(rows: pd.DataFrame) -> float:
    """The median of the steps, where a run without any counts as infinitely long."""
    return float(np.median(rows["steps"].fillna(math.inf))) if len(rows) else math.inf


def places(table: pd.DataFrame, part: str) -> list[tuple[str, int, float]]:
    """Methods with batch and eps that a part has, in the order of the table."""
    own = table[table["part"] == part]
    return list(dict.fromkeys(zip(own["method"], own["batch"], own["eps"], strict=True)))


def best_setting(tuning: pd.DataFrame) -> tuple[float, float, float]:
    """The numbers with the least median of steps; of several, those with the least median loss at the end."""
    groups = {cast("tuple[float, float, float]", key): rows for key, rows in tuning.groupby(list(NUMBERS), sort=False)}

    def order(numbers: tuple[float, float, float]) -> tuple[float, float]:
        rows = groups[numbers]
        return median_steps(rows), float(np.median(rows["loss"].fillna(math.inf)))

    return min(groups, key=order)


def chosen(table: pd.DataFrame, part: str, method: str, batch: int = 0, eps: float = 0.0) -> Chosen:
    """A method in one place: the setting that its tuning runs have chosen, and the runs that were measured with it."""
    own = table[
        (table["part"] == part) & (table["method"] == method) & (table["batch"] == batch) & (table["eps"] == eps)
    ]
    tuning, rows = own[own["tuning"] == 1], own[own["tuning"] == 0]
    ((rate, damping, momentum),) = set(rows[list(NUMBERS)].itertuples(index=False, name=None))
    return Chosen(rate, damping, momentum, rows, max(1, len(tuning[list(NUMBERS)].drop_duplicates())))


def methods_of(table: pd.DataFrame, part: str) -> list[str]:
    """The methods of a part, in the order of the table."""
    return list(dict.fromkeys(table["method"][table["part"] == part]))


def best_tuned(table: pd.DataFrame, part: str, batch: int, eps: float, methods: Iterable[str]) -> float:
    """The fewest steps, in the median of the seeds, of some tuned methods in one place."""
    return min((chosen(table, part, method, batch, eps).steps for method in methods), default=math.inf)
