"""The Fisher matrix of a classifier and what approximations leave of it: blocks, Kronecker products, a diagonal.

With the derivative J_n of the logits of sample n in the weights and M_n = diag(p_n) - p_n p_n^T, the Fisher matrix is
F = E_n[J_n^T M_n J_n]. The weights of a layer with inputs a and sensitivities e have the block E[a a^T (x) e e^T], of
which K-FAC makes E[a a^T] (x) E[e e^T] (J. Martens, R. Grosse, ICML 2015).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.curvature.kronecker import KroneckerFactors, kronecker_factors
from repro.curvature.output_metrics import Softmax
from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.digit_networks import Classifier, classifier, trained
from repro.demonstrations.optimisation.digits import digits

APPROXIMATIONS = ("block-diagonal", "kronecker", "diagonal")


class FisherMatrices(NamedTuple):
    """Matrices over all weights, in the order of the blocks of the partition, shape ``(P, P)`` each.

    Attributes:
        exact: the Fisher matrix, with expectations over the labels in closed form.
        approximations: by the names of :data:`APPROXIMATIONS`.
        starts: where the weights of each layer begin, and P.
    """

    exact: np.ndarray
    approximations: dict[str, np.ndarray]
    starts: tuple[int, ...]

    @property
    def errors(self) -> dict[str, float]:
        """|F - approximation| / |F| in the Frobenius norm."""
        size = np.linalg.norm(self.exact)
        return {name: float(np.linalg.norm(self.exact - of) / size) for name, of in self.approximations.items()}


@dataclass(frozen=True)
class Approximations:
    """What is drawn.

    Attributes:
        initial: matrices at the initial weights.
        trained: after the training.
    """

    initial: FisherMatrices
    trained: FisherMatrices

    @property
    def values(self) -> Values:
        """Relative errors by approximation, and how many times larger one is than the next better one."""
        found: Values = {"weights": float(len(self.initial.exact))}
        for moment, matrices in (("start", self.initial), ("trained", self.trained)):
            errors = matrices.errors
            found[f"error_{moment}"] = dict(errors)
            found[f"ratio_{moment}"] = {
                "diagonal / kronecker": errors["diagonal"] / errors["kronecker"],
                "kronecker / block-diagonal": errors["kronecker"] / errors["block-diagonal"],
            }
        return found


def exact_factors(model: Classifier, params: Any) -> tuple[KroneckerFactors, ...]:
    """Kronecker factors of each layer, with the expectation over the labels in closed form: nothing is drawn.

    A column b of B, with M_n = B B^T, is propagated back in place of the gradient at a label. The sum over the columns
    of the factors that belong to each is that of E[e e^T].
    """
    layers, inputs = model.problem.layers, model.data[0]
    assert layers is not None

    def of_column(column: Array) -> tuple[KroneckerFactors, ...]:
        def slopes(outputs: Array) -> Array:
            return softmax_factor(outputs.T)[:, column, :].T

        return kronecker_factors(layers.layers(params, inputs, slopes), centred=False, scale=1.0)

    classes = model.problem.apply(params, inputs[:1]).shape[1]
    first, *others = [of_column(jnp.asarray(column)) for column in range(classes)]
    return tuple(
        KroneckerFactors(one.inputs, sum((other[index].sensitivities for other in others), start=one.sensitivities))
        for index, one in enumerate(first)
    )


def softmax_factor(logits: Array) -> Array:
    """B of every sample with B B^T = diag(p) - p p^T, from its metric: shape ``(N, N, S)`` from logits ``(N, S)``."""
    metric, unit = Softmax(logits), jnp.eye(logits.shape[0])
    return jax.vmap(lambda row: metric.factor_transpose(jnp.broadcast_to(row[:, None], logits.shape)))(unit)


def fisher_matrices(model: Classifier, params: Any) -> FisherMatrices:
    """The Fisher matrix and its approximations at some parameters, on all samples of the classifier."""

    @jax.jit
    def computed(params: Any, data: tuple[Array, Array]) -> tuple[Array, list[Array]]:
        seen = replace(model, data=data)
        return _fisher(seen, params), exact_products(seen, params)

    exact, products = computed(params, model.data)
    dense = np.asarray(exact)
    starts = tuple(int(start) for start in np.cumsum([0, *(len(product) for product in products)]))
    blocks, placed = np.zeros_like(dense), np.zeros_like(dense)
    for product, start, end in zip(products, starts, starts[1:], strict=False):
        blocks[start:end, start:end] = dense[start:end, start:end]
        placed[start:end, start:end] = product
    matrices = (blocks, placed, np.diag(np.diag(dense)))
    return FisherMatrices(dense, dict(zip(APPROXIMATIONS, matrices, strict=True)), starts)


def exact_products(model: Classifier, params: Any) -> list[Array]:
    """The Kronecker product A (x) S of every layer, in the order of its flattened block."""
    return [jnp.kron(factors.inputs, factors.sensitivities) for factors in exact_factors(model, params)]


def _fisher(model: Classifier, params: Any) -> Array:
    """The Fisher matrix in the order of the blocks: the squares of its rows B^T J, sample by sample."""
    inputs, labels = model.data
    batch = {"inputs": inputs, "targets": labels, "key": jax.random.key(0)}
    geometry = model.problem.geometry(params, ("fisher",), batch)
    flat, restore = ravel_pytree(params)
    numbered = geometry.partition.split(restore(jnp.arange(flat.size, dtype=flat.dtype)))
    order = jnp.concatenate([jnp.ravel(numbers) for numbers in numbered]).astype(int)
    rows = geometry.sample_space().rows[:, order]
    return rows.T @ rows


def principal_components(inputs: np.ndarray, count: int) -> np.ndarray:
    """The first principal components of the rows of ``inputs``, divided by the standard deviation of the first."""
    centred = inputs - inputs.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found = centred @ directions[:count].T
    return found / found[:, 0].std()


@in_double_precision
def approximations(
    *, inputs: int = 8, hidden: tuple[int, ...] = (16, 16), steps: int = 500, seed: int = 0
) -> Approximations:
    """The Fisher matrix of a tanh network on principal components of the 1797 digits, before and after training.

    Args:
        inputs: principal components.
        hidden: units of each hidden layer.
        steps: of Adam on all samples, learning rate 3e-3.
        seed: of the weights.
    """
    pixels, labels = digits()
    model = classifier(principal_components(pixels, inputs), labels, hidden, seed=seed)
    start, end = trained(model, (0, steps))
    return Approximations(fisher_matrices(model, start), fisher_matrices(model, end))
