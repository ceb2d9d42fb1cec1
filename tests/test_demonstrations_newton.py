"""Newton's method: as an equation, as a minimum, beside a saddle point, and where it converges."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.demonstrations.base import in_double_precision
from repro.demonstrations.optimisation.damped_newton import (
    cost,
    curvature,
    cycle,
    cycle_damping,
    damped_newton,
    end_of,
    largest_start,
    least_damping,
    path,
)
from repro.demonstrations.optimisation.damping import PLANE, POINT, damped_inverses
from repro.demonstrations.optimisation.newton_step import (
    directions,
    hills,
    minimum_of_model,
    root_of_linearised_gradient,
)
from repro.demonstrations.optimisation.saddle_points import function, paths_past_a_saddle
from repro.demonstrations.optimisation.stepping import newton, points_of
from repro.solvers import conjugate_gradients


@in_double_precision
def test_the_root_and_the_minimum_are_one_point():
    rng = np.random.default_rng(3)
    terrain = hills(jnp.asarray(rng.normal(size=(9, 4))), jnp.asarray(rng.normal(size=9)))
    point = jnp.asarray(rng.normal(size=4))
    gradient, hessian = jax.jit(jax.grad(terrain))(point), jax.jit(jax.hessian(terrain))(point)
    root = jax.jit(partial(root_of_linearised_gradient, terrain))(point)
    np.testing.assert_allclose(gradient + hessian @ (root - point), 0.0, atol=1e-13)
    best = np.asarray(jax.jit(partial(minimum_of_model, terrain))(point) - point)

    def model(move):
        return gradient @ move + 0.5 * move @ hessian @ move

    assert all(model(best) < model(best + 1e-3 * rng.normal(size=4)) for _ in range(50))
    np.testing.assert_allclose(best, root - point, atol=1e-13)


def test_only_definite_matrices_always_go_downhill():
    assert np.all(directions(np.random.default_rng(0), 5, 300, definite=True) < 0.0)
    both = directions(np.random.default_rng(0), 5, 300, definite=False)
    assert both.min() < 0.0 < both.max()


def test_paths_past_a_saddle_are_those_of_their_recursions():
    result = paths_past_a_saddle(steps=60, starts=100)
    y = 0.3
    for point in result.paths["newton"][:6]:
        assert point[1] == pytest.approx(y, rel=1e-9, abs=1e-16)  # of 0.3 - (0.3 + 1e-17) the rest is rounding
        y = 2.0 * y**3 / (3.0 * y**2 - 2.0)
    x, y = 1.0, 0.3
    for point in result.paths["gradient-descent"][:30]:
        np.testing.assert_allclose(point, [x, y], rtol=1e-12)
        x, y = x - 0.2 * x, y - 0.1 * (y**3 - 2.0 * y)
    ends = result.starts.copy()
    for _ in range(60):
        ends = 2.0 * ends**3 / (3.0 * ends**2 - 2.0)
    assert result.values["share_to_saddle_newton"] == np.mean(np.abs(ends) < 1e-6)
    heights = np.asarray(function(result.paths["saddle-free"].T))
    assert heights[-1] == pytest.approx(-1.0)
    assert all(after <= before + 1e-12 for before, after in pairwise(heights))
    assert result.values["hessian_bytes"] == 4.0 * 23e6**2


@in_double_precision
def test_the_recursion_is_damped_newton_on_the_printed_function():
    def printed(x):
        return jnp.sum(jnp.log(1.0 + jnp.exp(x)) + jnp.log(1.0 + jnp.exp(-x)))

    start = np.array([2.0, -0.7, 5.0])
    assert float(jnp.sum(cost(start))) == pytest.approx(float(printed(start)), rel=1e-14)
    np.testing.assert_allclose(jnp.diag(jax.jit(jax.hessian(printed))(start)), curvature(start), rtol=1e-12)
    np.testing.assert_allclose(points_of(newton(printed, 0.3), start, 5), path(start, 0.3, 5), rtol=1e-9, atol=1e-12)


def test_newton_converges_up_to_the_root_and_overflows_beyond():
    starts = np.linspace(0.01, 6.0, 600)
    ends = end_of(starts, 0.0)
    assert np.array_equal(ends < 1e-10, np.sinh(starts) < 2.0 * starts)
    assert np.all(np.isinf(ends[ends > 1e-10]))
    assert path(largest_start(), 0.0, 1)[1] == pytest.approx(-largest_start(), rel=1e-13)
    assert np.isinf(path(800.0, 0.0, 3)[1:]).all()


def test_steps_shrink_exactly_where_damping_exceeds_that_of_the_cycle():
    x, damping = np.meshgrid(np.linspace(0.05, 30.0, 500), np.linspace(0.0, 0.15, 40))
    shrinks = np.abs(x - np.tanh(0.5 * x) / (curvature(x) + damping)) < x
    assert np.array_equal(shrinks, damping > cycle_damping(x))
    threshold, widest = least_damping()
    assert threshold == pytest.approx(cycle_damping(np.linspace(0.1, 20.0, 200001)).max(), abs=1e-10)
    wide = cycle(0.5 * threshold)
    assert wide > widest
    np.testing.assert_allclose(path(wide, 0.5 * threshold, 2), [wide, -wide, wide], rtol=1e-12)


def test_every_start_converges_above_the_threshold_and_not_below():
    result = damped_newton(columns=20, rows=10)
    assert result.values["end_above_eta_star"] <= 1e-10
    assert result.values["end_below_eta_star"] > 1.0
    above = result.dampings > result.values["eta_star"]
    assert result.converged[above].all()
    assert not result.converged[~above].all(axis=1).any()


@in_double_precision
def test_a_damped_step_minimises_the_model_and_the_distance():
    result = damped_inverses(size=8, dampings=(1e-2,), draws=5)
    for damping, point in zip(result.plane_dampings[::20], result.plane_points[::20], strict=True):
        product = partial(jnp.matmul, jnp.asarray(PLANE))
        step = conjugate_gradients(product, -jnp.asarray(PLANE @ POINT), shift=damping, iterations=2, progress=0.0).x
        np.testing.assert_allclose(point, POINT + step, rtol=1e-9)
    nu = result.eigenvalues
    np.testing.assert_allclose(result.inverse[0], 1.0 / (nu + 1e-2), rtol=1e-9)
    assert result.values["largest_times_damping"] == pytest.approx(1.0)
