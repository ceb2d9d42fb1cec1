"""Flows of a quadratic in the plane: against closed forms, and against the eigenvalues along a line of matrices."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry import quadratic_in_the_plane as plane
from repro.problems.gaussians import natural_parameters


def test_the_mean_and_its_gradient():
    state = np.array([0.3, -0.8, 1.1, 0.7, 0.25])
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal(state[:2], plane.unpacked(state)[1], 200_000)
    f = plane.function(*z.T)

    def mean(at):
        mu, covariance = plane.unpacked(at)
        return plane.LINEAR @ mu + mu @ plane.QUADRATIC @ mu + np.trace(plane.QUADRATIC @ covariance)

    assert abs(f.mean() - mean(state)) < 4 * f.std() / np.sqrt(len(f))
    slopes = [(mean(state + 1e-6 * e) - mean(state - 1e-6 * e)) / 2e-6 for e in np.eye(5)]
    np.testing.assert_allclose(plane.gradient(state), slopes, rtol=1e-7)
    np.testing.assert_allclose(plane.vanilla_matrix(0.0, state)[2:], [-3.0, -2.0, -1.0])


def test_the_natural_flow_is_a_straight_line_in_theta(x64):
    mu = np.array([-1.0, 1.5])
    thetas = [
        np.asarray(natural_parameters(*plane.unpacked(plane.closed_form(mu, plane.COVARIANCE, t)))) for t in (0, 0.5, 1)
    ]
    np.testing.assert_allclose(thetas[2] - thetas[1], [0.5, 1.0, -1.5, -1.0, -0.5], atol=1e-12)
    np.testing.assert_allclose(thetas[1], 0.5 * (thetas[0] + thetas[2]), atol=1e-12)


def test_the_natural_state_and_the_exits():
    values = plane.flows(starts=((-1.0, 1.5),), points=41).values
    assert values["natural_error"] < 1e-10
    np.testing.assert_allclose(
        values["state"], plane.closed_form(np.array([-1.0, 1.5]), plane.COVARIANCE, 1.7), atol=1e-9
    )
    for time, factor in ((values["exit_time_matrix"], 1.0), (values["exit_time_independent"], 2.0)):
        direction = np.array([[-3.0, -factor], [-factor, -2.0]])
        # Singular there, and definite before.
        assert np.linalg.eigvalsh(plane.COVARIANCE + time * direction)[0] == pytest.approx(0.0, abs=1e-12)
        assert np.linalg.eigvalsh(plane.COVARIANCE + 0.99 * time * direction)[0] > 0.0
    assert values["exit_time_independent"] < values["exit_time_matrix"] < 0.25
    np.testing.assert_allclose(values["rates_vanilla"], [2.763932, 7.236068], atol=1e-6)
    assert values["fixed_error"] < 1e-10
