"""Fitting a chaotic series and a boundary layer: the problems against their definitions, the steps against formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_state

import repro
from repro.config.problems import PinnConfig, problem_config
from repro.errors import InputError
from repro.optimizers.proximal_least_squares import REJECTED
from repro.problems.pinn import (
    boundary_layer_problem,
    collocation_points,
    exact_solution,
    first_weights,
    points_of,
    quadrature,
    relative_errors,
    solution_network,
)
from repro.problems.registry import build_problem
from repro.problems.regression import mackey_glass_samples, mackey_glass_series
from repro.problems.residual import LeastSquares
from repro.solvers.sample_space import thin_factors

pytestmark = pytest.mark.usefixtures("x64")

KEY = jax.random.key(3)


@pytest.mark.parametrize("eps", [10.0, 0.1, 0.01, 1e-3])
def test_the_exact_solution_solves_the_equation(eps):
    x = np.array([0.0, 0.3, 1.0 - eps / 3 if eps < 1 else 0.7, 1.0])

    def solution(x):
        return x - (jnp.exp((x - 1) / eps) - jnp.exp(-1 / eps)) / (1 - jnp.exp(-1 / eps))

    slope = jax.vmap(jax.grad(solution))
    value, first = exact_solution(x, eps)
    np.testing.assert_allclose(value, solution(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(first, slope(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(value[[0, -1]], 0.0, atol=1e-15)
    second = jax.vmap(jax.grad(jax.grad(solution)))(x)
    np.testing.assert_allclose(-eps * second + first, 1.0, rtol=1e-8)
    points = quadrature(eps)
    assert points[1].sum() == pytest.approx(1.0, rel=1e-13)
    # The integral of v' is v(1) - v(0), and the layer is seen.
    assert points[1] @ points[3] == pytest.approx(0.0, abs=1e-10)
    assert points[0].min() > 0
    assert points[0].max() < 1


def test_residuals_and_errors_are_those_of_the_network():
    eps, network = 0.2, solution_network("3", 1.5)
    params = network.init(KEY, jnp.zeros(1))
    x = collocation_points(5, "clustered")
    np.testing.assert_allclose(x, 1 - (1 - (np.arange(5) + 0.5) / 5) ** 2, rtol=1e-15)

    def v(x):
        inner, outer = params["linear"], params["linear_1"]
        hidden = jnp.tanh(x * inner["w"][0] + inner["b"])
        return x * (1 - x) * (hidden @ outer["w"][:, 0] + outer["b"][0])

    expected = [-eps * jax.grad(jax.grad(v))(one) + jax.grad(v)(one) - 1 for one in x]
    points = points_of(PinnConfig(eps=eps, points=5))
    problem = boundary_layer_problem(network)
    np.testing.assert_allclose(problem.residuals(params, jnp.asarray(points))[:, 0], expected, rtol=1e-12)
    known = quadrature(eps)
    difference = np.array([[v(one), jax.grad(v)(one)] for one in known[0][::40]]).T - known[2:, ::40]
    weights = known[1, ::40]
    thin = np.concatenate([known[:2, ::40], known[2:, ::40]])
    l2, h1 = relative_errors(network)(params, jnp.asarray(thin))
    squares, norms = weights @ difference.T**2, weights @ thin[2:].T ** 2
    assert float(l2) == pytest.approx(np.sqrt(squares[0] / norms[0]), rel=1e-12)
    assert float(h1) == pytest.approx(np.sqrt(squares.sum() / norms.sum()), rel=1e-12)


def test_first_weights_follow_the_layer():
    assert [first_weights(PinnConfig(eps=eps)) for eps in (1.0, 0.1, 0.03, 0.01)] == [3.0, 3.0, 6.0, 6.0]
    assert first_weights(PinnConfig(eps=0.01, weights=2.0)) == 2.0


def test_the_series_is_that_of_its_equation():
    series = mackey_glass_series(40)
    assert series[0] == 1.2
    assert series[1] == pytest.approx(0.9 * 1.2)
    assert series[18] == pytest.approx(0.9 * series[17] + 0.2 * 1.2 / (1 + 1.2**10), rel=1e-15)
    training, test = mackey_glass_samples()
    longer = mackey_glass_series(6000)
    np.testing.assert_array_equal(training[7], longer[[207, 201, 195, 189, 213]])
    np.testing.assert_array_equal(test[-1], longer[[5499, 5493, 5487, 5481, 5505]])


def test_singular_values_solve_damped_and_cut_off():
    rows = np.random.default_rng(0).normal(size=(7, 3))
    right = np.random.default_rng(1).normal(size=7)
    factors = thin_factors(jnp.asarray(rows))
    damped = np.linalg.solve(rows.T @ rows + 0.3 * np.eye(3), rows.T @ right)
    np.testing.assert_allclose(factors.damped(jnp.asarray(right), 0.3), damped, rtol=1e-10)
    np.testing.assert_allclose(factors.cut_off(jnp.asarray(right), 0.0), np.linalg.pinv(rows) @ right, rtol=1e-10)
    cut = 0.5 * (factors.values[1] + factors.values[2]) / factors.values[0]
    expected = np.linalg.pinv(rows, rcond=float(cut)) @ right
    np.testing.assert_allclose(factors.cut_off(jnp.asarray(right), float(cut)), expected, rtol=1e-10)


def bent(params, points):
    """Residuals of a curved model with two parameters."""
    return jnp.stack([params["a"] * points + params["b"] ** 2 - jnp.sin(points), 0.3 * params["b"] * points], axis=1)


POINTS = np.linspace(0.2, 2.0, 6)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_proximal_step_is_that_of_the_dense_formula(momentum):
    """With its rule: lambda falls where the model was right."""
    problem = LeastSquares(bent)
    name = repro.levenberg_marquardt if momentum == 0 else repro.proximal
    optimizer = name(problem, damping=1e-2)
    params = {"a": jnp.array(0.2), "b": jnp.array(1.3)}
    state, last, damping = optimizer.init(params), np.zeros(2), None
    for _ in range(4):
        theta = np.array([params["a"], params["b"]])
        values = np.asarray(bent(params, POINTS)) / np.sqrt(6)
        slopes = jax.jacfwd(lambda t: bent({"a": t[0], "b": t[1]}, POINTS))(theta)
        rows, residuals = np.asarray(slopes).reshape(-1, 2) / np.sqrt(6), values.ravel()
        damping = 1e-2 * np.linalg.norm(rows, 2) ** 2 if damping is None else damping
        start = momentum * last
        expected = start - np.linalg.solve(rows.T @ rows + damping * np.eye(2), rows.T @ (residuals + rows @ start))
        updates, state = optimizer.update(params, state, params, points=POINTS)
        last = np.array([updates["a"], updates["b"]])
        np.testing.assert_allclose(last, expected, rtol=1e-9)
        params = optax.apply_updates(params, updates)
        after = 0.5 * np.sum(np.asarray(bent(params, POINTS)) ** 2) / 6
        moved = rows @ expected
        ratio = (after - 0.5 * residuals @ residuals) / (residuals @ moved + 0.5 * moved @ moved)
        assert float(optimizer.report(state)["rho"]) == pytest.approx(ratio, rel=1e-6)
        assert float(optimizer.report(state)["attempts"]) == 1
        damping *= 1 / 3 if ratio > 0.75 else 2 if ratio < 0.25 else 1
        assert float(state.damping) == pytest.approx(damping, rel=1e-9)


def test_a_step_that_raises_the_loss_is_not_made():
    """The linear model of arctan leads too far; lambda grows until the step does not."""
    problem = LeastSquares(lambda params, points: jnp.arctan(params["a"]) + 0.0 * points[:, None])
    optimizer = repro.proximal(problem, damping=1e-4)
    params = {"a": jnp.array(5.0)}
    updates, state = optimizer.update(params, optimizer.init(params), params, points=POINTS)
    made = float(optimizer.report(state)["attempts"])
    assert made > 1
    assert abs(float(params["a"] + updates["a"])) < 5.0
    first = 1e-4 / (1 + 25.0) ** 2
    assert float(optimizer.report(state)["lambda"]) == pytest.approx(first * REJECTED ** (made - 1), rel=1e-6)


def test_the_search_takes_the_best_halving():
    problem = LeastSquares(lambda params, points: jnp.arctan(params["a"]) + 0.0 * points[:, None])
    optimizer = repro.natural_momentum(problem, momentum=0.0, damping=1e-12, search="halving")
    params = {"a": jnp.array(5.0)}
    updates, _ = optimizer.update(params, optimizer.init(params), params, points=POINTS)
    newton = -np.arctan(5.0) * 26.0
    tried = [abs(np.arctan(5.0 + newton * 0.5**k)) for k in range(14)]
    assert float(updates["a"]) == pytest.approx(newton * 0.5 ** np.argmin(tried), rel=1e-6)


@pytest.mark.parametrize("name", ["lbfgs", "muon", "proximal", "levenberg_marquardt"])
def test_others_lower_the_loss(name):
    options = {"learning_rate": 0.05} if name == "muon" else {}
    optimizer = getattr(repro, name)(LeastSquares(bent), **options)
    found = repro.minimise(
        LeastSquares(bent), optimizer, {"a": jnp.array(0.2), "b": jnp.array(1.3)}, epochs=15, coefficients=POINTS
    )
    assert found.curve["loss"][-1] < 0.3 * found.curve["loss"][0]


def test_what_does_not_fit_is_refused():
    energy = repro.MonteCarlo(random_state(2)[0])
    with pytest.raises(InputError, match=r"optimizer = .proximal.: is for losses; an energy has proximal-dgd"):
        repro.proximal(energy)
    with pytest.raises(InputError, match=r"optimizer = .lbfgs.: searches along a loss, and an energy is none"):
        repro.lbfgs(energy)
    with pytest.raises(InputError, match=r"eps = 0.0001: must be at least 0.001"):
        problem_config("pinn", eps=1e-4)
    with pytest.raises(InputError, match=r"batch = 300: must be at most points, 200"):
        problem_config("pinn", batch=300)
    with pytest.raises(InputError, match=r"placement = .random.: unknown"):
        problem_config("pinn", placement="random")


def test_a_part_of_the_points_is_some_of_them():
    problem = LeastSquares(bent)
    (some,) = problem.part({"points": (POINTS,)}, 0.5, 1)["points"]
    assert some.shape == (3,)
    assert set(np.asarray(some)) < set(np.asarray(POINTS))
    np.testing.assert_array_equal(some, problem.part({"points": (POINTS,)}, 0.5, 1)["points"][0])


def test_pinn_is_solved_by_the_proximal_step():
    made = build_problem(problem_config("pinn", eps=1.0, points=60), "float64")
    optimizer = repro.proximal(made.problem)
    params = made.initial(KEY)
    found = repro.minimise(made.problem, optimizer, params, epochs=30, coefficients=jnp.asarray(made.coefficients))
    assert float(made.evaluate(found.params, made.coefficients, made.held_out)["h1_error"]) < 1e-5
