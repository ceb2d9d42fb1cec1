"""Helmholtz machines: probabilities, gradients and Fisher blocks against enumeration; three inverses; the pictures."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import repro
from repro.config import optimizer_config
from repro.config.problems import problem_config
from repro.datasets import fashion_14, load_images
from repro.datasets.idx import read_idx
from repro.demonstrations.geometry.bars import HIDDEN, bars, bars_learned, divergence, steps_to
from repro.demonstrations.geometry.tiny_machines import all_states, log_likelihood, scores, split_layers
from repro.demonstrations.geometry.unit_blocks import unit_blocks
from repro.errors import InputError
from repro.optimizers import build_optimizer
from repro.optimizers.fisher_by_unit import (
    fisher_blocks,
    inverse_by_cholesky,
    inverse_by_updates,
    inverse_by_woodbury,
    inverse_of,
)
from repro.problems.helmholtz import (
    UnitLayer,
    WakeSleep,
    bound,
    dreamt,
    first_machine,
    log_generative,
    log_recognition,
    recognised,
)
from repro.problems.registry import build_problem

pytestmark = pytest.mark.usefixtures("x64")

SIZES = (4, 3, 2)
KEY = jax.random.key(1)
PICTURES = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]], float)
FILES = Path("/usr/share/datasets/fashion-mnist")


def machine():
    return jax.tree.map(lambda w: 1.5 * w, first_machine(KEY, SIZES, jnp.float64))


def test_probabilities_are_those_of_the_definition_and_sum_to_one():
    found, layers = machine(), split_layers(all_states(9), SIZES)
    assert float(jnp.exp(log_generative(found, layers)).sum()) == pytest.approx(1.0, rel=1e-12)
    hidden = split_layers(all_states(5), SIZES[1:])
    for x in PICTURES:
        whole = (jnp.broadcast_to(x, (32, 4)), *hidden)
        assert float(jnp.exp(log_recognition(found, whole)).sum()) == pytest.approx(1.0, rel=1e-12)
        exact = jax.scipy.special.logsumexp(log_generative(found, whole))
        assert float(log_likelihood(found, jnp.asarray(x[None]), hidden)[0]) == pytest.approx(float(exact), rel=1e-12)
    # One state by hand: units 1 with sigma(a).
    one = tuple(layer[300] for layer in layers)
    parents = (one[1], one[2], np.zeros(0))
    expected = 0.0
    for h, parent, weights in zip(one, parents, found.generative, strict=True):
        on = 1 / (1 + np.exp(-(np.append(parent, 1.0) @ np.asarray(weights))))
        expected += np.log(np.where(np.asarray(h) == 1, on, 1 - on)).sum()
    assert float(log_generative(found, one)) == pytest.approx(expected, rel=1e-12)


def test_samples_have_the_probabilities_of_the_machine():
    found, count = machine(), 40_000
    layers = split_layers(all_states(9), SIZES)
    exact = np.exp(np.asarray(log_generative(found, layers)))
    drawn = np.concatenate(dreamt(found, KEY, count), axis=1).astype(int) @ 2 ** np.arange(9)
    _compare(np.bincount(drawn, minlength=512) / count, exact, count)
    x = jnp.broadcast_to(PICTURES[0], (count, 4))
    drawn = np.concatenate(recognised(found, KEY, x)[1:], axis=1).astype(int) @ 2 ** np.arange(5)
    hidden = split_layers(all_states(5), SIZES[1:])
    exact = np.exp(np.asarray(log_recognition(found, (jnp.broadcast_to(PICTURES[0], (32, 4)), *hidden))))
    _compare(np.bincount(drawn, minlength=32) / count, exact, count)


def _compare(seen, exact, count):
    """Shares with probabilities, in standard errors; rare states, whose counts are not normal, in all."""
    often = exact * count > 30
    assert np.abs((seen - exact) / np.sqrt(exact * (1 - exact) / count))[often].max() < 5
    rare = exact[~often].sum()
    assert abs(seen[~often].sum() - rare) < 5 * np.sqrt(rare / count) + 1 / count


def test_gradients_follow_the_delta_rule():
    """Of ln p in the weights of a layer: [h_parent, 1] (h - sigma(a))."""
    found, layers = machine(), tuple(part[77] for part in split_layers(all_states(9), SIZES))
    gradient = jax.grad(lambda one: log_generative(one, layers))(found).generative
    for h, parent, weights, slope in zip(layers, (*layers[1:], jnp.zeros(0)), found.generative, gradient, strict=True):
        inputs = np.append(parent, 1.0)
        np.testing.assert_allclose(slope, np.outer(inputs, h - 1 / (1 + np.exp(-(inputs @ weights)))), atol=1e-14)


def test_many_weighted_samples_give_the_gradient_of_the_likelihood():
    """Reweighted wake with K -> infinity is the gradient of -ln p(x); the bound is then -ln p(x)."""
    found, x = machine(), jnp.asarray(PICTURES)
    hidden = split_layers(all_states(5), SIZES[1:])
    exact = jax.grad(lambda one: -jnp.mean(log_likelihood(one, x, hidden)))(found).generative
    problem = WakeSleep("reweighted", 5000)
    data = problem.draw(found, None, KEY, x)[0]
    evaluation = problem.evaluate(found, data, x)
    for one, other in zip(evaluation.gradient.generative, exact, strict=True):
        np.testing.assert_allclose(one, other, atol=0.04)
    true = -np.asarray(log_likelihood(found, x, hidden))
    np.testing.assert_allclose(evaluation.values, true, atol=0.06)
    rough = jax.vmap(lambda key: bound(found, key, x, 1))(jax.random.split(KEY, 2000))
    error = rough.std(axis=0) / np.sqrt(len(rough))
    assert (rough.mean(axis=0) > true + 3 * error).all()


def test_one_sample_needs_no_weights():
    found, x = machine(), jnp.asarray(PICTURES)
    gradients = []
    for method in ("wake-sleep", "reweighted"):
        problem = WakeSleep(method, 1)
        gradients.append(problem.evaluate(found, problem.draw(found, None, KEY, x)[0], x).gradient)
    jax.tree.map(np.testing.assert_allclose, gradients[0].generative, gradients[1].generative)
    assert float(jnp.abs(gradients[0].recognition[0] - gradients[1].recognition[0]).max()) > 1e-3


def test_fisher_blocks_are_those_of_the_enumerated_scores():
    result = unit_blocks(samples=200)
    assert result.values["largest_off_block"] < 1e-12
    assert result.values["formula_off"] < 1e-12
    assert result.values["sum_of_probabilities"] == pytest.approx(1.0, rel=1e-12)
    # The same for the recognition net of one picture, whose Fisher matrix is that of q(h | x).
    found, hidden = machine(), split_layers(all_states(5), SIZES[1:])
    whole = (jnp.broadcast_to(PICTURES[0], (32, 4)), *hidden)
    rows, weight = scores(found, whole, "recognition"), jnp.exp(log_recognition(found, whole))
    exact = (rows * weight[:, None]).T @ rows
    first = found.recognition[0]
    places = np.arange(first.shape[0]) * first.shape[1]
    inputs = np.append(PICTURES[0], 1.0)
    on = 1 / (1 + np.exp(-(inputs @ np.asarray(first))))
    block = on[0] * (1 - on[0]) * np.outer(inputs, inputs)
    np.testing.assert_allclose(exact[np.ix_(places, places)], block, atol=1e-12)


@pytest.mark.parametrize(("samples", "size"), [(5, 9), (30, 9)])
def test_three_inverses_agree(samples, size):
    random = np.random.default_rng(0)
    layer = UnitLayer(
        jnp.asarray(random.integers(0, 2, (samples, size)), float), jnp.asarray(0.25 * random.random((samples, 4)))
    )
    blocks = np.asarray(fisher_blocks(layer))
    expected = np.stack([(layer.inputs * layer.variances[:, [j]]).T @ layer.inputs / samples for j in range(4)])
    np.testing.assert_allclose(blocks, expected, rtol=1e-12)
    exact = np.linalg.inv(blocks + 0.2 * np.eye(size))
    for way in (inverse_by_cholesky, inverse_by_woodbury, inverse_by_updates, inverse_of):
        np.testing.assert_allclose(way(layer, 0.2), exact, rtol=1e-8, atol=1e-10)


def test_a_natural_step_is_that_of_the_dense_blocks_and_keeps_its_inverses():
    found, x, problem = machine(), jnp.asarray(PICTURES), WakeSleep("reweighted", 4)
    optimizer = repro.unit_fisher(problem, learning_rate=0.3, damping=0.1, fisher_interval=2)
    state, first = optimizer.init(found), None
    for number in range(3):
        data = problem.draw(found, None, jax.random.fold_in(KEY, number), x)[0]
        evaluation = problem.evaluate(found, data, x)
        updates, state = optimizer.update(evaluation.gradient, state, found, **evaluation.batch)
        layer = evaluation.batch["unit_layers"].recognition[0]
        blocks = np.asarray(fisher_blocks(layer))
        if number != 1:  # in step 1 the inverses of step 0 are used
            first = np.linalg.inv(blocks + 0.1 * np.eye(5))
        slope = np.asarray(evaluation.gradient.recognition[0])
        expected = -0.3 * 1.1 * np.einsum("jik,kj->ij", first, slope)
        np.testing.assert_allclose(updates.recognition[0], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["kfac", "spring", "hessian-free", "proximal"])
def test_optimizers_of_an_objective_are_refused(name):
    problem, x, found = WakeSleep(), jnp.asarray(PICTURES), machine()
    evaluation = problem.evaluate(found, problem.draw(found, None, KEY, x)[0], x)

    def step():
        optimizer = build_optimizer(optimizer_config(name), problem)
        optimizer.update(evaluation.gradient, optimizer.init(found), found, **evaluation.batch)

    with pytest.raises(InputError, match=r"no single objective|needs|batch"):
        step()
    with pytest.raises(InputError, match=r"is for Helmholtz machines"):
        repro.unit_fisher(build_problem(problem_config("digits"), "float32").problem)


def test_the_packed_pictures_are_those_of_fashion_mnist():
    training, test = fashion_14.packed_pictures()
    assert (training.shape, test.shape) == ((10_000, 196), (1000, 196))
    assert 0.3 < training.mean() < 0.34
    images = load_images("fashion-14")
    np.testing.assert_array_equal(images.training, training)
    blocks = np.zeros((1, 28, 28), np.uint8)
    blocks[0, :2, :2] = [[127, 127], [127, 128]]
    blocks[0, 2:4, :2] = 127
    assert fashion_14.in_black_and_white(blocks)[0, [0, 14]].tolist() == [1, 0]


@pytest.mark.skipif(not FILES.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_package_makes_the_packed_file():
    pictures = (
        read_idx(next(FILES.glob(f"{part}-images*")), shape)
        for part, shape in (("train", (60000, 28, 28)), ("t10k", (10000, 28, 28)))
    )
    content = gzip.decompress(fashion_14.pack_fashion_14(*pictures))
    assert hashlib.sha256(content).hexdigest() == fashion_14.PACKED_SHA256


def test_a_damaged_packed_file_is_refused(monkeypatch):
    monkeypatch.setattr(fashion_14, "PACKED_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"another file; install repro anew"):
        fashion_14.packed_pictures()


def test_bars_and_their_divergence():
    pictures = bars()
    assert pictures.shape == (14, 9)
    assert len(np.unique(pictures, axis=0)) == 14
    assert pictures.sum() == 63  # as many white as black pixels
    hidden = split_layers(all_states(sum(HIDDEN)), HIDDEN)
    found = first_machine(KEY, (9, *HIDDEN), jnp.float64)
    exact = np.asarray(log_likelihood(found, jnp.asarray(pictures, float), hidden))
    expected = np.mean(np.log(1 / 14) - exact)
    assert float(divergence(found, jnp.asarray(pictures, float), hidden)) == pytest.approx(expected, rel=1e-12)
    curves = np.array([[1.0, 0.1, 0.2], [1.0, 0.5, 0.3]])
    assert steps_to(curves).tolist() == [20.0, np.inf]


def test_the_methods_learn_bars():
    result = bars_learned(looks=12, tuning_seeds=(100,))
    for curves in result.curves.values():
        assert curves.shape == (5, 12)
        assert np.median(curves[:, -1]) < np.median(curves[:, 0])
