"""Sub-models of the normal distributions: zeros that stay, and what a search with samples needs."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry import sub_models as models
from repro.demonstrations.geometry.parameterisations import random_moments
from repro.problems.gaussians import fisher_natural


def test_many_covariances_of_statistics_are_fisher_matrices():
    mu, covariance = random_moments(4, 6, seed=2)
    expected = [fisher_natural(*one) for one in zip(mu, covariance, strict=True)]
    np.testing.assert_allclose(models.covariances_of_statistics(mu, covariance), expected, atol=1e-11)


def test_conditional_covariance_is_the_off_diagonal_of_the_precision():
    _, (covariance,) = random_moments(4, 1, seed=3)
    precision = np.linalg.inv(covariance)
    for i, j in ((0, 2), (1, 3), (2, 3)):
        expected = -precision[i, j] / np.sqrt(precision[i, i] * precision[j, j])
        assert models.conditional_covariance(covariance, i, j) == pytest.approx(expected, abs=1e-12)


def test_both_functions_have_their_maximum_there():
    for matrix in (models.SPARSE, models.DENSE):
        np.testing.assert_array_equal(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix)[-1] < -0.1
        linear = models.coefficients_of(matrix)[:4]
        np.testing.assert_allclose(linear + 2 * matrix @ models.MAXIMUM, 0.0, atol=1e-14)
    assert all(models.SPARSE[i, j] == 0.0 != models.DENSE[i, j] for i, j in models.MISSING)


def test_the_flow_of_the_sub_model_keeps_zeros_and_that_of_the_whole_family_does_not():
    times = np.array([0.0, 0.1, 1.0])
    sub = models.natural_flow(models.DENSE, models.SUB, times)
    assert models.largest_conditional(sub) < 1e-13
    assert models.largest_conditional(models.natural_flow(models.DENSE, models.FULL, times)) > 0.05
    # In the whole family the flow is the straight line theta_0 + c t.
    full = models.natural_flow(models.SPARSE, models.FULL, times)
    np.testing.assert_allclose(full[-1] - full[0], models.coefficients_of(models.SPARSE), atol=1e-8)


@pytest.mark.parametrize("family", [models.FULL, models.SUB])
def test_one_sample_more_than_statistics_is_enough_and_the_step_is_exact(family):
    count = int(models.kept(family).sum())
    distances = models.Search(family, count + 1, known=False).run(seeds=3, steps=20)
    theta = models.start() + 20 * models.coefficients_of(models.SPARSE)
    exact = np.linalg.norm(models.moments(theta)[0] - models.MAXIMUM)
    np.testing.assert_allclose(distances[-1], exact, rtol=1e-5)
    distances = np.array([[0.5, 0.5], [0.005, 0.5], [0.5, 0.001], [0.001, 0.001]])
    np.testing.assert_array_equal(models.arrival(distances, 10), [30.0, 20.0])
    assert models.arrival(distances[:3], 10)[0] == np.inf
