"""The independence model by sums over its states, its flows by closed forms, and its basins by what is conserved."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from repro.demonstrations.geometry.basins import (
    basin_area,
    conserved,
    fate_by_level,
    flow_in_theta,
    grid_of_starts,
    potential,
    projected_descent,
)
from repro.demonstrations.geometry.full_family import boltzmann, full_family
from repro.demonstrations.geometry.independence import exit_time, linear_flow, vanilla_in_mu, vanilla_in_theta
from repro.demonstrations.geometry.invariance import distance_from_vertex, path_of_flow, step_in_ball
from repro.problems.independence import (
    CHARTS,
    STATES,
    TwoSpins,
    convert,
    expectation,
    fisher_matrix,
    full_family_fisher,
    full_family_gradient,
    full_family_probabilities,
    full_statistics,
    probabilities,
)

SPINS = TwoSpins()
OTHER = TwoSpins(-0.5, 0.7, 2.0)
POINTS = np.random.default_rng(1).uniform(0.05, 0.95, size=(20, 2))
X = np.array(STATES, float)


@pytest.mark.parametrize("spins", [SPINS, OTHER])
def test_means_and_gradients_are_sums_over_the_states(spins):
    theta = convert(POINTS, "mu", "theta")
    np.testing.assert_allclose(spins.mean(POINTS), expectation(spins.table, POINTS), atol=1e-14)
    np.testing.assert_allclose(spins.mean_of_theta(theta), spins.mean(POINTS), atol=1e-14)
    p = probabilities(POINTS)
    covariance = np.einsum("ns,s,nsi->ni", p, spins.table, X - (p @ X)[:, None])
    np.testing.assert_allclose(spins.gradient(theta, "theta"), covariance, atol=1e-14)
    for chart in CHARTS:
        places = convert(POINTS, "mu", chart)
        shifted = [[spins.mean(convert(places + sign * 1e-5 * e, chart, "mu")) for sign in (1, -1)] for e in np.eye(2)]
        slopes = np.array([(up - down) / 2e-5 for up, down in shifted]).T
        np.testing.assert_allclose(spins.gradient(places, chart), slopes, atol=1e-8)
        solved = np.linalg.solve(fisher_matrix(places, chart), spins.gradient(places, chart)[..., None])[..., 0]
        np.testing.assert_allclose(spins.natural_gradient(places, chart), solved, atol=1e-13)


def test_fisher_matrices_are_covariances_of_scores():
    with jax.enable_x64(True):
        means = {
            "mu": lambda m: m,
            "theta": lambda t: jax.nn.sigmoid(2.0 * t),
            "eta": lambda e: 0.5 * (1.0 + e),
        }
        for chart, to_mu in means.items():
            place = convert(POINTS[0], "mu", chart)

            def log_probability(point, x, to_mu=to_mu):
                mu = to_mu(point)
                return jnp.sum(jnp.log(jnp.where(x > 0, mu, 1.0 - mu)))

            scores = np.array([jax.grad(log_probability)(jnp.asarray(place), jnp.asarray(x)) for x in X])
            expected = np.einsum("s,si,sj->ij", probabilities(POINTS[0]), scores, scores)
            np.testing.assert_allclose(fisher_matrix(place, chart), expected, atol=1e-12)


def test_charts_are_inverse_to_each_other_and_meet_at_the_edges():
    for source in CHARTS:
        for target in CHARTS:
            places = convert(POINTS, "mu", source)
            np.testing.assert_allclose(convert(convert(places, source, target), target, source), places, atol=1e-14)
    assert convert(np.array([0.0, 1.0]), "mu", "theta").tolist() == [-np.inf, np.inf]
    assert convert(np.array([0.0, 1.0]), "mu", "eta").tolist() == [-1.0, 1.0]
    assert CHARTS["theta"].slope(np.array([50.0]))[0] == pytest.approx(2.0 * np.exp(-100.0), rel=1e-12)


def test_full_family_has_the_covariance_of_the_statistics_and_of_the_function():
    theta = np.array([0.3, -0.7, 0.4])
    p, t = full_family_probabilities(theta), full_statistics()
    np.testing.assert_allclose(p, np.exp(t @ theta) / np.exp(t @ theta).sum(), atol=1e-15)
    np.testing.assert_allclose(full_family_fisher(theta), np.cov(t.T, aweights=p, ddof=0), atol=1e-14)
    # The gradient is the derivative, and the natural one the coefficients of f.
    up, down = (
        np.array([full_family_probabilities(theta + sign * 1e-5 * e) @ SPINS.table for e in np.eye(3)])
        for sign in (1, -1)
    )
    gradient = full_family_gradient(theta, SPINS.table)
    np.testing.assert_allclose(gradient, (up - down) / 2e-5, atol=1e-9)
    np.testing.assert_allclose(np.linalg.solve(full_family_fisher(theta), gradient), [1.0, 2.0, 3.0], atol=1e-12)


def test_vanilla_flow_in_mu_is_linear_and_leaves_the_square():
    start = np.array([0.5, 0.5])
    times = np.linspace(0.0, 0.1, 5)
    path = path_of_flow(SPINS, start, "mu", False, times)
    np.testing.assert_allclose([linear_flow(SPINS, start, t) for t in times], path, atol=1e-10)
    assert exit_time(SPINS, start) == pytest.approx(np.log(2.0 + np.sqrt(7.0)) / 12.0, rel=1e-14)
    values = vanilla_in_mu(grid=40).values
    assert values["exit_time_difference"] < 1e-10
    assert (values["share_leaving"], values["starts_on_the_wrong_side"]) == (1.0, 0.0)
    assert values["basin"] == pytest.approx(47.0 / 72.0, abs=0.01)
    on_line = np.array([[0.3, 0.3 + 1.0 / 6.0]])
    np.testing.assert_allclose(projected_descent(SPINS, on_line, 0.025, 30)[-1, 0], SPINS.saddle, atol=1e-4)


def test_potentials_are_integrals_and_levels_are_kept_along_the_flows():
    for power in (0, 1, 2):
        between = quad(lambda m, k=power: (0.3 - 2.0 * m) / (m * (1.0 - m)) ** k, 0.2, 0.7, epsabs=1e-13)[0]
        high, low = (potential(m, 1.0 - m, (0.3, -2.0), power) for m in (0.7, 0.2))
        assert high - low == pytest.approx(between, abs=1e-11)
    mu = POINTS[0]
    printed = -2 * np.log(mu[0]) - 10 * np.log(1 - mu[0]) + 4 * np.log(mu[1]) + 8 * np.log(1 - mu[1])
    assert conserved(SPINS, convert(mu, "mu", "theta"), 1) == pytest.approx(printed, rel=1e-13)
    times = np.linspace(0.0, 1.0, 6)
    for chart, natural, power in (("mu", False, 0), ("theta", True, 1), ("theta", False, 2)):
        path = path_of_flow(OTHER, mu, chart, natural, 0.1 * times if power == 0 else times, 1e-12)
        level = conserved(OTHER, convert(path, chart, "theta"), power)
        np.testing.assert_allclose(level, level[0], atol=1e-8)


def test_grid_ends_where_the_levels_say_and_areas_agree():
    starts = grid_of_starts(40)
    for natural, power in ((True, 1), (False, 2)):
        fates = flow_in_theta(SPINS, convert(starts, "mu", "theta"), natural)[1]
        np.testing.assert_array_equal(fates, fate_by_level(SPINS, starts, power))
        assert np.mean(fates == 1) == pytest.approx(basin_area(SPINS, power), abs=0.01)
    assert basin_area(SPINS, 0) == pytest.approx(47.0 / 72.0, abs=1e-5)
    assert distance_from_vertex(SPINS, starts) < 1e-6
    assert distance_from_vertex(SPINS, starts, time=1.0) > 1e-2


def test_natural_flow_is_the_same_in_all_charts_and_the_vanilla_one_is_not():
    times = np.linspace(0.0, 1.0, 11)
    for natural, least, most in ((True, 0.0, 1e-9), (False, 1e-2, 1.0)):
        paths = [
            convert(path_of_flow(SPINS, np.array([0.3, 0.3]), chart, natural, 0.1 * times), chart, "mu")
            for chart in ("theta", "mu", "eta")
        ]
        assert least <= np.max(np.abs(paths[0] - paths[1])) <= most
        assert least <= np.max(np.abs(paths[0] - paths[2])) <= most


def test_steepest_step_on_the_ellipse_has_the_inverse_multiplier():
    values = step_in_ball(OTHER, np.array([0.2, 0.7]))
    assert values["multiplier"] < 0.0
    assert values["step_difference"] < 1e-7
    assert values["step_difference_printed"] > 1.0


def test_natural_steps_in_theta_do_not_see_the_plateaux():
    values = vanilla_in_theta().values
    assert values["ratio_of_steps"] >= 10.0
    assert values["late_excess_times_time"] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(values["natural_over_vanilla_at_corners"], np.cosh(3.0) ** 2, rtol=1e-12)


def test_full_family_has_no_wrong_basin():
    result = full_family(starts=50)
    assert result.values["largest_difference"] < 1e-9
    assert result.values["share_of_wrong_ends"] == 0.0
    assert result.values["cost_independent"] > -2.1
    weights = probabilities(np.array([0.05, 0.95])) * np.exp(-2.0 * SPINS.table)
    np.testing.assert_allclose(
        boltzmann(probabilities(np.array([0.05, 0.95])), SPINS.table, np.array([2.0]))[0], weights / weights.sum()
    )
