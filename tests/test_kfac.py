"""K-FAC for minibatches on a small network, against dense matrices and a second writing of the algorithm in NumPy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_state
from jax.flatten_util import ravel_pytree

from repro.curvature.kronecker import KroneckerFactors, damped_inverse, kronecker_factors, kronecker_solve, spectrum
from repro.errors import InputError
from repro.optimizers import MARTENS_GROSSE, kfac
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.losses import LOSSES
from repro.problems.supervised import Supervised

pytestmark = pytest.mark.usefixtures("x64")
EXACT = 1e-10
SAMPLES, INPUTS, HIDDEN, OUTPUTS = 24, 5, 4, 3


def close(found, expected, tolerance=EXACT):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(np.asarray(found) / scale, np.asarray(expected) / scale, rtol=0, atol=tolerance)


class Case(NamedTuple):
    problem: Supervised
    params: dict
    batch: dict


def model(x):
    hidden = jnp.tanh(hk.Linear(HIDDEN)(x))
    return hk.Linear(OUTPUTS)(hidden)


@cache
def case(loss: str = "bernoulli", batch_size: int | None = None) -> Case:
    """A network of two layers, with data of NumPy's."""
    draws = np.random.default_rng(3)
    network = hk.without_apply_rng(hk.transform(model))
    params = {
        name: {"w": jnp.asarray(draws.normal(size=(rows, columns))), "b": jnp.asarray(draws.normal(size=columns))}
        for name, rows, columns in (("linear", INPUTS, HIDDEN), ("linear_1", HIDDEN, OUTPUTS))
    }
    targets = {
        "softmax": draws.integers(OUTPUTS, size=SAMPLES),
        "bernoulli": draws.uniform(size=(SAMPLES, OUTPUTS)),
        "squared-error": draws.normal(size=(SAMPLES, OUTPUTS)),
    }[loss]
    batch = {"inputs": jnp.asarray(draws.normal(size=(SAMPLES, INPUTS))), "targets": jnp.asarray(targets)}
    problem = Supervised(network.apply, loss, layers=HaikuLayers(network.apply), batch_size=batch_size)
    return Case(problem, params, {**batch, "key": jax.random.key(5)})


def losses(made: Case, params, targets):
    """Of every sample, shape (S,)."""
    return LOSSES[made.problem.loss].values(made.problem.apply(params, made.batch["inputs"]).T, targets)


def sensitivities(made: Case, targets):
    """dl/ds of both layers at every sample: the derivatives in a bias of the sample's own, which is added to s."""

    def total(shifts):
        inner, outer = (made.params[name] for name in ("linear", "linear_1"))
        hidden = jnp.tanh(made.batch["inputs"] @ inner["w"] + inner["b"] + shifts[0])
        outputs = hidden @ outer["w"] + outer["b"] + shifts[1]
        return jnp.sum(LOSSES[made.problem.loss].values(outputs.T, targets))

    return jax.grad(total)([jnp.zeros((SAMPLES, HIDDEN)), jnp.zeros((SAMPLES, OUTPUTS))])


def probabilities(made: Case):
    """All targets that the model may draw, each with its probability at every sample."""
    z = np.asarray(made.problem.apply(made.params, made.batch["inputs"]))
    if made.problem.loss == "softmax":
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        return [(jnp.full(SAMPLES, label), p[:, label]) for label in range(OUTPUTS)]
    p = 1 / (1 + np.exp(-z))
    outcomes = [np.array(bits) for bits in product((0.0, 1.0), repeat=OUTPUTS)]
    return [
        (jnp.broadcast_to(jnp.asarray(y), z.shape), np.prod(np.where(y == 1.0, p, 1 - p), axis=1)) for y in outcomes
    ]


def brute_force_outer(made: Case):
    """E[e e^T] of both layers, over the samples and all targets that the model may draw."""
    sums = [np.zeros((HIDDEN, HIDDEN)), np.zeros((OUTPUTS, OUTPUTS))]
    for targets, weights in probabilities(made):
        for total, e in zip(sums, sensitivities(made, targets), strict=True):
            total += np.einsum("s,si,sj->ij", weights, e, e) / SAMPLES
    return sums


def factors_of(made: Case, targets: str, batch=None):
    geometry = made.problem.geometry(made.params, (), batch or made.batch)
    return kronecker_factors(geometry.factor_layers(targets), centred=False, scale=1.0)


@pytest.mark.parametrize("loss", ["bernoulli", "softmax"])
def test_exact_factors_are_the_mean_over_all_targets(loss):
    made = case(loss)
    inner = made.params["linear"]
    ones = np.ones((SAMPLES, 1))
    seen = np.asarray(made.batch["inputs"]), np.tanh(made.batch["inputs"] @ inner["w"] + inner["b"])
    for found, a, s in zip(factors_of(made, "exact"), seen, brute_force_outer(made), strict=True):
        inputs = np.hstack([a, ones])
        close(found.inputs, inputs.T @ inputs / SAMPLES)
        close(found.sensitivities, s)


def test_exact_factors_of_squared_errors_are_those_of_unit_vectors():
    made = case("squared-error")
    # The outputs' metric is the identity, and so is E[e e^T] of the last layer.
    close(factors_of(made, "exact")[1].sensitivities, np.eye(OUTPUTS))


@pytest.mark.parametrize("loss", LOSSES)
def test_sampled_factors_average_to_the_exact_ones(loss):
    made, count = case(loss), 2000

    def sampled(key):
        return [factors.sensitivities for factors in factors_of(made, "sampled", {**made.batch, "key": key})]

    draws = jax.jit(jax.vmap(sampled))(jax.random.split(jax.random.key(1), count))
    for found, exact, data in zip(draws, factors_of(made, "exact"), factors_of(made, "empirical"), strict=True):
        upper = np.triu_indices(found.shape[-1])
        mean, error = np.mean(found, 0)[upper], np.std(found, 0, ddof=1)[upper] / np.sqrt(count)
        # At most 10 entries: one beyond 4.5 standard errors has a chance of 7e-5.
        assert np.max(np.abs(mean - np.asarray(exact.sensitivities)[upper]) / error) < 4.5
        # The empirical ones are others, by far.
        assert np.max(np.abs(mean - np.asarray(data.sensitivities)[upper]) / error) > 20.0


@pytest.mark.parametrize("loss", LOSSES)
def test_empirical_factors_are_those_of_the_data(loss):
    made = case(loss)
    found = factors_of(made, "empirical")
    for factors, e in zip(found, sensitivities(made, made.batch["targets"]), strict=True):
        close(factors.sensitivities, e.T @ e / SAMPLES)


def test_the_factored_solve_is_the_dense_one():
    draws, gamma = np.random.default_rng(0), 0.3
    a, s = (factor.T @ factor / 9 for factor in (draws.normal(size=(9, 6)), draws.normal(size=(3, 4))))
    block = draws.normal(size=(6, 4))
    pi = np.sqrt((np.trace(a) / 6) / (np.trace(s) / 4))
    dense = np.kron(a + gamma * pi * np.eye(6), s + gamma / pi * np.eye(4))
    expected = np.linalg.solve(dense, block.ravel()).reshape(6, 4)
    close(kronecker_solve(spectrum(jnp.asarray(a)), spectrum(jnp.asarray(s)), jnp.asarray(block), gamma), expected)
    inverses = damped_inverse(KroneckerFactors(jnp.asarray(a), jnp.asarray(s)), gamma)
    close(inverses.inputs @ block @ inverses.sensitivities, expected)


def metric_and_gradient(made: Case, params, batch):
    """The dense Gauss-Newton matrix and the gradient on a batch, in the order of the blocks."""
    parts = made.problem.partition(params)
    flat, restore = ravel_pytree(parts.split(params))

    def outputs(theta):
        return made.problem.apply(parts.join(restore(theta)), batch["inputs"])

    jacobian, p = np.asarray(jax.jacrev(outputs)(flat)), np.asarray(jax.nn.sigmoid(outputs(flat)))
    count = len(p)
    metric = np.einsum("sni,sn,snj->ij", jacobian, p * (1 - p), jacobian) / count
    return metric, np.einsum("sni,sn->i", jacobian, p - batch["targets"]) / count


OPTIONS = {
    "damping": 2.0,
    "gamma_factor": 0.7,
    "gamma_interval": 4,
    "factor_memory": 0.8,
    "inverse_interval": 5,
    "factor_fraction": 1 / 4,
    "model_fraction": 1 / 2,
}
EPOCHS = 12


class Trace(NamedTuple):
    steps: np.ndarray
    gammas: np.ndarray
    predicted: np.ndarray


@cache
def by_the_optimizer(method: str, targets: str) -> Trace:
    made = case()
    optimizer = kfac(made.problem, factor_inverse=method, factor_targets=targets, **OPTIONS)
    parts = made.problem.partition(made.params)

    @jax.jit
    def step(params, state, key):
        batch = {**made.batch, "key": key}
        gradient = jax.grad(lambda theta: jnp.mean(losses(made, theta, batch["targets"])))(params)
        updates, state = optimizer.update(gradient, state, params, **batch)
        return optax.apply_updates(params, updates), state, ravel_pytree(parts.split(updates))[0]

    params, state, rows = made.params, optimizer.init(made.params), []
    for epoch in range(EPOCHS):
        params, state, update = step(params, state, jax.random.key(epoch))
        rows.append((np.asarray(update), float(state.gamma), float(state.predicted)))
    return Trace(*map(np.array, zip(*rows, strict=True)))


def dense_inverse(factors, gamma):
    """Of the whole matrix: blocks of A (x) S with factored Tikhonov regularisation."""
    blocks = []
    for a, s in factors:
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
        damped = [a + gamma * pi * np.eye(len(a)), s + gamma / pi * np.eye(len(s))]
        blocks.append(np.linalg.inv(np.kron(*damped)))
    return jax.scipy.linalg.block_diag(*blocks)


def plane(matrix, gradient, directions):
    """Weights, step and value at the minimum of the model over the span of the directions."""
    basis = np.array([direction for direction in directions if direction.any()])
    weights = np.linalg.solve(basis @ matrix @ basis.T, -basis @ gradient)
    step = weights @ basis
    return step, 0.5 * step @ matrix @ step + gradient @ step


def by_the_formulas(method: str, targets: str) -> Trace:
    """The algorithm with dense matrices; only the random numbers are the package's."""
    made = case()
    params, rows = made.params, []
    parts = made.problem.partition(params)
    restore = ravel_pytree(parts.split(params))[1]
    gamma, previous, averages, kept = np.sqrt(OPTIONS["damping"]), 0.0, None, None
    for epoch in range(EPOCHS):
        batch = {**made.batch, "key": jax.random.key(epoch)}
        here = made._replace(params=params)
        part = made.problem.part(batch, OPTIONS["factor_fraction"], 0)
        now = [[np.asarray(one) for one in pair] for pair in factors_of(here, targets, part)]
        weight = min(1 - 1 / (epoch + 1), OPTIONS["factor_memory"])
        averages = [
            [weight * old + (1 - weight) * new for old, new in zip(*pairs, strict=True)]
            for pairs in zip(averages or now, now, strict=True)
        ]
        metric, _ = metric_and_gradient(made, params, made.problem.part(batch, OPTIONS["model_fraction"], 1))
        _, gradient = metric_and_gradient(made, params, batch)
        model = metric + OPTIONS["damping"] * np.eye(len(metric))
        compare = epoch % OPTIONS["gamma_interval"] == 0
        change = OPTIONS["gamma_factor"] ** OPTIONS["gamma_interval"]
        candidates = gamma * np.array([change, 1.0, 1 / change] if compare else [1.0])
        due = epoch % OPTIONS["inverse_interval"] == 0 or epoch < 3
        if due or (compare and method == "cholesky"):
            kept = averages, None
        found = []
        for candidate in candidates:
            of_gamma = candidate if kept[1] is None or method == "eigenvectors" else kept[1]
            direction = dense_inverse(kept[0], of_gamma) @ gradient
            directions = [direction] if epoch == 0 else [direction, previous]
            found.append((*plane(model, gradient, directions), candidate))
        previous, predicted, gamma = min(found, key=lambda one: one[1])
        if method == "cholesky":
            kept = kept[0], gamma if kept[1] is None else kept[1]
        params = optax.apply_updates(params, parts.join(restore(jnp.asarray(previous))))
        rows.append((previous, gamma, predicted))
    return Trace(*map(np.array, zip(*rows, strict=True)))


@pytest.mark.parametrize(
    ("method", "targets"), [("eigenvectors", "sampled"), ("cholesky", "sampled"), ("cholesky", "exact")]
)
def test_a_run_is_the_one_with_dense_matrices(method, targets):
    """Averages, parts of the batch, kept inverses, the choice of gamma and the plane's minimum, twelve epochs."""
    found, expected = by_the_optimizer(method, targets), by_the_formulas(method, targets)
    close(found.steps, expected.steps)
    close(found.gammas, expected.gammas)
    close(found.predicted, expected.predicted)
    assert len(set(np.round(found.gammas, 9))) > 1


def test_the_two_ways_to_invert_differ_only_where_gammas_are_compared_between_inversions():
    one, other = (by_the_optimizer(method, "sampled").steps for method in ("eigenvectors", "cholesky"))
    close(one[:4], other[:4])
    assert np.max(np.abs(one[4] - other[4])) > 1e-6 * np.max(np.abs(one[4]))


def test_the_step_is_the_minimum_over_the_plane():
    """No other weights give the model, written down with dense matrices, a lower value."""
    made, damping = case(), 0.5
    optimizer = kfac(made.problem, damping=damping, gamma=0.2)
    metric, gradient = metric_and_gradient(made, made.params, made.batch)
    model = metric + damping * np.eye(len(metric))
    parts = made.problem.partition(made.params)
    state = optimizer.init(made.params)
    draws = np.random.default_rng(1)
    back = ravel_pytree(parts.split(made.params))[1]
    previous = 0.1 * draws.normal(size=len(gradient))
    state = state._replace(previous=back(jnp.asarray(previous)), epoch=jnp.asarray(1, jnp.int32))
    updates, after = jax.jit(optimizer.update)(
        parts.join(back(jnp.asarray(gradient))), state, made.params, **made.batch
    )
    step = np.asarray(ravel_pytree(parts.split(updates))[0])
    alpha, mu = (float(after.report[name]) for name in ("alpha", "mu"))
    direction = (step - mu * previous) / alpha

    def value(weights):
        moved = weights @ np.array([direction, previous])
        return 0.5 * moved @ model @ moved + gradient @ moved

    least = value(np.array([alpha, mu]))
    assert float(after.predicted) == pytest.approx(least, rel=1e-10)
    scale = np.array([abs(alpha), 1.0])
    others = [value(np.array([alpha, mu]) + scale * shift) for shift in draws.normal(size=(500, 2))]
    assert min(others) > least
    tiny = [value(np.array([alpha, mu]) + 1e-3 * scale * shift) for shift in draws.normal(size=(500, 2))]
    assert min(tiny) > least


@pytest.mark.parametrize("method", ["eigenvectors", "cholesky"])
def test_kept_inverses_are_used_and_nothing_is_decomposed(method):
    """With factors that are no numbers: epoch 3 does not look at them, epoch 5 does."""
    made = case()
    optimizer = kfac(made.problem, factor_inverse=method, **OPTIONS)
    gradient = jax.tree.map(jnp.ones_like, made.params)
    update = jax.jit(optimizer.update)
    _, state = update(gradient, optimizer.init(made.params), made.params, **made.batch)
    lost = state._replace(factors=jax.tree.map(lambda part: jnp.full_like(part, jnp.nan), state.factors))
    for epoch, finite in ((3, True), (5, False)):
        steps, _ = update(gradient, lost._replace(epoch=jnp.asarray(epoch, jnp.int32)), made.params, **made.batch)
        assert bool(jnp.isfinite(ravel_pytree(steps)[0]).all()) == finite
    traced = jax.make_jaxpr(optimizer.update)(gradient, state, made.params, **made.batch)
    used = {"eigenvectors": "eigh", "cholesky": "cholesky"}[method]
    assert used in primitives(traced.jaxpr, ())
    assert used not in primitives(traced.jaxpr, ("cond",))


def primitives(jaxpr, left_out) -> set[str]:
    """Names of all primitives, without those inside of some."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        if equation.primitive.name not in left_out:
            for inner in jax.core.jaxprs_in_params(equation.params):
                names |= primitives(inner, left_out)
    return names


def test_parts_of_a_batch_are_drawn_without_replacement_and_apart():
    made = case()
    first, second = (made.problem.part(made.batch, 1 / 4, number) for number in range(2))
    everything = np.asarray(made.batch["inputs"])
    rows = [np.flatnonzero((everything[:, None] == np.asarray(one["inputs"])).all(2).any(1)) for one in (first, second)]
    assert [len(one) for one in rows] == [SAMPLES // 4] * 2
    assert set(rows[0]) != set(rows[1])
    for one, part in zip(rows, (first, second), strict=True):
        chosen = {tuple(row) for row in np.asarray(part["targets"])}
        assert chosen == {tuple(row) for row in np.asarray(made.batch["targets"])[one]}
    assert len(made.problem.part(made.batch, 1e-6, 0)["inputs"]) == 1


def test_gamma_begins_with_the_damping_and_the_penalty():
    made = case()
    for one, expected in ((made.problem, 150.0), (replace(made.problem, l2=46.0), 196.0)):
        assert float(kfac(one, **MARTENS_GROSSE).init(made.params).gamma) == pytest.approx(expected**0.5, rel=1e-14)


def test_energies_have_sampled_targets_only():
    psi, params = random_state(2, hidden=4)
    with pytest.raises(InputError, match=r"factor_targets = 'exact': this problem has sampled"):
        kfac(psi, factor_targets="exact")
    optimizer = kfac(psi, factor_fraction=0.5, model_fraction=0.25, inverse_interval=2, damping=10.0)
    walkers = jax.random.normal(jax.random.key(0), (32, 2))
    batch = {"walkers": walkers, "local_energies": jnp.sum(walkers**2, axis=1)}
    gradient = jax.tree.map(jnp.ones_like, params)
    steps, state = jax.jit(optimizer.update)(gradient, optimizer.init(params), params, **batch)
    assert bool(jnp.isfinite(ravel_pytree(steps)[0]).all())
    # The factors are those of the first half of the walkers.
    half = {name: values[:16] for name, values in batch.items()}
    whole = kfac(psi, damping=10.0)
    _, expected = jax.jit(whole.update)(gradient, whole.init(params), params, **half)
    close(ravel_pytree(state.factors)[0], ravel_pytree(expected.factors)[0])
