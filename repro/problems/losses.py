"""Losses of a model's outputs: each is -ln p(y | z), up to a constant, of an exponential family with parameters z.

The Hessian of a loss in z is then the covariance of the statistics of p(y | z), whatever the target y is. It is the
loss's output metric; see :mod:`repro.curvature.output_metrics`.

Outputs have the shape ``(N, S)``, the N numbers of a sample first, as everywhere in :mod:`repro.curvature`; targets are
as users have them, samples first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

from repro.curvature.output_metrics import Bernoulli, Euclidean, OutputMetric, Softmax
from repro.errors import InputError
from repro.numerics.reductions import over_leading


class Loss(Protocol):
    """A function of the outputs and the target of each sample."""

    def values(self, outputs: Array, targets: Array) -> Array:
        """The loss of every sample, shape ``(S,)``.

        Args:
            outputs: z, shape ``(N, S)``.
            targets: y, of the shape that the loss takes.

        Raises:
            InputError: if the targets are of another shape or type.
        """

    def errors(self, outputs: Array, targets: Array) -> Array:
        """How wrong the prediction is, for every sample, shape ``(S,)``; arguments as for :meth:`values`."""

    def metric(self, outputs: Array) -> OutputMetric:
        """The Hessian of the loss in the outputs."""


@dataclass(frozen=True)
class SumOfSquares:
    """eta / 2 |z|^2, of residuals: a sample is its own target, and takes no part.

    Attributes:
        eta: positive.
    """

    eta: float = 1.0

    def values(self, outputs: Array, targets: Array) -> Array:
        """Half of the sum over the outputs of their squares, times eta."""
        return 0.5 * self.eta * self.errors(outputs, targets)

    def errors(self, outputs: Array, targets: Array) -> Array:
        """|z|^2."""
        del targets
        return jnp.sum(outputs**2, axis=0)

    def metric(self, outputs: Array) -> Euclidean:
        """Eta times the identity."""
        del outputs
        return Euclidean(self.eta)


class SquaredError(SumOfSquares):
    """1/2 |z - y|^2 with targets ``(S, N)``: y is normal with mean z and unit variance."""

    def errors(self, outputs: Array, targets: Array) -> Array:
        """|z - y|^2."""
        return super().errors(outputs - _like_outputs(outputs, targets), targets)


class SoftmaxCrossEntropy:
    """-ln softmax(z)_y with targets ``(S,)``, the integer labels 0 ... N - 1; a label beyond them gives NaN."""

    def values(self, outputs: Array, targets: Array) -> Array:
        """-ln p_y."""
        labels = self._labels(outputs, targets)
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs, axis=0), labels[None], axis=0, mode="fill")[0]

    def errors(self, outputs: Array, targets: Array) -> Array:
        """1 where the most probable class is another than the label, else 0."""
        return (jnp.argmax(outputs, axis=0) != self._labels(outputs, targets)).astype(outputs.dtype)

    def metric(self, outputs: Array) -> Softmax:
        """Diag(p) - p p^T."""
        return Softmax(outputs)

    def _labels(self, outputs: Array, targets: Array) -> Array:
        samples = outputs.shape[1]
        if targets.shape != (samples,) or not jnp.issubdtype(targets.dtype, jnp.integer):
            raise InputError(
                f"targets of shape {targets.shape} and type {targets.dtype}: softmax needs ({samples},) integers, the "
                "class of each sample; of one-hot rows take the argmax"
            )
        return targets


class BernoulliCrossEntropy:
    """-sum_n [y_n ln sigma(z_n) + (1 - y_n) ln sigma(-z_n)] with targets ``(S, N)`` between 0 and 1."""

    def values(self, outputs: Array, targets: Array) -> Array:
        """The sum over the outputs of the binary cross entropies, ln(1 + e^z) - y z."""
        return over_leading(_softplus(outputs) - _like_outputs(outputs, targets) * outputs)

    def errors(self, outputs: Array, targets: Array) -> Array:
        """|sigma(z) - y|^2."""
        return over_leading((jax.nn.sigmoid(outputs) - _like_outputs(outputs, targets)) ** 2)

    def metric(self, outputs: Array) -> Bernoulli:
        """Diag(p (1 - p))."""
        return Bernoulli(outputs)


LOSSES: dict[str, Loss] = {
    "squared-error": SquaredError(),
    "softmax": SoftmaxCrossEntropy(),
    "bernoulli": BernoulliCrossEntropy(),
}
"""By the names that a user gives."""


@jax.custom_jvp
def _softplus(z: Array) -> Array:
    """ln(1 + e^z). Its derivative is stated: what JAX makes of |z| is slower, and has no second derivative at 0."""
    return jnp.maximum(z, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


def _softplus_tangent(tangent: Array, value: Array, z: Array) -> Array:
    del value
    return tangent * jax.nn.sigmoid(z)


_softplus.defjvps(_softplus_tangent)


def _like_outputs(outputs: Array, targets: Array) -> Array:
    """Targets ``(S, N)`` as ``(N, S)``."""
    if targets.shape != outputs.shape[::-1]:
        raise InputError(
            f"targets of shape {targets.shape}: must be {outputs.shape[::-1]}, a row for each sample, as the outputs "
            "that apply returns"
        )
    return targets.T
