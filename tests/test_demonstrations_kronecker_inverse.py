"""The inverse of a Kronecker product, and the ratio of the times of both sides."""

from __future__ import annotations

import numpy as np
import pytest

from repro.demonstrations.optimisation.kronecker_inverse import (
    KroneckerInverse,
    cpu_seconds,
    identity_difference,
    inverses,
    positive_definite,
)

RNG = np.random.default_rng(11)


def test_matrices_of_a_given_condition():
    matrix = positive_definite(7, 50.0, RNG)
    values = np.linalg.eigvalsh(matrix)
    assert values[-1] == pytest.approx(1.0)
    assert values[-1] / values[0] == pytest.approx(50.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)


def test_the_identity_holds_to_rounding_that_grows_with_the_condition():
    good, bad = (identity_difference(*(positive_definite(6, root, RNG) for _ in range(2))) for root in (1.0, 1e5))
    assert good < 1e-14 < bad < 1e-4
    other = positive_definite(6, 10.0, RNG)
    assert identity_difference(other, other + 1e-6 * np.eye(6)) < 1e-13


def test_values_of_given_times():
    sizes, one = np.array([10, 20, 40]), np.ones(3)
    values = KroneckerInverse(one, one, sizes, 3.0 * sizes**6.0, 6.0 * sizes**3.0).values
    assert values["growth"] == pytest.approx(3.0)
    assert values["time_ratios"] == pytest.approx({"p = 10": 500.0, "p = 20": 4000.0, "p = 40": 32000.0})
    assert values["operation_ratio"] == 32000.0
    assert values["storage_ratio"] == 800.0


def test_short_calls_are_repeated_and_long_ones_are_not():
    calls = []
    assert cpu_seconds(lambda: calls.append(0), enough=0.002) < 1e-3
    assert len(calls) > 100
    calls.clear()
    cpu_seconds(lambda: calls.append(0), enough=0.0)
    assert len(calls) == 1


def test_all_of_it_on_small_factors():
    found = inverses(sizes=(4, 6), pairs=3)
    assert found.differences.max() < 1e-10
    assert found.seconds_dense.min() > 0.0
