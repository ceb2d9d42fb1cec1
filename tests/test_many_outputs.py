"""What many outputs need: diagonals from sampled pseudo-gradients, and SPRING's step without rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import situation
from jax.flatten_util import ravel_pytree
from test_problems import CASES, KEY, classification, close, flat

import repro.optimizers.sample_space as in_rows
import repro.problems.terms as terms
from repro import optimizers
from repro.curvature.eigenbasis import eigenbases
from repro.vmc.problem import MonteCarlo

L2 = 0.3
pytestmark = pytest.mark.usefixtures("x64")


def updates_of(optimizer, problem, params, coefficients, count=2):
    """Updates on the same samples, in the order of the blocks."""
    data, _ = problem.draw(params, None, KEY, coefficients)

    @jax.jit
    def update(state):
        evaluation = problem.evaluate(params, data, coefficients)
        updates, state = optimizer.update(evaluation.gradient, state, params, **evaluation.batch)
        return flat(problem.partition(params).split(updates)), state

    state, found = optimizer.init(params), []
    for _ in range(count):
        step, state = update(state)
        found.append(np.asarray(step))
    return found


def with_and_without_rows(monkeypatch, steps):
    """What ``steps()`` returns with rows, and without them where conjugate gradients go on to the end."""
    by_rows = steps()
    monkeypatch.setattr(in_rows, "MOST_NUMBERS", 0)
    monkeypatch.setattr(in_rows, "PROGRESS", 0.0)
    return by_rows, steps()


@pytest.mark.parametrize("name", ["bernoulli", "differential equation"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_spring_without_rows_takes_the_same_steps(name, momentum, monkeypatch):
    case = CASES[name]()
    penalised = name == "bernoulli"
    problem = replace(case.problem, l2=L2) if penalised else case.problem
    coefficients = (case.batch["inputs"], case.batch["targets"]) if penalised else case.batch["points"]
    of_name = optimizers.spring if momentum else optimizers.minsr
    options = {"momentum": momentum} if momentum else {}

    def steps():
        optimizer = of_name(problem, damping=0.1, step_limit=1e9, **options)
        return updates_of(optimizer, problem, case.params, coefficients)

    for expected, found in zip(*with_and_without_rows(monkeypatch, steps), strict=True):
        close(found, expected, 1e-9)


def test_spring_without_rows_takes_the_same_steps_for_energies(monkeypatch):
    """Their metric is 4 O^T O, and their gradient 2 O^T e."""
    psi, params, x, energies, _ = situation(16)
    problem, batch = MonteCarlo(psi), {"walkers": x, "local_energies": energies}

    @jax.jit
    def gradient():
        rows, residuals = problem.geometry(params, (), batch).sample_space()
        return ravel_pytree(params)[1](2.0 * residuals @ rows)

    def steps():
        optimizer = optimizers.spring(problem, step_limit=1e9)
        update, state, found = jax.jit(optimizer.update), optimizer.init(params), []
        for _ in range(2):
            step, state = update(gradient(), state, params, **batch)
            found.append(ravel_pytree(step)[0])
        return found

    for expected, found in zip(*with_and_without_rows(monkeypatch, steps), strict=True):
        close(found, expected, 1e-8)


@cache
def estimates(kind: str, samples: int = 600):
    """Estimates of the diagonal by pseudo-gradients, and the exact one."""
    case = classification("bernoulli")
    parts, (term,) = case.problem.partition(case.params), case.problem.terms_of(case.batch)
    outputs, metric = term.at(case.params), term.loss.metric(term.at(case.params))
    geometry = case.problem.geometry(case.params, (), case.batch)
    bases = eigenbases(geometry.layers)

    def diagonal(key):
        if kind == "single samples":
            squares = term._sampled_squares(metric.sample(key, outputs), case.params, parts)
            return flat(tuple(squares(index) for index in range(2)))
        here = case.problem.geometry(case.params, (), {**case.batch, "key": key})
        here = here.turned(bases) if kind == "eigenbases" else here
        return flat(tuple(here.curvature("fisher").diagonal(index) for index in range(2)))

    keys = jax.random.split(jax.random.key(3), samples)
    turn = jax.scipy.linalg.block_diag(*(np.kron(u, v) for u, v in bases)) if kind == "eigenbases" else None
    exact = case.metric if turn is None else turn.T @ case.metric @ turn
    return np.asarray(jax.jit(lambda: jax.lax.map(diagonal, keys))()), np.diag(exact)


@pytest.mark.parametrize("kind", ["layers", "eigenbases", "single samples"])
def test_many_outputs_have_their_diagonal_from_sampled_pseudo_gradients(kind, monkeypatch):
    """Unbiased: the mean of many estimates is the diagonal within its error."""
    monkeypatch.setattr(terms, "EXACT_OUTPUTS", 5)
    found, expected = estimates(kind)
    # In their eigenbases a few samples leave directions in which there is nothing.
    seen = expected > 1e-12 * expected.max()
    assert np.all(found[:, ~seen] < 1e-12 * expected.max())
    found, expected = found[:, seen], expected[seen]
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    deviation = (found.mean(0) - expected) / error
    assert np.abs(deviation).max() < 5.0
    assert 0.4 < np.mean(deviation**2) < 2.5
    assert np.median(error / expected) < 0.05


def test_the_number_of_outputs_decides(monkeypatch):
    case = classification("bernoulli")
    for most, estimated in ((10, False), (9, True)):
        monkeypatch.setattr(terms, "EXACT_OUTPUTS", most)
        curvature = case.problem.geometry(case.params, (), case.batch).curvature("fisher")
        assert (curvature.estimated is not None) == estimated


def test_the_diagonal_of_the_empirical_fisher_needs_no_gradients_of_samples():
    """Where the linear maps are known it is exact: a sample has one input and one sensitivity."""
    case = classification("bernoulli")

    @jax.jit
    def diagonal():
        curvature = case.problem.geometry(case.params, (), case.batch).curvature("empirical-fisher")
        assert curvature.estimated is not None
        return flat(tuple(curvature.diagonal(index) for index in range(2)))

    close(diagonal(), np.diag(case.empirical))


def test_rows_of_a_penalised_problem_give_its_metric_and_gradient():
    case = classification("bernoulli")
    problem = replace(case.problem, l2=L2)
    parts, back = problem.partition(case.params), ravel_pytree(case.params)[1]

    @jax.jit
    def ordered():
        rows, residuals = problem.geometry(case.params, (), case.batch).sample_space()
        return jax.vmap(lambda row: flat(parts.split(back(row))))(rows), residuals

    rows, residuals = map(np.asarray, ordered())
    theta = np.asarray(flat(parts.split(case.params)))
    close(rows.T @ rows, case.metric + L2 * np.eye(len(theta)))
    close(rows.T @ residuals, case.gradient + L2 * theta)
    assert jnp.result_type(rows) == jnp.float64
