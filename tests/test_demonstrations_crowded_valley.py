"""The scale model of a benchmark of optimisers: a loop in plain Python gives the same losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from repro.demonstrations.optimisation.crowded_valley import BATCH, RATES, _noisy_quadratic, _values, final_losses


@pytest.mark.parametrize("cosine", [False, True])
def test_rates_seeds_and_schedules_are_those_of_a_plain_loop(cosine):
    problem, steps, seed, place = _noisy_quadratic(), 5, 1, 6
    losses = final_losses(problem, optax.adam(1.0), steps, 2)
    optimizer = optax.adam(
        optax.cosine_decay_schedule(RATES[place], steps) if cosine else optax.constant_schedule(RATES[place])
    )
    key = jax.random.key(seed)
    params = problem.init(jax.random.fold_in(key, 0))
    state = optimizer.init(params)
    for number in range(steps):
        rows = jax.random.randint(jax.random.fold_in(key, number + 1), (BATCH,), 0, problem.samples)
        updates, state = optimizer.update(jax.grad(problem.loss)(params, rows), state, params)
        params = optax.apply_updates(params, updates)
    assert losses[int(cosine), place, seed] == pytest.approx(float(problem.whole(params)), rel=1e-5)


def test_the_quadratics_minimum_is_where_its_loss_is_zero():
    problem = _noisy_quadratic(size=4)
    gradient = jax.grad(problem.loss)(jnp.zeros(4), jnp.arange(problem.samples))
    assert np.abs(gradient).max() < 1e-7
    assert float(problem.whole(jnp.zeros(4))) == 0.0


def test_values_by_hand():
    default = np.array([[4.0, 1.0], [2.0, 3.0]])
    tuned = np.array([[[1.0, 1.0], [2.0, 0.5]], [[0.5, 2.0], [2.0, 0.25]]])
    found = _values(default, tuned)
    assert found["most_wins_of_one"] == 1.0
    # Best defaults: 2 and 1; tuned: 0.5, 1 and 2, 0.25; ratios 4, 1, 1, 4.
    assert found["best_default_over_tuned"] == 2.5
    assert found["best_default_over_best_tuned"] == 4.0
