"""Averaged parameters against the formula, and minibatches that grow."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import repro
from repro.errors import InputError
from repro.optimizers import Optimizer, averaged, averaged_params
from repro.optimizers.base import StepJudge
from repro.training.growing_batches import Stage, growing_batches, minimise_in_stages

_RNG = np.random.default_rng(0)
INPUTS = _RNG.normal(size=(40, 2)).astype(np.float32)
LABELS = (INPUTS.sum(axis=1) > 0).astype(np.int32)
PARAMS = {"inner": _RNG.normal(size=(2, 5)).astype(np.float32), "outer": np.zeros((5, 2), np.float32)}
CLASSES = repro.Supervised(lambda params, x: jnp.tanh(x @ params["inner"]) @ params["outer"], "softmax", batch_size=16)
DATA = (INPUTS, LABELS)


class Damped(NamedTuple):
    epoch: jax.Array
    damping: jax.Array


def descent():
    """Gradient descent whose step length follows what the judged steps did: an optimiser with a state and a judge."""

    def init(params):
        del params
        return Damped(jnp.zeros((), jnp.int32), jnp.ones(()))

    def update(grads, state, params=None, **batch):
        del params, batch
        return jax.tree.map(lambda g: -g / state.damping, grads), state._replace(epoch=state.epoch + 1)

    def judge(state, before, after):
        change = after.mean() - before.mean()
        return state._replace(damping=state.damping * jnp.where(change < 0.0, 0.7, 1.5)), change

    return Optimizer(
        init,
        update,
        lambda state: {"lambda": state.damping},
        StepJudge(lambda state: (state.epoch - 1) % 5 == 0, judge),
    )


def test_the_average_is_that_of_the_formula_and_the_steps_are_the_same():
    """With an optimiser whose steps are judged, so that its damping moves on inside of the wrapper."""
    epochs, decay = 12, 0.8
    plain, wrapped = descent(), averaged(descent(), decay)
    path, state = [], None
    for _ in range(epochs):
        found = repro.minimise(CLASSES, plain, PARAMS, epochs=1, coefficients=DATA, state=state)
        state = found.state
        path.append(jax.tree.map(np.asarray, found.params))
    other = repro.minimise(CLASSES, wrapped, PARAMS, epochs=epochs, coefficients=DATA)
    jax.tree.map(np.testing.assert_array_equal, other.params, path[-1])
    assert len(set(other.curve["lambda"])) > 1
    assert np.isfinite(other.curve["rho"]).sum() == 3
    expected = jax.tree.map(np.zeros_like, PARAMS)
    for k, theta in enumerate(path, start=1):
        xi = min(1 - 1 / k, decay)
        expected = jax.tree.map(lambda old, new, xi=xi: xi * old + (1 - xi) * new, expected, theta)
    for name, average in averaged_params(other.state.opt_state).items():
        np.testing.assert_allclose(average, expected[name], rtol=2e-6, atol=1e-7)


def test_averages_are_steadier_than_what_they_are_of():
    """A noisy descent to 0: the mean of 200 points is nearer than nearly all of them."""
    noisy = repro.LeastSquares(lambda params, points: points - params["mean"], batch_size=1)
    points = np.random.default_rng(1).normal(size=(500, 1)).astype(np.float32)
    points -= points.mean()
    optimizer = averaged(repro.adam(learning_rate=0.1), 0.99)
    start = {"mean": jnp.zeros(1)}
    found = repro.minimise(noisy, optimizer, start, epochs=400, coefficients=points)
    assert abs(float(averaged_params(found.state.opt_state)["mean"][0])) < 0.2
    assert float(np.sqrt(np.mean(found.curve["loss"]))) > 0.5


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan"), "0.9", True])
def test_a_decay_out_of_bounds_is_refused(decay):
    with pytest.raises(InputError, match=r"decay = .*must be at least 0 and below 1"):
        averaged(repro.adam(), decay)


def test_only_an_averaged_state_has_an_average():
    with pytest.raises(InputError, match="give that of averaged"):
        averaged_params(repro.adam().init(PARAMS))


def test_batches_grow_exponentially_and_then_are_everything():
    stages = growing_batches(1000, 4000, reached=500, epochs=600)
    assert [stage.batch_size for stage in stages] == [1000, 1415, 2000, 2829, 4000]
    assert sum(stage.epochs for stage in stages) == 600
    sizes = np.concatenate([np.full(stage.epochs, stage.batch_size) for stage in stages])
    wanted = 1000 * 4.0 ** (np.minimum(np.arange(600), 499) / 499)
    # Rounded up, and by less than one factor; beyond epoch 500 all of them.
    assert np.all(sizes >= np.floor(wanted))
    assert np.all(sizes <= wanted * np.sqrt(2.0) + 1.0)
    assert np.all(sizes[499:] == 4000)
    assert growing_batches(10, 10, reached=5, epochs=7) == [Stage(10, 7)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"first": 0}, "first = 0"),
        ({"samples": 5}, "samples = 5"),
        ({"reached": 1}, "reached = 1"),
        ({"epochs": 0}, "epochs = 0"),
        ({"factor": 1.0}, "factor = 1"),
    ],
)
def test_stages_out_of_bounds_are_refused(change, told):
    with pytest.raises(InputError, match=told):
        growing_batches(**{"first": 10, "samples": 40, "reached": 5, "epochs": 7, **change})


def test_one_minimisation_goes_through_all_stages():
    """Epochs, and with them the random numbers and the optimiser's state, are counted through."""
    stages = growing_batches(8, 40, reached=6, epochs=9)

    def problem_of(size):
        return dataclasses.replace(CLASSES, batch_size=size)

    def optimizer_of(problem):
        del problem
        return averaged(descent())

    found = minimise_in_stages(problem_of, optimizer_of, PARAMS, stages, coefficients=DATA)
    assert int(found.state.epoch) == int(found.state.opt_state.updates) == int(found.state.opt_state.inner.epoch) == 9
    assert list(found.curve["batch_size"]) == [size for stage in stages for size in [stage.batch_size] * stage.epochs]
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(found.curve["rho"])), [0, 5])
    first = repro.minimise(
        problem_of(8), optimizer_of(problem_of(8)), PARAMS, epochs=stages[0].epochs, coefficients=DATA
    )
    np.testing.assert_array_equal(first.curve["loss"], found.curve["loss"][: stages[0].epochs])
    assert found.curve["loss"][-1] < found.curve["loss"][0]
    with pytest.raises(InputError, match="stages"):
        minimise_in_stages(problem_of, optimizer_of, PARAMS, [], coefficients=DATA)
