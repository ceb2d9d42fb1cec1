"""Paths in the plane of two functions: against powers of matrices and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from repro.demonstrations.geometry import linear_models as linear
from repro.demonstrations.geometry import quadratic_model as quadratic
from repro.demonstrations.geometry.function_plane import (
    POINTS,
    SKEW,
    WEIGHT,
    Plane,
    basis,
    largest_distance_from_line,
    steps_to,
)

B, K = np.array(SKEW), np.array(WEIGHT)


def function(coefficients, x):
    return coefficients[0] + coefficients[1] * np.sqrt(2.0) * np.sin(2.0 * np.pi * x)


def test_means_over_the_points_are_integrals():
    values = np.asarray(basis(POINTS))
    for i in range(2):
        for j in range(2):
            exact = quad(lambda x, i=i, j=j: function(B[i], x) * function(B[j], x), 0.0, 1.0, epsabs=1e-12)[0]
            assert np.mean((values @ B[i]) * (values @ B[j])) == pytest.approx(exact, abs=1e-6)
            assert (B @ B.T)[i, j] == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize(
    ("item", "matrices"),
    [
        (linear.natural_gradient, {linear.DESCENT: B.T @ B, linear.NATURAL: np.eye(2)}),
        (linear.anisotropic_loss, {linear.DESCENT: B.T @ B @ K, linear.NATURAL: K}),
        (linear.newton_and_natural, {linear.NATURAL_HESSIAN: np.eye(2), linear.NEWTON: np.eye(2)}),
    ],
)
def test_errors_are_multiplied_by_a_matrix_in_every_step(item, matrices):
    toy = item(rate=0.3, steps=8)
    assert toy.parameters.keys() == matrices.keys()
    for name, matrix in matrices.items():
        error = np.array([0.8, 0.6])
        for found, loss in zip(toy.functions[name], toy.losses[name], strict=True):
            np.testing.assert_allclose(found, error, rtol=1e-12, atol=1e-14)
            assert loss == pytest.approx(0.5 * error @ toy.plane.weight @ error, rel=1e-12)
            error = error - 0.3 * matrix @ error


def test_on_a_quadratic_manifold_both_methods_are_plain_loops():
    toy = quadratic.quadratic_manifold(rates=(0.5, 0.25))
    q = np.array(quadratic.BENDING)
    for name, curved in ((linear.NATURAL_HESSIAN, 0.0), (linear.NEWTON, 1.0)):
        theta = toy.parameters[name][0]
        np.testing.assert_allclose(
            B.T @ theta + 0.5 * np.array([theta @ q[0] @ theta, theta @ q[1] @ theta]), [0.8, 0.6]
        )
        for found in toy.parameters[name]:
            np.testing.assert_allclose(found, theta, rtol=1e-9, atol=1e-12)
            v = B.T @ theta + 0.5 * np.array([theta @ q[0] @ theta, theta @ q[1] @ theta])
            jacobian = B.T + np.stack([q[0] @ theta, q[1] @ theta])
            bending = sum((K @ v)[c] * q[c] for c in range(2))
            theta = theta - 0.5 * np.linalg.solve(jacobian.T @ K @ jacobian + curved * bending, jacobian.T @ K @ v)
    assert toy.plane.jacobian(toy.parameters[linear.NEWTON][:3]).shape == (3, 2, 2)


def test_distances_and_steps_by_hand():
    path = np.array([[0.0, 3.0], [1.0, 1.0], [-2.0, 1.5], [0.0, 1.0]])
    assert largest_distance_from_line(path, np.array([0.0, 1.0])) == 2.0
    assert steps_to(np.array([3.0, 2.0, 1.0, 2.0, 0.5]), 1.0) == 2.0
    assert steps_to(np.array([3.0]), 1.0) == np.inf
    assert Plane(np.eye(2), weight=K, target=np.ones(2)).loss_at(np.array([2.0, 3.0])) == pytest.approx(2.1)
