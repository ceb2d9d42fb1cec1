"""Dense Hessians and Lanczos' spectral densities against matrices whose spectrum is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from repro.demonstrations.optimisation.digit_networks import classifier
from repro.demonstrations.optimisation.hessian_spectrum import (
    Lanczos,
    Spectrum,
    smoothed,
    spectrum_at,
    stochastic_lanczos,
)

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(5)


def symmetric(values):
    vectors = np.linalg.qr(RNG.standard_normal((len(values), len(values))))[0]
    return (vectors * values) @ vectors.T


def test_the_hessian_of_a_network_is_that_of_jax():
    model = classifier(RNG.standard_normal((12, 4)), RNG.integers(0, 10, 12), (3,))
    flat, restore = ravel_pytree(model.params)
    expected = jax.jit(jax.hessian(lambda theta: model.loss(restore(theta))))(flat)
    found = spectrum_at(model, model.params, 7, 10, 3, 0)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(expected), atol=1e-13)
    assert found.trace_variance == pytest.approx(2.0 * (np.sum(expected**2) - np.sum(np.diag(expected) ** 2)))
    assert found.lanczos.size == len(found.eigenvalues) == model.size
    assert np.all(found.lanczos.points <= found.eigenvalues[-1] + 1e-12)
    assert np.all(found.lanczos.points >= found.eigenvalues[0] - 1e-12)
    assert found.lanczos.points.max() == pytest.approx(found.eigenvalues[-1], rel=1e-3)


def test_lanczos_integrates_powers_exactly_as_gauss_quadrature_does():
    """v^T H^k v for k up to 2 m - 1, but not the next one."""
    matrix, depth = symmetric(np.linspace(-1.0, 2.0, 20)), 5
    product = lambda v: jnp.asarray(matrix) @ v  # noqa: E731
    found = stochastic_lanczos(product, 20, depth, 3, 0)
    starts = np.asarray(jax.random.rademacher(jax.random.key(0), (3, 20), float))
    np.testing.assert_allclose(found.weights.sum(1), 1.0, rtol=1e-12)
    for power in range(2 * depth + 1):
        exact = np.einsum("vi,ij,vj->v", starts, np.linalg.matrix_power(matrix, power), starts)
        quadrature = 20 * np.sum(found.weights * found.points**power, axis=1)
        assert np.allclose(quadrature, exact, rtol=1e-10) == (power < 2 * depth)
    np.testing.assert_allclose(found.traces, np.einsum("vi,ij,vj->v", starts, matrix, starts), rtol=1e-12)


def test_the_numbers_of_a_spectrum_that_is_known():
    """Twelve large eigenvalues over a bulk at zero, found by Lanczos without rest: 13 different ones."""
    values = np.concatenate([np.zeros(88), np.arange(1.0, 13.0)])
    matrix = symmetric(values)
    lanczos = stochastic_lanczos(lambda v: jnp.asarray(matrix) @ v, 100, 20, 200, 1)
    variance = 2.0 * (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2))
    spectrum = Spectrum(0, 0.0, np.sort(values), lanczos, variance)
    assert spectrum.bulk_share == 0.88
    assert spectrum.top_share_of_trace == pytest.approx(75.0 / 78.0)
    assert spectrum.top_difference < 1e-10
    assert spectrum.distribution_difference(outside=True) < 0.02
    assert lanczos.traces.std() == pytest.approx(variance**0.5, rel=0.15)
    assert spectrum.values()["trace_deviation"] < 4.0


def test_share_below_and_smoothing_of_given_points():
    lanczos = Lanczos(np.array([[0.0, 1.0], [0.5, 2.0]]), np.array([[0.25, 0.75], [0.5, 0.5]]), 10)
    np.testing.assert_allclose(lanczos.share_below(np.array([-1.0, 0.0, 0.7, 1.0, 3.0])), [0, 0.125, 0.375, 0.75, 1])
    grid = np.linspace(-2.0, 4.0, 2001)
    density = smoothed(lanczos.points, lanczos.weights / 2, grid, 0.1)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1.0, rel=1e-9)
