"""The inverse of a Kronecker product is the product of the inverses: p^3 + q^3 operations in place of (p q)^3.

(A (x) B)(A^-1 (x) B^-1) = (A A^-1) (x) (B B^-1) = I. Only the small inverses are computed; the large matrix need not
even be formed (C. Van Loan, J. Comput. Appl. Math. 123, 85 (2000)). Both must be invertible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import process_time

import numpy as np
from scipy.linalg import inv
from threadpoolctl import threadpool_limits

from repro.demonstrations.base import Values

ENOUGH = 0.05
"""CPU seconds that a small computation is repeated for."""


@dataclass(frozen=True)
class KroneckerInverse:
    """What is drawn.

    Attributes:
        condition: that of each product A (x) B whose identity is checked, shape ``(K,)``.
        differences: |(A (x) B)^-1 - A^-1 (x) B^-1| / |(A (x) B)^-1| of each, Frobenius norms, shape
            ``(K,)``.
        sizes: p = q of the timed factors, shape ``(N,)``.
        seconds_dense: CPU seconds of the inverse of the product, shape ``(N,)``.
        seconds_factors: CPU seconds of the two inverses, shape ``(N,)``.
    """

    condition: np.ndarray
    differences: np.ndarray
    sizes: np.ndarray
    seconds_dense: np.ndarray
    seconds_factors: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """Of the two times, shape ``(N,)``."""
        return self.seconds_dense / self.seconds_factors

    @property
    def values(self) -> Values:
        """Differences and ratios. No time is among them: only ratios of times of one run."""
        largest = float(self.sizes[-1])
        return {
            "difference": [float(one) for one in self.differences],
            "time_ratios": {f"p = {size}": float(one) for size, one in zip(self.sizes, self.ratios, strict=True)},
            "growth": float(np.polyfit(np.log(self.sizes), np.log(self.ratios), 1)[0]),
            "operation_ratio": largest**6 / (2.0 * largest**3),
            "storage_ratio": largest**4 / (2.0 * largest**2),
        }


def positive_definite(size: int, condition: float, rng: np.random.Generator) -> np.ndarray:
    """A symmetric matrix with eigenvalues between 1 / condition and 1, evenly spaced in the logarithm.

    Args:
        size: of its side.
        condition: the largest eigenvalue over the smallest.
        rng: of its eigenvectors.
    """
    vectors = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return (vectors * np.geomspace(1.0 / condition, 1.0, size)) @ vectors.T


def identity_difference(a: np.ndarray, b: np.ndarray) -> float:
    """|(A (x) B)^-1 - A^-1 (x) B^-1| / |(A (x) B)^-1|."""
    large = inv(np.kron(a, b))
    return float(np.linalg.norm(large - np.kron(inv(a), inv(b))) / np.linalg.norm(large))


def cpu_seconds(computation: Callable[[], object], enough: float = ENOUGH) -> float:
    """CPU seconds of a computation: a single long call, or the mean of many short ones, the least of three such means.

    Args:
        computation: what is timed.
        enough: seconds; a shorter call is repeated until this time has passed.
    """

    def seconds(calls: int) -> float:
        begin = process_time()
        for _ in range(calls):
            computation()
        return (process_time() - begin) / calls

    calls, found = 1, seconds(1)
    while calls * found < enough:
        calls *= 2
        found = seconds(calls)
    return found if calls == 1 else min(found, seconds(calls), seconds(calls))


def _inverses(factors: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [inv(factor) for factor in factors]


def inverses(*, sizes: tuple[int, ...] = (10, 20, 30, 40, 50, 60), pairs: int = 20, seed: int = 0) -> KroneckerInverse:
    """The identity for random factors of several condition numbers, and the times of both sides.

    Args:
        sizes: p = q of the timed factors, in rising order; the product has p^4 numbers, 104 MB for p = 60.
        pairs: of factors for the identity, with sides between 3 and 20; the condition of a product is at most 1e4.
        seed: of the factors.
    """
    rng = np.random.default_rng(seed)
    condition, differences = np.geomspace(1.0, 1e4, pairs), []
    for each in condition:
        rows, columns = rng.integers(3, 21, 2)
        factors = (positive_definite(int(size), float(np.sqrt(each)), rng) for size in (rows, columns))
        differences.append(identity_difference(*factors))
    dense, small = [], []
    for size in sizes:
        a, b = (positive_definite(size, 100.0, rng) for _ in range(2))
        product = np.kron(a, b)
        # One thread: several of them wait for each other by spinning, which counts as work.
        with threadpool_limits(1, user_api="blas"):
            dense.append(cpu_seconds(partial(inv, product)))
            small.append(cpu_seconds(partial(_inverses, (a, b))))
    return KroneckerInverse(condition, np.array(differences), np.array(sizes), np.array(dense), np.array(small))
