"""Gradient descent and momentum: the paths of optax against closed forms and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.optimisation import gradient_descent as descent
from repro.demonstrations.optimisation import momentum


def cost(w):
    return (w**4 + w**2 + 10.0 * w) / 50.0


def test_gradient_descent_is_the_printed_rule():
    found = descent.step_lengths(steps=10)
    for eta, path in found.paths.items():
        w = 2.0
        for place in path:
            assert place == pytest.approx(w, rel=1e-12)
            w -= eta * (4.0 * w**3 + 2.0 * w + 10.0) / 50.0
        assert found.costs[eta] == pytest.approx(cost(path), rel=1e-12)


@pytest.mark.parametrize("start", [2.0, -0.5, -3.0])
def test_the_largest_curvature_is_that_of_the_points_that_are_not_higher(start):
    w = np.linspace(-4.0, 4.0, 800_001)
    reached = w[cost(w) <= cost(start)]
    assert descent.largest_curvature(start) == pytest.approx(np.max(12.0 * reached**2 + 2.0) / 50.0, rel=1e-4)


def test_no_safe_step_climbs_and_a_long_one_does():
    limit = 2.0 / descent.largest_curvature(2.0)
    found = descent.step_lengths(lengths=(0.3 * limit, 0.999 * limit, 4.5)).values
    assert max(found["largest_increase_below"].values()) < 0.0
    assert min(found["descent_over_guarantee"].values()) >= 1.0
    assert len(found["descent_over_guarantee"]) == 2
    assert found["largest_increase_of_longest"] > 0.1


def test_the_zig_zag_has_a_closed_form():
    found = descent.zig_zag(eta=0.1, steps=12)
    for path, eta in ((found.long, 0.1), (found.short, 0.05)):
        k = np.arange(13)
        assert path[:, 0] == pytest.approx(10.0 * (1.0 - eta) ** k, rel=1e-12)
        assert path[:, 1] == pytest.approx((1.0 - 19.5 * eta) ** k, rel=1e-10)
    assert descent.sign_changes(found.long[:, 1]) == 12
    assert descent.sign_changes(np.array([1.0, 2.0, -1.0, -2.0, 3.0])) == 2


def test_momentum_is_its_companion_matrix():
    """Every component of every path, from the powers of the matrix, with V = 0 at the start."""
    found = momentum.strengths(steps=15)
    for beta, path in zip(found.betas, found.paths, strict=True):
        for part, (curvature, start) in enumerate(zip(descent.CURVATURES, descent.VALLEY_START, strict=True)):
            matrix = np.array([[1.0 + beta - 0.1 * curvature, -beta], [1.0, 0.0]])
            pair = np.array([start, start])
            for place in path[:, part]:
                assert place == pytest.approx(pair[0], rel=1e-9, abs=1e-12)
                pair = matrix @ pair


def test_without_beta_momentum_is_gradient_descent_bit_for_bit():
    found = momentum.strengths()
    assert np.array_equal(found.paths[0], descent.zig_zag().long)
    assert found.values["difference_without_momentum"] == 0.0


def test_the_best_beta_in_the_long_run_is_the_best_of_many():
    """At eta = 0.1 the slow component decides."""
    betas = np.linspace(0.0, 0.99, 991)
    radii = [max(momentum.spectral_radius(beta, 0.1, c) for c in descent.CURVATURES) for beta in betas]
    best = momentum.best_in_the_long_run(0.1, descent.CURVATURES[0])
    assert betas[np.argmin(radii)] == pytest.approx(best, abs=2e-3)
    assert min(radii) == pytest.approx(1.0 - np.sqrt(0.1), rel=2e-3)
