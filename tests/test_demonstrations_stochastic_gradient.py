"""Batch gradients against the gradient of all samples, and the noise that theory expects."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from repro.demonstrations.optimisation.digit_networks import classifier, trained
from repro.demonstrations.optimisation.stochastic_gradient import cosines_along, epoch_errors, sampling_errors

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(3)
INPUTS, LABELS = RNG.standard_normal((30, 4)), RNG.integers(0, 10, 30)


def test_sample_gradients_are_those_of_the_cross_entropy():
    model = classifier(INPUTS, LABELS, (3,))
    flat, restore = ravel_pytree(model.params)

    def loss(theta, row):
        logits = model.problem.apply(restore(theta), model.data[0][row][None])[0]
        return jax.nn.logsumexp(logits) - logits[model.data[1][row]]

    losses, expected = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(flat, jnp.arange(30))
    np.testing.assert_allclose(model.sample_gradients(model.params), expected, rtol=1e-11, atol=1e-14)
    assert model.size == flat.size == 4 * 3 + 3 + 3 * 10 + 10
    assert float(model.loss(model.params)) == pytest.approx(float(losses.mean()), rel=1e-12)


def test_an_epoch_is_unbiased_only_if_batches_count_by_their_size():
    gradients = RNG.standard_normal((30, 7)) + 1.0
    errors, unweighted = epoch_errors(gradients, RNG.permutation(30), 8)
    assert errors.shape == (4,)
    assert errors[-1] < 1e-14
    assert errors[:-1].min() > 1e-3
    assert unweighted > 1e-3
    errors, unweighted = epoch_errors(gradients, RNG.permutation(30), 10)
    assert max(errors[-1], unweighted) < 1e-14


def test_the_error_of_random_batches_is_that_of_independent_draws():
    gradients = RNG.standard_normal((30, 7)) + 1.0
    counts = np.array([1, 16])
    found = np.sqrt(np.mean(sampling_errors(gradients, 8, counts, 400, RNG) ** 2, axis=0))
    expected = np.sqrt(gradients.var(0).sum() / (8 * counts)) / np.linalg.norm(gradients.mean(0))
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_a_batch_of_all_samples_has_the_full_gradient_and_a_small_one_points_away_from_it_after_training():
    model = classifier(INPUTS, LABELS, (8,))
    everything = cosines_along(model, (0,), 30, 2, 0)
    np.testing.assert_allclose(everything.drawn, 1.0, rtol=1e-12)
    np.testing.assert_allclose(everything.expected, 1.0, rtol=1e-12)
    found = cosines_along(model, (0, 200), 10, 300, 0)
    assert found.losses[1] < 0.5 * found.losses[0]
    np.testing.assert_allclose(found.means, found.expected, atol=0.05)


def test_training_goes_on_where_it_stopped():
    model = classifier(INPUTS, LABELS, (3,), batch_size=7)
    (_, early, late), (direct,) = trained(model, (0, 2, 5)), trained(model, (5,))
    jax.tree.map(np.testing.assert_array_equal, late, direct)
    assert not np.array_equal(ravel_pytree(early)[0], ravel_pytree(late)[0])
