"""Descents in two coordinate systems, and curvatures of a dose-response curve by enumeration."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from repro.demonstrations.base import in_double_precision
from repro.demonstrations.optimisation.affine_invariance import (
    INVARIANT,
    curvature_of,
    other_coordinates,
)
from repro.demonstrations.optimisation.preconditioning import (
    both_descents,
    gauss_newton_of_regression,
    roots_of_inverse,
    valley,
)


@in_double_precision
def test_two_descents_visit_the_same_points():
    rng = np.random.default_rng(2)
    root, offset = rng.normal(size=(2, 2)), rng.normal(size=2)
    points, turned = both_descents(valley, root, offset, np.array([0.5, 1.0]), 0.01, 20)
    np.testing.assert_allclose(points, turned @ root.T + offset, atol=1e-12)
    gradient = np.asarray(jax.jit(jax.grad(valley))(np.array([0.5, 1.0])))
    np.testing.assert_allclose(points[1], np.array([0.5, 1.0]) - 0.01 * root @ root.T @ gradient, rtol=1e-12)
    assert np.linalg.norm(points[-1]) < np.linalg.norm(points[0])


def test_both_roots_whiten():
    factor = np.random.default_rng(4).normal(size=(5, 5))
    matrix = factor @ factor.T + np.eye(5)
    for root in roots_of_inverse(matrix).values():
        np.testing.assert_allclose(root @ root.T @ matrix, np.eye(5), atol=1e-12)
        np.testing.assert_allclose(root.T @ matrix @ root, np.eye(5), atol=1e-12)


@in_double_precision
def test_the_gauss_newton_matrix_of_a_regression_is_that_of_its_inputs():
    matrix, diagonal = gauss_newton_of_regression(np.random.default_rng(5), 40, 4, 100.0)
    inputs = np.random.default_rng(5).normal(size=(40, 4)) * np.logspace(0.0, 2.0, 4)
    np.testing.assert_allclose(matrix, inputs.T @ inputs / 40, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(diagonal, np.diag(matrix), rtol=1e-12)


@in_double_precision
def test_curvatures_are_those_of_enumeration():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=7), rng.integers(0, 2, 7).astype(float)
    matrix, offset, u = rng.normal(size=(2, 2)), rng.normal(size=2), 0.3 * rng.normal(size=2)

    def parts(v):
        """z, and its rows dz / du by hand."""
        w = matrix @ v + offset
        return w[0] + np.exp(w[1]) * x, np.stack([np.ones(7), np.exp(w[1]) * x], axis=1) @ matrix

    def slope(z, label):
        """dl / dz of -ln Phi(z) or -ln Phi(-z)."""
        sign = 2.0 * label - 1.0
        return -sign * np.exp(norm.logpdf(z) - norm.logcdf(sign * z))

    def gradient(v):
        z, rows = parts(v)
        return slope(z, y) @ rows / 7

    z, rows = parts(u)
    chance, h = norm.cdf(z), 1e-5
    scores = [slope(z, label)[:, None] * rows for label in (0.0, 1.0)]
    expected = {
        "natural-gradient": sum((p * s.T) @ s for p, s in zip((1.0 - chance, chance), scores, strict=True)) / 7,
        "gauss-newton": rows.T @ ((slope(z + h, y) - slope(z - h, y))[:, None] / (2.0 * h) * rows) / 7,
        "newton": np.stack([(gradient(u + step) - gradient(u - step)) / (2.0 * h) for step in h * np.eye(2)]),
    }
    data = np.stack([x, y], axis=1)
    for method, wanted in expected.items():
        found = jax.jit(lambda v, method=method: curvature_of(method, lambda u: matrix @ u + offset, v, data))(u)
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-8)


def test_invariant_methods_reach_the_likeliest_parameters_in_any_coordinates():
    result = other_coordinates(draws=2, steps=8)
    sign = 2.0 * result.targets - 1.0

    def loss(w):
        return -np.mean(norm.logcdf(sign * (w[0] + np.exp(w[1]) * result.inputs)))

    best = minimize(loss, np.zeros(2), tol=1e-12).x
    for method in INVARIANT:
        np.testing.assert_allclose(result.paths[method][-1], best, atol=1e-3)
        np.testing.assert_allclose(result.mapped[method][:, -1], [best, best], atol=1e-3)
        assert result.values["largest_difference"][method] < 1e-8
    assert min(result.values["least_difference"].values()) > 1e-2
    assert result.values["methods_apart"] > 1e-2
    starts = np.array([paths[:, 0] for paths in result.mapped.values()])
    assert starts == pytest.approx(np.broadcast_to([0.3, -0.3], starts.shape))
