"""Handwritten digits: a classifier of 1797 pictures that come with scikit-learn, large enough to tell optimisers apart.

The pictures have 8 x 8 pixels with values 0 ... 16, here divided by 16. A permutation by NumPy's ``RandomState(0)``
divides them: the first 1437 are for training, the other 360 for the test.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import haiku as hk
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.config.problems import DigitsConfig, widths
from repro.datasets import load_images
from repro.problems.haiku_layers import HaikuLayers
from repro.problems.supervised import Supervised
from repro.problems.trainable import Trainable

CLASSES = 10


class Labelled(NamedTuple):
    """Pictures and their classes.

    Attributes:
        inputs: shape ``(S, 64)``, between 0 and 1.
        targets: shape ``(S,)``, integers 0 ... 9.
    """

    inputs: Any
    targets: Any


@cache
def digits_data() -> tuple[Labelled, Labelled]:
    """The pictures for training and those for the test, in double precision."""
    found = load_images("digits")
    parts = (found.training, found.training_labels), (found.test, found.test_labels)
    # Sixteenths: single precision holds them exactly.
    training, test = (Labelled(images.astype(np.float64), labels) for images, labels in parts)
    return training, test


def digits(config: DigitsConfig, dtype: str) -> Trainable:
    """The classifier of a configuration: tanh units, softmax, cross entropy.

    Args:
        config: of the problem.
        dtype: of data and parameters.
    """
    training, test = (part._replace(inputs=part.inputs.astype(dtype)) for part in digits_data())
    layers = (*widths(config.units), CLASSES)
    network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(layers, activation=jnp.tanh)(x)))
    problem = Supervised(
        network.apply,
        "softmax",
        layers=HaikuLayers(network.apply),
        batch_size=config.batch or None,
        l2=config.l2,
    )

    def evaluate(params: Any, training: Labelled, test: Labelled) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, part in (("training", training), ("test", test)):
            losses, errors = problem.losses(params, part)
            found |= {f"{name}_loss": jnp.mean(losses), f"{name}_error": jnp.mean(errors)}
        return found

    return Trainable(
        problem,
        lambda key: network.init(key, jnp.asarray(training.inputs[:1])),
        training,
        test,
        evaluate,
        ("training_loss", "training_error", "test_loss", "test_error"),
        ("loss", "error"),
    )
