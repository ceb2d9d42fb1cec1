"""Rates of first-order methods against closed forms, and the steps of the preconditioning slide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from repro.demonstrations.optimisation.conditioning import (
    best_heavy_ball,
    condition_numbers,
    cost,
    descent,
    heavy_ball_radius,
    least_radius,
    one_search,
)
from repro.demonstrations.optimisation.preconditioned_step import one_step

PAIR = (5.0, 2.0)
RATE = 3.0 / 7.0


def test_the_best_constant_step_flips_one_component_and_keeps_the_other():
    path = descent(PAIR, np.array([0.3, -2.0]), 6, searched=False)
    powers = RATE ** np.arange(7)
    np.testing.assert_allclose(
        path, np.stack([0.3 * (-1.0) ** np.arange(7) * powers, -2.0 * powers], axis=1), rtol=1e-13
    )


def test_line_search_is_exact_and_never_slower_than_its_bound():
    start = np.array([0.4, 1.7])
    gradient = np.array(PAIR) * start
    best = minimize_scalar(lambda length: cost(PAIR, start - length * gradient))
    np.testing.assert_allclose(descent(PAIR, start, 1, searched=True)[1], start - best.x * gradient, atol=1e-7)
    worst = one_search(PAIR, 20000).max()
    assert RATE**2 * (1.0 - 1e-6) < worst < RATE**2 * (1.0 + 1e-12)


def test_the_heavy_ball_shrinks_as_its_companion_matrix_says():
    for step, beta in ((0.1, 0.5), (0.3, 0.2), best_heavy_ball(PAIR)):
        roots = [np.abs(np.roots([1.0, -(1.0 + beta - step * each), beta])).max() for each in PAIR]
        assert heavy_ball_radius(PAIR, step, beta) == pytest.approx(max(roots), abs=1e-7)
    # A run itself, with complex eigenvalues: its error over 400 steps shrinks by the radius a step.
    now = before = np.ones(2)
    for _ in range(400):
        now, before = now - 0.1 * np.array(PAIR) * now + 0.5 * (now - before), now
    assert np.linalg.norm(now) ** (1 / 400) == pytest.approx(heavy_ball_radius(PAIR, 0.1, 0.5), rel=0.01)
    rate = (np.sqrt(2.5) - 1.0) / (np.sqrt(2.5) + 1.0)
    assert rate <= least_radius(PAIR) < 1.2 * rate


def test_the_measured_rates_are_those_of_the_condition_number():
    result = condition_numbers(pairs=((2.0, 2.0), PAIR), steps=5, starts=50)
    np.testing.assert_allclose(result.factors["fixed"], [0.0, RATE**2], rtol=1e-13)
    np.testing.assert_allclose(result.factors["searched"], [0.0, RATE**2], rtol=1e-13)
    np.testing.assert_allclose(result.heavy_ball, [0.0, (np.sqrt(2.5) - 1.0) / (np.sqrt(2.5) + 1.0)], atol=1e-7)


def test_the_slides_step_ends_in_the_minimum_and_is_not_zero():
    result = one_step(pairs=((2.0, 1.0), PAIR))
    np.testing.assert_allclose(result.preconditioned, 0.0, atol=1e-14)
    np.testing.assert_allclose(result.plain, [[-0.5, 0.0], [-2.0, -0.5]], atol=1e-14)
    assert result.values["preconditioned_step"] == pytest.approx([-0.5, -0.5])
    assert result.values["step_apart_from_print"] == pytest.approx(0.5)
    assert result.values["hessian_apart_as_printed"] == 5.0
    assert result.values["hessian_apart_with_squares"] < 1e-14
    assert result.values["cost_ratio_of_plain_step"]["2.50 (5, 2)"] == pytest.approx((5.0 * 4.0 + 2.0 * 0.25) / 1.75)
