"""Helmholtz machines: two sigmoid belief nets, learned by wake-sleep and reweighted wake-sleep.

Units are 0 or 1 in layers h_0 = x, the pixels, h_1 ... h_L. The generative net p goes down, the recognition net q up:

    p(x, h) = p(h_L) prod_i p(h_i | h_(i+1)),    q(h | x) = prod_i q(h_i | h_(i-1)),

and a unit is 1 with the probability sigma(a), where a is linear in the layer that it hangs on; a 1 is appended to that
layer for the bias. The gradient of ln p or ln q of a layer is the delta rule (h - sigma(a)) [h_parent, 1] (G. Hinton,
P. Dayan, B. Frey, R. Neal, Science 268, 1158 (1995)). With K samples h_k ~ q(h | x) and (x', h') ~ p, steps go along

    wake     sum_k w_k grad ln p(x, h_k),        for p
    wake-q   sum_k w_k grad ln q(h_k | x),       for q
    sleep    grad ln q(h' | x'),                 for q.

Wake-sleep has w_k = 1 / K and no wake-q. Reweighted wake-sleep has w_k ~ p(x, h_k) / q(h_k | x), normalised over k, and
half of wake-q and sleep (J. Bornschein, Y. Bengio, ICLR 2015). Neither is the gradient of one objective; the signs are
those of a descent. What is reported is the bound -ln 1/K sum_k p(x, h_k) / q(h_k | x), in nats, which is above -ln p(x)
in expectation (Y. Burda, R. Grosse, R. Salakhutdinov, ICLR 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.config.problems import HelmholtzConfig, widths
from repro.datasets import load_images
from repro.errors import InputError
from repro.numerics.batching import map_in_batches
from repro.parameters.partition import Partition, partition
from repro.problems.base import Metrics
from repro.problems.mean_loss import draw_rows, gathered
from repro.problems.trainable import Trainable

METHODS = ("wake-sleep", "reweighted")
TEST_IMAGES, BOUND_SAMPLES, BOUND_BATCH = 500, 200, 20
"""Of the bound that is measured now and then; samples are made a few at a time."""
EVALUATION_SEED = 17
FIRST_BIAS = -1.0


class Machine(NamedTuple):
    """The parameters, a matrix for each layer: a row for each unit that it hangs on and one for the bias.

    Attributes:
        generative: of h_0 ... h_L, shapes ``(l_(i+1) + 1, l_i)``; that of h_L has one row.
        recognition: of h_1 ... h_L, shapes ``(l_(i-1) + 1, l_i)``.
    """

    generative: tuple[Array, ...]
    recognition: tuple[Array, ...]


class UnitLayer(NamedTuple):
    """What the Fisher matrices of a layer's units are made of, at S samples.

    Attributes:
        inputs: what the units hang on, with the 1, shape ``(S, I)``.
        variances: sigma'(a) of each unit, shape ``(S, J)``.
    """

    inputs: Array
    variances: Array


def with_one(h: Array) -> Array:
    """A 1 appended to the last axis."""
    return jnp.concatenate([h, jnp.ones((*h.shape[:-1], 1), h.dtype)], axis=-1)


def _log_probability(h: Array, a: Array) -> Array:
    """Ln of the probability of units h with the inputs a, summed over the layer; shape of all axes but the last."""
    return jnp.sum(h * a - jax.nn.softplus(a), axis=-1)


def _draw(key: Array, a: Array) -> Array:
    return (jax.random.uniform(key, a.shape, a.dtype) < jax.nn.sigmoid(a)).astype(a.dtype)


def activations(weights: tuple[Array, ...], parents: Iterable[Array]) -> tuple[Array, ...]:
    """The inputs a of each layer, from what it hangs on."""
    return tuple(with_one(h) @ w for w, h in zip(weights, parents, strict=True))


def generative_parents(layers: tuple[Array, ...]) -> tuple[Array, ...]:
    """What h_0 ... h_L hang on in p: h_1 ... h_L, and nothing."""
    top = layers[-1]
    return (*layers[1:], jnp.zeros((*top.shape[:-1], 0), top.dtype))


def recognised(machine: Machine, key: Array, x: Array) -> tuple[Array, ...]:
    """x, h_1 ... h_L with h ~ q(h | x)."""
    layers = [x]
    for w, one in zip(machine.recognition, jax.random.split(key, len(machine.recognition)), strict=True):
        layers.append(_draw(one, with_one(layers[-1]) @ w))
    return tuple(layers)


def dreamt(machine: Machine, key: Array, count: int) -> tuple[Array, ...]:
    """x, h_1 ... h_L with (x, h) ~ p, ``count`` of each."""
    top = machine.generative[-1]
    layers: list[Array] = []
    parent = jnp.zeros((count, 0), top.dtype)
    for w, one in zip(reversed(machine.generative), jax.random.split(key, len(machine.generative)), strict=True):
        parent = _draw(one, with_one(parent) @ w)
        layers.insert(0, parent)
    return tuple(layers)


def log_generative(machine: Machine, layers: tuple[Array, ...]) -> Array:
    """Ln p(x, h), of the leading axes of the layers."""
    found = activations(machine.generative, generative_parents(layers))
    return sum((_log_probability(h, a) for h, a in zip(layers, found, strict=True)), jnp.zeros(()))


def log_recognition(machine: Machine, layers: tuple[Array, ...]) -> Array:
    """Ln q(h | x), of the leading axes of the layers."""
    found = activations(machine.recognition, layers[:-1])
    return sum((_log_probability(h, a) for h, a in zip(layers[1:], found, strict=True)), jnp.zeros(()))


def bound(machine: Machine, key: Array, x: Array, samples: int) -> Array:
    """-ln 1/K sum_k p(x, h_k) / q(h_k | x) of each picture, shape ``(S,)``.

    Args:
        machine: the parameters.
        key: of the samples.
        x: pictures, shape ``(S, l_0)``.
        samples: K.
    """

    def weights(one: Array) -> Array:
        layers = recognised(machine, one, x)
        return log_generative(machine, layers) - log_recognition(machine, layers)

    found = map_in_batches(jax.vmap(weights), jax.random.split(key, samples), BOUND_BATCH)
    return jnp.log(float(samples)) - jax.scipy.special.logsumexp(found, axis=0)


def first_machine(key: Array, sizes: tuple[int, ...], dtype: Any) -> Machine:
    """Weights as X. Glorot and Y. Bengio have them, biases -1."""
    keys = iter(jax.random.split(key, 2 * len(sizes)))

    def layer(inputs: int, units: int) -> Array:
        spread = (6.0 / (inputs + units)) ** 0.5
        weights = jax.random.uniform(next(keys), (inputs, units), dtype, -spread, spread)
        return jnp.concatenate([weights, jnp.full((1, units), FIRST_BIAS, dtype)])

    pairs = list(pairwise(sizes))
    return Machine((*(layer(up, down) for down, up in pairs), layer(0, sizes[-1])), tuple(layer(*one) for one in pairs))


class Drawn(NamedTuple):
    """The samples of a step: numbers of the pictures, None for all, and the key of everything else."""

    rows: Array | None
    key: Array


class HelmholtzEvaluation(NamedTuple):
    """See :class:`repro.problems.base.Evaluation`; the values are bounds."""

    gradient: Any
    values: Array
    batch: Mapping[str, Any]


NO_OBJECTIVE = (
    "a Helmholtz machine follows gradients of two nets and has no single objective; take sgd, adam, muon or unit-fisher"
)


@dataclass(frozen=True)
class WakeSleep:
    """Wake-sleep or reweighted wake-sleep, a :class:`repro.problems.base.Problem` for optimisers of its gradient.

    Its coefficients are the pictures, ``(S, l_0)``, of zeros and ones. The batch of an evaluation has ``unit_layers``,
    a :class:`Machine` of :class:`UnitLayer`, p's at dreams and q's at recognised pictures: samples of its own net.

    Attributes:
        method: one of :data:`METHODS`.
        samples: K.
        batch_size: pictures of a step; None for all.
    """

    method: str = "reweighted"
    samples: int = 5
    batch_size: int | None = None

    curvatures: tuple[str, ...] = ()
    layered: bool = False
    strength: float = 0.0
    factor_targets: tuple[str, ...] = ()
    tells_damping: bool = False
    factor_scale: float = 1.0
    has_protocols: bool = False
    residuals_follow_outputs: bool = False

    def partition(self, params: Any) -> Partition:
        """A block for each net."""
        return partition(params)

    def draw(self, params: Any, data: Any, key: Array, coefficients: Array) -> tuple[Drawn, None]:
        """Pictures, independent of the last."""
        del params, data
        of_rows, rest = jax.random.split(key)
        return Drawn(draw_rows(of_rows, coefficients.shape[0], self.batch_size, "batch_size"), rest), None

    def evaluate(self, params: Machine, data: Drawn, coefficients: Array) -> HelmholtzEvaluation:
        """The steps of both nets, with the sign of gradients, and the bound with the K samples at hand."""
        x = gathered(coefficients, data.rows)
        of_wake, of_sleep = jax.random.split(data.key)
        repeated = jnp.broadcast_to(x, (self.samples, *x.shape))
        layers = recognised(params, of_wake, repeated)
        ratios = jax.lax.stop_gradient(log_generative(params, layers) - log_recognition(params, layers))
        reweighted = self.method == "reweighted"
        weights = jax.nn.softmax(ratios, axis=0) if reweighted else jnp.full_like(ratios, 1.0 / self.samples)
        dreams = dreamt(params, of_sleep, x.shape[0])

        def wake(net: tuple[Array, ...]) -> Array:
            return -jnp.sum(weights * log_generative(params._replace(generative=net), layers)) / x.shape[0]

        def recognition(net: tuple[Array, ...]) -> Array:
            changed = params._replace(recognition=net)
            asleep = -jnp.mean(log_recognition(changed, dreams))
            if not reweighted:
                return asleep
            return 0.5 * (asleep - jnp.sum(weights * log_recognition(changed, layers)) / x.shape[0])

        gradient = Machine(jax.grad(wake)(params.generative), jax.grad(recognition)(params.recognition))
        values = jnp.log(float(self.samples)) - jax.scipy.special.logsumexp(ratios, axis=0)
        flat = tuple(h.reshape(-1, h.shape[-1]) for h in layers)
        units = Machine(
            unit_layers(params.generative, generative_parents(dreams)), unit_layers(params.recognition, flat[:-1])
        )
        return HelmholtzEvaluation(gradient, values, {"unit_layers": units})

    def metrics(self, evaluation: HelmholtzEvaluation, data: Any, drawn: Any) -> Metrics:
        """``"loss"``, the bound with K samples."""
        del data, drawn
        return {"loss": jnp.mean(evaluation.values)}

    def advance(self, params: Machine, data: Drawn, key: Array, coefficients: Array) -> tuple[Drawn, Array]:
        """The same pictures, and their bounds at other parameters."""
        del key
        return data, self.evaluate(params, data, coefficients).values

    def robust(self, values: Array) -> Array:
        """The values as they are."""
        return values

    def part(self, batch: Mapping[str, Any], fraction: float, number: int) -> Mapping[str, Any]:
        """There is none.

        Raises:
            InputError: always.
        """
        del batch, fraction, number
        raise InputError(NO_OBJECTIVE)

    def geometry(self, params: Any, wanted: Iterable[str], batch: Mapping[str, Any]) -> Any:
        """There is none.

        Raises:
            InputError: always.
        """
        del params, wanted, batch
        raise InputError(NO_OBJECTIVE)


def unit_layers(weights: tuple[Array, ...], parents: tuple[Array, ...]) -> Any:
    """The :class:`UnitLayer` of each layer of a net, from what its units hang on, shapes ``(S, I - 1)``."""

    def of_layer(w: Array, h: Array) -> UnitLayer:
        inputs = with_one(h)
        probability = jax.nn.sigmoid(inputs @ w)
        return UnitLayer(inputs, probability * (1.0 - probability))

    return tuple(of_layer(w, h) for w, h in zip(weights, parents, strict=True))


def helmholtz(config: HelmholtzConfig, dtype: str) -> Trainable:
    """The problem of a configuration, with its pictures: pixels above 1/2 are 1.

    Args:
        config: of the problem.
        dtype: of pictures and parameters.

    Raises:
        InputError: if the pictures are not at hand.
    """
    images = load_images(config.images, Path(config.data_dir) if config.data_dir else None)
    training, test = ((part > 0.5).astype(dtype) for part in (images.training, images.test[:TEST_IMAGES]))
    sizes = (images.pixels, *widths(config.units))

    def evaluate(params: Machine, training: Array, test: Array) -> dict[str, Array]:
        del training
        return {"test_bound": jnp.mean(bound(params, jax.random.key(EVALUATION_SEED), test, BOUND_SAMPLES))}

    told = f"{images.told}; pixels above 1/2 are 1; the bound is that of {len(test)} test pictures"
    return Trainable(
        WakeSleep(config.method, config.samples, config.batch or None),
        lambda key: first_machine(key, sizes, np.dtype(dtype)),
        training,
        test,
        evaluate,
        ("test_bound",),
        told=told,
    )
