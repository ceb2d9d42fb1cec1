"""Natural gradients of E[f] over the normal distributions from N samples a step, as a search for the maximum of f.

The natural gradient in the expectation parameters is Cov(f, T), and in the natural ones Cov(T, T)^-1 Cov(f, T), the
regression of f on the statistics T (L. Malago, G. Pistone, "Information geometry of the Gaussian distribution in view
of stochastic optimization", FOGA 2015). Both are estimated from the same N values of f. The estimates are written in
the coordinates z of the standard normal distribution, x = mu + R z with S = R R^T: steps do not depend on the
coordinates of x.

A step of the natural gradient with a constant factor gets ever shorter where f flattens out. Divided by the standard
deviation of the N values, it has a Fisher length of at most the rate, because Cov(f, T) is the projection of f on the
statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from repro.config.checks import choice, integer
from repro.demonstrations.geometry.quadratic_in_the_plane import function as plane_function
from repro.demonstrations.geometry.quadratic_on_the_line import MAXIMUM as LINE_MAXIMUM
from repro.demonstrations.geometry.quartic_on_the_line import MAXIMA, POLYNOMIAL
from repro.errors import InputError
from repro.problems.gaussians import pairs

TARGET = 1e-6
"""A search has arrived when it has evaluated a point whose f is that near to the maximum."""
CONSTANT, COVARIANCE, REGRESSION, RANKS, RANDOM = "constant step", "covariance", "regression", "ranks", "random"
OWN = (CONSTANT, COVARIANCE, REGRESSION, RANKS, RANDOM)
SMALLEST_FACTOR = 0.5
"""No variance (no precision, in the natural parameters) falls below this part of itself in a step."""
POINT, FAR = 1e-13, 1e13
"""A search ends without success where its deviations are out of these bounds."""


@dataclass(frozen=True)
class SearchProblem:
    """A function whose maximum is looked for.

    Attributes:
        title: for a reader.
        dimension: n.
        half_width: the mean starts uniformly in the cube [-half_width, half_width]^n; the deviation is half of it.
        gap: max f - f of points ``(..., n)``, shape ``(...)``; its minimum is zero.
    """

    title: str
    dimension: int
    half_width: float
    gap: Callable[[np.ndarray], np.ndarray]

    def starts(self, seeds: list[int]) -> np.ndarray:
        """The means that the searches begin with, shape ``(R, n)``; the same for all methods."""
        return np.stack([np.random.default_rng([seed, 0]).uniform(-1.0, 1.0, self.dimension) for seed in seeds]) * (
            self.half_width
        )

    @property
    def deviation(self) -> float:
        """Of the first normal distribution, in each coordinate."""
        return 0.5 * self.half_width


def _line(x: np.ndarray) -> np.ndarray:
    first = x[..., 0]
    return LINE_MAXIMUM - (first - 3.0 * first**2)


def _quartic(x: np.ndarray) -> np.ndarray:
    return POLYNOMIAL(MAXIMA[1]) - POLYNOMIAL(x[..., 0])


def _plane(x: np.ndarray) -> np.ndarray:
    return 0.5 - plane_function(x[..., 0], x[..., 1])


def _rosenbrock(x: np.ndarray) -> np.ndarray:
    return (1.0 - x[..., 0]) ** 2 + 100.0 * (x[..., 1] - x[..., 0] ** 2) ** 2


def _rastrigin(x: np.ndarray) -> np.ndarray:
    return np.sum(x**2 + 10.0 * (1.0 - np.cos(2.0 * math.pi * x)), axis=-1)


PROBLEMS = {
    "line": SearchProblem("quadratic, 1-D (G13)", 1, 2.0, _line),
    "quartic": SearchProblem("quartic, 1-D (G14)", 1, 2.0, _quartic),
    "plane": SearchProblem("quadratic, 2-D (G15)", 2, 2.0, _plane),
    "rosenbrock": SearchProblem("Rosenbrock, 2-D", 2, 2.0, _rosenbrock),
    "rastrigin": SearchProblem("Rastrigin, 2-D", 2, 4.0, _rastrigin),
}
IN_SPAN = ("line", "plane")
"""Those that are combinations of the statistics."""


def whitened_covariances(z: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cov(f, z) and Cov(f, z z^T) over the samples, shapes ``(R, n)`` and ``(R, n, n)``.

    Args:
        z: shape ``(R, N, n)``.
        f: shape ``(R, N)``.
    """
    centred = (f - f.mean(axis=1, keepdims=True)) / f.shape[1]
    return np.einsum("rk,rki->ri", centred, z), np.einsum("rk,rki,rkj->rij", centred, z, z)


def whitened_regression(z: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The b and B of the least-squares fit f = c + b^T z + z^T B z, shapes as for :func:`whitened_covariances`."""
    n = z.shape[-1]
    row, column = pairs(n)
    T = np.concatenate([z, np.where(row == column, 1.0, 2.0) * z[..., row] * z[..., column]], axis=-1)
    T = T - T.mean(axis=1, keepdims=True)
    slope = np.einsum("rkm,rk->rm", T, f - f.mean(axis=1, keepdims=True))
    found = np.linalg.solve(T.swapaxes(1, 2) @ T, slope[..., None])[..., 0]
    matrix = np.zeros((*found.shape[:1], n, n))
    matrix[:, row, column] = matrix[:, column, row] = found[:, n:]
    return found[:, :n], matrix


def step_of_covariances(slope: np.ndarray, matrix: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step eta + h Cov(f, T) from N(0, 1): the new mean ``(R, n)`` and covariance ``(R, n, n)``.

    Args:
        slope: Cov(f, z), shape ``(R, n)``.
        matrix: Cov(f, z z^T), shape ``(R, n, n)``.
        length: h, shape ``(R,)``; shortened where a variance would fall below :data:`SMALLEST_FACTOR`.
    """
    fall = np.maximum(-np.linalg.eigvalsh(matrix)[:, 0], 0.0)
    square = np.sum(slope**2, axis=1)
    # h fall + h^2 square = 1 - SMALLEST_FACTOR, without a difference of near numbers.
    most = 2.0 * (1.0 - SMALLEST_FACTOR)
    longest = most / np.maximum(fall + np.sqrt(fall**2 + 2.0 * most * square), 1e-300)
    h = np.minimum(length, longest)[:, None]
    mean = h * slope
    return mean, np.eye(slope.shape[1]) + h[..., None] * matrix - mean[:, :, None] * mean[:, None, :]


def step_of_regression(slope: np.ndarray, matrix: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The step theta + h Cov(T, T)^-1 Cov(f, T) from N(0, 1), as :func:`step_of_covariances`.

    The length is shortened where a precision would fall below :data:`SMALLEST_FACTOR`.
    """
    rise = np.maximum(np.linalg.eigvalsh(matrix)[:, -1], 1e-300)
    h = np.minimum(length, (1.0 - SMALLEST_FACTOR) / (2.0 * rise))[:, None]
    covariance = np.linalg.inv(np.eye(slope.shape[1]) - 2.0 * h[..., None] * matrix)
    covariance = 0.5 * (covariance + covariance.swapaxes(1, 2))
    return np.einsum("rij,rj->ri", covariance, h * slope), covariance


def utilities(f: np.ndarray) -> np.ndarray:
    """Weights by rank in place of values, shape of ``f``, ``(R, N)``; their sum is zero.

    max(0, ln(N/2 + 1) - ln rank), normalised, less 1/N (D. Wierstra et al., JMLR 15, 2014).
    """
    N = f.shape[1]
    by_rank = np.maximum(0.0, math.log(0.5 * N + 1.0) - np.log(np.arange(1, N + 1)))
    place = np.argsort(np.argsort(-f, axis=1, kind="stable"), axis=1)
    return (by_rank / by_rank.sum() - 1.0 / N)[place]


def step_of_ranks(z: np.ndarray, f: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The step of xNES from N(0, 1): mean ``(R, n)`` and root of the covariance, ``(R, n, n)``.

    The mean moves by sum u z. The root is exp(rate c / 2 sum u (z z^T - 1)), an exponential of matrices, with the
    paper's c = (9 + 3 ln n) / (5 n sqrt n) (T. Glasmachers et al., GECCO 2010).
    """
    n, u = z.shape[-1], utilities(f)
    usual = (9.0 + 3.0 * math.log(n)) / (5.0 * n * math.sqrt(n))
    matrix = np.einsum("rk,rki,rkj->rij", u, z, z)
    values, vectors = np.linalg.eigh(0.5 * rate * usual * matrix)
    root = (vectors * np.exp(np.clip(values, -50.0, 50.0))[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.einsum("rk,rki->ri", u, z), root


def search(problem: str, method: str, samples: int, scale: float, seeds: list[int], budget: int) -> np.ndarray:
    """The evaluations of f until a search has arrived, for each seed; infinite if it does not within the budget.

    Args:
        problem: one of :data:`PROBLEMS`.
        method: one of :data:`OWN`. :data:`CONSTANT`: eta + h Cov(f, T) with h = scale / (deviation of the first N
            values); :data:`COVARIANCE`: the same with the deviation of the present values; :data:`REGRESSION`: theta +
            h Cov(T, T)^-1 Cov(f, T), with h as before; :data:`RANKS`: xNES, its rate for the covariance times the
            scale; :data:`RANDOM`: the first normal distribution, its deviation times the scale, for ever.
        samples: N, at least 8.
        scale: positive; see there.
        seeds: of the starts and of the samples.
        budget: evaluations of a search.

    Raises:
        InputError: for an unknown name or a number out of its bounds.
    """
    choice("problem", problem, tuple(PROBLEMS))
    choice("method", method, OWN)
    integer("samples", samples, 8, budget)
    if not (math.isfinite(scale) and scale > 0.0):
        raise InputError(f"scale = {scale}: must be positive")
    of = PROBLEMS[problem]
    mu, generators = of.starts(seeds), [np.random.default_rng([seed, 1]) for seed in seeds]
    first = of.deviation * (scale if method == RANDOM else 1.0)
    root = np.tile(first * np.eye(of.dimension), (len(seeds), 1, 1))
    evaluations, left = np.full(len(seeds), np.inf), np.arange(len(seeds))
    length = np.zeros(len(seeds))
    for step in range(budget // samples):
        z = np.stack([generators[place].normal(size=(samples, of.dimension)) for place in left])
        gap = of.gap(mu[:, None] + z @ root.swapaxes(1, 2))
        hit = gap <= TARGET
        arrived = hit.any(axis=1)
        evaluations[left[arrived]] = step * samples + 1 + np.argmax(hit[arrived], axis=1)
        if method != RANDOM:
            if method != CONSTANT or step == 0:
                length = scale / np.maximum(gap.std(axis=1), 1e-300)
            mean, change = _moved(method, z, -gap, length, scale)
            mu, root = mu + np.einsum("rij,rj->ri", root, mean), root @ change
        size = np.abs(root).max(axis=(1, 2))
        on = ~arrived & np.isfinite(mu).all(axis=1) & (size > POINT) & (size < FAR)
        mu, root, length, left = mu[on], root[on], length[on], left[on]
        if not len(left):
            break
    return evaluations


def _moved(
    method: str, z: np.ndarray, f: np.ndarray, length: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The new mean and the root of the new covariance, in the coordinates of z."""
    if method == RANKS:
        return step_of_ranks(z, f, scale)
    if method == REGRESSION:
        mean, covariance = step_of_regression(*whitened_regression(z, f), length)
    else:
        mean, covariance = step_of_covariances(*whitened_covariances(z, f), length)
    return mean, np.linalg.cholesky(covariance)
