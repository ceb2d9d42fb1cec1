"""Is the second moment of Adam the diagonal of a Fisher matrix? What it is, at frozen weights, can be said exactly.

For batches of B samples, drawn with replacement, the gradient of a batch has the expectation g, the gradient of all,
and the variance (E - g^2) / B in each weight. Here E is the diagonal of the *empirical* Fisher matrix, the mean over
samples of their squared gradients. So Adam's v tends to

    E[v] = g^2 + (E - g^2) / B

(D. P. Kingma, J. Ba, ICLR 2015, for v; F. Kunstner, L. Balles, P. Hennig, NeurIPS 2019, for the empirical Fisher).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.digit_networks import Classifier, classifier, trained
from repro.demonstrations.optimisation.digits import digits

MOMENTS = ("start", "trained")
DECAY, EPSILON = 0.999, 1e-8
"""Of Adam, as its paper has them."""


class Diagonals(NamedTuple):
    """At one set of weights, each of shape ``(P,)``.

    Attributes:
        gradient: g, of the mean loss.
        empirical: diagonal of the empirical Fisher matrix.
        exact: diagonal of the Fisher matrix.
        second_moment: Adam's v for each size of a batch, with the correction of its bias.
    """

    gradient: np.ndarray
    empirical: np.ndarray
    exact: np.ndarray
    second_moment: dict[int, np.ndarray]

    def expected(self, batch: int) -> np.ndarray:
        """E[v]."""
        return self.gradient**2 + (self.empirical - self.gradient**2) / batch

    def formula_error(self, batch: int) -> float:
        """|v - E[v]| / |E[v]|."""
        expected = self.expected(batch)
        return float(np.linalg.norm(self.second_moment[batch] - expected) / np.linalg.norm(expected))

    def difference(self, batch: int) -> float:
        """|v - E| / |E|, with the diagonal E of the empirical Fisher matrix."""
        apart = np.linalg.norm(self.second_moment[batch] - self.empirical)
        return float(apart / np.linalg.norm(self.empirical))

    def cosine(self, power: float) -> float:
        """Between g / (E + eps) and g / (E^power + eps)."""
        first, other = (self.gradient / (self.empirical**of + EPSILON) for of in (1.0, power))
        return float(first @ other / np.linalg.norm(first) / np.linalg.norm(other))

    @property
    def trace_ratio(self) -> float:
        """The sum of the empirical diagonal over that of the exact one."""
        return float(self.empirical.sum() / self.exact.sum())


@dataclass(frozen=True)
class AdamAndFisher:
    """What is drawn.

    Attributes:
        batch: samples of the batches that claims are about.
        diagonals: by :data:`MOMENTS`.
        losses: mean losses there, in nats.
    """

    batch: int
    diagonals: dict[str, Diagonals]
    losses: dict[str, float]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        found: Values = {
            "formula_error": {moment: at.formula_error(self.batch) for moment, at in self.diagonals.items()},
            "formula_error_one_sample": {moment: at.formula_error(1) for moment, at in self.diagonals.items()},
            "difference_from_empirical": {moment: at.difference(self.batch) for moment, at in self.diagonals.items()},
            "difference_one_sample": {moment: at.difference(1) for moment, at in self.diagonals.items()},
            "loss": dict(self.losses),
        }
        found["cosine_sqrt"] = {moment: at.cosine(0.5) for moment, at in self.diagonals.items()}
        start, end = (abs(1.0 - at.trace_ratio) for at in self.diagonals.values())
        found["distance_trained_over_start"] = end / start
        for moment, at in self.diagonals.items():
            found[f"cosine_sqrt_{moment}"] = at.cosine(0.5)
            found[f"trace_ratio_{moment}"] = at.trace_ratio
        return found


def second_moment(gradients: np.ndarray, batch: int, steps: int, seed: int) -> np.ndarray:
    """Adam's v after many steps at frozen weights, corrected for its start at zero, shape ``(P,)``.

    Args:
        gradients: of single samples, shape ``(S, P)``.
        batch: samples of a batch, drawn with replacement.
        steps: of Adam.
        seed: of the batches.
    """
    adam = optax.scale_by_adam(b2=DECAY, eps=EPSILON)
    of_samples = jnp.asarray(gradients)

    def advance(state: Any, key: Array) -> tuple[Any, None]:
        rows = jax.random.randint(key, (batch,), 0, of_samples.shape[0])
        return adam.update(of_samples[rows].mean(0), state)[1], None

    keys = jax.random.split(jax.random.key(seed), steps)
    state, _ = jax.jit(lambda start: jax.lax.scan(advance, start, keys))(adam.init(of_samples[0]))
    return np.asarray(state.nu / (1.0 - DECAY**steps))


def fisher_diagonal(model: Classifier, params: Any, name: str) -> np.ndarray:
    """The diagonal of one of the model's curvatures, in the order of ``ravel_pytree``, shape ``(P,)``."""
    inputs, labels = model.data
    geometry = model.problem.geometry(params, (name,), {"inputs": inputs, "targets": labels})
    blocks = geometry.partition.split(params)
    found = tuple(geometry.curvature(name).diagonal(index) for index in range(len(blocks)))
    return np.asarray(jax.flatten_util.ravel_pytree(geometry.partition.join(found))[0])


def diagonals(model: Classifier, params: Any, batches: tuple[int, ...], steps: int, seed: int) -> Diagonals:
    """Everything at one set of weights; for the arguments see :func:`adam_and_fisher`."""
    gradients = model.sample_gradients(params)
    moments = {batch: second_moment(gradients, batch, steps, seed) for batch in batches}
    exact, empirical = (fisher_diagonal(model, params, name) for name in ("fisher", "empirical-fisher"))
    return Diagonals(gradients.mean(0), empirical, exact, moments)


@in_double_precision
def adam_and_fisher(
    *,
    batch: int = 64,
    batches: tuple[int, ...] = (1, 8, 64, 512),
    hidden: tuple[int, ...] = (16, 16),
    training: int = 1500,
    steps: int = 6000,
    seed: int = 0,
) -> AdamAndFisher:
    """The second moment and both diagonals for a tanh network on 1797 digits, before and after training.

    Args:
        batch: samples of the batches that claims are about.
        batches: all sizes of batches.
        hidden: units of each hidden layer.
        training: steps of Adam on all samples, learning rate 3e-3.
        steps: of Adam at frozen weights.
        seed: of the weights and of the batches.
    """
    pixels, labels = digits()
    model = classifier(pixels, labels, hidden, seed=seed)
    weights = dict(zip(MOMENTS, trained(model, (0, training)), strict=True))
    sizes = tuple(sorted({1, batch, *batches}))
    found = {moment: diagonals(model, params, sizes, steps, seed) for moment, params in weights.items()}
    return AdamAndFisher(batch, found, {moment: float(model.loss(params)) for moment, params in weights.items()})
