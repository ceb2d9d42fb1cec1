"""Fisher matrices and their Kronecker products against sums over samples and labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from repro.datasets import load_images
from repro.demonstrations.optimisation.digit_networks import classifier
from repro.demonstrations.optimisation.fisher_approximations import (
    exact_factors,
    fisher_matrices,
    principal_components,
    softmax_factor,
)
from repro.demonstrations.optimisation.fisher_of_one_layer import coarse, factors_of_one_layer, product_error

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def model():
    with jax.enable_x64(True):
        return classifier(RNG.standard_normal((9, 3)), RNG.integers(0, 10, 9), (4,))


@pytest.fixture(scope="module")
def matrices(model):
    with jax.enable_x64(True):
        return fisher_matrices(model, model.params)


def scores(model):
    """d ln p(y | x_n) / d theta for every sample and label ``(S, N, P)``, in the order of the blocks, and p."""
    parts = model.problem.partition(model.params)
    flat, restore = ravel_pytree(parts.split(model.params))

    def logarithms(theta, x):
        return jax.nn.log_softmax(model.problem.apply(parts.join(restore(theta)), x[None])[0])

    found, values = jax.jit(lambda x: [jax.vmap(f, (None, 0))(flat, x) for f in (jax.jacrev(logarithms), logarithms)])(
        model.data[0]
    )
    return np.asarray(found), np.exp(values)


def test_the_fisher_matrix_by_enumeration_and_what_is_left_of_it(model, matrices):
    found, (by_label, probabilities) = matrices, scores(model)
    fisher = np.einsum("sn,snp,snq->pq", probabilities, by_label, by_label) / 9
    np.testing.assert_allclose(found.exact, fisher, atol=1e-14)
    assert found.starts == (0, 16, 66)
    layer = np.arange(66) >= 16
    same = layer[:, None] == layer
    np.testing.assert_allclose(found.approximations["block-diagonal"], np.where(same, fisher, 0.0), atol=1e-14)
    np.testing.assert_allclose(found.approximations["diagonal"], np.diag(np.diag(fisher)), atol=1e-14)
    assert found.errors["block-diagonal"] == pytest.approx(
        np.linalg.norm(fisher[~same]) / np.linalg.norm(fisher), rel=1e-10
    )


def test_the_factors_have_the_expectation_over_the_labels(model, matrices):
    """Of the last layer: E[e e^T] is the mean of diag(p) - p p^T; of the others by the scores of their biases."""
    by_label, probabilities = scores(model)
    first, last = jax.jit(lambda params: exact_factors(model, params))(model.params)
    metrics = np.einsum("sn,nm->snm", probabilities, np.eye(10)) - np.einsum("sn,sm->snm", probabilities, probabilities)
    np.testing.assert_allclose(last.sensitivities, metrics.mean(0), atol=1e-14)
    biases = by_label[:, :, 12:16]
    np.testing.assert_allclose(
        first.sensitivities, np.einsum("sn,sni,snj->ij", probabilities, biases, biases) / 9, atol=1e-14
    )
    inputs = np.concatenate([model.data[0], np.ones((9, 1))], axis=1)
    np.testing.assert_allclose(first.inputs, inputs.T @ inputs / 9, atol=1e-14)
    products = matrices.approximations["kronecker"]
    np.testing.assert_allclose(products[:16, :16], np.kron(first.inputs, first.sensitivities), atol=1e-14)


def test_the_factor_of_the_softmax():
    logits = jnp.asarray(RNG.standard_normal((4, 3)))
    factor, p = softmax_factor(logits), jax.nn.softmax(logits, axis=0)
    for sample in range(3):
        expected = np.diag(p[:, sample]) - np.outer(p[:, sample], p[:, sample])
        np.testing.assert_allclose(factor[:, :, sample] @ factor[:, :, sample].T, expected, atol=1e-15)


def test_the_error_of_a_product_without_the_matrix():
    x, roots = RNG.standard_normal((6, 5)), RNG.standard_normal((6, 3, 3))
    metrics = roots @ roots.transpose(0, 2, 1)
    fisher = np.mean([np.kron(m, np.outer(one, one)) for m, one in zip(metrics, x, strict=True)], axis=0)
    for s in (metrics.mean(0), roots[0] + roots[0].T):
        difference = fisher - np.kron(s, x.T @ x / 6)
        expected = np.linalg.norm(difference) / np.linalg.norm(fisher)
        assert product_error(x, metrics, s) == pytest.approx(expected, rel=1e-12)
    assert product_error(x, np.stack([metrics[0]] * 6), metrics[0]) < 1e-15


def test_one_layer_on_the_digits():
    found = factors_of_one_layer(samples=60, steps=100, draws=40, images=load_images("digits"))
    values = found.values
    assert values["sizes"] == {"S": 10.0, "A": 64.0, "product": 640.0}
    assert values["error_zero_weights"] < 1e-14 < values["error_small_weights"] < values["error_trained"]
    assert min(values["excess_drawn"].values()) > 0.0
    assert "digits of scikit-learn" in found.told
    for name in ("zero", "small"):
        state = found.states[name]
        scatter = state.drawn.std(0) / np.sqrt(len(state.drawn))
        assert np.all(np.abs(state.drawn.mean(0) - state.sensitivities) <= 5 * scatter + 1e-15)


def test_components_and_coarse_pictures():
    x = RNG.standard_normal((40, 6)) * np.arange(1, 7)
    found = principal_components(x, 3)
    variances = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    np.testing.assert_allclose(found.T @ found / 40, np.diag(variances[:3] / variances[0]), atol=1e-12)
    matrix = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(coarse(matrix, 2), [[2.5, 4.5], [10.5, 12.5]])
