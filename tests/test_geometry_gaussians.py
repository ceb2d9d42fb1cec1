"""Normal distributions as an exponential family: maps, potentials and Fisher matrices against autodiff and sums."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from repro.errors import InputError
from repro.problems.gaussians import (
    coefficients,
    dimension_of,
    expectation_parameters,
    fisher_expectation,
    fisher_mean_covariance,
    fisher_natural,
    log_density,
    log_partition,
    mean_and_covariance,
    moments_of_expectation,
    moments_of_natural,
    natural_parameters,
    negative_entropy,
    split,
    statistics,
)

MU = np.array([0.7, -0.4, 1.1])
COVARIANCE = np.array([[1.3, 0.4, -0.3], [0.4, 0.9, 0.25], [-0.3, 0.25, 1.6]])


@pytest.fixture
def points():
    """Nodes and weights that integrate polynomials of degree 5 in each variable exactly over N(MU, COVARIANCE)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.prod(np.stack(np.meshgrid(weights, weights, weights, indexing="ij")), axis=0).reshape(-1)
    return MU + grid @ np.linalg.cholesky(COVARIANCE).T, weight / weight.sum()


PAIRS = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]


def derivatives(mu, covariance, x):
    """All that is differentiated, and the maps, as one program."""
    theta, eta = natural_parameters(mu, covariance), expectation_parameters(mu, covariance)

    def divergence(xi):
        turned = natural_parameters(*split(xi))
        return log_partition(turned) - turned @ eta

    return {
        "theta": theta,
        "eta": eta,
        "back": (moments_of_natural(theta), moments_of_expectation(eta), split(mean_and_covariance(mu, covariance))),
        "gradients": (jax.grad(log_partition)(theta), jax.grad(negative_entropy)(eta)),
        "legendre": log_partition(theta) + negative_entropy(eta) - theta @ eta,
        "hessians": (jax.hessian(log_partition)(theta), jax.hessian(negative_entropy)(eta)),
        "mean_covariance": jax.hessian(divergence)(mean_and_covariance(mu, covariance)),
        "statistics": statistics(x),
        "densities": (statistics(x) @ theta - log_partition(theta), log_density(x, mu, covariance)),
        "quadratic": coefficients(mu, covariance) @ statistics(x),
    }


def test_maps_potentials_and_fisher_matrices_against_autodiff(x64):
    x = np.array([0.3, -1.2, 2.0])
    found = jax.jit(derivatives)(MU, COVARIANCE, x)
    for mean, covariance in found["back"]:
        np.testing.assert_allclose(mean, MU, atol=1e-14)
        np.testing.assert_allclose(covariance, COVARIANCE, atol=1e-14)
    np.testing.assert_allclose(found["gradients"], [found["eta"], found["theta"]], atol=1e-13)
    assert abs(found["legendre"]) < 1e-13
    natural, expectation = fisher_natural(MU, COVARIANCE), fisher_expectation(MU, COVARIANCE)
    np.testing.assert_allclose(found["hessians"], [natural, expectation], atol=1e-12)
    np.testing.assert_allclose(expectation @ natural, np.eye(9), atol=1e-12)
    np.testing.assert_allclose(found["mean_covariance"], fisher_mean_covariance(MU, COVARIANCE), atol=1e-12)
    np.testing.assert_allclose(*found["densities"], atol=1e-13)
    np.testing.assert_allclose(found["statistics"][3:], [x[i] * x[j] * (1 + (i != j)) for i, j in PAIRS], rtol=1e-15)
    assert found["quadratic"] == pytest.approx(MU @ x + x @ COVARIANCE @ x, abs=1e-14)


def test_expectations_of_the_statistics_by_quadrature(points):
    x, weight = points
    found = np.asarray([[x @ c[:3] + np.sum((x @ split_of(c)) * x, axis=1)] for c in np.eye(9)])[:, 0]
    mean = found @ weight
    np.testing.assert_allclose(mean[:3], MU, atol=1e-12)
    centred = found - mean[:, None]
    np.testing.assert_allclose((centred * weight) @ centred.T, fisher_natural(MU, COVARIANCE), atol=1e-11)


def split_of(c):
    """The matrix A of x^T A x, without the package."""
    matrix = np.zeros((3, 3))
    for value, (i, j) in zip(c[3:], PAIRS, strict=True):
        matrix[i, j] = matrix[j, i] = value
    return matrix


def test_one_dimension_is_the_textbook_one():
    mu, variance = 0.3, 0.49
    args = ([mu], [[variance]])
    np.testing.assert_allclose(fisher_mean_covariance(*args), np.diag([1 / variance, 0.5 / variance**2]))
    np.testing.assert_allclose(
        fisher_natural(*args),
        [[variance, 2 * mu * variance], [2 * mu * variance, 2 * variance**2 + 4 * mu**2 * variance]],
    )


def test_bad_parameters_are_refused():
    for bad in (np.zeros(3), np.zeros(0), np.zeros(7)):
        with pytest.raises(InputError, match="must be 2, 5, 9, 14"):
            dimension_of(bad)
    assert [dimension_of(np.zeros(m)) for m in (2, 5, 9, 14)] == [1, 2, 3, 4]
    with pytest.raises(InputError, match="must be \\(n,\\) and \\(n, n\\)"):
        fisher_natural(MU, np.eye(2))
    for bad in (-np.eye(3), np.triu(np.ones((3, 3)))):
        with pytest.raises(InputError, match="positive definite"):
            fisher_expectation(MU, bad)
