"""Terms of an objective: each is the mean over samples of a loss of a model's outputs.

Supervised learning has one such term; a differential equation has one for the interior and one for each boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.curvature.identity import MultipleOfIdentity
from repro.curvature.linearized import LinearizedJacobian, PerSample, in_chunks
from repro.curvature.output_metrics import Euclidean
from repro.curvature.pullback import Curvature, Pullback
from repro.errors import InputError
from repro.numerics.batching import map_in_batches
from repro.numerics.sharding import global_count, pmean
from repro.parameters.partition import Partition
from repro.problems.base import ROUNDING, MeasuredChange, SampleSpace
from repro.problems.losses import Loss, SumOfSquares

Diagonal = Callable[[int], Array]
"""From the number of a block to the diagonal entries that belong to it, of its shape."""

EXACT_OUTPUTS = 64
"""The most outputs of which the diagonal of J^T G_z J is computed exactly."""
PROBES = 0
"""Seed of the pseudo-gradients where the linear maps, whose own are drawn with the batch's key, are not known."""


class Term(NamedTuple):
    """The mean over samples of a loss of outputs.

    Attributes:
        outputs: z, ``(params, x (S, ...)) -> (N, S)``, sample by sample.
        loss: of the outputs and the targets.
        x: samples, shape ``(S, ...)``.
        targets: of the samples, shape ``(S, ...)``.
        chunk: samples differentiated at a time.
        drawn: whether the samples are a draw of many, so that their mean has a standard error.
    """

    outputs: PerSample
    loss: Loss
    x: Array
    targets: Array
    chunk: int
    drawn: bool

    def at(self, params: Any) -> Array:
        """Outputs of all samples, shape ``(N, S)``."""
        return in_chunks(lambda x: self.outputs(params, x), self.x, self.chunk)

    def values(self, params: Any) -> Array:
        """Losses of all samples, shape ``(S,)``."""
        return self.loss.values(self.at(params), self.targets)

    def slopes(self, outputs: Array) -> Array:
        """The derivative of each sample's loss in its outputs, shape ``(N, S)``."""
        return jax.grad(lambda z: jnp.sum(self.loss.values(z, self.targets)))(outputs)

    def gauss_newton(self, params: Any, parts: Partition, sampled: Diagonal | None = None) -> Curvature:
        """E[J^T G_z J], whose diagonal is exact up to :data:`EXACT_OUTPUTS` outputs and estimated beyond.

        The rows of J of a single sample take N times the memory of the parameters. With one pseudo-gradient e of mean
        zero and covariance G_z for each sample, (J^T e)^2 has the diagonal as its mean (C. Bekas, E. Kokiopoulou, Y.
        Saad, Appl. Numer. Math. 57, 1214 (2007), for the idea), and takes the memory of one row.

        Args:
            params: where.
            parts: the blocks.
            sampled: such an estimate, where one is at hand.
        """
        jacobian, outputs = LinearizedJacobian(self.outputs, params, self.x, parts, self.chunk), self.at(params)
        metric = self.loss.metric(outputs)
        if outputs.shape[0] <= EXACT_OUTPUTS:
            return Pullback(jacobian, metric)
        return Pullback(
            jacobian,
            metric,
            sampled or self._sampled_squares(metric.sample(jax.random.key(PROBES), outputs), params, parts),
        )

    def _sampled_squares(self, slopes: Array, params: Any, parts: Partition) -> Diagonal:
        """E[(J^T e)^2] for one e for each sample, shape ``(N, S)``."""

        def along(theta: Any, index: Array) -> Array:
            return jnp.sum(slopes[:, index] * self.outputs(theta, self.x[index]), axis=0, keepdims=True)

        numbers = jnp.arange(self.x.shape[0])
        return LinearizedJacobian(along, params, numbers, parts, self.chunk).squares

    def empirical_fisher(self, params: Any, parts: Partition, known: Diagonal | None = None) -> Curvature:
        """E[g g^T] of the gradients of single samples, with its diagonal where it is known already."""

        def values(theta: Any, index: Array) -> Array:
            return self.loss.values(self.outputs(theta, self.x[index]), self.targets[index])[None]

        # A sample and its target belong together: samples are counted, as a Jacobian takes a single array of them.
        numbers = jnp.arange(self.x.shape[0])
        return Pullback(LinearizedJacobian(values, params, numbers, parts, self.chunk), Euclidean(), known)

    def sample_space(self, params: Any) -> SampleSpace:
        """B^T J and B^-1 dl/dz, both over the square root of S, of shapes ``(N S, P)`` and ``(N S,)``."""
        theta, restore = ravel_pytree(params)

        def of_sample(x: Array) -> Array:
            return jax.jacrev(lambda flat: self.outputs(restore(flat), x[None])[:, 0])(theta)

        jacobian = jnp.swapaxes(map_in_batches(jax.vmap(of_sample), self.x, self.chunk, axis=-3), 0, 1)
        outputs = self.at(params)
        metric, scale = self.loss.metric(outputs), global_count(self.x.shape[0]) ** -0.5
        rows = jax.vmap(metric.factor_transpose, in_axes=-1, out_axes=-1)(jacobian)
        residuals = metric.solve_factor(self.slopes(outputs))
        return SampleSpace(scale * rows.reshape(-1, theta.size), scale * residuals.ravel())

    def change(self, before: Array, after: Array) -> MeasuredChange:
        """The difference of two means over the same samples, from the losses ``(S,)`` of each."""
        difference = after - before
        change = pmean(difference)
        rounding = ROUNDING * jnp.finfo(before.dtype).eps * pmean(jnp.abs(before) + jnp.abs(after))
        variance = pmean((difference - change) ** 2) / global_count(before.shape[0]) if self.drawn else 0.0
        return MeasuredChange(change, jnp.sqrt(variance + rounding**2), rounding, jnp.ones_like(change))


Terms = tuple[Term, ...]


class Penalty(Term):
    """A penalty eta / 2 |theta|^2; its curvature is known, whichever is asked for."""

    def gauss_newton(self, params: Any, parts: Partition, sampled: Diagonal | None = None) -> MultipleOfIdentity:
        """Eta I."""
        del sampled
        return MultipleOfIdentity(cast("SumOfSquares", self.loss).eta, parts.split(params))

    def empirical_fisher(self, params: Any, parts: Partition, known: Diagonal | None = None) -> MultipleOfIdentity:
        """Eta I: the samples take no part."""
        del known
        return self.gauss_newton(params, parts)


def penalty(eta: float, dtype: Any) -> Penalty:
    """The penalty eta / 2 |theta|^2 as the mean over a single sample, whose outputs are the parameters.

    Args:
        eta: above 0.
        dtype: of the parameters.
    """
    single = jnp.zeros(1, dtype)
    return Penalty(lambda params, _: ravel_pytree(params)[0][:, None], SumOfSquares(eta), single, single, 1, False)


def joint_values(values: Iterable[Array]) -> Array:
    """Values of all samples whose mean is the objective, shape ``(sum_t S_t,)``, from those of each term."""
    parts = tuple(values)
    if len(parts) == 1:
        return parts[0]
    total = sum(part.shape[0] for part in parts)
    return jnp.concatenate([total / part.shape[0] * part for part in parts])


def samples_first(apply: Callable[[Any, Array], Array], name: str) -> PerSample:
    """A function with outputs ``(S, N)`` as one with outputs ``(N, S)``.

    Args:
        apply: ``(params, x (S, ...)) -> (S, N)``.
        name: of the function in an error.

    Raises:
        InputError: when called, if the outputs are of another shape.
    """

    def outputs(params: Any, x: Array) -> Array:
        found = apply(params, x)
        if found.ndim != 2 or found.shape[0] != x.shape[0]:
            raise InputError(
                f"{name} returned the shape {found.shape} for {x.shape[0]} samples: must be ({x.shape[0]}, N), a row "
                "of N numbers for each"
            )
        return found.T

    return outputs
