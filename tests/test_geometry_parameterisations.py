"""The triangle of parameterisations: its relations, and the lines that are drawn in three charts."""

from __future__ import annotations

import numpy as np

from repro.demonstrations.geometry.parameterisations import random_moments, triangle
from repro.problems.gaussians import fisher_expectation, fisher_natural


def test_every_relation_holds_and_the_charts_show_the_same_distributions():
    result = triangle(samples=10, points=5)
    assert len(result.values) == 10
    assert max(result.values.values()) < 1e-10
    mu, variance = np.moveaxis(result.grid["moments"], -1, 0)
    first, second = np.moveaxis(result.grid["natural"], -1, 0)
    np.testing.assert_allclose([-0.5 * first / second, -0.5 / second], [mu, variance], atol=1e-14)
    first, second = np.moveaxis(result.grid["expectation"], -1, 0)
    np.testing.assert_allclose([first, second - first**2], [mu, variance], atol=1e-14)


def test_fisher_matrices_of_random_distributions_are_inverses():
    mu, covariance = random_moments(4, 20, seed=1)
    for one in zip(mu, covariance, strict=True):
        np.testing.assert_allclose(fisher_natural(*one) @ fisher_expectation(*one), np.eye(14), atol=1e-10)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert eigenvalues.min() > 0.0999
    assert eigenvalues.max() < 10.001
