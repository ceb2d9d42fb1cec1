"""Supervised learning and least squares against dense matrices, and trained by every optimiser."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

from repro import optimizers
from repro.config import optimizer_config
from repro.curvature.eigenbasis import eigenbases
from repro.curvature.pullback import Pullback
from repro.errors import InputError
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.loss_geometry import CURVATURES, GAUSS_NEWTON
from repro.problems.losses import LOSSES
from repro.problems.residual import LeastSquares
from repro.problems.supervised import Supervised
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.state import TrainState

SAMPLES, CLASSES = 12, 10
EXACT = 1e-12
KEY = jax.random.key(7)
pytestmark = pytest.mark.usefixtures("x64")


def digits(count: int = SAMPLES):
    """Images of 4 x 4 pixels between 0 and 1, and their classes."""
    images, classes = load_digits(return_X_y=True)
    coarse = images[:count].reshape(count, 4, 2, 4, 2).mean((2, 4)).reshape(count, 16) / 16
    return jnp.asarray(coarse), jnp.asarray(classes[:count])


def targets_of(loss: str, classes):
    return classes if loss == "softmax" else jax.nn.one_hot(classes, CLASSES)


def network(*sizes: int, bias: bool = True):
    """A tanh network and its parameters, well away from zero."""

    def model(x):
        for size in sizes[1:-1]:
            x = jnp.tanh(hk.Linear(size, with_bias=bias)(x))
        return hk.Linear(sizes[-1], with_bias=bias)(x)

    made = hk.without_apply_rng(hk.transform(model))
    params = made.init(jax.random.key(0), jnp.zeros((1, sizes[0])))
    flat, restore = ravel_pytree(params)
    return made.apply, restore(flat + 0.3 * jax.random.normal(jax.random.key(1), flat.shape))


def sample_loss(loss: str, z, y):
    """Of one sample, z of shape (N,): written down a second time."""
    if loss == "squared-error":
        return 0.5 * jnp.sum((z - y) ** 2)
    if loss == "softmax":
        return jax.nn.logsumexp(z) - z[y]
    return jnp.sum(jnp.logaddexp(0.0, z) - y * z)


class Case(NamedTuple):
    """A problem at some parameters, and its matrices by brute force, in the order of the blocks."""

    problem: object
    params: object
    batch: dict
    metric: np.ndarray
    empirical: np.ndarray
    gradient: np.ndarray
    loss: float

    def geometry(self):
        return self.problem.geometry(self.params, CURVATURES, self.batch)


def dense_case(problem, params, batch, terms, loss):
    """Sums over terms ``((params, number) -> outputs (N,), targets, weight)``, by Jacobians of single samples."""
    parts = problem.partition(params)
    flat, restore = ravel_pytree(parts.split(params))

    def of_term(outputs, targets, weight):
        def of_sample(n, y):
            z, jacobian = (f(lambda theta: outputs(parts.join(restore(theta)), n)) for f in (at, jax.jacfwd))
            own = [f(lambda a: sample_loss(loss, a, y))(z(flat)) for f in (at, jax.grad, jax.hessian)]
            return jacobian(flat), *own

        jacobian, value, slope, hessian = jax.vmap(of_sample)(jnp.arange(len(targets)), targets)
        gradients = jnp.einsum("snp,sn->sp", jacobian, slope)
        metric = jnp.einsum("snp,snm,smq->pq", jacobian, hessian, jacobian)
        # Each gradient has the weight in it, and the matrix has two of them.
        sums = weight * metric, weight**2 * gradients.T @ gradients, weight * gradients.sum(0), weight * value.sum()
        return [part / len(targets) for part in sums]

    found = jax.jit(lambda: [of_term(*term) for term in terms])()
    metric, empirical, gradient, value = (np.asarray(sum(parts)) for parts in zip(*found, strict=True))
    return Case(problem, params, batch, metric, empirical, gradient, float(value))


def at(function):
    """A function as it is, beside those that differentiate it."""
    return function


@cache
def classification(loss: str, layered: bool = True, chunk: int | None = None, sizes=(16, 4, CLASSES)) -> Case:
    apply, params = network(*sizes)
    problem = Supervised(apply, loss, layers=HaikuLayers(apply) if layered else None, chunk=chunk)
    inputs, classes = digits()
    targets = targets_of(loss, classes)
    batch = {"inputs": inputs, "targets": targets, "key": KEY}

    def outputs(theta, n):
        return apply(theta, inputs[n][None])[0]

    return dense_case(problem, params, batch, [(outputs, targets, 1.0)], loss)


def source(x):
    return -(jnp.pi**2) * jnp.sin(jnp.pi * x)


def differential_equation():
    """u'' = f on [0, 1] with u = 0 at both ends; the solution is sin(pi x)."""
    apply, params = network(1, 6, 1)

    def interior(theta, x):
        def u(point):
            return apply(theta, point[None, None])[0, 0]

        return (jax.vmap(jax.grad(jax.grad(u)))(x[:, 0]) - source(x[:, 0]))[:, None]

    points = jnp.linspace(0.05, 0.95, 15)[:, None], jnp.array([[0.0], [1.0]])
    return LeastSquares((interior, apply), weights=(0.1, 10.0)), params, points


@cache
def equation() -> Case:
    problem, params, points = differential_equation()
    terms = [
        (lambda theta, n, r=r, x=x: r(theta, x[n][None])[0], jnp.zeros((len(x), 1)), weight)
        for r, x, weight in zip(problem.residuals, points, problem.weights, strict=True)
    ]
    return dense_case(problem, params, {"points": points}, terms, "squared-error")


CASES = {
    "squared-error": lambda: classification("squared-error"),
    "softmax": lambda: classification("softmax"),
    "bernoulli": lambda: classification("bernoulli"),
    "flat and in chunks": lambda: classification("softmax", layered=False, chunk=4),
    "differential equation": equation,
}


def close(found, expected, tolerance=EXACT):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(np.asarray(found) / scale, np.asarray(expected) / scale, rtol=0, atol=tolerance)


def flat(blocks):
    return ravel_pytree(blocks)[0]


class Products(NamedTuple):
    """What a curvature says of two vectors, and of its blocks."""

    product: object
    gram: object
    blockwise: object
    first: object
    diagonals: list
    matrices: list


def products(curvature, u, v, diagonals):
    numbers = range(len(v)) if diagonals else ()
    return Products(
        curvature.matvec(v),
        curvature.gram((u, v)),
        curvature.block_diagonal(v),
        curvature.block_matvec(0, v[0]),
        [curvature.diagonal(index) for index in numbers],
        [curvature.block_matrix(index) for index in numbers if isinstance(curvature, Pullback)],
    )


def check_curvature(geometry_of, name, matrix, params, diagonals=True):
    """Every product of a curvature against its matrix, compiled as one program."""
    parts = geometry_of().partition
    back = ravel_pytree(parts.split(params))[1]
    u, v = (back(w) for w in jax.random.normal(jax.random.key(2), (2, len(matrix))))
    found = jax.jit(lambda u, v: products(geometry_of().curvature(name), u, v, diagonals))(u, v)
    close(flat(found.product), matrix @ flat(v))
    both = np.stack([flat(u), flat(v)])
    close(found.gram, both @ matrix @ both.T)
    close(found.first, found.blockwise[0])
    sizes = np.cumsum([0, *(block.size for block in v)])
    for index, block in enumerate(v):
        part = slice(sizes[index], sizes[index + 1])
        own = matrix[part, part]
        close(found.blockwise[index].ravel(), own @ block.ravel())
        if diagonals:
            close(found.diagonals[index], np.diag(own).reshape(block.shape))
        if found.matrices:
            close(found.matrices[index], own)


@pytest.mark.parametrize("name", CASES)
def test_the_metric_is_the_dense_pull_back(name):
    case = CASES[name]()
    check_curvature(case.geometry, "fisher", case.metric, case.params)


def test_four_curvatures_are_one():
    geometry = classification("softmax").geometry()
    assert len({id(geometry.curvature(name)) for name in GAUSS_NEWTON}) == 1


@pytest.mark.parametrize("name", ["softmax", "differential equation"])
def test_the_empirical_fisher_is_that_of_single_samples(name):
    case = CASES[name]()
    check_curvature(case.geometry, "empirical-fisher", case.empirical, case.params, diagonals=name == "softmax")


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_objective(name):
    case = CASES[name]()
    problem, inputs = case.problem, case.batch.get("inputs")
    coefficients = case.batch["points"] if inputs is None else (inputs, case.batch["targets"])

    def epoch(params, coefficients):
        data, drawn = problem.draw(params, None, KEY, coefficients)
        found = problem.evaluate(params, data, coefficients)
        _, after = problem.advance(params, data, KEY, coefficients)
        return problem.partition(params).split(found.gradient), found.values, after, problem.metrics(found, data, drawn)

    gradient, values, after, metrics = jax.jit(epoch)(case.params, coefficients)
    close(flat(gradient), case.gradient)
    assert float(metrics["loss"]) == pytest.approx(case.loss, rel=EXACT)
    assert float(values.mean()) == pytest.approx(case.loss, rel=EXACT)
    close(after, values)
    assert problem.robust(after) is after


@pytest.mark.parametrize("loss", LOSSES)
def test_the_error_is_that_of_the_prediction(loss):
    case = classification(loss)
    z = np.asarray(case.problem.apply(case.params, case.batch["inputs"]))
    y = np.asarray(case.batch["targets"])
    expected = {
        "softmax": lambda: np.mean(z.argmax(1) != y),
        "squared-error": lambda: np.mean(np.sum((z - y) ** 2, 1)),
        "bernoulli": lambda: np.mean(np.sum((1 / (1 + np.exp(-z)) - y) ** 2, 1)),
    }
    coefficients = case.batch["inputs"], case.batch["targets"]
    data, drawn = case.problem.draw(case.params, None, KEY, coefficients)
    evaluation = case.problem.evaluate(case.params, data, coefficients)
    found = case.problem.metrics(evaluation, data, drawn)["error"]
    assert float(found) == pytest.approx(expected[loss](), rel=EXACT)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_hessian_of_a_linear_model_is_its_gauss_newton_matrix(loss):
    case = classification(loss, sizes=(16, CLASSES))
    parts = case.problem.partition(case.params)
    theta, back = ravel_pytree(parts.split(case.params))
    inputs, targets = case.batch["inputs"], case.batch["targets"]

    def objective(at):
        outputs = case.problem.apply(parts.join(back(at)), inputs)
        return jnp.mean(jax.vmap(lambda a, y: sample_loss(loss, a, y))(outputs, targets))

    metric = jax.jit(lambda: case.geometry().curvature("gauss-newton").block_matrix(0))()
    close(metric, jax.jit(jax.hessian(objective))(theta))


@pytest.mark.parametrize("name", CASES)
def test_rows_of_the_sample_space_give_metric_and_gradient(name):
    case = CASES[name]()
    parts = case.problem.partition(case.params)
    back = ravel_pytree(case.params)[1]

    def ordered():
        """Rows in the order of the blocks, not of the parameters' tree."""
        rows, residuals = case.geometry().sample_space()
        return jax.vmap(lambda row: flat(parts.split(back(row))))(rows), residuals

    rows, residuals = map(np.asarray, jax.jit(ordered)())
    close(rows.T @ rows, case.metric)
    close(rows.T @ residuals, case.gradient)


def test_coordinates_turn_the_metric():
    case = classification("softmax")
    parts, theta = case.problem.partition(case.params), case.params

    @jax.jit
    def found():
        geometry = case.geometry()
        bases = eigenbases(geometry.layers)
        turned = geometry.turned(bases)
        blocks = turned.partition.split(theta)
        vectors = flat(blocks), flat(parts.split(theta)), flat(turned.partition.join(blocks)), flat(theta)
        return bases, geometry.layers, turned.layers, vectors

    bases, straight, turned, (coordinates, own, again, tree) = found()
    rotation = np.asarray(jax.scipy.linalg.block_diag(*(np.kron(u, v) for u, v in bases)))
    close(rotation @ coordinates, own)
    close(again, tree)
    check_curvature(lambda: case.geometry().turned(bases), "fisher", rotation.T @ case.metric @ rotation, theta)
    for layer, before, basis in zip(turned, straight, bases, strict=True):
        close(layer.inputs, before.inputs @ basis.inputs)
        close(layer.sensitivity, before.sensitivity @ basis.sensitivities)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_reproduce_the_gradients_of_single_samples(bias):
    apply, params = network(16, 4, 3, CLASSES, bias=bias)
    inputs, classes = digits()

    def losses(z):
        return jax.vmap(lambda a, y: sample_loss("softmax", a, y))(z, classes)

    found = HaikuLayers(apply)
    parts = found.partition(params)
    layers = jax.jit(lambda: found.layers(params, inputs, jax.grad(lambda z: jnp.sum(losses(z)))))()

    def gradient(x, y):
        return parts.split(jax.grad(lambda theta: sample_loss("softmax", apply(theta, x[None])[0], y))(params))

    expected = jax.jit(jax.vmap(gradient))(inputs, classes)
    for layer, block in zip(layers, expected, strict=True):
        assert layer.own.shape[:2] == layer.sensitivity.shape[:2] == (1, SAMPLES)
        assert layer.mean.shape == (SAMPLES, 0)
        assert layer.constant.shape == (SAMPLES, int(bias))
        close(jnp.einsum("msi,mso->sio", layer.inputs, layer.sensitivity), block)
    close(flat(parts.join(parts.split(params))), flat(params), 0.0)
    assert jax.tree.structure(parts.join(parts.split(params))) == jax.tree.structure(params)
    assert float(jnp.linalg.norm(flat(parts.split(params)))) == pytest.approx(float(jnp.linalg.norm(flat(params))))


@pytest.mark.parametrize("loss", LOSSES)
def test_sampled_targets_average_to_the_exact_metric(loss):
    """The block of the last layer from sampled gradients, against the exact one with its standard error."""
    case = classification(loss)
    keys = jax.random.split(jax.random.key(11), 2000)

    def products(key):
        layer = case.problem.layers_of(case.params, case.batch | {"key": key})[1]
        gradients = (layer.inputs[0][:, :, None] * layer.sensitivity[0][:, None, :]).reshape(SAMPLES, -1)
        return gradients.T @ gradients / SAMPLES

    sampled = np.asarray(jax.jit(jax.vmap(products))(keys))
    first = case.problem.partition(case.params).split(case.params)[0].size
    own = slice(first, first + sampled.shape[-1])
    exact = case.metric[own, own]
    deviation = (sampled.mean(0) - exact) / (sampled.std(0, ddof=1) / np.sqrt(len(keys)))
    upper = deviation[np.triu_indices(len(exact))]
    # 1275 entries: one beyond five standard errors has a chance of 7e-4; half of the metric is off by many more.
    assert np.max(np.abs(upper)) < 5.0
    assert np.linalg.norm(sampled.mean(0) - exact) < 0.1 * np.linalg.norm(exact)
    assert np.max(np.abs((sampled.mean(0) - 0.5 * exact) / (sampled.std(0, ddof=1) / np.sqrt(len(keys))))) > 10.0


def test_a_change_is_paired_and_knows_its_error():
    apply, params = network(16, 4, CLASSES)
    inputs, classes = digits()
    step = jax.tree.map(lambda part: 0.01 * jnp.ones_like(part), params)
    moved = jax.tree.map(jnp.add, params, step)

    @jax.jit
    def losses(theta):
        return jax.vmap(lambda a, y: sample_loss("softmax", a, y))(apply(theta, inputs), classes)

    differences = np.asarray(losses(moved) - losses(params))
    for size, error in ((None, 0.0), (SAMPLES, np.std(differences) / np.sqrt(SAMPLES))):
        problem = Supervised(apply, "softmax", batch_size=size)
        batch = {"inputs": inputs, "targets": classes}
        found = jax.jit(lambda batch, problem=problem: problem.geometry(params, (), batch).trial().change(step))(batch)
        assert float(found.change) == pytest.approx(differences.mean(), rel=EXACT)
        assert float(found.error) == pytest.approx(np.hypot(error, found.rounding), rel=1e-10)
        assert 0.0 < float(found.rounding) < 2e-14 * losses(params).mean()
        assert float(found.overlap) == 1.0


def test_regression_is_least_squares():
    apply, params = network(16, 3, 2)
    inputs, classes = digits()
    targets = jnp.stack([jnp.sin(classes), jnp.cos(classes)], axis=1)
    points = jnp.concatenate([inputs, targets], axis=1)
    supervised = Supervised(apply, "squared-error")
    residual = LeastSquares(lambda theta, x: apply(theta, x[:, :16]) - x[:, 16:])

    def evaluated(problem, coefficients):
        data, _ = problem.draw(params, None, KEY, coefficients)
        found = problem.evaluate(params, data, coefficients)
        metric = problem.geometry(params, (), found.batch).curvature("fisher")
        return found.values, flat(found.gradient), flat(metric.matvec(problem.partition(params).split(params)))

    of_supervised = jax.jit(lambda: evaluated(supervised, (inputs, targets)))()
    for one, other in zip(of_supervised, jax.jit(lambda: evaluated(residual, points))(), strict=True):
        close(one, other)


def test_minibatches_are_drawn_without_replacement_and_all_alike():
    inputs, classes = digits(40)
    problem = Supervised(lambda params, x: x @ params, "softmax", batch_size=8)
    keys = jax.random.split(jax.random.key(5), 2000)
    rows = np.asarray(jax.vmap(lambda key: problem.draw(None, None, key, (inputs, classes))[0].rows)(keys))
    assert all(len(set(row)) == 8 for row in rows)
    counts = np.bincount(rows.ravel(), minlength=40)
    # Each sample is in a batch with probability 1/5; 40 counts within 4.5 standard deviations: a chance of 3e-4.
    assert np.max(np.abs(counts - 400)) < 4.5 * np.sqrt(2000 * 0.2 * 0.8)
    data, _ = problem.draw(None, None, KEY, (inputs, classes))
    batch = problem.batch_of(data, (inputs, classes))
    close(batch["inputs"], inputs[data.rows], 0.0)
    assert np.array_equal(batch["targets"], classes[data.rows])


def test_points_of_each_term_are_drawn():
    problem, _, points = differential_equation()
    problem = LeastSquares(problem.residuals, batch_size=(4, None))
    rows, _ = problem.draw(None, None, KEY, points)
    assert len(set(np.asarray(rows[0]))) == 4
    assert rows[1] is None
    batch = problem.batch_of(rows, points)["points"]
    assert [len(part) for part in batch] == [4, 2]


BUILT = {
    "dgd": lambda problem: optimizers.dgd(problem, damping=1.0),
    "ngd": lambda problem: optimizers.ngd(problem, damping=1.0),
    "kfac": lambda problem: optimizers.kfac(problem, damping=1.0),
    "proximal-dgd": optimizers.proximal_dgd,
    "minsr": optimizers.minsr,
    "spring": optimizers.spring,
    "adam": lambda problem: optimizers.build_optimizer(optimizer_config("adam", learning_rate=0.03), problem),
}
EPOCHS = 10


def trained(problem, name, params, coefficients):
    """Losses of some epochs, in one compiled program."""
    optimizer = BUILT[name](problem)
    data, _ = problem.draw(params, None, KEY, coefficients)
    state = TrainState(params, jax.jit(optimizer.init)(params), data, jnp.zeros((), jnp.int32))
    arguments = state, jnp.asarray(3), coefficients, jnp.asarray(EPOCHS)
    traced = jax.jit(chunk_of_epochs(training_epoch(problem, optimizer), 0, EPOCHS)).trace(*arguments)
    # The data are arguments of the program, not constants in it.
    assert all(np.size(constant) < 10 for constant in traced.jaxpr.consts)
    return np.asarray(traced.lower().compile()(*arguments)[1]["loss"])


@pytest.mark.parametrize("name", BUILT)
def test_every_optimizer_learns_digits(name):
    apply, params = network(16, 6, CLASSES)
    problem = Supervised(apply, "softmax", layers=HaikuLayers(apply), batch_size=48)
    losses = trained(problem, name, params, digits(96))
    assert losses[-1] < 0.9 * losses[0], losses


@pytest.mark.parametrize("name", [name for name in BUILT if name != "kfac"])
def test_every_optimizer_solves_a_differential_equation(name):
    problem, params, points = differential_equation()
    losses = trained(problem, name, params, points)
    assert losses[-1] < 0.9 * losses[0], losses


def test_kronecker_factors_need_the_linear_maps():
    with pytest.raises(InputError, match=r"kfac.*linear maps"):
        optimizers.kfac(differential_equation()[0])


IMAGES = np.zeros((6, 4, 4, 1))
ROWS = np.zeros((6, 16))


def convolution(x):
    return hk.Linear(2)(hk.Flatten()(hk.Conv2D(3, 2)(x)))


def normalised(x):
    return hk.LayerNorm(-1, True, True)(hk.Linear(2)(x))


def twice(x):
    shared = hk.Linear(16)
    return shared(shared(x))


def pixelwise(x):
    return hk.Flatten()(hk.Linear(2)(x))


class Own(hk.Module):
    def __call__(self, x):
        return x @ hk.get_parameter("w", (16, 2), init=jnp.zeros)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (convolution, IMAGES, r"module 'conv2_d' has the parameters .*\(2, 2, 1, 3\)"),
        (normalised, ROWS, "module 'layer_norm' has the parameters scale"),
        (twice, ROWS, "module 'linear' is called twice"),
        (pixelwise, IMAGES, r"module 'linear' is called on the shape \(6, 4, 4, 1\): must be \(6, I\)"),
        (lambda x: Own()(x), ROWS, "module 'own' was not seen"),
    ],
)
def test_other_networks_are_refused_by_the_name_of_their_module(model, x, message):
    made = hk.without_apply_rng(hk.transform(model))
    params = made.init(KEY, x)
    found = HaikuLayers(made.apply)

    def asked():
        found.partition(params)
        found.layers(params, x, lambda z: z)

    with pytest.raises(InputError, match=message) as refused:
        asked()
    assert "\n" not in str(refused.value)
    assert "leave layers out" in str(refused.value)


def linear(params, x):
    return x @ params


def geometry_of(problem, **batch):
    return problem.geometry(jnp.zeros((16, 3)), (), batch)


LABELS = np.zeros(6, int)
SOFTMAX = Supervised(linear, "softmax")
TWO_TERMS = LeastSquares((linear, linear))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Supervised(linear, "softmx"), "loss = 'softmx': unknown; did you mean softmax"),
        (lambda: Supervised(linear, "softmax", batch_size=0), "batch_size = 0: must be at least 1"),
        (lambda: Supervised(linear, "softmax", chunk=0), "chunk = 0: must be at least 1"),
        (lambda: geometry_of(SOFTMAX, targets=LABELS), "needs inputs by keyword"),
        (lambda: geometry_of(SOFTMAX), "needs inputs and targets by keyword"),
        (lambda: geometry_of(SOFTMAX, inputs=ROWS, targets=LABELS[:5]), r"targets of shape \(5,\)"),
        (
            lambda: geometry_of(SOFTMAX, inputs=ROWS, targets=jnp.zeros((6, 3))).trial(),
            r"targets of shape \(6, 3\) and type float64: softmax needs \(6,\) integers",
        ),
        (
            lambda: geometry_of(Supervised(linear, "bernoulli"), inputs=ROWS, targets=LABELS).trial(),
            r"targets of shape \(6,\): must be \(6, 3\)",
        ),
        (
            lambda: geometry_of(Supervised(lambda p, x: x[:, 0], "softmax"), inputs=ROWS, targets=LABELS).trial(),
            r"apply\(params, inputs\) returned the shape \(6,\) for 6 samples: must be \(6, N\)",
        ),
        (
            lambda: Supervised(linear, "softmax", batch_size=7).draw(None, None, KEY, (ROWS, LABELS)),
            "batch_size = 7: there are only 6 samples",
        ),
        (lambda: geometry_of(TWO_TERMS), "needs points by keyword"),
        (lambda: geometry_of(TWO_TERMS, points=ROWS), "points: must be 2 arrays, one for each term, not 1"),
        (lambda: LeastSquares((linear, linear), weights=(1.0,)), "weights = .*must be one for each of the terms"),
        (lambda: LeastSquares(linear, weights=0.0), "weights = 0: must be positive and finite"),
        (lambda: LeastSquares(linear, batch_size=0), "batch_size = 0: must be at least 1"),
    ],
)
def test_wrong_input_ends_in_one_line_that_names_it(call, message):
    with pytest.raises(InputError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_the_key_is_needed_for_sampled_targets_only():
    apply, params = network(16, 3, CLASSES)
    inputs, classes = digits()
    problem = Supervised(apply, "softmax", layers=HaikuLayers(apply))
    geometry = problem.geometry(params, ("fisher",), {"inputs": inputs, "targets": classes})
    geometry.trial()
    with pytest.raises(InputError, match="needs key by keyword"):
        _ = geometry.layers
