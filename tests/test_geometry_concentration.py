"""Natural flows in the span of the statistics: against the density times e^(t f), and their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry.concentration import flows, natural_flows
from repro.demonstrations.geometry.quadratic_in_the_plane import MAXIMUM, function


def test_the_natural_flow_multiplies_the_density():
    """Moments of p_0 e^(t f) on a grid."""
    mu, covariance = np.array([[1.0, -0.5]]), np.array([[[0.8, 0.3], [0.3, 0.6]]])
    means, covariances = natural_flows(mu, covariance, np.array([0.3]))
    x, y = np.meshgrid(np.linspace(-6, 6, 401), np.linspace(-6, 6, 401))
    apart = np.stack([x - mu[0, 0], y - mu[0, 1]], axis=-1)
    square = np.einsum("...i,ij,...j->...", apart, np.linalg.inv(covariance[0]), apart)
    density = np.exp(-0.5 * square + 0.3 * function(x, y))
    density /= density.sum()
    mean = np.array([(density * x).sum(), (density * y).sum()])
    second = np.array([[(density * a * b).sum() for a in (x, y)] for b in (x, y)])
    np.testing.assert_allclose(means[0, 0], mean, atol=1e-9)
    np.testing.assert_allclose(covariances[0, 0], second - np.outer(mean, mean), atol=1e-9)


def test_every_start_ends_at_the_maximum_in_the_span_and_not_outside_of_it():
    result = flows(starts=20, seed=3, end=1e3, points=61)
    values = result.values
    assert values["second_moment_at_end"] < 1e-2
    assert values["mean_over_bound"] < 1.0 + 1e-6
    assert values["covariance_over_bound"] < 1.0 + 1e-6
    assert values["limits_outside"] == [-1.414, 1.414]
    assert values["loss_outside"] == pytest.approx(8 * np.sqrt(2.0), abs=1e-5)  # of f at both maxima
    assert np.all(np.diff(result.largest, axis=0) < 0.0)
    assert MAXIMUM.tolist() == [0.0, 0.5]
