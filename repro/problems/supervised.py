"""Supervised learning as a problem: the mean loss of a model's outputs, over all samples or a minibatch of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from repro.config.checks import choice, integer, real
from repro.curvature.output_metrics import factor_columns
from repro.errors import InputError
from repro.numerics.sharding import pmean
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Partition
from repro.problems.base import Metrics, required
from repro.problems.losses import LOSSES
from repro.problems.mean_loss import Layers, LossEvaluation, LossProblem, draw_rows, gathered
from repro.problems.terms import Term, Terms, penalty, samples_first


class LinearMaps(Protocol):
    """The linear maps of a model that has no other parameters; see :mod:`repro.problems.haiku_layers`."""

    def partition(self, params: Any) -> Partition:
        """One matrix ``(I + 1, O)`` for each map, or ``(I, O)`` where it has no bias."""

    def layers(self, params: Any, x: Array, slopes: Callable[[Array], Array]) -> tuple[LinearLayer, ...]:
        """What each map sees, in the order of the blocks.

        Args:
            params: where.
            x: inputs of the model, shape ``(S, ...)``.
            slopes: from the outputs ``(S, N)`` to what is propagated back to the sensitivities: ``(S, N)``, or
                ``(M, S, N)`` for M vectors at each sample, which make M sensitivities.
        """


class Minibatch(NamedTuple):
    """The samples of an epoch.

    Attributes:
        rows: their numbers, shape ``(batch_size,)``; None for all samples.
        key: for the targets that are drawn from the model.
    """

    rows: Array | None
    key: Array


@dataclass(frozen=True)
class Supervised(LossProblem):
    """L(theta) = 1/S sum_s l(z(theta, x_s), y_s), a :class:`repro.problems.base.Problem`.

    Its coefficients are ``(inputs, targets)`` of all samples, of shapes ``(S, ...)`` and as the loss takes them; they
    are arguments of the compiled program, not constants in it. Before the first epoch its data are
    ``problem.draw(params, None, key, coefficients)[0]``. An optimiser's ``update`` takes ``inputs`` and ``targets`` of
    the batch by keyword, and ``key`` where the linear maps are known.

    The Fisher, the decision and the Gauss-Newton metric are one matrix, see :mod:`repro.problems.loss_geometry`;
    "empirical-fisher" is another. Kronecker factors take targets drawn from the model, once for each sample (J.
    Martens, R. Grosse, ICML 2015, section 5): those of the data would give factors of the empirical Fisher matrix.

    Attributes:
        apply: the model, ``(params, x (S, ...)) -> (S, N)``, sample by sample.
        loss: "squared-error", 1/2 |z - y|^2 with targets ``(S, N)``; "softmax", the cross entropy of classes with
            integer labels ``(S,)``; or "bernoulli", the binary cross entropy summed over the outputs with targets
            ``(S, N)`` between 0 and 1.
        layers: the linear maps of the model, which Kronecker factors need; None where they are not known.
        batch_size: samples of an epoch, drawn anew in each and without replacement; None for all of them.
        chunk: samples differentiated at a time, to bound the memory; None for all of the batch.
        l2: eta of the penalty eta / 2 |theta|^2 that is added to L, a term of its own: in the gradient, in the metrics
            and where steps are judged.

    Raises:
        InputError: for an unknown loss, a size below 1, or a negative penalty.
    """

    apply: Callable[[Any, Array], Array]
    loss: str
    layers: LinearMaps | None = field(default=None, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)
    chunk: int | None = field(default=None, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        choice("loss", self.loss, tuple(LOSSES))
        real(self, "l2")
        if self.l2 < 0:
            raise InputError(f"l2 = {self.l2:g}: must not be negative")
        for name in ("batch_size", "chunk"):
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), 1)

    @property
    def layered(self) -> bool:
        """Whether the linear maps are known."""
        return self.layers is not None

    @property
    def strength(self) -> float:
        """Eta of the penalty."""
        return self.l2

    def partition(self, params: Any) -> Partition:
        """The linear maps where they are known, else a block for each child of the parameters' tree."""
        return super().partition(params) if self.layers is None else self.layers.partition(params)

    def draw(self, params: Any, data: Any, key: Array, coefficients: tuple[Array, Array]) -> tuple[Minibatch, None]:
        """A minibatch, independent of the last.

        Raises:
            InputError: if there are fewer samples than are wanted.
        """
        del params, data
        of_rows, of_targets = jax.random.split(key)
        rows = draw_rows(of_rows, coefficients[0].shape[0], self.batch_size, "batch_size")
        return Minibatch(rows, of_targets), None

    def batch_of(self, data: Minibatch, coefficients: tuple[Array, Array]) -> Mapping[str, Any]:
        """``inputs``, ``targets`` and ``key``."""
        inputs, targets = coefficients
        _as_many(inputs, targets)
        return {"inputs": gathered(inputs, data.rows), "targets": gathered(targets, data.rows), "key": data.key}

    def terms_of(self, batch: Mapping[str, Any]) -> Terms:
        """One, and one of the penalty if there is any.

        Raises:
            InputError: if inputs or targets are missing, or there are not as many of both.
        """
        inputs, targets = required(batch, "inputs", "targets")
        _as_many(inputs, targets)
        drawn = self.batch_size is not None
        outputs = samples_first(self.apply, "apply(params, inputs)")
        own = Term(outputs, LOSSES[self.loss], inputs, targets, self.chunk or inputs.shape[0], drawn)
        return (own, penalty(self.l2, inputs.dtype)) if self.l2 else (own,)

    def layers_of(self, params: Any, batch: Mapping[str, Any], targets: str = "sampled") -> Layers:
        """The linear maps at the inputs, with the sensitivities of some targets.

        Args:
            params: where.
            batch: of the evaluation.
            targets: "sampled" from the model with the batch's key; "empirical", those of the batch; or "exact", the N
                columns of the output metric's factor, whose sensitivities have N rows for each sample.

        Raises:
            InputError: if inputs, or the key or the targets that are wanted, are missing.
        """
        if self.layers is None:
            return None
        loss = LOSSES[self.loss]
        (inputs,) = required(batch, "inputs")
        if targets == "exact":
            return self.layers.layers(
                params, inputs, lambda z: jnp.swapaxes(factor_columns(loss.metric(z.T), z.T), 1, 2)
            )
        if targets == "empirical":
            term, *_ = self.terms_of(batch)
            return self.layers.layers(params, inputs, lambda z: term.slopes(z.T).T)
        (key,) = required(batch, "key")
        return self.layers.layers(params, inputs, lambda z: loss.metric(z.T).sample(key, z.T).T)

    def part(self, batch: Mapping[str, Any], fraction: float, number: int) -> Mapping[str, Any]:
        """Some of the samples, drawn without replacement by the batch's key.

        Raises:
            InputError: if inputs, targets or key are missing.
        """
        inputs, targets, key = required(batch, "inputs", "targets", "key")
        of_rows, of_targets = jax.random.split(jax.random.fold_in(key, number))
        count = max(1, round(fraction * inputs.shape[0]))
        rows = draw_rows(of_rows, inputs.shape[0], count, "fraction")
        return {"inputs": gathered(inputs, rows), "targets": gathered(targets, rows), "key": of_targets}

    def metrics(self, evaluation: LossEvaluation, data: Any, drawn: Any) -> Metrics:
        """``"loss"``, and ``"error"``: the share of wrong classes, or the squared error of a sample's prediction."""
        outputs, *_ = evaluation.outputs
        errors = LOSSES[self.loss].errors(outputs, evaluation.batch["targets"])
        return {**super().metrics(evaluation, data, drawn), "error": pmean(errors)}

    def losses(self, params: Any, samples: tuple[Array, Array]) -> tuple[Array, Array]:
        """Loss, without the penalty, and error of every sample, both of shape ``(S,)``.

        Args:
            params: where.
            samples: inputs and targets, perhaps not those of the training.
        """
        inputs, targets = samples
        outputs, loss = samples_first(self.apply, "apply(params, inputs)")(params, inputs), LOSSES[self.loss]
        return loss.values(outputs, targets), loss.errors(outputs, targets)


def _as_many(inputs: Array, targets: Array) -> None:
    if inputs.shape[0] != targets.shape[0]:
        raise InputError(
            f"targets of shape {targets.shape}: there must be one for each of the {inputs.shape[0]} inputs, of shape "
            f"{inputs.shape}"
        )
