"""Pseudo-gradients: random vectors over the weights whose covariance is the Gauss-Newton matrix, G = E[J^T G_z J].

A sample x is drawn from the data, a vector Dz with mean zero and covariance G_z at its outputs, and Dz is pulled back,
Dw = J^T Dz: this is a vector-Jacobian product, as backpropagation is (R. Grosse, lecture "Second-Order Optimization",
slide "Pullback Sampling Trick", 2022; J. Martens, R. Grosse, ICML 2015, section 5). The mean of S products Dw Dw^T has
the relative error

    sqrt(E|Dw|^4 / |G|^2 - 1) / sqrt(S)

in the root mean square of the Frobenius norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.curvature.output_metrics import Euclidean, OutputMetric
from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.kronecker_identities import (
    damped_solve_errors,
    identity_errors,
    representation_sizes,
    undamped_solve_error,
)
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.losses import LOSSES
from repro.problems.supervised import Supervised

Apply = Callable[[Any, Array], Array]
PAST = 0.95
"""Weight of the past in the moving average."""
PRINTED_SIZES = {"full": 9e12, "block-diagonal": 3e12, "kronecker": 6e6}
"""Of the slide "K-FAC: Compact Representation"."""
AVERAGED = 4000
"""Steps of the moving average whose scatter is measured."""


@dataclass(frozen=True)
class LinearRegression:
    """Gradients of a line with two weights, slope and intercept, drawn from the model itself.

    Attributes:
        inputs: x, shape ``(S,)``.
        gradients: Dw, one for every input, shape ``(draws, S, 2)``.
        fisher: E[Dw Dw^T] in closed form, E[(x, 1) (x, 1)^T], shape ``(2, 2)``.
    """

    inputs: np.ndarray
    gradients: np.ndarray
    fisher: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How fast the covariance of pseudo-gradients of a softmax network comes to G.

    Attributes:
        counts: S, shape ``(M,)``.
        errors: relative errors of repeated estimates, shape ``(repeats, M)``.
        constant: sqrt(E|Dw|^4 / |G|^2 - 1), from all samples and all labels.
        gauss_newton: G, shape ``(P, P)``.
        fisher_difference: |F - G| / |G| with F from all labels.
        outputs: N.
    """

    counts: np.ndarray
    errors: np.ndarray
    constant: float
    gauss_newton: np.ndarray
    fisher_difference: float
    outputs: int

    @property
    def slopes(self) -> np.ndarray:
        """Of ln(error) against ln(S), one for each repeat."""
        return np.polyfit(np.log(self.counts), np.log(self.errors).T, 1)[0]


@dataclass(frozen=True)
class MovingAverage:
    """An exponential moving average of the squares of pseudo-gradients, the diagonal of G.

    Attributes:
        diagonal: of G, shape ``(P,)``.
        averages: over time from zero, mean over the entries of average / diagonal, shape ``(T,)``.
        response: 1 - PAST^k, its expectation, shape ``(T,)``.
        timescale: steps in which the distance to the limit falls by a factor e, fitted to the expectation's response.
        remembered: the effective number of samples: the variance of single squares over that of the average.
    """

    diagonal: np.ndarray
    averages: np.ndarray
    response: np.ndarray
    timescale: float
    remembered: float


@dataclass(frozen=True)
class PullbackSampling:
    """What is drawn.

    Attributes:
        line: sampled gradients of linear regression.
        sampling: errors of the covariance.
        average: the moving average of the diagonal.
        dampings: eta of the damped solves, relative to the largest eigenvalue of A (x) S, shape ``(E,)``.
        damped_errors: of the damped solves by "eigenbasis" and "pi-split", shape ``(E,)`` each.
        identities: differences of both sides of the Kronecker identities, by name.
        solve_error: of S^-1 V A^-1 against the dense solve.
        jvp_fraction: numbers that a Jacobian-vector product gives, over the number of weights.
        transpose_difference: |<J v, Dz> - <v, Dw>| over |J v| |Dz|.
    """

    line: LinearRegression
    sampling: Sampling
    average: MovingAverage
    dampings: np.ndarray
    damped_errors: dict[str, np.ndarray]
    identities: dict[str, float]
    solve_error: float
    jvp_fraction: float
    transpose_difference: float

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        slopes = self.sampling.slopes
        scaled = self.sampling.errors * np.sqrt(self.sampling.counts) / self.sampling.constant
        squares = (scaled**2).mean(1)
        return {
            "slope": float(slopes.mean()),
            "slope_error": float(slopes.std(ddof=1) / np.sqrt(len(slopes))),
            "constant": self.sampling.constant,
            "error_over_theory": float(np.sqrt(squares.mean())),
            "error_over_theory_error": float(
                squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * np.sqrt(squares.mean()))
            ),
            "fisher_difference": self.sampling.fisher_difference,
            "timescale": self.average.timescale,
            "remembered": self.average.remembered,
            "jvp_fraction": self.jvp_fraction,
            "transpose_difference": self.transpose_difference,
            "identities": self.identities,
            "sizes": representation_sizes(1000, 3, bias=False),
            "sizes_with_bias": representation_sizes(1000, 3, bias=True),
            "sizes_over_printed": _over_printed(bias=False),
            "sizes_with_bias_over_printed": _over_printed(bias=True),
            "solve_error": self.solve_error,
            "damped_error_eigenbasis": float(self.damped_errors["eigenbasis"].max()),
            "damped_error_pi_split": float(self.damped_errors["pi-split"].max()),
        }


def _over_printed(bias: bool) -> dict[str, float]:
    return {name: size / PRINTED_SIZES[name] for name, size in representation_sizes(1000, 3, bias).items()}


def pseudo_gradients(apply: Apply, params: Any, metric: OutputMetric, x: Array, key: Array) -> Array:
    """One pseudo-gradient for each sample, shape ``(S, P)``, in the order of ``ravel_pytree``.

    Args:
        apply: the model, ``(params, x (S, ...)) -> (S, N)``.
        params: its weights.
        metric: over the outputs at these samples.
        x: samples, shape ``(S, ...)``.
        key: of the draws at the outputs.
    """
    drawn = metric.sample(key, apply(params, x).T).T
    return pulled_back(apply, params, x, drawn)


def pulled_back(apply: Apply, params: Any, x: Array, drawn: Array) -> Array:
    """J^T Dz of each sample, shape ``(S, P)``, for Dz of shape ``(S, N)``."""

    def of_sample(params: Any, one: Array, vector: Array) -> Array:
        _, pull = jax.vjp(lambda theta: apply(theta, one[None])[0], params)
        return ravel_pytree(pull(vector)[0])[0]

    return jax.jit(jax.vmap(of_sample, (None, 0, 0)))(params, x, drawn)


def line_gradients(samples: int, draws: int, seed: int) -> LinearRegression:
    """Of the line w x + b at inputs from a normal distribution, with unit variance of the targets."""
    x = np.random.default_rng(seed).normal(0.5, 1.0, samples)

    def line(weights: Array, inputs: Array) -> Array:
        return (weights[0] * inputs + weights[1])[:, None]

    weights, inputs = jnp.array([0.8, -0.2]), jnp.asarray(x)
    keys = jax.random.split(jax.random.key(seed), draws)
    found = jax.vmap(lambda key: pseudo_gradients(line, weights, Euclidean(), inputs, key))(keys)
    design = np.stack([x, np.ones(samples)])
    return LinearRegression(x, np.asarray(found), design @ design.T / samples)


@dataclass(frozen=True)
class Network:
    """A softmax network with 5 inputs, 6 tanh units and 4 classes, at random weights.

    Attributes:
        problem: its cross entropy.
        params: weights, with standard deviation 0.7.
        x: samples, shape ``(S, 5)``.
    """

    problem: Supervised
    params: Any
    x: Array

    @property
    def metric(self) -> OutputMetric:
        """G_z at all samples."""
        return LOSSES["softmax"].metric(self.problem.apply(self.params, self.x).T)


def softmax_network(samples: int, seed: int) -> Network:
    """The 5-6-4 network and normal inputs."""
    made = hk.without_apply_rng(hk.transform(lambda z: hk.nets.MLP([6, 4], activation=jnp.tanh)(z)))
    of_weights, of_inputs = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(of_inputs, (samples, 5))
    flat, restore = ravel_pytree(jax.jit(made.init)(of_weights, x))
    params = restore(0.7 * jax.random.normal(of_weights, flat.shape, flat.dtype))
    return Network(Supervised(made.apply, "softmax", layers=HaikuLayers(made.apply)), params, x)


def all_pseudo_gradients(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Every pseudo-gradient that can be drawn, shape ``(S, N, P)``, and the probability of each label, ``(S, N)``."""
    probabilities = jax.nn.softmax(network.problem.apply(network.params, network.x))
    classes = probabilities.shape[1]

    def of_label(label: Array) -> Array:
        drawn = probabilities - jax.nn.one_hot(label, classes)
        return pulled_back(network.problem.apply, network.params, network.x, drawn)

    found = jax.vmap(of_label)(jnp.arange(classes))
    return np.asarray(found).transpose(1, 0, 2), np.asarray(probabilities)


def gauss_newton(network: Network) -> np.ndarray:
    """G, from the rows B^T J of every sample, shape ``(P, P)``."""
    targets = jnp.zeros(network.x.shape[0], int)
    batch = {"inputs": network.x, "targets": targets, "key": jax.random.key(0)}

    @jax.jit
    def matrix(params: Any) -> Array:
        rows = network.problem.geometry(params, ("gauss-newton",), batch).sample_space().rows
        return rows.T @ rows

    return np.asarray(matrix(network.params))


def sampled_errors(network: Network, counts: np.ndarray, repeats: int, seed: int) -> Sampling:
    """Relative errors of the mean of Dw Dw^T over S draws, of which each has a sample of its own.

    Args:
        network: whose pseudo-gradients are drawn.
        counts: S, in rising order; the first S of the same draws are taken for each.
        repeats: of everything.
        seed: of the draws.
    """
    exact, (every, probabilities) = gauss_newton(network), all_pseudo_gradients(network)
    fisher = np.einsum("sn,snp,snq->pq", probabilities, every, every) / len(every)
    fourth = float(np.sum(probabilities * np.sum(every**2, axis=2) ** 2) / len(every))
    size = np.linalg.norm(exact)
    bounds = np.concatenate([[0], counts])

    @jax.jit
    def drawn(key: Array) -> list[Array]:
        of_rows, of_outputs = jax.random.split(key)
        x = network.x[jax.random.randint(of_rows, (int(counts[-1]),), 0, network.x.shape[0])]
        metric = LOSSES["softmax"].metric(network.problem.apply(network.params, x).T)
        found = pseudo_gradients(network.problem.apply, network.params, metric, x, of_outputs)
        parts = [found[start:end] for start, end in pairwise(bounds)]
        return [part.T @ part for part in parts]

    errors = np.empty((repeats, len(counts)))
    for repeat, key in enumerate(jax.random.split(jax.random.key(seed), repeats)):
        means = np.cumsum(np.asarray(drawn(key)), axis=0) / counts[:, None, None]
        errors[repeat] = np.linalg.norm(means - exact, axis=(1, 2)) / size
    difference = float(np.linalg.norm(fisher - exact) / size)
    return Sampling(counts, errors, float(np.sqrt(fourth / size**2 - 1.0)), exact, difference, probabilities.shape[1])


def moving_average(network: Network, diagonal: np.ndarray, shown: int, seed: int) -> MovingAverage:
    """The average of squares of one pseudo-gradient a step, started at zero.

    Args:
        network: whose pseudo-gradients are drawn.
        diagonal: of G, shape ``(P,)``.
        shown: steps that are returned.
        seed: of the draws.
    """
    of_rows, of_outputs = jax.random.split(jax.random.key(seed))
    x = network.x[jax.random.randint(of_rows, (AVERAGED,), 0, network.x.shape[0])]
    metric = LOSSES["softmax"].metric(network.problem.apply(network.params, x).T)
    squares = np.asarray(pseudo_gradients(network.problem.apply, network.params, metric, x, of_outputs)) ** 2
    averages, now = np.empty_like(squares), np.zeros_like(diagonal)
    for step, square in enumerate(squares):
        now = PAST * now + (1.0 - PAST) * square
        averages[step] = now
    steps = np.arange(1, shown + 1)
    response = 1.0 - PAST**steps
    timescale = -1.0 / np.polyfit(steps, np.log(1.0 - response), 1)[0]
    settled = slice(AVERAGED // 10, None)
    remembered = squares[settled].var(0).sum() / averages[settled].var(0).sum()
    shares = averages[:shown] / diagonal
    return MovingAverage(diagonal, shares.mean(1), response, float(timescale), float(remembered))


def transpose_check(network: Network, seed: int) -> tuple[float, float]:
    """What a Jacobian-vector product gives at one sample: how many numbers, over P; and how it is J^T's transpose."""
    one = network.x[:1]
    flat, restore = ravel_pytree(network.params)
    of_v, of_z = jax.random.split(jax.random.key(seed))
    v = jax.random.normal(of_v, flat.shape, flat.dtype)
    outputs, pushed = jax.jvp(lambda theta: network.problem.apply(restore(theta), one)[0], (flat,), (v,))
    vector = jax.random.normal(of_z, outputs.shape, outputs.dtype)
    pulled = pulled_back(network.problem.apply, network.params, one, vector[None])[0]
    scale = jnp.linalg.norm(pushed) * jnp.linalg.norm(vector)
    return pushed.size / flat.size, float(jnp.abs(pushed @ vector - v @ pulled) / scale)


@in_double_precision
def pullback_sampling(
    *,
    samples: int = 50,
    counts: tuple[int, ...] = (100, 316, 1000, 3162, 10000, 31623, 100000),
    repeats: int = 20,
    seed: int = 0,
) -> PullbackSampling:
    """Everything that the slides on pull-back sampling and Kronecker products say, computed.

    Args:
        samples: of the data.
        counts: of pseudo-gradients, in rising order.
        repeats: of the estimates.
        seed: of everything random.
    """
    network = softmax_network(samples, seed)
    sampling = sampled_errors(network, np.array(counts), repeats, seed)
    dampings = np.geomspace(1e-6, 1e2, 33)
    fraction, difference = transpose_check(network, seed)
    layers = network.problem.layers_of(network.params, {"inputs": network.x, "key": jax.random.key(seed)})
    assert layers is not None
    return PullbackSampling(
        line_gradients(200, 5, seed),
        sampling,
        moving_average(network, np.diag(sampling.gauss_newton), 120, seed),
        dampings,
        damped_solve_errors(layers[0], dampings, seed),
        identity_errors(seed),
        undamped_solve_error(layers[0], seed),
        fraction,
        difference,
    )
