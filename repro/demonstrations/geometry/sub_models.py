"""Normal distributions with zeros in the precision matrix: a smaller family, for functions with few interactions.

Where theta_ij = 0 is fixed, x_i and x_j are independent given the other variables. What is left is an exponential
family with fewer statistics; its Fisher matrix is the covariance of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.gaussians import fisher_natural, pairs

DIMENSION = 4
EDGES = ((0, 1), (1, 2), (2, 3))
"""Of the graph, a chain; variables count from zero."""
MISSING = ((0, 2), (0, 3), (1, 3))
MAXIMUM = np.array([1.0, 1.0 / 3.0, -1.0 / 3.0, -1.0])
"""Of both functions."""
SPARSE = np.array([[-1.0, -0.45, 0, 0], [-0.45, -4 / 3, 0.45, 0], [0, 0.45, -5 / 3, -0.45], [0, 0, -0.45, -2.0]])
"""The matrix A of a quadratic function whose interactions are those of the graph."""
DENSE = SPARSE + np.array([[0.0, 0, 0.2, -0.1], [0, 0, 0, 0.2], [0.2, 0, 0, 0], [-0.1, 0.2, 0, 0]])
"""The same with all interactions."""
START = np.full(DIMENSION, 2.0)
"""The mean at the start; the covariance is the identity."""
FULL, SUB = "all", "sub-model"
NEAR = 0.01
"""So near to the maximum a mean has arrived."""


def kept(family: str) -> np.ndarray:
    """Which statistics a family has, shape ``(m,)``."""
    row, column = pairs(DIMENSION)
    second = [family == FULL or i == j or (i, j) in EDGES for i, j in zip(row, column, strict=True)]
    return np.array([True] * DIMENSION + second)


def coefficients_of(matrix: np.ndarray) -> np.ndarray:
    """The c of f = <c, T> with this A and the maximum at :data:`MAXIMUM`, shape ``(m,)``."""
    return np.concatenate([-2.0 * matrix @ MAXIMUM, matrix[pairs(DIMENSION)]])


def unpack(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P mu and P of natural parameters, shapes ``(..., n)`` and ``(..., n, n)``."""
    row, column = pairs(DIMENSION)
    precision = np.zeros((*theta.shape[:-1], DIMENSION, DIMENSION))
    precision[..., row, column] = precision[..., column, row] = -2.0 * theta[..., DIMENSION:]
    return theta[..., :DIMENSION], precision


def moments(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of natural parameters."""
    vector, precision = unpack(theta)
    covariance = np.linalg.inv(precision)
    covariance = 0.5 * (covariance + covariance.swapaxes(-1, -2))
    return (covariance @ vector[..., None])[..., 0], covariance


def start() -> np.ndarray:
    """Natural parameters of N(START, 1)."""
    return np.concatenate([START, -0.5 * np.eye(DIMENSION)[pairs(DIMENSION)]])


def covariances_of_statistics(mu: np.ndarray, S: np.ndarray) -> np.ndarray:
    """What :func:`repro.problems.gaussians.fisher_natural` gives, of many distributions, shape ``(R, m, m)``.

    Args:
        mu: shape ``(R, n)``.
        S: shape ``(R, n, n)``.
    """
    k, o = pairs(mu.shape[1])
    twice = np.where(k == o, 1.0, 2.0)
    m, n = k[:, None], o[:, None]
    cross = (mu[:, None, k] * S[:, :, o] + mu[:, None, o] * S[:, :, k]) * twice
    outer = mu[:, :, None] * mu[:, None, :]
    second = S[:, m, k] * S[:, n, o] + S[:, m, o] * S[:, n, k]
    for first, other, at, beside in ((m, k, n, o), (m, o, n, k), (n, k, m, o), (n, o, m, k)):
        second = second + outer[:, first, other] * S[:, at, beside]
    return np.block([[S, cross], [cross.swapaxes(1, 2), twice[:, None] * second * twice]])


def natural_flow(matrix: np.ndarray, family: str, times: np.ndarray) -> np.ndarray:
    """Theta along the natural flow uphill of the family, shape ``(T, m)``.

    Args:
        matrix: A.
        family: :data:`FULL` or :data:`SUB`.
        times: the first is that of the start.
    """
    keep, c = kept(family), coefficients_of(matrix)

    def velocity(_: float, theta: np.ndarray) -> np.ndarray:
        fisher = fisher_natural(*moments(theta))
        found = np.zeros_like(theta)
        # Cov(f, T) is the Fisher matrix of all statistics times c.
        found[keep] = np.linalg.solve(fisher[np.ix_(keep, keep)], fisher[keep] @ c)
        return found

    found = solve_ivp(velocity, (times[0], times[-1]), start(), "DOP853", times, rtol=1e-10, atol=1e-12)
    assert found.success, found.message
    return found.y.T


def conditional_covariance(covariance: np.ndarray, i: int, j: int) -> float:
    """Of x_i and x_j given the other variables, by the Schur complement; over their conditional deviations."""
    both, rest = [i, j], [k for k in range(len(covariance)) if k not in (i, j)]
    cross = covariance[np.ix_(both, rest)]
    left = covariance[np.ix_(both, both)] - cross @ np.linalg.solve(covariance[np.ix_(rest, rest)], cross.T)
    return float(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]))


def largest_conditional(thetas: np.ndarray) -> float:
    """Of the missing edges, along a path."""
    return max(abs(conditional_covariance(moments(theta)[1], i, j)) for theta in thetas for i, j in MISSING)


@dataclass(frozen=True)
class Search:
    """Stochastic natural gradient steps of several seeds side by side.

    Attributes:
        family: :data:`FULL` or :data:`SUB`.
        samples: N of a step.
        known: whether the Fisher matrix is the exact one; otherwise it is the covariance of the same samples.
    """

    family: str
    samples: int
    known: bool

    def run(self, seeds: int, steps: int, seed: int = 0) -> np.ndarray:
        """Distances of the means from the maximum after each step of length 1, shape ``(steps + 1, seeds)``."""
        generator = np.random.default_rng(seed)
        theta = np.tile(start(), (seeds, 1))
        distances = []
        for step in range(steps + 1):
            mu, covariance = moments(theta)
            distances.append(np.linalg.norm(mu - MAXIMUM, axis=1))
            if step < steps:
                z = generator.normal(size=(seeds, self.samples, DIMENSION))
                theta = theta + self._change(theta, mu, covariance, z)
        return np.stack(distances)

    def _change(self, theta: np.ndarray, mu: np.ndarray, covariance: np.ndarray, z: np.ndarray) -> np.ndarray:
        keep, (row, column) = kept(self.family), pairs(DIMENSION)
        root = np.linalg.cholesky(covariance)
        x = mu[:, None] + z @ root.swapaxes(1, 2)
        twice = np.where(row == column, 1.0, 2.0)
        T = np.concatenate([x, twice * x[..., row] * x[..., column]], axis=2)
        f = T @ coefficients_of(SPARSE)
        T = (T - T.mean(axis=1, keepdims=True))[..., keep]
        slope = np.einsum("rnm,rn->rm", T, f - f.mean(axis=1, keepdims=True)) / self.samples
        fisher = np.einsum("rnk,rnm->rkm", T, T) / self.samples
        if self.known:
            fisher = covariances_of_statistics(mu, covariance)[:, keep][:, :, keep]
        change = np.zeros_like(theta)
        change[:, keep] = np.linalg.solve(fisher, slope[..., None])[..., 0]
        # No eigenvalue of the precision may fall by more than half in a step.
        relative = root.swapaxes(1, 2) @ unpack(change)[1] @ root
        fall = np.maximum(-np.linalg.eigvalsh(relative)[:, 0], 1e-300)
        return np.minimum(1.0, 0.5 / fall)[:, None] * change


def arrival(distances: np.ndarray, samples: int) -> np.ndarray:
    """Samples until the mean has arrived for good, for each seed; infinite if it has not."""
    away = distances > NEAR
    last = np.where(away.any(axis=0), len(away) - np.argmax(away[::-1], axis=0), 0)
    return np.where(last < len(away), last * float(samples), np.inf)


@dataclass(frozen=True)
class SubModels:
    """What is drawn of the families.

    Attributes:
        precision: at the end of the sub-model's flow for the dense function, shape ``(n, n)``.
        covariance: its inverse.
        distances: by the family, of the means after each step with as few samples as the family needs, for each seed.
        samples: N of these.
        tried: numbers of samples of a step, shape ``(K,)``.
        arrivals: samples in all, by family, shape ``(K, seeds)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    precision: np.ndarray
    covariance: np.ndarray
    distances: dict[str, np.ndarray]
    samples: dict[str, int]
    tried: np.ndarray
    arrivals: dict[str, np.ndarray]
    values: Values


def _known_fisher(seeds: int, samples: int, steps: int) -> tuple[float, float]:
    """The ratio of the median distances, all statistics over the sub-model, with a known Fisher matrix; its error."""
    ends = [Search(family, samples, known=True).run(seeds, steps, seed=1)[-1] for family in (FULL, SUB)]
    generator = np.random.default_rng(2)
    draws = [np.median(generator.choice(end, (400, seeds)), axis=1) for end in ends]
    return float(np.median(ends[0]) / np.median(ends[1])), float(np.std(draws[0] / draws[1]))


@in_double_precision
def sparse_and_full(
    *, seeds: int = 5, steps: int = 160, tried: tuple[int, ...] = (10, 11, 12, 13, 14, 15, 16, 20, 30), many: int = 2000
) -> SubModels:
    """Flows in a sub-model, and searches with samples in it and in the whole family.

    Args:
        seeds: of every search.
        steps: of every search.
        tried: numbers of samples of a step.
        many: seeds of the comparison with a known Fisher matrix.
    """
    times = np.concatenate([[0.0], np.geomspace(1e-2, 100.0, 40)])
    restricted = natural_flow(DENSE, SUB, times)
    free = natural_flow(SPARSE, FULL, times)
    dense_in_full = natural_flow(DENSE, FULL, times)
    runs = {
        f: [Search(f, n, known=False).run(seeds, steps) if n > kept(f).sum() else None for n in tried]
        for f in (FULL, SUB)
    }
    arrivals = {
        family: np.stack(
            [np.full(seeds, np.inf) if run is None else arrival(run, n) for run, n in zip(of, tried, strict=True)]
        )
        for family, of in runs.items()
    }
    best = {family: int(np.argmin(of.max(axis=1))) for family, of in arrivals.items()}
    needed = {family: of.min(axis=0) for family, of in arrivals.items()}
    ratio, error = _known_fisher(many, samples=40, steps=20)
    mean, covariance = moments(restricted[-1])
    values: Values = {
        "statistics": {family: float(kept(family).sum()) for family in (FULL, SUB)},
        "zero_pattern": float(np.abs(restricted[:, ~kept(SUB)]).max()),
        "conditional_covariance": largest_conditional(restricted),
        "conditional_covariance_of_sparse_function": largest_conditional(free),
        "conditional_covariance_of_dense_function": largest_conditional(dense_in_full),
        "smallest_covariance_of_missing_edges": min(
            abs(float(covariance[i, j] / np.sqrt(covariance[i, i] * covariance[j, j]))) for i, j in MISSING
        ),
        "distance_at_end": float(np.linalg.norm(mean - MAXIMUM)),
        "samples_of_a_step": {family: float(tried[place]) for family, place in best.items()},
        "samples_to_arrive": {family: float(np.median(of)) for family, of in needed.items()},
        "ratio_of_samples": [float(one) for one in needed[FULL] / needed[SUB]],
        "ratio_with_known_fisher": ratio,
        "ratio_with_known_fisher_error": error,
    }
    distances = {family: run for family, of in runs.items() if (run := of[best[family]]) is not None}
    samples = {family: tried[place] for family, place in best.items()}
    return SubModels(unpack(restricted[-1])[1], covariance, distances, samples, np.array(tried), arrivals, values)
