"""What all problems have in common whose objective is a sum of mean losses: one class to derive them from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import Array

from repro.config import FACTOR_TARGETS
from repro.errors import InputError
from repro.numerics.sharding import global_count, pmean, psum
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Partition, partition
from repro.problems.base import Metrics
from repro.problems.loss_geometry import CURVATURES, LossGeometry
from repro.problems.terms import Terms, joint_values

Layers = tuple[LinearLayer, ...] | None


class LossEvaluation(NamedTuple):
    """See :class:`repro.problems.base.Evaluation`.

    Attributes:
        outputs: of each term, shape ``(N_t, S_t)``.
    """

    gradient: Any
    values: Array
    batch: Mapping[str, Any]
    outputs: tuple[Array, ...]


class LossProblem(ABC):
    """What every problem with such an objective has in common; see :class:`repro.problems.base.Problem`.

    A subclass says what its batch is and which terms are made of it, how samples are drawn, and what is reported.
    """

    @abstractmethod
    def batch_of(self, data: Any, coefficients: Any) -> Mapping[str, Any]:
        """What ``update`` takes by keyword, gathered from the samples that were drawn."""

    @abstractmethod
    def terms_of(self, batch: Mapping[str, Any]) -> Terms:
        """The objective on a batch.

        Raises:
            InputError: if something is missing in the batch, or does not fit together.
        """

    def layers_of(self, params: Any, batch: Mapping[str, Any], targets: str = "sampled") -> Layers:
        """The linear maps at a batch, with the sensitivities of some targets; None where they are not known."""
        del params, batch, targets
        return None

    @property
    def curvatures(self) -> tuple[str, ...]:
        """All of :data:`CURVATURES`."""
        return CURVATURES

    @property
    def layered(self) -> bool:
        """Whether the linear maps are known."""
        return False

    @property
    def strength(self) -> float:
        """There is no penalty."""
        return 0.0

    @property
    def factor_targets(self) -> tuple[str, ...]:
        """All of :data:`repro.config.FACTOR_TARGETS`, as the losses are those of exponential families."""
        return FACTOR_TARGETS

    @property
    def tells_damping(self) -> bool:
        """Losses do not."""
        return False

    @property
    def factor_scale(self) -> float:
        """The sensitivities are those of the logarithm of the likelihood itself."""
        return 1.0

    @property
    def has_protocols(self) -> bool:
        """The study is about energies."""
        return False

    @property
    def residuals_follow_outputs(self) -> bool:
        """They are the errors of the outputs, in units of their metric."""
        return True

    def partition(self, params: Any) -> Partition:
        """A block for each child of the parameters' tree."""
        return partition(params)

    def evaluate(self, params: Any, data: Any, coefficients: Any) -> LossEvaluation:
        """The objective and its gradient, by one pass forward and one backward."""
        batch = self.batch_of(data, coefficients)
        terms = self.terms_of(batch)
        outputs, pull = jax.vjp(lambda theta: tuple(term.at(theta) for term in terms), params)
        pairs = tuple(zip(terms, outputs, strict=True))
        slopes = tuple(term.slopes(z) / global_count(term.x.shape[0]) for term, z in pairs)
        values = joint_values(term.loss.values(z, term.targets) for term, z in pairs)
        return LossEvaluation(psum(pull(slopes)[0]), values, batch, outputs)

    def metrics(self, evaluation: LossEvaluation, data: Any, drawn: Any) -> Metrics:
        """The objective, ``"loss"``."""
        del data, drawn
        return {"loss": pmean(evaluation.values)}

    def advance(self, params: Any, data: Any, key: Array, coefficients: Any) -> tuple[Any, Array]:
        """The same samples, and their losses at other parameters: a step is judged on what it was made from."""
        del key
        terms = self.terms_of(self.batch_of(data, coefficients))
        return data, joint_values(term.values(params) for term in terms)

    def robust(self, values: Array) -> Array:
        """The values as they are."""
        return values

    def geometry(self, params: Any, wanted: Iterable[str], batch: Mapping[str, Any]) -> LossGeometry:
        """At the samples of a batch.

        Raises:
            InputError: as of :meth:`terms_of`.
        """
        del wanted
        terms = self.terms_of(batch)
        find_layers = partial(self.layers_of, params, batch) if self.layered else None
        return LossGeometry(terms, params, self.partition(params), find_layers)


def draw_rows(key: Array, total: int, count: int | None, name: str) -> Array | None:
    """Numbers of ``count`` of ``total`` samples, without replacement, shape ``(count,)``; None for all of them.

    Args:
        key: of this draw.
        total: samples that there are.
        count: samples that are wanted.
        name: of the count in an error.

    Raises:
        InputError: if there are fewer than wanted.
    """
    if count is None:
        return None
    if count > total:
        raise InputError(f"{name} = {count}: there are only {total} samples; take at most as many, or None for all")
    return jax.random.choice(key, total, (count,), replace=False)


def gathered(values: Array, rows: Array | None) -> Array:
    """The samples of :func:`draw_rows`, from all of them on the first axis."""
    return values if rows is None else values[rows]
