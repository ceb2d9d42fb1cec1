"""Adam's second moment against all batches of a few samples, and the diagonals against dense matrices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from repro.demonstrations.optimisation.adam_and_fisher import DECAY, Diagonals, fisher_diagonal, second_moment
from repro.demonstrations.optimisation.digit_networks import classifier
from repro.demonstrations.optimisation.fisher_kinds import FisherKind, dense, fisher

pytestmark = pytest.mark.usefixtures("x64")


def made(gradients, **moments):
    return Diagonals(gradients.mean(0), (gradients**2).mean(0), np.ones(gradients.shape[1]), moments)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_formula_is_the_mean_over_all_batches(batch):
    gradients = np.random.default_rng(0).normal(0.3, 1.0, (4, 5))
    squares = [gradients[list(rows)].mean(0) ** 2 for rows in product(range(4), repeat=batch)]
    np.testing.assert_allclose(made(gradients).expected(batch), np.mean(squares, axis=0), rtol=1e-12)


def test_the_second_moment_is_adams():
    gradients = np.random.default_rng(1).normal(0.2, 1.0, (6, 3))
    np.testing.assert_allclose(second_moment(np.ones((6, 3)), 2, 50, 0), np.ones(3), rtol=1e-10)
    found = second_moment(gradients, 4, 40_000, 0)
    error = np.sqrt(2 * (1 - DECAY) / (1 + DECAY))
    np.testing.assert_allclose(found, made(gradients).expected(4), rtol=5 * error)


def test_the_diagonals_are_those_of_dense_matrices():
    drawn = np.random.default_rng(2)
    model = classifier(drawn.normal(size=(9, 4)), np.arange(9) % 10, (3,))
    size = ravel_pytree(model.params)[0].size
    for name, kind in (("fisher", FisherKind.EXACT), ("empirical-fisher", FisherKind.EMPIRICAL)):
        expected = np.diagonal(dense(fisher(kind, model.problem, model.params, model.data), size))
        np.testing.assert_allclose(fisher_diagonal(model, model.params, name), expected, atol=1e-14)
    rows = model.sample_gradients(model.params)
    np.testing.assert_allclose(fisher_diagonal(model, model.params, "empirical-fisher"), (rows**2).mean(0), atol=1e-14)


def test_only_a_constant_preconditioner_has_the_direction_of_its_root():
    gradients = np.array([[1.0, 2.0], [1.0, 2.0]])
    assert made(gradients).cosine(1.0) == pytest.approx(1.0)
    bent = np.array([1.0, 2.0]) ** -1 @ np.array([1.0, 1.0]) / np.sqrt(1.25 * 2.0)
    assert made(gradients).cosine(0.5) == pytest.approx(bent, abs=1e-7)
