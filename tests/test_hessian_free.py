"""Hessian-free optimisation: every step against dense matrices, and the rules that choose it."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from test_problems import KEY, classification

from repro import optimizers
from repro.optimizers.hessian_free import best_iterate, kept_iterations, step_length
from repro.problems.supervised import Minibatch
from repro.solvers.cg import CGResult, conjugate_gradients
from repro.training.epoch import training_epoch
from repro.training.state import TrainState

STRENGTH, ITERATIONS = 0.01, 12
pytestmark = pytest.mark.usefixtures("x64")


class Dense:
    """The recipe once more, with matrices and NumPy, on a fixed set of samples."""

    def __init__(self, case, damping):
        self.case, self.damping = case, damping
        self.parts = case.problem.partition(case.params)
        theta, self.back = ravel_pytree(self.parts.split(case.params))
        self.theta = np.asarray(theta)
        self.solution = np.zeros_like(self.theta)
        self.apply = jax.jit(
            lambda theta: jax.vmap(lambda x: case.problem.apply(self.parts.join(self.back(theta)), x[None])[0])(
                case.batch["inputs"]
            )
        )
        self.jacobian = jax.jit(jax.jacfwd(self.apply))

    def objective(self, theta):
        z, y = np.asarray(self.apply(theta)), np.asarray(self.case.batch["targets"])
        return np.mean(np.sum(np.logaddexp(0, z) - y * z, 1)) + STRENGTH / 2 * theta @ theta

    def step(self):
        """One update; returns it, the iterations, the number of the iterate that was taken, the length and rho."""
        z, y, jacobian = (
            np.asarray(a) for a in (self.apply(self.theta), self.case.batch["targets"], self.jacobian(self.theta))
        )
        p = 1 / (1 + np.exp(-z))
        single = np.einsum("snp,sn->sp", jacobian, p - y)
        g = single.mean(0) + STRENGTH * self.theta
        model = np.einsum("snp,sn,snq->pq", jacobian, p * (1 - p), jacobian) / len(z) + STRENGTH * np.eye(len(g))
        scale = ((single**2).mean(0) + STRENGTH + self.damping) ** 0.75
        iterates = self.conjugate_gradients(model + self.damping * np.eye(len(g)), g, scale)
        kept = [number for number in kept_iterations(ITERATIONS) if number < len(iterates) - 1] + [len(iterates) - 1]
        before, place = self.objective(self.theta), len(kept) - 1
        change = [self.objective(self.theta + iterates[number]) - before for number in kept]
        while place > 0 and change[place - 1] < change[place]:
            place -= 1
        chosen, length = iterates[kept[place]], 1.0
        while self.objective(self.theta + length * chosen) - before > 0.01 * length * (g @ chosen):
            length *= 0.8
        step = length * chosen
        ratio = (self.objective(self.theta + step) - before) / (g @ step + step @ model @ step / 2)
        self.theta, self.solution = self.theta + step, iterates[-1]
        self.damping *= 2 / 3 if ratio > 0.75 else 3 / 2 if ratio < 0.25 else 1
        return step, len(iterates) - 1, kept[place], length, ratio

    def conjugate_gradients(self, matrix, g, scale):
        x = 0.95 * self.solution
        r = -g - matrix @ x
        z = p = r / scale
        iterates, values = [x], [0.5 * x @ matrix @ x + g @ x]
        for i in range(1, ITERATIONS + 1):
            alpha, before = (r @ z) / (p @ matrix @ p), r @ z
            x, r = x + alpha * p, r - alpha * matrix @ p
            z = r / scale
            p = z + (r @ z) / before * p
            iterates.append(x)
            values.append(0.5 * x @ matrix @ x + g @ x)
            if i > 10 and values[i] < 0 and (values[i] - values[i - 10]) / values[i] < 10 * 5e-4:
                break
        return iterates


@pytest.mark.parametrize("damping", [1.0, 10.0])
def test_updates_against_dense_matrices(damping):
    case = classification("bernoulli", sizes=(16, 4, 10))
    problem = replace(case.problem, l2=STRENGTH)
    optimizer = optimizers.hessian_free(problem, damping=damping, cg_iterations=ITERATIONS, curvature_fraction=1)
    epoch = jax.jit(training_epoch(problem, optimizer))
    data, coefficients = Minibatch(None, KEY), (case.batch["inputs"], case.batch["targets"])
    state = TrainState(case.params, optimizer.init(case.params), data, jnp.zeros((), jnp.int32))
    dense, taken = Dense(case, damping), []
    for _ in range(4):
        before = state.params
        # Conjugate gradients magnify rounding from step to step: each begins where the package is.
        dense.theta = np.asarray(ravel_pytree(dense.parts.split(before))[0])
        dense.solution = np.asarray(state.opt_state.solution)
        expected, iterations, number, length, ratio = dense.step()
        state, metrics = epoch(state, KEY, coefficients)
        step = ravel_pytree(dense.parts.split(jax.tree.map(jnp.subtract, state.params, before)))[0]
        np.testing.assert_allclose(step, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
        found = [int(metrics[name]) for name in ("cg_iterations", "cg_kept")]
        assert found == [iterations, number]
        assert float(metrics["length"]) == pytest.approx(length, rel=1e-12)
        assert float(metrics["rho"]) == pytest.approx(ratio, rel=1e-6)
        assert float(state.opt_state.damping) == pytest.approx(dense.damping, rel=1e-12)
        taken.append((number < iterations, length < 1))


def test_products_are_those_of_a_part_of_the_batch():
    """The gradient stays that of all samples."""
    case = classification("bernoulli")
    steps = []
    part = case.problem.part(case.batch, 0.5, 0)
    assert part["inputs"].shape[0] == 6
    for fraction, batch in ((0.5, case.batch), (1.0, part)):
        optimizer = optimizers.hessian_free(case.problem, curvature_fraction=fraction, cg_preconditioner_power=0.0)
        update = jax.jit(optimizer.update)
        _, state = update(case.params, optimizer.init(case.params), case.params, **batch)
        steps.append(ravel_pytree(state.solution)[0])
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-10, atol=1e-12)


def solved(*values):
    """As if conjugate gradients had kept these numbers as iterates, and made room for two more."""
    kept = jnp.asarray((*values, 0.0, 0.0))[:, None]
    zero = jnp.zeros(())
    last = len(values) - 1
    return CGResult(kept[last], zero, zero, zero, zero, kept, jnp.asarray(last), zero)


@pytest.mark.parametrize(
    ("changes", "place"),
    [((-1, -2, -3), 2), ((-1, -3, -2), 1), ((-4, -3, -2), 0), ((-9, -1, -2), 2), ((-1, -2, np.nan), 1), ((-1,), 0)],
)
def test_iterates_are_gone_through_backwards_while_the_objective_falls(changes, place):
    table = jnp.asarray(changes, jnp.float64)

    def change(step):
        return table[step[0].astype(int)]

    found, iterate = jax.jit(lambda: best_iterate(change, solved(*map(float, range(len(changes))))))()
    assert int(found) == place
    assert float(iterate[0]) == place


@pytest.mark.parametrize(("curvature", "power"), [(1.0, 0), (3.0, 2), (1e3, None)])
def test_a_step_is_shortened_until_it_lowers_the_objective_enough(curvature, power):
    """-x + c x^2 / 2 from 0 along 1: enough where c x / 2 <= 0.99."""

    def change(step):
        return -step[0] + 0.5 * curvature * step[0] ** 2

    expected = next(0.8**n for n in range(60) if 0.5 * curvature * 0.8**n <= 0.99)
    assert power is None or expected == 0.8**power
    found = jax.jit(lambda: step_length(change, jnp.ones(1), jnp.asarray(-1.0)))()
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("worse", [1.0, np.nan])
def test_a_step_that_never_helps_is_not_made_and_the_damping_grows(worse):
    assert float(step_length(lambda step: jnp.asarray(worse), jnp.ones(1), jnp.asarray(-1.0))) == 0.0
    case = classification("bernoulli")
    optimizer = optimizers.hessian_free(case.problem, damping=2.0)
    uphill = jax.tree.map(
        lambda g: -g,
        jax.jit(
            lambda: (
                case.problem.evaluate(
                    case.params, Minibatch(None, KEY), (case.batch["inputs"], case.batch["targets"])
                ).gradient
            )
        )(),
    )
    updates, state = jax.jit(optimizer.update)(uphill, optimizer.init(case.params), case.params, **case.batch)
    assert not np.any(ravel_pytree(updates)[0])
    assert float(state.predicted) < 0
    judged, ratio = optimizer.judge.judge(state, jnp.ones(12), jnp.ones(12))
    assert float(ratio) == 0.0
    assert float(judged.damping) == pytest.approx(3.0)


def test_numbers_of_the_iterates_that_are_kept():
    assert kept_iterations(60) == (1, 2, 3, 4, 5, 7, 9, 11, 14, 18, 24, 31, 40, 52)
    assert kept_iterations(1) == ()


@pytest.mark.parametrize("iterations", [1, 4, 5, 9])
def test_conjugate_gradients_keep_iterates(iterations):
    """Each is where a shorter run ends."""
    matrix = np.random.default_rng(0).normal(size=(12, 12))
    matrix, b, keep = jnp.asarray(matrix @ matrix.T + np.eye(12)), jnp.arange(12.0), (1, 3, 5)

    def run(count, keep=()):
        return jax.jit(
            lambda: conjugate_gradients(lambda v: matrix @ v, b, iterations=count, progress=0.0, keep=keep)
        )()

    found = run(iterations, keep)
    numbers = [number for number in keep if number < iterations] + [iterations]
    assert int(found.last_kept) == len(numbers) - 1
    for place, number in enumerate(numbers):
        np.testing.assert_allclose(found.kept[place], run(number).x, rtol=1e-12, atol=1e-12)
    assert not np.any(found.kept[len(numbers) :])


@pytest.mark.parametrize("keep", [(0,), (2, 1), (3, 3)])
def test_numbers_to_keep_grow_from_one(keep):
    with pytest.raises(ValueError, match="keep = "):
        conjugate_gradients(lambda v: v, jnp.ones(2), iterations=3, keep=keep)
