"""Small tanh networks that classify scikit-learn's 8 x 8 digits: small enough for dense matrices over all weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.optimizers.base import from_optax
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.supervised import Minibatch, Supervised
from repro.training.minimisation import minimise

CLASSES = 10
RATE = 3e-3
"""Of Adam."""


@dataclass(frozen=True)
class Classifier:
    """A softmax classifier, its initial weights and its data.

    Attributes:
        problem: the mean cross entropy.
        params: initial weights of the network.
        data: inputs ``(S, I)`` and labels ``(S,)``.
    """

    problem: Supervised
    params: Any
    data: tuple[Array, Array]

    @property
    def size(self) -> int:
        """The number of weights, P."""
        return ravel_pytree(self.params)[0].size

    def loss(self, params: Any) -> Array:
        """The mean cross entropy over all samples, in nats."""
        evaluation = self.problem.evaluate(params, _chosen(None), self.data)
        return jnp.mean(evaluation.values)

    def sample_gradients(self, params: Any) -> np.ndarray:
        """The gradient of the loss of every single sample, shape ``(S, P)``, in the order of ``ravel_pytree``."""

        def of_sample(row: Array, params: Any, data: tuple[Array, Array]) -> Array:
            evaluation = self.problem.evaluate(params, _chosen(row[None]), data)
            return ravel_pytree(evaluation.gradient)[0]

        rows = jnp.arange(self.data[0].shape[0])
        return np.asarray(jax.jit(jax.vmap(of_sample, (0, None, None)))(rows, params, self.data))


def _chosen(rows: Array | None) -> Minibatch:
    return Minibatch(rows, jax.random.key(0))


def classifier(
    inputs: np.ndarray,
    labels: np.ndarray,
    hidden: Iterable[int],
    *,
    seed: int = 0,
    batch_size: int | None = None,
    chunk: int | None = None,
) -> Classifier:
    """A network with tanh units, of the type of ``inputs``.

    Args:
        inputs: shape ``(S, I)``.
        labels: integers 0 ... 9, shape ``(S,)``.
        hidden: units of each hidden layer; none for a linear model.
        seed: of the initial weights, Haiku's own: normal with variance 1 / inputs, cut at two standard deviations.
        batch_size: samples of a training step; None for all of them.
        chunk: samples differentiated at a time in products with the Gauss-Newton matrix; None for all of them.
    """
    x, y = jnp.asarray(inputs), jnp.asarray(labels)
    sizes = (*hidden, CLASSES)
    network = hk.without_apply_rng(hk.transform(lambda z: hk.nets.MLP(sizes, activation=jnp.tanh)(z)))
    problem = Supervised(
        network.apply, "softmax", layers=HaikuLayers(network.apply), batch_size=batch_size, chunk=chunk
    )
    return Classifier(problem, jax.jit(network.init)(jax.random.key(seed), x[:1]), (x, y))


def trained(
    model: Classifier, steps: Iterable[int], method: optax.GradientTransformation | None = None, seed: int = 0
) -> tuple[Any, ...]:
    """Weights after so many steps.

    Args:
        model: where the training begins.
        steps: numbers of steps in rising order; 0 stands for the initial weights.
        method: of optax; Adam with the learning rate 3e-3 if left out.
        seed: of the batches.
    """
    optimizer = from_optax(optax.adam(RATE) if method is None else method)
    found, state, done, params = [], None, 0, model.params
    for step in steps:
        if step > done:
            result = minimise(
                model.problem,
                optimizer,
                params,
                epochs=step - done,
                coefficients=model.data,
                seed=seed,
                state=state,
            )
            state, params, done = result.state, result.params, step
        found.append(params)
    return tuple(found)
