"""Damping, gamma and step length against tables worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.config import DampingConfig, FactorsConfig
from repro.optimizers.regulators import (
    adapted_damping,
    adapted_damping_released,
    gamma_candidates,
    reduction_ratio,
)
from repro.optimizers.scaling import plane_minimum

pytestmark = pytest.mark.usefixtures("x64")
CONFIG = DampingConfig()
DOWN, UP, SAME = 0.95**5, 0.95**-5, 1.0

# E, E', M(delta) - M(0), ratio, then what the printed and the released rule make of lambda.
CASES = [
    # as predicted, twice as much, half as much, nearly nothing
    (2.0, 1.0, -1.0, 1.0, DOWN, DOWN),
    (2.0, 0.0, -1.0, 2.0, DOWN, DOWN),
    (2.0, 1.5, -1.0, 0.5, SAME, SAME),
    (2.0, 1.9, -1.0, 0.1, UP, UP),
    # just above and below the thresholds
    (2.0, 1.24, -1.0, 0.76, DOWN, DOWN),
    (2.0, 1.26, -1.0, 0.74, SAME, SAME),
    (2.0, 1.74, -1.0, 0.26, SAME, SAME),
    (2.0, 1.76, -1.0, 0.24, UP, UP),
    # the energy rises: by less than a tenth of |E| the released rule *lowers* lambda, by more it raises it
    (2.0, 2.1, -1.0, -0.1, UP, DOWN),
    (2.0, 2.19, -1.0, -0.19, UP, DOWN),
    (2.0, 2.21, -1.0, -0.21, UP, UP),
    (2.0, 5.0, -1.0, -3.0, UP, UP),
    # a negative energy: the tenth is of |E|
    (-2.0, -1.9, -1.0, -0.1, UP, DOWN),
    (-2.0, -1.7, -1.0, -0.3, UP, UP),
    (-2.0, -3.0, -1.0, 1.0, DOWN, DOWN),
    # no change at all
    (2.0, 2.0, -1.0, 0.0, UP, UP),
]


@pytest.mark.parametrize(("before", "after", "predicted", "ratio", "printed", "released"), CASES)
def test_levenberg_marquardt(before, after, predicted, ratio, printed, released):
    rho = reduction_ratio(jnp.asarray(before), jnp.asarray(after), jnp.asarray(predicted))
    np.testing.assert_allclose(rho, ratio, atol=1e-12)
    damping = jnp.asarray(3.0)
    np.testing.assert_allclose(adapted_damping(damping, rho, CONFIG), 3.0 * printed, rtol=1e-12)
    found = adapted_damping_released(damping, jnp.asarray(before), jnp.asarray(after), rho, CONFIG)
    np.testing.assert_allclose(found, 3.0 * released, rtol=1e-12)


@pytest.mark.parametrize(("damping", "ratio", "expected"), [(1.1e-7, 1.0, 1e-7), (9e19, 0.0, 1e20), (1e-7, 1.0, 1e-7)])
def test_damping_is_clamped(damping, ratio, expected):
    np.testing.assert_allclose(adapted_damping(jnp.asarray(damping), jnp.asarray(ratio), CONFIG), expected)


def test_an_energy_that_is_not_a_number_leaves_the_damping():
    nan = jnp.asarray(jnp.nan)
    assert float(adapted_damping(jnp.asarray(3.0), nan, CONFIG)) == 3.0
    assert float(adapted_damping_released(jnp.asarray(3.0), jnp.asarray(1.0), nan, nan, CONFIG)) == 3.0


def test_gamma_candidates():
    """w2^5 = (19/20)^(5/2) = 0.879648..., clamped to [1e-4, 1e20]."""
    config = FactorsConfig()
    np.testing.assert_allclose(gamma_candidates(jnp.asarray(2.0), config), [1.7592963, 2.0, 2.2736363], rtol=1e-7)
    np.testing.assert_allclose(gamma_candidates(jnp.asarray(1e-4), config), [1e-4, 1e-4, 1.1368182e-4], rtol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_step_length_minimises_the_model(seed):
    """Perturbed in any direction, the model's value only rises."""
    rng = np.random.default_rng(seed)
    root, slope = rng.normal(size=(2, 2)), rng.normal(size=2)
    matrix = root @ root.T

    def value(w):
        return 0.5 * w @ matrix @ w + slope @ w

    found = np.asarray(plane_minimum(jnp.asarray(matrix), jnp.asarray(slope)))
    np.testing.assert_allclose(found, -np.linalg.solve(matrix, slope), rtol=1e-9)
    for angle in np.linspace(0.0, 2 * np.pi, 16):
        assert value(found + 1e-3 * np.array([np.cos(angle), np.sin(angle)])) > value(found)


def test_step_length_of_an_indefinite_model_is_its_stationary_point():
    matrix, slope = np.array([[1.0, 0.3], [0.3, -2.0]]), np.array([0.4, -0.7])
    found = plane_minimum(jnp.asarray(matrix), jnp.asarray(slope))
    np.testing.assert_allclose(matrix @ np.asarray(found) + slope, 0.0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_step_length_stays_finite_for_parallel_directions(scale, dtype):
    """delta_prev = 3 Delta exactly and nearly: the line is used, and the model falls as far as the line allows."""
    for bend in (0.0, 1e-12):
        delta, previous = np.array([1.0, 2.0, -1.0]), np.array([3.0, 6.0 * (1 + bend), -3.0])
        vectors = np.stack([delta, previous])
        matrix = jnp.asarray(scale * vectors @ vectors.T, dtype)
        slope = jnp.asarray(vectors @ np.array([0.1, -0.5, 0.2]), dtype)
        found = plane_minimum(matrix, slope)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[0], -slope[0] / matrix[0, 0], rtol=1e-5)
        assert float(found[1]) == 0.0


def test_step_length_of_the_first_step_and_of_no_direction():
    found = plane_minimum(jnp.asarray([[2.0, 0.0], [0.0, 0.0]]), jnp.asarray([1.0, 0.0]))
    np.testing.assert_allclose(found, [-0.5, 0.0])
    np.testing.assert_array_equal(plane_minimum(jnp.zeros((2, 2)), jnp.zeros(2)), 0.0)


def test_the_rules_compile_and_vmap():
    dampings = jnp.asarray([1.0, 1.0, 1.0])
    ratios = jnp.asarray([1.0, 0.5, 0.1])
    found = jax.jit(jax.vmap(lambda d, r: adapted_damping(d, r, CONFIG)))(dampings, ratios)
    np.testing.assert_allclose(found, [DOWN, SAME, UP])
