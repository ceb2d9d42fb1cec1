"""The deep autoencoder: a network that squeezes images through few numbers and paints them again.

The benchmark of second-order optimisation since G. Hinton, R. Salakhutdinov, Science 313, 504 (2006); J. Martens, ICML
2010; J. Martens, R. Grosse, ICML 2015. Its loss is -ln p(y | z) of pixels that are independent and binary, summed over
the pixels; what is reported is the sum over the pixels of (p - y)^2, the mean over the images of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.config.checks import choice, integer
from repro.config.problems import FIRST_WEIGHTS, AutoencoderConfig, widths
from repro.datasets import load_images
from repro.errors import InputError
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.supervised import Supervised
from repro.problems.trainable import Trainable

ACTIVATIONS = {"tanh": jnp.tanh, "logistic": jax.nn.sigmoid}
SPARSE_INPUTS = 15
"""Inputs of a unit of the sparse start (J. Martens, ICML 2010, section 5)."""
L2 = 1e-5


@dataclass(frozen=True)
class Autoencoder:
    """A network pixels - hidden - code - hidden, mirrored - pixels, with a linear code and the logits of pixels.

    Attributes:
        pixels: of an image, 784 for MNIST.
        hidden: sizes of the layers on the way to the code.
        code: numbers that an image is squeezed into.
        activation: "tanh" or "logistic", of all layers but the code and the last.
        start: "dense", weights of variance 1 / inputs; or "sparse", :data:`SPARSE_INPUTS` weights of variance 1 for
            each unit, and the others 0. Biases are 0.

    Raises:
        InputError: for a size below 1, or an unknown activation or start.
    """

    pixels: int
    hidden: tuple[int, ...] = (250, 100)
    code: int = 30
    activation: str = "tanh"
    start: str = "dense"

    def __post_init__(self) -> None:
        sizes = (("pixels", self.pixels), *(("hidden", size) for size in self.hidden), ("code", self.code))
        for name, size in sizes:
            integer(name, size, 1)
        choice("activation", self.activation, tuple(ACTIVATIONS))
        choice("start", self.start, FIRST_WEIGHTS)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of all layers, from the pixels to the pixels."""
        return (self.pixels, *self.hidden, self.code, *reversed(self.hidden), self.pixels)

    def apply(self, params: Any, images: Array) -> Array:
        """Logits of the pixels, shape ``(S, pixels)``, of images of the same shape."""
        return self._network.apply(params, images)

    def init(self, key: Array, dtype: Any = jnp.float32) -> Any:
        """Parameters to begin with, of the names that Haiku gives them."""
        network, images = self._network, jax.ShapeDtypeStruct((1, self.pixels), dtype)
        shapes = jax.eval_shape(network.init, key, images)
        keys = jax.random.split(key, len(shapes))
        draw = _sparse if self.start == "sparse" else _dense
        return {
            name: {"w": draw(own, shapes[name]["w"].shape, dtype), "b": jnp.zeros(shapes[name]["b"].shape, dtype)}
            for own, name in zip(keys, sorted(shapes), strict=True)
        }

    def problem(self, *, batch_size: int | None = None, l2: float = L2, chunk: int | None = None) -> Supervised:
        """The problem of reproducing images: its coefficients are ``(images, images)``.

        Args:
            batch_size: images of an epoch, None for all of them.
            l2: eta of the penalty eta/2 |theta|^2.
            chunk: images differentiated at a time, None for all of the batch.

        Raises:
            InputError: for a value out of bounds.
        """
        layers = HaikuLayers(self.apply)
        return Supervised(self.apply, "bernoulli", layers=layers, batch_size=batch_size, chunk=chunk, l2=l2)

    def error(self, params: Any, images: np.ndarray) -> float:
        """The sum over the pixels of the squared difference to the images, the mean over the images of it."""
        _refuse(images, self.pixels)
        painted = jax.jit(lambda x: jax.nn.sigmoid(self.apply(params, x)))
        return _mean_square(images - np.asarray(painted(jnp.asarray(images))))

    @property
    def _network(self) -> hk.Transformed:
        unit = ACTIVATIONS[self.activation]
        code = 1 + len(self.hidden)

        def forward(x: Array) -> Array:
            for number, size in enumerate(self.sizes[1:], start=1):
                x = hk.Linear(size)(x)
                if number not in (code, len(self.sizes) - 1):
                    x = unit(x)
            return x

        return hk.without_apply_rng(hk.transform(forward))


def autoencoder(config: AutoencoderConfig, dtype: str) -> Trainable:
    """The problem of a configuration, with its images.

    Args:
        config: of the problem.
        dtype: of images and parameters.

    Raises:
        InputError: if the images are not at hand.
    """
    images = load_images(config.images, Path(config.data_dir) if config.data_dir else None)
    *hidden, code = widths(config.units)
    network = Autoencoder(images.pixels, tuple(hidden), code, config.activation, config.first_weights)
    problem = network.problem(batch_size=config.batch or None, l2=config.l2)
    training, test = (part.astype(dtype) for part in (images.training, images.test))

    def evaluate(params: Any, training: tuple[Array, Array], test: Array) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, part in (("training", training), ("test", (test, test))):
            losses, errors = problem.losses(params, part)
            found |= {f"{name}_loss": jnp.mean(losses), f"{name}_error": jnp.mean(errors)}
        return found

    return Trainable(
        problem,
        lambda key: network.init(key, dtype),
        (training, training),
        test,
        evaluate,
        ("training_loss", "training_error", "test_loss", "test_error"),
        ("loss", "error"),
        images.told,
    )


def error_of_mean_image(training: np.ndarray, images: np.ndarray) -> float:
    """The error of painting the mean of the training images whatever is asked for; images as rows of pixels."""
    _refuse(images, training.shape[1])
    return _mean_square(images - training.mean(axis=0, dtype=np.float64))


def error_of_pca(training: np.ndarray, images: np.ndarray, components: int) -> float:
    """The error of the projection on the first principal components of the training images.

    Args:
        training: rows of pixels, which the components are those of.
        images: rows of pixels, whose error is asked for.
        components: how many, at most the number of pixels.

    Raises:
        InputError: if there are not so many components.
    """
    _refuse(images, training.shape[1])
    integer("components", components, 1, training.shape[1])
    mean = training.mean(axis=0, dtype=np.float64)
    spread = training - mean
    axes = np.linalg.eigh(spread.T @ spread)[1][:, -components:]
    centred = images - mean
    return _mean_square(centred - centred @ axes @ axes.T)


def _mean_square(differences: np.ndarray) -> float:
    return float((differences.astype(np.float64) ** 2).sum(axis=1).mean())


def _refuse(images: np.ndarray, pixels: int) -> None:
    if images.ndim != 2 or images.shape[1] != pixels:
        raise InputError(f"images of shape {images.shape}: must be (S, {pixels}), a row of pixels for each")


def _dense(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    return jax.random.normal(key, shape, dtype) / math.sqrt(shape[0])


def _sparse(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    of_weights, of_places = jax.random.split(key)
    rank = jnp.argsort(jax.random.uniform(of_places, shape), axis=0)
    return jnp.where(rank < SPARSE_INPUTS, jax.random.normal(of_weights, shape, dtype), 0.0)
