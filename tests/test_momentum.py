"""Momentum in parameter and in function space: against the formulas in NumPy, and where they take each method."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_state

from repro.errors import InputError
from repro.optimizers import natural_momentum
from repro.optimizers.momentum import KINDS
from repro.problems.residual import LeastSquares
from repro.vmc.problem import MonteCarlo

pytestmark = pytest.mark.usefixtures("x64")

TARGET = np.array([-1.6, 2.56])
POINT = np.zeros((1, 1))


def curve(params, points):
    """A curved line in the plane, v = theta b + theta^2 b_perp, less a target near another branch of it."""
    return (jnp.stack([params["theta"], params["theta"] ** 2]) - TARGET)[None] + 0.0 * points


def network(params, points):
    """A few tanh units; four residuals of a regression."""
    hidden = jnp.tanh(points @ params["inner"] + params["bias"])
    return hidden @ params["outer"] - jnp.sin(3.0 * points)


NETWORK = {"inner": np.array([[1.0, -2.0]]), "bias": np.array([0.3, 0.1]), "outer": np.array([[0.5], [0.7]])}
POINTS = np.linspace(-1.0, 1.0, 4)[:, None]


def trained(residuals, params, points, steps, **options):
    """Parameters before the first update and after each."""
    problem = LeastSquares(residuals)
    optimizer = natural_momentum(problem, **options)

    def step(carry, _):
        params, state = carry
        zeros = jax.tree.map(jnp.zeros_like, params)  # the gradient is not asked for
        updates, state = optimizer.update(zeros, state, params, points=points)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    _, path = jax.jit(lambda params: jax.lax.scan(step, (params, optimizer.init(params)), None, steps))(params)
    return jax.tree.map(lambda first, rest: np.concatenate([np.asarray(first)[None], rest]), params, path)


def by_the_formulas(steps, learning_rate, damping, momentum, kind):
    """With dense matrices, J of the residuals from ``jax.jacfwd``."""
    flat, restore = jax.flatten_util.ravel_pytree(NETWORK)

    def residuals(theta):
        return network(restore(theta), POINTS).ravel()

    value, slope = jax.jit(residuals), jax.jit(jax.jacfwd(residuals))
    count, path, last = len(POINTS), [np.asarray(flat)], np.zeros(flat.size)

    def natural(j, v):
        return np.linalg.solve(j.T @ j / count + damping * np.eye(j.shape[1]), j.T @ v / count)

    theta = before = np.asarray(flat)
    for _ in range(steps):
        j, e = np.asarray(slope(theta)), np.asarray(value(theta))
        step = -learning_rate * natural(j, e)
        if kind == "parameter":
            step += momentum * last
        elif kind == "transported":
            step += momentum * natural(j, np.asarray(slope(before)) @ last)
        elif kind == "function-difference":
            step += momentum * natural(j, e - value(before))
        elif kind == "last-gradient" and last.any():
            step -= momentum * natural(j, value(before))
        made = theta + step
        if kind == "nesterov":
            theta, before = made + momentum * natural(np.asarray(slope(made)), value(made) - value(before)), made
        else:
            last, before, theta = step, theta, made
        path.append(theta)
    return np.array(path)


@pytest.mark.parametrize("kind", KINDS)
def test_updates_are_those_of_the_formulas(kind):
    options = {"learning_rate": 0.3, "damping": 1e-2, "momentum": 0.4}
    path = trained(network, NETWORK, POINTS, 6, kind=kind, **options)
    found = np.stack([jax.flatten_util.ravel_pytree(jax.tree.map(lambda x, k=k: x[k], path))[0] for k in range(7)])
    np.testing.assert_allclose(found, by_the_formulas(6, kind=kind, **options), rtol=1e-8)


@cache
def losses(kind: str, momentum: float, steps: int = 400) -> np.ndarray:
    options = {"learning_rate": 0.1, "damping": 1e-12, "momentum": momentum, "kind": kind}
    theta = trained(curve, {"theta": jnp.array(2.5)}, POINT, steps, **options)["theta"]
    return 0.5 * ((theta - TARGET[0]) ** 2 + (theta**2 - TARGET[1]) ** 2)


def test_momentum_in_function_space_escapes_a_local_minimum():
    """Natural gradient descent stays in it, the transported momentum of 0.8 does not, that of parameters does."""
    t = -TARGET[0]
    middle = sorted(np.roots([2.0, 0.0, 1.0 - 2.0 * t**2, t]).real, key=abs)[1]
    trapped = 0.5 * ((middle + t) ** 2 + (middle**2 - t**2) ** 2)
    np.testing.assert_allclose(losses("parameter", 0.0)[-1], trapped, rtol=1e-9)
    assert trapped > 1e-3
    assert losses("transported", 0.8)[:101].min() < 1e-6
    for kind in ("parameter", "function-difference"):
        assert losses(kind, 0.8).min() > 1e-3
        assert losses(kind, 0.9).min() < 1e-6


def test_the_loss_of_a_linear_problem_falls_at_the_rate_of_the_step():
    """Without momentum the error in function space is multiplied by 1 - alpha, whatever the metric."""
    matrix = jnp.array([[1.0, 0.0], [0.2, 0.25]])
    path = trained(
        lambda params, points: (matrix @ params)[None] + 0.0 * points,
        jnp.array([0.8, 0.6]),
        POINT,
        20,
        learning_rate=0.1,
        damping=1e-14,
        momentum=0.0,
    )
    values = path @ np.asarray(matrix).T
    np.testing.assert_allclose(values, 0.9 ** np.arange(21)[:, None] * values[0], rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"learning_rate": 0.0}, "learning_rate = 0"),
        ({"damping": -1.0}, "damping = -1"),
        ({"momentum": 1.0}, "momentum = 1: must be at least 0 and below 1"),
        ({"kind": "polyak"}, "kind = 'polyak': unknown; choose one of parameter, transported"),
    ],
)
def test_values_out_of_bounds_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        natural_momentum(LeastSquares(curve), **options)


def test_functions_that_cannot_be_subtracted_are_refused():
    psi, _ = random_state(2, hidden=4)
    with pytest.raises(InputError, match="take parameter or transported"):
        natural_momentum(MonteCarlo(psi), kind="function-difference")
