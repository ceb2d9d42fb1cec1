"""The Fisher matrices of the normal distributions as a lecture prints them, entry by entry, wrong cases and all.

Indices count from zero. P is the precision, R = Theta^-1 = -2 S; t is the vector part of theta. What is right is in
:mod:`repro.problems.gaussians`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from repro.problems.gaussians import pairs

Entry = Callable[[int, int, int, int], float]


def by_entry(dimension: int, entry: Entry) -> np.ndarray:
    """The matrix with rows kl and columns mn, in the order of T."""
    indices = list(zip(*pairs(dimension), strict=True))
    return np.array([[entry(k, l_, m, n) for m, n in indices] for k, l_ in indices])


def expectation(mu: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Eta with minus signs: S_ii - mu_i^2 and 2 S_ij - 2 mu_i mu_j."""
    row, column = pairs(len(mu))
    second = (covariance - np.outer(mu, mu))[row, column]
    return np.concatenate([mu, np.where(row == column, 1.0, 2.0) * second])


def alpha(precision: np.ndarray) -> np.ndarray:
    """The block of S in the Fisher matrix of (mu, S)."""

    def entry(k: int, l_: int, m: int, n: int) -> float:
        P = precision
        if k == l_ == m == n:
            return 0.5 * P[k, k] ** 2
        if k == l_ or m == n:
            return P[k, m] * P[l_, n]
        return P[k, m] * P[l_, n] + P[l_, m] * P[k, n]

    return by_entry(len(precision), entry)


def small_lambda(R: np.ndarray) -> np.ndarray:
    """The part of the second block in theta that does not depend on t, twice."""

    def entry(k: int, l_: int, m: int, n: int) -> float:
        if k == l_ == m == n:
            return R[k, k] * R[k, k]
        found = R[k, m] * R[l_, n] + R[l_, m] * R[k, n]
        return found if k == l_ or m == n else 2.0 * found

    return by_entry(len(R), entry)


def turned(R: np.ndarray, k: int, l_: int) -> np.ndarray:
    """Lambda_kl, shape ``(n, n)``."""
    if k == l_:
        return np.outer(R[:, k], R[k])
    return np.outer(R[:, k], R[l_]) + np.outer(R[:, l_], R[k])


def large_lambda(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """t^T Lambda_klmn t, the part of the second block in theta that depends on t, times -2."""

    def entry(k: int, l_: int, m: int, n: int) -> float:
        of_pair = turned(R, k, l_)
        found = np.outer(of_pair[:, m], R[n])
        if k != l_:
            found = found + np.outer(of_pair[:, n], R[m])
        return float(t @ found @ t)

    return by_entry(len(R), entry)


def natural(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The Fisher matrix in theta, shape ``(m, m)``."""
    cross = np.stack([turned(R, k, l_) @ t for k, l_ in zip(*pairs(len(t)), strict=True)], axis=1)
    return 0.5 * np.block([[-R, cross], [cross.T, small_lambda(R) - large_lambda(R, t)]])


def gamma(precision: np.ndarray, eta: np.ndarray) -> np.ndarray | None:
    """The first block in eta: P + P eta^T P eta + P eta eta^T P with a column eta; None if a product does not fit."""
    column = eta[:, None]
    try:
        second = precision @ column.T @ precision @ column
    except ValueError:  # matmul refuses the shapes
        return None
    return precision + second + precision @ column @ column.T @ precision


def kappa(precision: np.ndarray) -> np.ndarray:
    """The second block in eta."""

    def entry(k: int, l_: int, m: int, n: int) -> float:
        P = precision
        if k == l_ or m == n:
            return 0.5 * P[k, m] * P[l_, n]
        return 0.25 * (P[k, m] * P[l_, n] + P[l_, m] * P[k, n])

    return by_entry(len(precision), entry)


def cross_of_expectation(precision: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """The block -K_kl eta beside both, shape ``(n, pairs)``."""
    columns = [
        -(1.0 if k == l_ else 0.5) * turned(precision, k, l_) @ eta for k, l_ in zip(*pairs(len(eta)), strict=True)
    ]
    return np.stack(columns, axis=1)
