"""Pseudo-gradients against enumeration, moving averages against theory, Kronecker identities against wrong ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from repro.demonstrations.optimisation import kronecker_identities
from repro.demonstrations.optimisation.kronecker_identities import (
    IDENTITIES,
    damped_solve_errors,
    identity_errors,
    representation_sizes,
    undamped_solve_error,
)
from repro.demonstrations.optimisation.pullback_sampling import (
    all_pseudo_gradients,
    gauss_newton,
    line_gradients,
    moving_average,
    pulled_back,
    sampled_errors,
    softmax_network,
    transpose_check,
)

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def network():
    with jax.enable_x64(True):
        return softmax_network(8, 0)


def test_gauss_newton_is_the_fisher_matrix_by_enumeration(network):
    every, probabilities = all_pseudo_gradients(network)
    np.testing.assert_allclose(np.einsum("sn,snp->sp", probabilities, every), 0.0, atol=1e-15)
    fisher = np.einsum("sn,snp,snq->pq", probabilities, every, every) / 8
    np.testing.assert_allclose(gauss_newton(network), fisher, atol=1e-15)


def test_pulling_back_is_the_transposed_jacobian(network):
    flat, restore = ravel_pytree(network.params)
    jacobian = jax.jit(jax.jacrev(lambda theta: network.problem.apply(restore(theta), network.x)))(flat)
    drawn = np.random.default_rng(0).standard_normal(jacobian.shape[:2])
    found = pulled_back(network.problem.apply, network.params, network.x, jnp.asarray(drawn))
    np.testing.assert_allclose(found, np.einsum("snp,sn->sp", jacobian, drawn), atol=1e-14)
    fraction, difference = transpose_check(network, 0)
    assert fraction == 4 / 64
    assert difference < 1e-14


def test_the_covariance_of_the_draws_has_the_error_of_theory(network, optimized):
    found = sampled_errors(network, np.array([100, 1000]), 60, 1)
    scaled = np.sqrt(np.mean(found.errors**2, axis=0) * found.counts)
    np.testing.assert_allclose(scaled, found.constant, rtol=0.15)
    assert found.fisher_difference < 1e-14


def test_the_moving_average_goes_to_the_diagonal_and_forgets_at_its_rate(network, optimized):
    diagonal = np.diag(gauss_newton(network))
    found = moving_average(network, diagonal, 60, 2)
    assert found.timescale == pytest.approx(-1.0 / np.log(0.95), rel=1e-9)
    assert found.remembered == pytest.approx(1.95 / 0.05, rel=0.25)
    assert found.averages[-20:].mean() == pytest.approx(0.95, abs=0.3)


def test_gradients_of_a_line_have_the_covariance_of_its_inputs():
    found = line_gradients(300, 200, 0)
    flat = found.gradients.reshape(-1, 2)
    np.testing.assert_allclose(flat.T @ flat / len(flat), found.fisher, atol=0.04)
    np.testing.assert_allclose(found.gradients[..., 0], found.gradients[..., 1] * found.inputs, atol=1e-14)


def test_identities_hold_and_a_wrong_one_is_seen(monkeypatch):
    errors = identity_errors(0)
    assert errors.keys() == IDENTITIES.keys()
    assert max(errors.values()) < 1e-12

    def exchanged(rng):
        a, x, b = kronecker_identities._chain(rng)
        square = [np.eye(6)[: len(m)] @ np.ones((6, 6)) @ np.eye(6)[:, : m.shape[1]] * m.sum() for m in (a, x, b)]
        return kronecker_identities.vec(square[1]), square[1].ravel() + 1.0

    monkeypatch.setitem(IDENTITIES, "wrong", exchanged)
    assert identity_errors(0)["wrong"] > 1e-3


def test_solves_without_the_large_matrix(network):
    (layer, _) = network.problem.layers_of(network.params, {"inputs": network.x, "key": jax.random.key(5)})
    found = damped_solve_errors(layer, np.array([1e-3, 1.0, 1e6]), 0)
    assert found["eigenbasis"].max() < 1e-12
    assert found["pi-split"][:2].min() > 0.01 > found["pi-split"][2]
    assert undamped_solve_error(layer, 0) < 1e-8


def test_sizes_are_those_of_the_slide():
    sizes = representation_sizes(1000, 3, bias=False)
    assert sizes == {"full": 9e12, "block-diagonal": 3e12, "kronecker": 6e6}
    assert representation_sizes(1000, 3, bias=True)["kronecker"] == 3 * (1001**2 + 1000**2)
