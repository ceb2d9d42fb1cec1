"""The empirical Fisher matrix on data sets with two weights, against NumPy, SciPy and what theory says of many data."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from repro.demonstrations.optimisation.empirical_fisher import (
    CASES,
    compared,
    directions,
    linear_model,
    lognormal_line,
    minimum,
    vector_fields,
)

pytestmark = pytest.mark.usefixtures("x64")


def test_directions_are_those_of_matrices_by_hand():
    x, y = lognormal_line(50)
    theta = np.array([1.0, -0.5])
    residuals = x @ theta - y[:, 0]
    gradient, exact = x.T @ residuals / 50, x.T @ x / 50
    rows = x * residuals[:, None]
    empirical = rows.T @ rows / 50
    methods = directions(linear_model("squared-error"), (jnp.asarray(x), jnp.asarray(y)), 1e-8)
    expected = {
        "gradient-descent": -gradient,
        "natural-gradient": -np.linalg.solve(exact + 1e-8 * np.eye(2), gradient),
        "empirical-fisher": -np.linalg.solve(empirical + 1e-8 * np.eye(2), gradient),
    }
    for name, direction in methods.items():
        np.testing.assert_allclose(direction(jnp.asarray(theta)), expected[name], rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_minimum_is_that_of_another_method(name):
    inputs, targets = CASES[name].make(400, np.random.RandomState(1))
    found = minimum(linear_model(CASES[name].loss), (jnp.asarray(inputs), jnp.asarray(targets)))
    if CASES[name].loss == "squared-error":
        expected = np.linalg.lstsq(inputs, targets[:, 0], rcond=None)[0]
    else:
        signs = 1.0 - 2.0 * targets[:, 0]
        expected = minimize(lambda theta: np.logaddexp(0, signs * (inputs @ theta)).mean(), np.zeros(2), tol=1e-10).x
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"), [("linear, correct", (1, 1)), ("linear, noise 2", (4, 4)), ("linear, x^2/2", (1.5, 3.5))]
)
def test_many_data_give_the_eigenvalues_of_theory(name, expected):
    """Of E[x x^T]^-1 E[r^2 x x^T]: r^2 has the mean 1, 4 or 1.5, and r^2 x^2 in the last case 3.5."""
    np.testing.assert_allclose(compared(CASES[name], 200_000, 3).eigenvalues, expected, rtol=0.03)


def test_logistic_models_agree_where_they_are_correct():
    assert np.abs(compared(CASES["logistic, correct"], 200_000, 3).eigenvalues - 1.0).max() < 0.02
    off = compared(CASES["logistic, sheared"], 20_000, 3)
    probabilities = 1.0 / (1.0 + np.exp(-off.data[0] @ off.minimum))
    weights = probabilities * (1 - probabilities), (probabilities - off.data[1][:, 0]) ** 2
    exact, empirical = ((off.data[0] * w[:, None]).T @ off.data[0] / 20_000 for w in weights)
    np.testing.assert_allclose(off.exact, exact, rtol=1e-10)
    np.testing.assert_allclose(off.empirical, empirical, rtol=1e-10)


def test_natural_gradients_point_at_the_minimum_and_the_empirical_ones_do_not():
    found = vector_fields(samples=300, points=7, steps=20)
    assert found.values["natural_gradient_cosine_min"] > 1 - 1e-12
    assert found.values["cosine_min"] < 0.0
    field = found.fields["natural-gradient"]
    np.testing.assert_allclose(field, found.minimum - found.points, atol=1e-6)
    start = found.flows["natural-gradient"][0]
    expected = found.minimum + (start[0] - found.minimum) * (1 - 0.001) ** np.arange(21)[:, None]
    np.testing.assert_allclose(start, expected, atol=1e-7)
