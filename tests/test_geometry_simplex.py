"""Ascents on the simplex against their definitions, and balls of the divergence against quadrature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from repro.demonstrations.geometry.kl_balls import (
    balls,
    divergence_by_quadrature,
    ellipse,
    extent,
    minus_hessian,
    rim,
    widest,
)
from repro.demonstrations.geometry.simplex import (
    ascents,
    natural_ascent,
    on_simplex,
    polarisation,
    projected_ascent,
    ring,
    slopes,
    triangle,
)

RNG = np.random.default_rng(2)


def test_projection_is_the_nearest_point():
    points = RNG.normal(size=(6, 3))
    for point, found in zip(points, on_simplex(points), strict=True):
        nearest = minimize(
            lambda p, point=point: np.sum((p - point) ** 2),
            np.full(3, 1.0 / 3.0),
            bounds=[(0.0, 1.0)] * 3,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1.0},
            options={"ftol": 1e-14},
        ).x
        np.testing.assert_allclose(found, nearest, atol=1e-6)


def test_natural_ascent_is_the_gradient_over_the_fisher_matrix():
    p = RNG.dirichlet(np.ones(3), size=1)
    # In the chart (p1, p2) the Fisher matrix is diag(1 / p_i) + 1 / p3.
    fisher = np.diag(1.0 / p[0, :2]) + 1.0 / p[0, 2]
    gradient = slopes(p)[0, :2] - slopes(p)[0, 2]
    moved = natural_ascent(p, 1e-4, 1)[1]
    np.testing.assert_allclose((moved - p)[0, :2] / 1e-4, np.linalg.solve(fisher, gradient), atol=1e-4)
    assert moved.sum() == pytest.approx(1.0, abs=1e-14)


def test_measure_is_cubic_around_the_barycentre():
    d = np.array([0.1, 0.05, -0.15])
    assert polarisation(1.0 / 3.0 + d) == pytest.approx(2.0 / 9.0 - 3.0 * np.prod(d), abs=1e-15)
    shifted = [(polarisation(np.eye(3)[i] * 1e-6 + 0.3) - polarisation(np.full(3, 0.3))) / 1e-6 for i in range(3)]
    np.testing.assert_allclose(slopes(np.full(3, 0.3)), shifted, atol=1e-5)


def test_both_ascents_end_where_the_smallest_share_vanishes():
    start = np.concatenate([ring(0.05, 12), triangle(6)])
    expected = np.where(np.arange(3) == np.argmin(start, axis=1)[:, None], 0.0, 0.5)
    np.testing.assert_allclose(projected_ascent(start, 0.2, 1000)[-1], expected, atol=1e-8)
    np.testing.assert_allclose(natural_ascent(start, 0.5, 1000)[-1], expected, atol=1e-8)


def test_grid_and_ring_are_off_the_lines_of_symmetry():
    for points in (triangle(40), ring(0.05, 24)):
        np.testing.assert_allclose(points.sum(axis=1), 1.0, atol=1e-14)
        ordered = np.sort(points, axis=1)
        assert np.diff(ordered, axis=1).min() > 1e-3
        assert points.min() > 0.0
    assert ascents(grid=6, points=12).values["share_apart_from_grid"] == 0.0


def test_rim_has_one_divergence_and_contains_its_extremes():
    for width, epsilon in ((0.5, 0.02), (2.0, 0.3)):
        points = rim(width, epsilon, 41)
        found = [divergence_by_quadrature((0.0, width), tuple(point)) for point in points]
        np.testing.assert_allclose(found, epsilon, atol=1e-10)
        low, high = extent(width, epsilon)
        np.testing.assert_allclose([points[:, 1].min(), points[:, 1].max()], [low, high], rtol=1e-12)
        shift, place = widest(width, epsilon)
        assert shift == pytest.approx(width * np.sqrt(np.exp(2.0 * epsilon) - 1.0), rel=1e-12)
        assert place == pytest.approx(width * np.exp(epsilon), rel=1e-12)
        assert rim(width, epsilon)[:, 0].max() == pytest.approx(shift, rel=1e-4)


def test_ellipse_is_what_the_divergence_is_to_second_order():
    points = ellipse(2.0, 1e-8, 9)
    found = [divergence_by_quadrature((0.0, 2.0), tuple(point)) for point in points]
    np.testing.assert_allclose(found, 1e-8, rtol=1e-3)
    values = balls().values
    assert values["slope_up"] == pytest.approx(0.5, abs=0.01)
    assert values["slope_sideways"] == pytest.approx(1.0, abs=0.01)
    assert values["half_axes_difference"] < 1e-12


def test_minus_the_expected_hessian_is_that_of_the_divergence(x64):
    def divergence(q):
        return 0.5 * (0.64 / q[1] ** 2 - 1.0 + (q[0] / q[1]) ** 2) - jnp.log(0.8 / q[1])

    expected = jax.hessian(divergence)(jnp.array([0.0, 1.1]))
    np.testing.assert_allclose(minus_hessian(0.8, 1.1), expected, atol=1e-12)
