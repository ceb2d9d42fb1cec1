"""Three parameterisations of the normal distributions: the maps between them, and the gradients of two functions."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.problems.gaussians import (
    expectation_parameters,
    fisher_expectation,
    fisher_mean_covariance,
    fisher_natural,
    log_partition,
    mean_and_covariance,
    moments_of_expectation,
    moments_of_natural,
    natural_parameters,
    negative_entropy,
    split,
)


@dataclass(frozen=True)
class Triangle:
    """What is drawn of the three parameterisations.

    Attributes:
        grid: lines of equal mean and of equal standard deviation of normal distributions on R, by chart ("moments",
            "natural", "expectation"), shape ``(2, lines, points, 2)``.
        errors: relative error of each relation by its name, one for each random distribution, shape ``(samples,)``.
    """

    grid: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on: the largest errors."""
        return {name: float(np.max(error)) for name, error in self.errors.items()}


def random_moments(dimension: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances, shapes ``(samples, n)`` and ``(samples, n, n)``; eigenvalues of S from about 0.1 to 10."""
    generator = np.random.default_rng(seed)
    axes = np.linalg.qr(generator.normal(size=(samples, dimension, dimension)))[0]
    eigenvalues = 10.0 ** generator.uniform(-1.0, 1.0, (samples, 1, dimension))
    covariance = (axes * eigenvalues) @ axes.swapaxes(-1, -2)
    return generator.normal(size=(samples, dimension)), 0.5 * (covariance + covariance.swapaxes(-1, -2))


@jax.jit
@jax.vmap
def _maps(mu: Array, covariance: Array) -> dict[str, Array]:
    """All maps of one distribution, and derivatives of them."""
    xi = mean_and_covariance(mu, covariance)
    theta, eta = natural_parameters(mu, covariance), expectation_parameters(mu, covariance)
    return {
        "xi": xi,
        "theta": theta,
        "eta": eta,
        "xi of theta": mean_and_covariance(*moments_of_natural(theta)),
        "xi of eta": mean_and_covariance(*moments_of_expectation(eta)),
        "eta of theta": jax.grad(log_partition)(theta),
        "theta of eta": jax.grad(negative_entropy)(eta),
        "gap": log_partition(theta) + negative_entropy(eta) - theta @ eta,
        "size": abs(log_partition(theta)) + abs(negative_entropy(eta)) + abs(theta) @ abs(eta),
        "theta by xi": jax.jacfwd(lambda at: natural_parameters(*split(at)))(xi),
        "eta by xi": jax.jacfwd(lambda at: expectation_parameters(*split(at)))(xi),
    }


def _largest(difference: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The largest difference in each sample, in units of the sample's largest entry."""
    samples = len(right)
    return np.abs(difference).reshape(samples, -1).max(axis=1) / np.abs(right).reshape(samples, -1).max(axis=1)


def _lines(points: int) -> dict[str, np.ndarray]:
    """Lines mu = const. and sigma = const. in the three charts of the normal distributions on R."""
    means, widths = np.linspace(-1.5, 1.5, 7), np.linspace(0.5, 1.4, 7)
    along = np.linspace(0.0, 1.0, points)
    upright = np.stack(np.broadcast_arrays(means[:, None], widths[0] + (widths[-1] - widths[0]) * along), axis=-1)
    level = np.stack(np.broadcast_arrays(means[0] + (means[-1] - means[0]) * along, widths[:, None]), axis=-1)
    mu, sigma = np.moveaxis(np.stack([upright, level]), -1, 0)
    return {
        "moments": np.stack([mu, sigma**2], axis=-1),
        "natural": np.stack([mu / sigma**2, -0.5 / sigma**2], axis=-1),
        "expectation": np.stack([mu, sigma**2 + mu**2], axis=-1),
    }


@in_double_precision
def triangle(*, dimension: int = 3, samples: int = 200, seed: int = 0, points: int = 101) -> Triangle:
    """Goes around the triangle of parameterisations from many random distributions.

    Args:
        dimension: n.
        samples: random distributions.
        seed: of these.
        points: of each line that is drawn.
    """
    mu, covariance = random_moments(dimension, samples, seed)
    found = {name: np.asarray(one) for name, one in _maps(mu, covariance).items()}
    of = list(zip(mu, covariance, strict=True))
    moments, natural, expectation = (
        np.stack([fisher(*one) for one in of])
        for fisher in (fisher_mean_covariance, fisher_natural, fisher_expectation)
    )
    identity = np.broadcast_to(np.eye(natural.shape[-1]), natural.shape)
    by_theta, by_eta = found["theta by xi"], found["eta by xi"]
    # d theta / d eta = (d theta / d xi) (d xi / d eta), from (mu, S) alone.
    jacobian = by_theta @ np.linalg.inv(by_eta)
    errors = {
        "round_trip_theta": _largest(found["xi of theta"] - found["xi"], found["xi"]),
        "round_trip_eta": _largest(found["xi of eta"] - found["xi"], found["xi"]),
        "gradient_of_psi": _largest(found["eta of theta"] - found["eta"], found["eta"]),
        "gradient_of_phi": _largest(found["theta of eta"] - found["theta"], found["theta"]),
        "legendre": np.abs(found["gap"]) / found["size"],
        "product_of_fisher_matrices": _largest(expectation @ natural - identity, identity),
        "jacobian_is_inverse_fisher": _largest(jacobian @ natural - identity, identity),
        "jacobian_is_fisher": _largest(jacobian - expectation, expectation),
        "chain_rule_eta": _largest(jacobian.swapaxes(1, 2) @ natural @ jacobian - expectation, expectation),
        "chain_rule_moments": _largest(by_theta.swapaxes(1, 2) @ natural @ by_theta - moments, moments),
    }
    return Triangle(_lines(points), errors)
