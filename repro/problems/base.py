"""The interface between a problem, the optimisers and the training loop.

A problem draws samples, evaluates its objective and the gradient there, and describes the geometry of its parameters at
those samples. An optimiser is made for a problem and sees nothing of it but this. Monte Carlo
(:mod:`repro.vmc.problem`), supervised learning (:mod:`repro.problems.supervised`) and least squares of residuals
(:mod:`repro.problems.residual`) are the problems of this package; anything with these methods is another.

S is the number of samples, N that of outputs of a sample, P that of parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array

from repro.curvature.eigenbasis import Eigenbasis
from repro.curvature.pullback import Curvature
from repro.errors import InputError
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Partition

Metrics = dict[str, Array]
"""Scalars that an epoch reports, by the names of the curve's columns."""


ROUNDING = 4.0
"""Units of the last place of the objective that its mean may be off by."""


class Evaluation(Protocol):
    """The objective, its gradient and what the optimiser takes, at one set of parameters and samples.

    Attributes:
        gradient: of the objective, of the structure of the parameters.
        values: of the objective at every sample, shape ``(S,)``; the objective is their mean.
        batch: what an optimiser's ``update`` takes by keyword, beside gradient, state and parameters.
    """

    @property
    def gradient(self) -> Any: ...  # noqa: D102
    @property
    def values(self) -> Array: ...  # noqa: D102
    @property
    def batch(self) -> Mapping[str, Any]: ...  # noqa: D102


class MeasuredChange(NamedTuple):
    """A change of the objective, measured on samples.

    Attributes:
        change: objective after, less that before.
        error: standard error of the change, with its rounding error.
        rounding: rounding error of the change.
        overlap: effective number of samples after the step, as a fraction of all: 1 where the samples do not depend on
            the parameters. The variance of the weights, 1 / overlap - 1, is to leading order the Fisher distance
            d^T F d between the two states.
    """

    change: Array
    error: Array
    rounding: Array
    overlap: Array


class SampleSpace(NamedTuple):
    """A linearised least-squares problem, min_d |O d + e|^2: its step needs a system of N S equations only.

    Attributes:
        rows: O, shape ``(N S, P)``, scaled such that O^T O is the metric.
        residuals: e, shape ``(N S,)``; O^T e is the gradient, or half of it as in stochastic reconfiguration.
    """

    rows: Array
    residuals: Array


class StepTrial(Protocol):
    """Measures steps from the present parameters on the present samples."""

    def change(self, step: Any) -> MeasuredChange:
        """What a step, of the structure of the parameters, does to the objective."""

    def damping(self, carried: Any, left_out: frozenset[str]) -> Array:
        """The damping of a first attempt: estimated from the samples where :attr:`Problem.tells_damping`.

        Args:
            carried: what the rule of the steps before says; it is returned where the samples tell nothing.
            left_out: parts that an ablation leaves out.
        """


class Geometry(Protocol):
    """Curvatures of a problem at its present parameters and samples; nothing is evaluated before it is asked for."""

    @property
    def partition(self) -> Partition:
        """How parameters are cut into blocks."""

    @property
    def layers(self) -> tuple[LinearLayer, ...] | None:
        """The linear maps that the blocks are the weights of, or None where they are not known."""

    def factor_layers(self, targets: str) -> tuple[LinearLayer, ...] | None:
        """The same, with the sensitivities of other targets: one of the problem's :attr:`Problem.factor_targets`."""

    def curvature(self, name: str) -> Curvature:
        """One of the problem's curvatures."""

    def turned(self, bases: tuple[Eigenbasis, ...]) -> Geometry:
        """The same geometry, with each layer's matrix written in these bases."""

    def sample_space(self) -> SampleSpace:
        """The linearised problem, sample by sample."""

    def trial(self) -> StepTrial:
        """What measures steps."""


class Problem(Protocol):
    """What is optimised. Its methods are pure functions that JAX can trace.

    Attributes:
        curvatures: names that :meth:`geometry` may be asked for.
        layered: whether the linear maps are known, which Kronecker factors need.
        residuals_follow_outputs: whether the residuals of the sample space are the errors of the model's outputs, in
            units of their metric. For squared errors the difference of two residuals is then that of two outputs; for
            other losses this holds to first order.
        factor_scale: of the Fisher metric, in units of E[kron(a a^T, e e^T)] with inputs a and sensitivities e.
        has_protocols: whether the printed and the released algorithm of the study differ for it; if not, optimisers do
            what is printed.
        tells_damping: whether the samples set the scale of the proximal step's damping.
        strength: of a penalty strength/2 |theta|^2 that the objective and its curvatures contain; 0 without one.
        factor_targets: of which targets Kronecker factors can be made, of :data:`repro.config.FACTOR_TARGETS`.
    """

    @property
    def curvatures(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def layered(self) -> bool: ...  # noqa: D102
    @property
    def strength(self) -> float: ...  # noqa: D102
    @property
    def factor_targets(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def tells_damping(self) -> bool: ...  # noqa: D102
    @property
    def factor_scale(self) -> float: ...  # noqa: D102
    @property
    def has_protocols(self) -> bool: ...  # noqa: D102
    @property
    def residuals_follow_outputs(self) -> bool: ...  # noqa: D102

    def partition(self, params: Any) -> Partition:
        """How parameters are cut into blocks."""

    def draw(self, params: Any, data: Any, key: Array, coefficients: Any) -> tuple[Any, Any]:
        """New samples: a walk, or a minibatch.

        Returns:
            The samples, and what :meth:`metrics` wants to know of how they were drawn.
        """

    def evaluate(self, params: Any, data: Any, coefficients: Any) -> Any:
        """The :class:`Evaluation` at the samples."""

    def metrics(self, evaluation: Any, data: Any, drawn: Any) -> Metrics:
        """The scalars of this epoch, by column name."""

    def advance(self, params: Any, data: Any, key: Array, coefficients: Any) -> tuple[Any, Array]:
        """Samples that belong to new parameters, and the objective's values there, to judge the step that led here.

        Returns:
            The samples, and values of shape ``(S,)``.
        """

    def robust(self, values: Array) -> Array:
        """Values of the objective with outliers clipped, shape ``(S,)``."""

    def part(self, batch: Mapping[str, Any], fraction: float, number: int) -> Mapping[str, Any]:
        """A batch of a part of the samples of another.

        Args:
            batch: of the evaluation.
            fraction: of the samples, above 0 and at most 1; at least one sample is taken.
            number: tells several parts of one batch apart.
        """

    def geometry(self, params: Any, wanted: Iterable[str], batch: Mapping[str, Any]) -> Geometry:
        """The geometry at the samples of :attr:`Evaluation.batch`.

        Args:
            params: where.
            wanted: names of the curvatures that will be asked for.
            batch: of the evaluation.
        """


def require_curvatures(problem: Problem, wanted: Iterable[str], optimizer: str) -> None:
    """Refuses an optimiser whose curvatures a problem does not have.

    Raises:
        InputError: naming the curvature and those that there are.
    """
    for name in wanted:
        if name not in problem.curvatures:
            raise InputError(
                f"optimizer = {optimizer!r}: needs the curvature {name!r}, and this problem has "
                f"{', '.join(problem.curvatures) or 'none'}; take an optimiser that needs one of those"
            )


MOST_NUMBERS = 2**29
"""The most numbers in the rows of a sample space: 2 GiB in single precision, 4 in double."""


def rows_of(geometry: Geometry, optimizer: str) -> SampleSpace:
    """The sample space of a geometry, if its rows can be written down.

    Raises:
        InputError: if they cannot, with how many there are.
    """
    rows = jax.eval_shape(geometry.sample_space).rows
    if rows.size > MOST_NUMBERS:
        raise InputError(
            f"optimizer = {optimizer!r}: needs {rows.shape[0]:,} rows of {rows.shape[1]:,} parameters, which may have "
            f"{MOST_NUMBERS:,} numbers in all; take spring or proximal-dgd, which write none down, or fewer samples"
        )
    return geometry.sample_space()


def required(
    batch: Mapping[str, Any], *names: str, source: str = "as in the batch of the problem's evaluation"
) -> tuple[Any, ...]:
    """Entries of what an optimiser's ``update`` was called with.

    Args:
        batch: by keyword.
        names: of the entries.
        source: where a user finds them, for the error.

    Raises:
        InputError: naming those that are missing.
    """
    missing = [name for name in names if batch.get(name) is None]
    if missing:
        raise InputError(f"update(...) needs {' and '.join(missing)} by keyword, {source}")
    return tuple(batch[name] for name in names)
