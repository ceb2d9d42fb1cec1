"""Natural gradients in one chart are plain gradients in the other, and covariances that samples can estimate.

The natural flow of E[f] is followed for an f that is no combination of the statistics T. Expectations of polynomials
are exact by quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.integrate import solve_ivp

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.gaussians import (
    expectation_parameters,
    fisher_expectation,
    fisher_natural,
    moments_of_expectation,
    moments_of_natural,
    natural_parameters,
    pairs,
)

NODES = 6
"""Of the quadrature along each axis: exact up to degree 11 in each variable."""
START = (-1.0, 1.5), ((1.0, -0.5), (-0.5, 2.0))
ESTIMATES = ("Cov(f, T)", "Cov(T, T)^-1 Cov(f, T)")


def quartic(x: Any) -> Any:
    """A polynomial of two variables, bounded above, of points ``(..., 2)``."""
    first, second = x[..., 0], x[..., 1]
    quadratic = first + 2.0 * second - 3.0 * first**2 - 2.0 * first * second - 2.0 * second**2
    return quadratic + 0.5 * first**2 * second - 0.2 * first**4 - 0.1 * second**4


def quadrature(dimension: int = 2, nodes: int = NODES) -> tuple[np.ndarray, np.ndarray]:
    """Nodes ``(K, n)`` and weights ``(K,)`` of the standard normal distribution."""
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.stack(np.meshgrid(*[z] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    product = np.prod(np.stack(np.meshgrid(*[weights] * dimension, indexing="ij")), axis=0).reshape(-1)
    return grid, product / product.sum()


def statistics_of(x: np.ndarray) -> np.ndarray:
    """T of points of shape ``(N, n)`` in NumPy, shape ``(N, m)``."""
    row, column = pairs(x.shape[1])
    return np.concatenate([x, np.where(row == column, 1.0, 2.0) * x[:, row] * x[:, column]], axis=1)


def covariance_with_statistics(mu: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Cov(f, T) by quadrature, shape ``(m,)``."""
    z, weights = quadrature(len(mu))
    x = mu + z @ np.linalg.cholesky(covariance).T
    T = statistics_of(x)
    return (weights * quartic(x)) @ (T - weights @ T)


@jax.jit
@jax.vmap
def _gradients(mu: Array, covariance: Array) -> tuple[Array, Array]:
    """The gradients of E[f] in theta and in eta, by autodiff, at one distribution."""
    z, weights = quadrature()

    def relaxed(mean: Array, matrix: Array) -> Array:
        return weights @ quartic(mean + z @ jnp.linalg.cholesky(matrix).T)

    theta, eta = natural_parameters(mu, covariance), expectation_parameters(mu, covariance)
    in_theta = jax.grad(lambda at: relaxed(*moments_of_natural(at)))(theta)
    return in_theta, jax.grad(lambda at: relaxed(*moments_of_expectation(at)))(eta)


def _moments(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the covariance of eta = (mu_1, mu_2, E_11, E_22, 2 E_12), in NumPy."""
    second = np.array([[eta[2], 0.5 * eta[4]], [0.5 * eta[4], eta[3]]])
    return eta[:2], second - np.outer(eta[:2], eta[:2])


def natural_path(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means ``(N, 2)`` and covariances ``(N, 2, 2)`` of the natural flow uphill: d eta / dt = Cov(f, T)."""
    start = np.asarray(expectation_parameters(*map(np.array, START)))
    span = (float(times[0]), float(times[-1]))
    found = solve_ivp(
        lambda _, eta: covariance_with_statistics(*_moments(eta)), span, start, "DOP853", times, rtol=1e-10
    )
    of = [_moments(eta) for eta in found.y.T]
    return np.stack([mu for mu, _ in of]), np.stack([covariance for _, covariance in of])


@dataclass(frozen=True)
class Duality:
    """What is drawn of both gradients.

    Attributes:
        times: of the flow, shape ``(N,)``.
        natural_eta: I_eta^-1 times the gradient in eta, shape ``(N, 5)``.
        plain_theta: the gradient in theta.
        natural_theta: I_theta^-1 times the gradient in theta.
        plain_eta: the gradient in eta.
        covariances: Cov(f, T).
        sizes: numbers of samples, shape ``(K,)``.
        errors: relative errors of the estimates, by name: of every repeat, for each number of samples.
    """

    times: np.ndarray
    natural_eta: np.ndarray
    plain_theta: np.ndarray
    natural_theta: np.ndarray
    plain_eta: np.ndarray
    covariances: np.ndarray
    sizes: np.ndarray
    errors: dict[str, list[np.ndarray]]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        slopes = {name: slope(self.sizes, error) for name, error in self.errors.items()}
        return {
            "natural_eta_from_plain_theta": apart(self.natural_eta, self.plain_theta),
            "natural_theta_from_plain_eta": apart(self.natural_theta, self.plain_eta),
            "natural_eta_from_covariance": apart(self.natural_eta, self.covariances),
            "slope": {name: found for name, (found, _) in slopes.items()},
            "slope_error": {name: error for name, (_, error) in slopes.items()},
        }


def apart(found: np.ndarray, right: np.ndarray) -> float:
    """The largest relative distance of two vectors of the path."""
    return float(np.max(np.linalg.norm(found - right, axis=1) / np.linalg.norm(right, axis=1)))


def root_mean_square(errors: list[np.ndarray]) -> np.ndarray:
    """Of the repeats at each number of samples, shape ``(K,)``."""
    return np.sqrt([np.mean(error**2) for error in errors])


def slope(sizes: np.ndarray, errors: list[np.ndarray]) -> tuple[float, float]:
    """The slope of the logarithm of the error in that of the number of samples, and its standard error.

    A number of samples has a weight in proportion to its repeats.
    """
    weights = np.array([len(error) for error in errors])
    x = np.log(sizes) - np.average(np.log(sizes), weights=weights)
    # Of half the logarithm of a mean square, to first order.
    spread = [0.5 * np.std(error**2, ddof=1) / np.mean(error**2) / np.sqrt(len(error)) for error in errors]
    pull = weights * x / np.sum(weights * x**2)
    return float(pull @ np.log(root_mean_square(errors))), float(np.linalg.norm(pull * spread))


def estimates(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cov(f, T) and Cov(T, T)^-1 Cov(f, T) of samples ``(N, 2)``."""
    T, f = statistics_of(x), quartic(x)
    centred = T - T.mean(axis=0)
    covariance = (f - f.mean()) @ centred / len(x)
    return covariance, np.linalg.solve(centred.T @ centred / len(x), covariance)


def _sampling_errors(sizes: np.ndarray, budget: int, seed: int) -> dict[str, list[np.ndarray]]:
    """Errors at the start of the path, by estimate; for each number of samples there are as many as fit the budget."""
    mu, covariance = map(np.array, START)
    right = covariance_with_statistics(mu, covariance)
    truths = right, np.linalg.solve(fisher_natural(mu, covariance), right)
    generator, root = np.random.default_rng(seed), np.linalg.cholesky(covariance).T
    found: dict[str, list[np.ndarray]] = {name: [] for name in ESTIMATES}
    for size in sizes:
        repeats = int(np.clip(budget // size, 6, 300))
        both = [estimates(mu + generator.normal(size=(size, 2)) @ root) for _ in range(repeats)]
        for name, truth, of in zip(ESTIMATES, truths, zip(*both, strict=True), strict=True):
            found[name].append(np.linalg.norm(np.stack(of) - truth, axis=1) / np.linalg.norm(truth))
    return found


@in_double_precision
def both_gradients(
    *, time: float = 0.5, points: int = 41, largest: int = 1_000_000, budget: int = 3_000_000, seed: int = 0
) -> Duality:
    """Compares both gradients along the natural flow, and estimates them at its start.

    Args:
        time: of the flow.
        points: of the path.
        largest: number of samples; the others are smaller by powers of ten, down to 100.
        budget: of samples for each number of samples; it is repeated from 6 to 300 times.
        seed: of the samples.
    """
    times = np.linspace(0.0, time, points)
    mu, covariance = natural_path(times)
    plain_theta, plain_eta = map(np.asarray, _gradients(mu, covariance))
    of = list(zip(mu, covariance, plain_theta, plain_eta, strict=True))
    return Duality(
        times,
        np.stack([np.linalg.solve(fisher_expectation(m, s), in_eta) for m, s, _, in_eta in of]),
        plain_theta,
        np.stack([np.linalg.solve(fisher_natural(m, s), in_theta) for m, s, in_theta, _ in of]),
        plain_eta,
        np.stack([covariance_with_statistics(m, s) for m, s, _, _ in of]),
        (sizes := 10 ** np.arange(2, round(np.log10(largest)) + 1)),
        _sampling_errors(sizes, budget, seed),
    )
