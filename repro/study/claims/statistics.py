"""Distribution-free intervals and exact tests, and how many values or runs each would need to decide.

The median is judged by order statistics: of n independent values in order, the k-th smallest and the k-th largest
enclose the median of their distribution, each side failing with probability P(Bin(n, 1/2) < k) (W. Conover, Practical
Nonparametric Statistics, section 3.2). Counts are compared by Fisher's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import binom, bootstrap, hypergeom

LEVEL = 0.05
"""The largest false-alarm rate of a verdict."""
RARE = 0.2
"""Exceptions, and kinds of runs, that are rarer than this count as not occurring."""
MOST = 10_000
"""No more values or runs are looked for than these."""


@dataclass(frozen=True)
class Interval:
    """A median with its confidence interval; ``miss`` is the probability that the truth lies beyond either end."""

    median: float
    low: float
    high: float
    miss: float


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The distribution-free interval of the median that misses on either side with probability ``level`` at most.

    Returns:
        None if there are too few values for one.
    """
    ordered, count = sorted(values), len(values)
    rank = int(_ranks(np.array([count]), level)[0]) if count else 0
    if not rank:
        return None
    miss = float(binom.cdf(rank - 1, count, 0.5))
    return Interval(float(np.median(ordered)), ordered[rank - 1], ordered[count - rank], miss)


def _ranks(counts: np.ndarray, level: float) -> np.ndarray:
    """For each number of values the largest k with P(Bin(n, 1/2) < k) <= level, zero where there is none; (counts,)."""
    ranks = binom.ppf(level, counts, 0.5)  # the smallest rank whose tail, itself included, reaches the level
    return np.where(binom.cdf(ranks, counts, 0.5) <= level, ranks + 1, ranks)


@cache
def _ranks_up_to_most(level: float) -> np.ndarray:
    return _ranks(np.arange(1, MOST + 1), level)


def values_for_median(beyond: float, level: float = LEVEL) -> float:
    """The fewest values whose interval of the median excludes a bound, were the same share of them beyond it.

    Args:
        beyond: share of the values on the wrong side of the bound.
        level: as of :func:`median_interval`.

    Returns:
        Infinite if more than :data:`MOST` would be needed.
    """
    counts = np.arange(1, MOST + 1)
    # Less a trifle, so that a share such as 3 of 7 is not rounded up to the next value.
    enough = counts[np.ceil(beyond * counts - 1e-6) < _ranks_up_to_most(level)]
    return float(enough[0]) if enough.size else math.inf


def runs_without_exception(level: float = LEVEL) -> int:
    """The fewest values without an exception that make exceptions rarer than :data:`RARE`, but for ``level``."""
    return math.ceil(math.log(level) / math.log(1.0 - RARE))


def unseen(count: int) -> float:
    """Probability that none of so many runs is an exception, though :data:`RARE` of all such runs are."""
    return float((1.0 - RARE) ** count)


def fisher(
    first: tuple[int | np.ndarray, int | np.ndarray], second: tuple[int | np.ndarray, int | np.ndarray]
) -> np.ndarray:
    """Fisher's exact test: probability of so many hits or more in the first group, were both rates equal.

    Args:
        first: hits and number of runs of the first group, each a number or an array.
        second: of the second.
    """
    (hits, count), (others, other_count) = first, second
    chances = hypergeom.sf(np.subtract(hits, 1), np.add(count, other_count), np.add(hits, others), count)
    return np.round(chances, 14)  # so that 1/20 is not more than 5 %


def runs_for_fisher(first: float, second: float) -> float:
    """The fewest runs of each of two groups after which Fisher's test tells their rates apart, at the rates given.

    Returns:
        Infinite if more than :data:`MOST` would be needed.
    """
    counts = np.arange(1, MOST + 1)
    high, low = (np.rint(rate * counts).astype(int) for rate in (max(first, second), min(first, second)))
    enough = counts[fisher((high, counts), (low, counts)) <= LEVEL]
    return float(enough[0]) if enough.size else math.inf


def bootstrap_interval(values: Sequence[float], level: float = 0.9) -> tuple[float, float]:
    """The percentile bootstrap interval of a median, for reading; not finite where too many values are misses."""
    finite_in_order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    ordered = np.sort(np.asarray(values, float))
    if len(ordered) < 2:
        return float(ordered[0]), float(ordered[0])
    # Ranks are resampled in place of values, so that misses need not be finite.
    found = bootstrap(
        (finite_in_order.astype(float),),
        np.median,
        confidence_level=level,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
        vectorized=True,
    ).confidence_interval
    low, high = (ordered[math.floor(found.low)], ordered[math.ceil(found.high)])
    return float(low), float(high)
