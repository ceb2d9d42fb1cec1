"""The curve with a local minimum and the heavy balls: by hand; the kinds of momentum have tests of their own."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.geometry import local_minimum as curve


def test_the_middle_root_is_a_local_minimum_between_target_and_maximum():
    theta = np.linspace(-3.0, 3.0, 600_001)
    loss = curve.loss(theta)
    inside = slice(1, -1)
    minima = theta[inside][(loss[inside] < loss[:-2]) & (loss[inside] < loss[2:])]
    maxima = theta[inside][(loss[inside] > loss[:-2]) & (loss[inside] > loss[2:])]
    roots = curve.stationary_points()
    assert maxima == pytest.approx([roots[0]], abs=1e-5)
    assert minima == pytest.approx([roots[2], roots[1]], abs=1e-5)
    assert roots[2] == pytest.approx(-curve.TARGET)
    np.testing.assert_allclose(loss, 0.5 * np.sum((curve.curve(theta) - curve.curve(np.array(-1.6))) ** 2, axis=-1))


def test_heavy_balls_are_powers_of_matrices():
    rate, beta, steps = 0.1, 0.9, 50
    # Of (theta, p).
    right = np.array([[1.0 - rate, beta], [-rate, beta]])
    printed = np.array([[1.0 - beta * rate, beta], [-rate, 1.0]])
    for matrix, found in (
        (right, curve.heavy_ball(rate, beta, steps)),
        (printed, curve.heavy_ball_as_printed(rate, beta, steps)),
    ):
        for k, theta in enumerate(found):
            assert theta == pytest.approx((np.linalg.matrix_power(matrix, k) @ [1.0, 0.0])[0], abs=1e-12)
    assert np.linalg.det(printed) == pytest.approx(1.0)  # no friction: areas are kept
    assert np.linalg.det(right) == pytest.approx(beta)
