"""Regression: the Mackey-Glass series, predicted six steps ahead by a small network.

The series is x(t + 1) = (1 - b) x(t) + a x(t - tau) / (1 + x(t - tau)^10) with a = 0.2, b = 0.1, tau = 17, x(0) = 1.2
and nothing before it. A network takes x(t), x(t - 6), x(t - 12), x(t - 18) and gives x(t + 6). It is trained on t = 200
... 699 and tested on t = 5000 ... 5499. (Talk on momentum in function space, slides "Mackey Glass"; H. Park, S. Amari,
K. Fukumizu, Neural Networks 13, 755 (2000).)
"""

from __future__ import annotations

from functools import cache
from typing import Any

import haiku as hk
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.config.problems import CHAOS_SAMPLES, MackeyGlassConfig, widths
from repro.problems.residual import LeastSquares
from repro.problems.trainable import Trainable

PRODUCTION, DECAY, DELAY, POWER, FIRST = 0.2, 0.1, 17, 10, 1.2
"""a, b, tau, the exponent and x(0)."""
LAGS, AHEAD = (0, 6, 12, 18), 6
TRAINING_BEGINS, TEST_BEGINS = 200, 5000


def mackey_glass_series(length: int) -> np.ndarray:
    """x(0) ... x(length - 1), shape ``(length,)``."""
    values = np.zeros(DELAY + length)
    values[DELAY] = FIRST
    for now in range(DELAY, DELAY + length - 1):
        delayed = values[now - DELAY]
        values[now + 1] = (1.0 - DECAY) * values[now] + PRODUCTION * delayed / (1.0 + delayed**POWER)
    return values[DELAY:]


@cache
def mackey_glass_samples() -> tuple[np.ndarray, np.ndarray]:
    """For training and test: the four inputs and the target in the rows, both of shape ``(500, 5)``."""
    series = mackey_glass_series(TEST_BEGINS + CHAOS_SAMPLES + AHEAD)

    def samples(begin: int) -> np.ndarray:
        times = np.arange(begin, begin + CHAOS_SAMPLES)
        return np.stack([*(series[times - lag] for lag in LAGS), series[times + AHEAD]], axis=1)

    return samples(TRAINING_BEGINS), samples(TEST_BEGINS)


def series_network(units: str) -> hk.Transformed:
    """The network: hyperbolic tangents, one linear output; weights of variance 1 / inputs, as Haiku has them."""
    layers = (*widths(units), 1)
    return hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(layers, activation=jnp.tanh)(x)))


def mackey_glass_problem(units: str, batch: int = 0) -> LeastSquares:
    """1/2 the mean squared error; its points are the rows of :func:`mackey_glass_samples`."""
    network = series_network(units)

    def residuals(params: Any, samples: Array) -> Array:
        return network.apply(params, samples[:, :-1]) - samples[:, -1:]

    return LeastSquares(residuals, batch_size=batch or None)


def mackey_glass(config: MackeyGlassConfig, dtype: str) -> Trainable:
    """The problem of a configuration, with its samples.

    Args:
        config: of the problem.
        dtype: of samples and parameters.
    """
    training, test = (part.astype(dtype) for part in mackey_glass_samples())
    network, problem = series_network(config.units), mackey_glass_problem(config.units, config.batch)

    def evaluate(params: Any, training: Array, test: Array) -> dict[str, Array]:
        return {
            f"{name}_loss": 0.5 * jnp.mean((network.apply(params, part[:, :-1]) - part[:, -1:]) ** 2)
            for name, part in (("training", training), ("test", test))
        }

    return Trainable(
        problem,
        lambda key: network.init(key, jnp.asarray(training[:1, :-1])),
        training,
        test,
        evaluate,
        ("training_loss", "test_loss"),
    )
