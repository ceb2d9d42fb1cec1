"""Natural gradients in one chart against plain ones in the other, and estimates of them from samples."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry.duality import (
    START,
    both_gradients,
    covariance_with_statistics,
    estimates,
    quadrature,
    quartic,
    slope,
)
from repro.problems.gaussians import coefficients, fisher_natural


def test_quadrature_is_exact_for_the_products_that_it_is_used_for():
    finer, weights = quadrature(nodes=12)
    mu, covariance = map(np.array, START)
    x = mu + finer @ np.linalg.cholesky(covariance).T
    T = np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], axis=1)
    f = quartic(x)
    expected = (weights * f) @ T - (weights @ f) * (weights @ T)
    np.testing.assert_allclose(covariance_with_statistics(mu, covariance), expected, rtol=1e-12)


def test_gradients_are_dual_along_the_flow():
    result = both_gradients(points=5, largest=1000, budget=30_000)
    values = result.values
    names = ("natural_eta_from_plain_theta", "natural_theta_from_plain_eta", "natural_eta_from_covariance")
    assert max(values[name] for name in names) < 1e-12
    # The same vectors are no duals of themselves.
    assert np.abs(result.natural_eta - result.plain_eta).max() > 1.0
    assert all(-0.75 < one < -0.3 for one in values["slope"].values())


def test_the_natural_gradient_of_a_quadratic_is_exact_from_few_samples(x64):
    """It is a regression on the statistics, and they span the function."""
    b, a = np.array([1.0, 2.0]), np.array([[-3.0, -1.0], [-1.0, -2.0]])
    rng, mu, covariance = np.random.default_rng(0), *map(np.array, START)
    x = rng.multivariate_normal(mu, covariance, 7)
    T = np.concatenate([x, x**2, 2 * x[:, :1] * x[:, 1:]], axis=1)
    f = x @ b + np.einsum("ni,ij,nj->n", x, a, x)
    centred = T - T.mean(axis=0)
    found = np.linalg.solve(centred.T @ centred, f @ centred)
    np.testing.assert_allclose(found, coefficients(b, a), atol=1e-9)
    # Of the quartic it is not.
    exact = np.linalg.solve(fisher_natural(mu, covariance), covariance_with_statistics(mu, covariance))
    assert np.abs(estimates(x)[1] - exact).max() > 0.1


def test_the_slope_of_a_known_law():
    sizes = np.array([100, 1000, 10_000])
    rng = np.random.default_rng(0)
    found, error = slope(sizes, [np.abs(rng.normal(size=2000)) * size**-0.5 for size in sizes])
    assert found == pytest.approx(-0.5, abs=4 * error)
    assert 0.0 < error < 0.02
