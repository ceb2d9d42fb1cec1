"""The loop for problems of one's own: the same numbers in one call or several, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import repro
from repro.errors import DivergedError, InputError

# NumPy's: what JAX computes while tests are collected, several processes would compile at once.
_RNG = np.random.default_rng(0)
INPUTS = _RNG.normal(size=(40, 2)).astype(np.float32)
LABELS = (INPUTS.sum(axis=1) > 0).astype(np.int32)
PARAMS = {"inner": _RNG.normal(size=(2, 5)).astype(np.float32), "outer": np.zeros((5, 2), np.float32)}
CLASSES = repro.Supervised(lambda params, x: jnp.tanh(x @ params["inner"]) @ params["outer"], "softmax", batch_size=16)


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple] = []

    def start(self, phase, done, total):
        self.lines.append(("start", done, total))

    def advance(self, done, metrics):
        self.lines.append(("advance", done, metrics["loss"]))

    def finish(self):
        self.lines.append(("finish",))


def test_the_same_numbers_in_one_call_or_in_two():
    optimizer, reporter = repro.adam(learning_rate=0.1), Told()
    whole = repro.minimise(CLASSES, optimizer, PARAMS, epochs=70, coefficients=(INPUTS, LABELS), reporter=reporter)
    first = repro.minimise(CLASSES, optimizer, PARAMS, epochs=30, coefficients=(INPUTS, LABELS))
    second = repro.minimise(CLASSES, optimizer, None, epochs=40, coefficients=(INPUTS, LABELS), state=first.state)
    assert int(second.state.epoch) == 70
    for name, values in whole.curve.items():
        np.testing.assert_array_equal(np.concatenate([first.curve[name], second.curve[name]]), values, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, whole.params, second.params)
    assert np.median(whole.curve["loss"][-10:]) < 0.5 * whole.curve["loss"][0]
    assert reporter.lines[0] == ("start", 0, 70)
    told = [line[1] for line in reporter.lines[1:-1]]
    assert told == sorted(set(told))
    assert told[-1] == 70
    assert reporter.lines[-1] == ("finish",)
    other = repro.minimise(CLASSES, optimizer, PARAMS, epochs=2, coefficients=(INPUTS, LABELS), seed=1)
    assert other.curve["loss"][1] != whole.curve["loss"][1]


def test_what_leaves_the_finite_numbers_is_named():
    squares = repro.LeastSquares(lambda params, points: points[:, None] * jnp.exp(100.0 * params["rate"]))
    with pytest.raises(DivergedError, match="is not finite at epoch 1; take more damping"):
        repro.minimise(squares, repro.adam(), {"rate": jnp.array(1.0)}, epochs=5, coefficients=jnp.ones(4))


@pytest.mark.parametrize("epochs", [0, -1, 1.5])
def test_epochs_out_of_bounds_are_refused(epochs):
    with pytest.raises(InputError, match="epochs = "):
        repro.minimise(CLASSES, repro.adam(), PARAMS, epochs=epochs, coefficients=(INPUTS, LABELS))
