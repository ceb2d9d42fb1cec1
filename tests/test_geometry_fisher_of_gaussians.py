"""The printed Fisher matrices of normal distributions: where they are wrong, and that one variable does not show it."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry import printed_fisher as printed
from repro.demonstrations.geometry.fisher_of_gaussians import COVARIANCE, MEAN, printed_and_right, scores
from repro.problems.gaussians import fisher_expectation, fisher_mean_covariance, fisher_natural


def test_one_variable_does_not_show_what_is_wrong():
    mu, covariance = np.array([0.3]), np.array([[0.49]])
    precision = 1.0 / covariance
    np.testing.assert_allclose(printed.natural(-2.0 * covariance, precision @ mu), fisher_natural(mu, covariance))
    np.testing.assert_allclose(printed.alpha(precision), fisher_mean_covariance(mu, covariance)[1:, 1:])
    np.testing.assert_allclose(printed.gamma(precision, mu), fisher_expectation(mu, covariance)[:1, :1])
    np.testing.assert_allclose(printed.kappa(precision), fisher_expectation(mu, covariance)[1:, 1:])


def test_scores_are_derivatives_of_the_density():
    mu, covariance, x = np.array(MEAN), np.array(COVARIANCE), np.array([[0.2, 1.0, -0.7]])

    def ln_p(mean, matrix):
        d = x[0] - mean
        return -0.5 * (np.linalg.slogdet(matrix)[1] + d @ np.linalg.solve(matrix, d))

    h = 1e-6
    bump = np.zeros((3, 3))
    bump[0, 2] = bump[2, 0] = h
    slope = (ln_p(mu, covariance + bump) - ln_p(mu, covariance - bump)) / (2 * h)
    assert scores(x, mu, covariance)["mean and covariance"][0, 7] == pytest.approx(slope, rel=1e-7)
    # With eta_13 = 2 E[x_1 x_3], and the mean changed while the second moments stay.
    assert scores(x, mu, covariance)["expectation"][0, 7] == pytest.approx(slope / 2, rel=1e-7)
    step = h * np.eye(3)[1]
    second = covariance + np.outer(mu, mu)
    ends = [ln_p(mu + s * step, second - np.outer(mu + s * step, mu + s * step)) for s in (1, -1)]
    assert scores(x, mu, covariance)["expectation"][0, 1] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_what_is_printed_wrongly():
    result = printed_and_right(samples=20_000)
    ratio = result.ratios["mean and covariance"]
    wrong = np.abs(ratio - 1.0) > 1e-9
    assert {tuple(at) for at in np.argwhere(wrong & np.isfinite(ratio))} == {
        (a, b) for a in (3, 4, 5) for b in (3, 4, 5) if a != b
    }
    off = np.argwhere(np.abs(result.ratios["natural"] - 1.0) > 1e-9)
    # Right where both pairs are diagonal and equal, or neither is diagonal.
    assert all(a >= 3 and b >= 3 and a != b and (a < 6 or b < 6) for a, b in off)
    assert np.isnan(result.printed["expectation"][:3, :3]).all()
    assert np.nanmax(np.abs(result.ratios["expectation"] - 1.0)) < 1e-12
    values = result.values
    assert max(abs(z) for z in values["standard_errors_from_right"].values()) < 4.0
    assert min(abs(z) for z in values["standard_errors_from_printed"].values()) > 10.0
