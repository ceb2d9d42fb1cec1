"""Hessians against finite differences, and eigenvalues against the shape of a surface."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.optimisation.hessian import SURFACES, printed_function, printed_hessian, second_derivatives


@pytest.fixture(scope="module")
def few():
    return second_derivatives(count=10, seed=1)


def test_the_printed_hessian_is_that_of_differences(few):
    h = 1e-4
    for point in few.points:
        for row, one in enumerate(np.eye(2)):
            for column, other in enumerate(np.eye(2)):
                corners = [
                    (a * b, printed_function(point + h * (a * one + b * other))) for a in (1, -1) for b in (1, -1)
                ]
                difference = sum(sign * value for sign, value in corners) / (4.0 * h * h)
                assert printed_hessian(point)[row, column] == pytest.approx(difference, abs=1e-6)
    assert few.values["largest_difference"] < 1e-12


def test_the_printed_function_curves_both_ways_everywhere_but_in_the_origin(few):
    x, y = few.points.T
    np.testing.assert_allclose(
        np.prod(few.eigenvalues_at_points, axis=1), -4.0 * x**2 - 9.0 * y**4, rtol=1e-10, atol=1e-12
    )
    assert np.all(printed_hessian(np.zeros(2)) == 0.0)


def test_a_surface_rises_along_its_eigenvectors_by_half_their_eigenvalues(few):
    for name, matrix in SURFACES.items():
        np.testing.assert_allclose(few.matrices[name], matrix, atol=1e-15)
        for eigenvalue, vector in zip(few.eigenvalues[name], few.eigenvectors[name].T, strict=True):
            assert 0.5 * vector @ np.array(matrix) @ vector == pytest.approx(0.5 * eigenvalue)
    least, greatest = few.values["least_rise"], few.values["greatest_rise"]
    assert least["bowl"] > 0.0 > greatest["dome"]
    assert least["saddle"] < 0.0 < greatest["saddle"]
