"""Stochastic natural gradients as a search: steps as they are defined in theta and eta, and searches that arrive."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from repro.demonstrations.geometry import stochastic_search as module
from repro.errors import InputError
from repro.problems.gaussians import (
    expectation_parameters,
    moments_of_expectation,
    moments_of_natural,
    natural_parameters,
    statistics,
)
from repro.study.benchmarks.search_program import gap

MAXIMISERS = {
    "line": [1 / 6],
    "quartic": [np.sqrt(2.0)],
    "plane": [0.0, 0.5],
    "rosenbrock": [1.0, 1.0],
    "rastrigin": [0.0, 0.0],
}
MU, S = np.array([0.3, -1.2]), np.array([[1.5, -0.4], [-0.4, 0.6]])


def sample(seed=0, samples=40):
    """Samples of N(MU, S), the same in coordinates of the standard normal distribution, and values of f."""
    z = np.random.default_rng(seed).normal(size=(1, samples, 2))
    x = MU + z @ np.linalg.cholesky(S).T
    return z, x[0], -module.PROBLEMS["rosenbrock"].gap(x)


def moved(mean, covariance):
    """From N(0, 1) to N(MU, S)."""
    root = np.linalg.cholesky(S)
    return MU + root @ mean[0], root @ covariance[0] @ root.T


@pytest.mark.parametrize("problem", module.PROBLEMS)
def test_maxima_are_maxima_and_the_other_program_has_the_same_functions(problem):
    of = module.PROBLEMS[problem]
    best = np.array(MAXIMISERS[problem])
    assert abs(of.gap(best)) < 1e-14
    points = best + np.random.default_rng(1).normal(size=(500, of.dimension)) * np.geomspace(1e-3, 3.0, 500)[:, None]
    assert of.gap(points).min() > 0.0
    np.testing.assert_allclose(gap(problem, points, np), of.gap(points), rtol=1e-10, atol=1e-12)


def test_the_step_of_covariances_is_that_of_eta(x64):
    z, x, f = sample()
    h = 1e-4
    T = np.asarray(statistics(x))
    covariance = (f[0] - f.mean()) @ (T - T.mean(axis=0)) / len(x)
    expected = moments_of_expectation(np.asarray(expectation_parameters(MU, S)) + h * covariance)
    found = moved(*module.step_of_covariances(*module.whitened_covariances(z, f), np.array([h])))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_the_step_of_the_regression_is_that_of_theta(x64):
    z, x, f = sample()
    h = 1e-4
    T = np.asarray(statistics(x))
    centred = T - T.mean(axis=0)
    slope = np.linalg.solve(centred.T @ centred, centred.T @ (f[0] - f.mean()))
    expected = moments_of_natural(np.asarray(natural_parameters(MU, S)) + h * slope)
    found = moved(*module.step_of_regression(*module.whitened_regression(z, f), np.array([h])))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_no_variance_and_no_precision_falls_below_half():
    z, _, f = sample()
    huge = np.array([1e6])
    _, covariance = module.step_of_covariances(*module.whitened_covariances(z, f), huge)
    assert np.linalg.eigvalsh(covariance).min() >= module.SMALLEST_FACTOR - 1e-12
    _, covariance = module.step_of_regression(*module.whitened_regression(z, -f), huge)
    assert np.linalg.eigvalsh(np.linalg.inv(covariance)).min() == pytest.approx(module.SMALLEST_FACTOR, rel=1e-9)


def test_ranks_do_not_see_the_values_and_the_root_is_an_exponential():
    z, _, f = sample()
    u = module.utilities(f)
    assert abs(u.sum()) < 1e-12
    assert np.argmax(u) == np.argmax(f)
    np.testing.assert_array_equal(u, module.utilities(np.arctan(f / 1e3)))
    mean, root = module.step_of_ranks(z, f, 1.0)
    usual = (9.0 + 3.0 * np.log(2.0)) / (10.0 * np.sqrt(2.0))
    outer = sum(weight * (np.outer(one, one) - np.eye(2)) for weight, one in zip(u[0], z[0], strict=True))
    np.testing.assert_allclose(root[0], expm(0.5 * usual * outer), rtol=1e-12)
    np.testing.assert_allclose(mean[0], u[0] @ z[0], rtol=1e-12)


def test_a_step_of_the_regression_knows_a_quadratic_function():
    """From ten samples and with a long step, the mean is at the maximum."""
    z = np.random.default_rng(3).normal(size=(1, 10, 2))
    f = -module.PROBLEMS["plane"].gap(MU + z @ np.linalg.cholesky(S).T)
    mean, _ = moved(*module.step_of_regression(*module.whitened_regression(z, f), np.array([1e9])))
    np.testing.assert_allclose(mean, MAXIMISERS["plane"], atol=1e-7)


def test_searches_of_a_seed_do_not_depend_on_the_others():
    together = module.search("plane", module.RANKS, 10, 1.0, [4, 5, 6], 2000)
    alone = [module.search("plane", module.RANKS, 10, 1.0, [seed], 2000)[0] for seed in (4, 5, 6)]
    np.testing.assert_array_equal(together, alone)
    assert np.isfinite(together).all()
    assert (module.search("plane", module.RANDOM, 10, 1.0, [4], 1000) == np.inf).all()


@pytest.mark.parametrize("method", [module.CONSTANT, module.COVARIANCE, module.REGRESSION, module.RANKS])
def test_every_method_arrives_on_the_line(method):
    assert module.search("line", method, 30, 0.3, [0, 1], 5000).max() < 5000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": "sphere"}, "problem = 'sphere'"),
        ({"method": "adam"}, "method = 'adam'"),
        ({"samples": 5}, "samples = 5: must be between 8 and 100"),
        ({"scale": 0.0}, r"scale = 0\.0: must be positive"),
    ],
)
def test_bad_searches_are_refused(change, message):
    arguments = {"problem": "line", "method": "ranks", "samples": 10, "scale": 1.0, "seeds": [0], "budget": 100}
    with pytest.raises(InputError, match=message):
        module.search(**arguments | change)
