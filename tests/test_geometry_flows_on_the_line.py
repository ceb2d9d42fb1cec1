"""Flows on the line: gradients against quadrature and autodiff, closed forms, and the border of the basins."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry import quadratic_on_the_line as quadratic
from repro.demonstrations.geometry import quartic_on_the_line as quartic
from repro.demonstrations.geometry.flows_on_the_line import NATURAL, VANILLA, follow, velocity
from repro.problems.gaussians import fisher_mean_covariance


def central(function, at, step=1e-6):
    return [(function(*(at + step * e)) - function(*(at - step * e))) / (2 * step) for e in np.eye(2)]


@pytest.mark.parametrize("module", [quadratic, quartic])
def test_gradients_are_those_of_the_mean(module):
    at = np.array([0.4, 1.3])
    np.testing.assert_allclose(module.gradient(*at), central(module.relaxed, at), rtol=1e-7)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    x = at[0] + at[1] * nodes
    f = x - 3 * x**2 if module is quadratic else 6 * x + 8 * x**2 - x**3 - 2 * x**4
    assert module.relaxed(*at) == pytest.approx(f @ weights / weights.sum(), rel=1e-13)


def test_the_natural_velocity_is_that_of_the_fisher_matrix():
    """Of (mu, sigma^2), carried to (mu, sigma)."""
    mu, sigma = 0.4, 1.3
    slope = np.array(quartic.gradient(mu, sigma))
    by_variance = np.array([slope[0], slope[1] / (2 * sigma)])
    natural = np.linalg.solve(fisher_mean_covariance([mu], [[sigma**2]]), by_variance)
    found = velocity(quartic.gradient, np.array(mu), np.array(sigma), NATURAL)
    np.testing.assert_allclose(found, [natural[0], natural[1] / (2 * sigma)], rtol=1e-13)


def test_the_quadratic_has_closed_forms_and_the_natural_flow_is_slow():
    values = quadratic.flows(mu=(-1.0, 0.9), sigma=(0.5, 2.0), end=1e6).values
    assert max(values["vanilla_error"], values["natural_error"]) < 1e-10
    assert values["below_maximum_natural"] == pytest.approx(0.5e-6, rel=1e-3)
    starts = np.array([[-1.0, 0.9], [0.5, 2.0]])
    for geometry in (VANILLA, NATURAL):
        times = quadratic.arrival(starts, geometry)
        there = [quadratic.closed_form(starts, times[[k]], geometry)[:, k, 0] for k in range(2)]
        np.testing.assert_allclose([quadratic.below(one) for one in there], quadratic.SHARP, rtol=1e-9)


def test_the_saddle_is_the_only_critical_point_and_lies_on_both_borders():
    (saddle,) = quartic.critical_points()
    np.testing.assert_allclose(quartic.gradient(*saddle), 0.0, atol=1e-12)
    mu, sigma = np.meshgrid(np.linspace(-3, 3, 61), np.linspace(0.05, 3, 60))
    slopes = np.hypot(*quartic.gradient(mu, sigma) / np.maximum(1.0, mu**2 + sigma**2) / sigma)
    near = np.hypot(mu - saddle[0], sigma - saddle[1]) < 0.3
    assert slopes[~near].min() > 0.3
    for geometry in (VANILLA, NATURAL):
        left, right = quartic.basins(saddle[0] + np.array([-0.1, 0.1]), saddle[[1]], geometry)[0]
        assert (left, right) == (False, True)


def test_the_flows_end_as_claimed_and_the_shortcut_keeps_the_ends():
    for start in quartic.STARTS:
        at = np.array(start)[:, None]
        ends = [
            follow(quartic.gradient, at, np.array([0.0, end]), name, 1e-9)[0, 0, -1]
            for name, end in quartic.ENDS_AT.items()
        ]
        shortcut = [quartic.basins(at[0], at[1], name)[0, 0] for name in quartic.ENDS_AT]
        assert shortcut == [end > 0.0 for end in ends]
        assert shortcut == ([False, True] if start == quartic.STARTS[0] else [True, False])
        np.testing.assert_allclose(np.abs(ends), np.sqrt(2.0), atol=1e-6)
