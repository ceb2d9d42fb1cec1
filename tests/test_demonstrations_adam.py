"""Adam's recursion and its epsilon, against optax and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.optimisation import adam


@pytest.fixture(scope="module")
def steps():
    return adam.printed_recursion(steps=200)


@pytest.fixture(scope="module")
def sweep():
    return adam.epsilon_sweep(steps=60)


def test_the_recursion_is_that_of_optax(steps, monkeypatch):
    assert steps.printed.shape == (201, 2)
    assert np.abs(steps.printed - steps.optax).max() < 1e-13
    monkeypatch.setattr(adam, "BETA_2", 0.998)  # of both: the comparison holds for any
    assert adam.printed_recursion(steps=20).values["largest_difference"] < 1e-13


def test_without_the_correction_the_recursion_is_not_that_of_optax():
    noise = np.random.default_rng(0).normal(size=(50, 2))
    with_it, without = (
        adam.printed_adam(lambda w: w, np.array([10.0, 1.0]), noise, alpha=1e-3, corrected=corrected).points
        for corrected in (True, False)
    )
    assert np.abs(with_it - without).max() > 1e-3


def test_steps_under_a_constant_gradient_have_a_closed_form(steps):
    t = np.arange(1, 10_001)
    assert steps.constant[0] == pytest.approx(np.ones(10_000), abs=1e-7)
    assert steps.constant[1] == pytest.approx((1.0 - 0.9**t) / np.sqrt(1.0 - 0.999**t), abs=1e-6)


def test_a_step_is_bounded_by_alpha_and_by_epsilon(sweep):
    """In each of two parameters by alpha |mh| / epsilon, and, as gradients only fall at first, by about alpha."""
    assert max(sweep.values["step_over_bound"].values()) < 1.0
    assert np.all(sweep.longest <= sweep.bounds)
    assert sweep.longest[0] == pytest.approx(0.5 * np.sqrt(2.0), rel=1e-6)


def test_a_step_of_another_length_in_one_parameter_is_not_the_best_of_its_ball():
    """The search sees it if a step is turned away from the best point."""
    path = adam.printed_adam(
        lambda w: np.array([1.0, 19.5]) * w, np.array([10.0, 1.0]), np.zeros((10, 2)), alpha=0.5, epsilon=1.0
    )
    assert adam._angle_from_trust_region(path, 0.5) < 1e-7
    points = path.points.copy()
    points[6] = points[5] + (points[6] - points[5]) * np.array([1.0, 1.01])
    assert adam._angle_from_trust_region(path._replace(points=points), 0.5) > 1e-4


def test_a_large_epsilon_leaves_momentum(sweep):
    """The distance falls as 1 / epsilon, since the step is alpha mh / epsilon / (1 + sqrt(vh) / epsilon)."""
    falls = sweep.from_momentum[-3:-1] / sweep.from_momentum[-2:]
    assert falls == pytest.approx([10.0, 10.0], rel=0.02)
