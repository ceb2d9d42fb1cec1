"""Products with the curvature: the counts against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.optimisation.product_costs import products


@pytest.fixture(scope="module")
def small():
    """Few sizes, few eigenvalues."""
    return products(size=100, condition_numbers=(10.0, 100.0, 1000.0), tolerance=1e-6)


def test_gradient_descent_shrinks_every_component_by_its_own_factor(small):
    """At the best step 2 / (largest + smallest), a component with eigenvalue c shrinks by 1 - step * c a product."""
    eigenvalues = np.logspace(0.0, 3.0, 100)
    solution = np.random.default_rng(0).normal(size=100) / eigenvalues
    curve = small.errors["gradient-descent"]
    for count in (1, 10, len(curve) - 1):
        left = (1.0 - 2.0 / 1001.0 * eigenvalues) ** count * solution
        assert curve[count] == pytest.approx(np.sqrt(eigenvalues @ left**2 / (eigenvalues @ solution**2)), rel=1e-9)
    assert small.iterations["gradient-descent"][-1] == len(curve) - 1


def test_conjugate_gradients_are_the_best_polynomial(small):
    """After k products no combination of C^j g, j < k, has a smaller error in the norm of C."""
    eigenvalues = np.logspace(0.0, 3.0, 100)
    gradient = np.random.default_rng(0).normal(size=100)
    for count in (1, 2, 4):
        basis = np.stack([eigenvalues**j * gradient for j in range(count)], axis=1)
        best = -basis @ np.linalg.solve(basis.T @ (eigenvalues[:, None] * basis), basis.T @ gradient)
        error = np.sqrt(eigenvalues @ (best + gradient / eigenvalues) ** 2 / (gradient**2 @ (1.0 / eigenvalues)))
        assert small.errors["conjugate-gradients"][count] == pytest.approx(error, rel=1e-9)


def test_the_heavy_ball_is_no_better_than_conjugate_gradients(small):
    assert np.all(small.iterations["conjugate-gradients"] <= small.iterations["momentum"])
    assert small.values["error_over_bound"] < 1.0
