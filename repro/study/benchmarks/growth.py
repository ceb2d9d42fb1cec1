"""The measurements of ``repro bench parts``: names of the parts, and the power laws by which they grow."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

WHOLE = "whole epoch"
UPDATE = "update"
"""Of an optimiser whose update is not taken apart."""
PARTS = ("sampling", "local energy", "gradient", "derivatives", "direction", "scaling", UPDATE)
LEAST_PARTICLES = 4
"""From here on growth with A is fitted: with fewer, what does not grow is too large a part."""


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """How seconds and memory of the parts grow: exponents p in (size)^p, from lines in logarithms.

    Args:
        table: of :func:`bench_parts`.

    Returns:
        ``optimizer``, ``part``, ``with`` (A, W, or the number of parameters, at least three sizes each; A from
        :data:`LEAST_PARTICLES` on), ``of`` (seconds or memory), ``exponent`` and its standard ``error``.
    """
    whole = table[table["part"] == WHOLE]
    start = whole.iloc[0][["particles", "walkers", "hidden"]]
    found = []
    for column, symbol in (("particles", "A"), ("walkers", "W"), ("parameters", "parameters")):
        varied = "hidden" if column == "parameters" else column
        fixed = [name for name in start.index if name != varied]
        chosen = table[(table[fixed] == start[fixed]).all(axis=1)]
        if column == "particles":
            chosen = chosen[chosen["particles"] >= LEAST_PARTICLES]
        for (optimizer, part), rows in chosen.groupby(["optimizer", "part"], sort=False):
            for quantity in ("seconds", "peak_memory_gb"):
                valid = rows[rows[quantity] > 0.0]
                if valid[column].nunique() < 3:
                    continue
                exponent, error = _slope(np.log(valid[column]), np.log(valid[quantity]))
                of = "memory" if quantity == "peak_memory_gb" else quantity
                found.append((optimizer, part, symbol, of, exponent, error))
    return pd.DataFrame(found, columns=["optimizer", "part", "with", "of", "exponent", "error"])


def apportioned(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """The parts of whole epochs, such that no stack of parts is higher than its epoch.

    Each part is a program of its own, timed at one state; the compiler sees an epoch as one program, and shares work
    between its parts. So the parts may add up to more than the epoch: they are then shortened in proportion. Parts that
    add up to less are left as they are; the rest belongs to none of them.

    Args:
        rows: of :func:`bench_parts`, of one size.

    Returns:
        Seconds, a row for each part and a column for each optimiser, zero for a part that it does not have; and the sum
        of the parts as they were timed, over the whole epoch.
    """
    seconds = rows.pivot(index="part", columns="optimizer", values="seconds").fillna(0.0)
    whole = pd.Series(seconds.loc[WHOLE])
    parts = seconds.drop(index=WHOLE).reindex([part for part in PARTS if part in seconds.index])
    excess = pd.Series(parts.sum() / whole)
    return parts / excess.clip(lower=1.0), excess


def _slope(x: Iterable[float], y: Iterable[float]) -> tuple[float, float]:
    from scipy.stats import linregress

    fit = linregress(list(x), list(y))
    return float(fit.slope), float(fit.stderr)
