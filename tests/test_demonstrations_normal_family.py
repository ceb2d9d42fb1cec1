"""Normal distributions against quadrature, shortest paths against a minimisation, and gradients in several charts."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from repro.demonstrations.optimisation.normal_family import (
    CHARTS,
    Chart,
    descend,
    fisher_of_normal,
    fisher_rao_distance,
    geodesic,
    geodesics,
    kl_divergence,
    length,
    straight,
    trajectories,
)

P, Q = np.array([-1.0, 0.4]), np.array([1.5, 1.3])
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
pytestmark = pytest.mark.usefixtures("x64")


def expectation(values):
    return values @ WEIGHTS / WEIGHTS.sum()


def test_metric_and_divergence_are_expectations():
    (mu, sigma), (other, width) = P, Q
    x = mu + sigma * NODES
    score = np.stack([(x - mu) / sigma**2, (x - mu) ** 2 / sigma**3 - 1 / sigma])
    covariance = np.array([[expectation(a * b) for a in score] for b in score])
    np.testing.assert_allclose(fisher_of_normal(jnp.asarray(P)), covariance, atol=1e-11)
    ratio = 0.5 * ((x - other) / width) ** 2 - 0.5 * NODES**2 + np.log(width / sigma)
    assert kl_divergence(P, Q) == pytest.approx(expectation(ratio), rel=1e-12)


def test_near_distributions_are_as_far_as_their_divergence_says():
    near = P + 1e-3 * np.array([0.3, 0.5])
    assert 2.0 * kl_divergence(P, near) == pytest.approx(fisher_rao_distance(P, near) ** 2, rel=3e-3)


@pytest.mark.parametrize("end", [Q, np.array([-1.0, 2.0])])
def test_no_path_is_shorter_than_the_geodesic(end):
    path = geodesic(P, end, 2001)
    np.testing.assert_allclose(path[[0, -1]], [P, end], atol=1e-12)
    closed = fisher_rao_distance(P, end)
    assert length(path) == pytest.approx(closed, rel=1e-5)
    speeds = np.linalg.norm(np.diff(path, axis=0) * [1.0, np.sqrt(2.0)], axis=1) / (0.5 * (path[1:] + path[:-1]))[:, 1]
    assert np.ptp(speeds) < 1e-5 * speeds.mean()

    def polygon(inner):
        points = np.concatenate([[P], inner.reshape(-1, 2), [end]])
        step = np.diff(points, axis=0)
        return np.sum((step[:, 0] ** 2 + 2 * step[:, 1] ** 2) / (points[1:, 1] * points[:-1, 1]))

    count = 30
    found = minimize(polygon, straight(P, end, count + 1)[1:-1].ravel(), method="BFGS")
    assert np.sqrt(count * found.fun) == pytest.approx(closed, rel=1e-3)
    expected = geodesic(P, end, count + 1)[1:-1]
    np.testing.assert_allclose(found.x.reshape(-1, 2), expected, atol=0.01)


def test_values_of_the_distances():
    found = geodesics().values
    assert found["kl_ratio"] == pytest.approx(100.0, rel=1e-13)
    assert found["geodesic_length_error"] < 1e-8
    assert found["fisher_rao_distance"]["sigma alone"] == pytest.approx(np.sqrt(2.0) * np.log(5.0), rel=1e-12)


def test_a_natural_step_in_mu_and_sigma_by_hand():
    path = descend(CHARTS["sigma"], jnp.array([2.0, 1.5]), jnp.array([0.5, 1.0]), 0.1, 1, natural=True)
    mu = 2.0 - 0.1 * (2.0 - 0.5)
    sigma = 1.5 - 0.1 * 1.5**2 / 2 * (1 / 1.5 - (1.0 + 1.5**2) / 1.5**3)
    np.testing.assert_allclose(path[1], [mu, sigma], rtol=1e-14)


def test_affine_charts_share_finite_steps_and_others_do_not():
    matrix = jnp.array([[2.0, 0.3], [-0.4, 0.7]])
    affine = Chart(lambda p: matrix @ p + 1.0, lambda phi: jnp.linalg.solve(matrix, phi - 1.0))
    ends = jnp.array([2.0, 2.0]), jnp.array([0.0, 1.0])
    usual, turned, precise = (
        descend(chart, *ends, 0.1, 20, natural=True) for chart in (CHARTS["sigma"], affine, CHARTS["precision"])
    )
    np.testing.assert_allclose(turned, usual, atol=1e-12)
    assert np.abs(precise - usual).max() > 1e-3
    plain = descend(affine, *ends, 0.1, 20, natural=False)
    assert np.abs(plain - descend(CHARTS["sigma"], *ends, 0.1, 20, natural=False)).max() > 1e-2


def test_natural_paths_come_together_with_the_step_and_plain_ones_do_not():
    found = trajectories(counts=(160, 320)).values
    assert found["velocity_difference"] < 1e-12
    assert found["spread_ratio"] == [pytest.approx(2.0, abs=0.05)]
    assert found["spread_ratio_gradient_descent"] == [pytest.approx(1.0, abs=0.02)]
