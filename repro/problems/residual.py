"""Least squares of residuals as a problem: differential equations solved by a network, and regression.

The residuals may contain derivatives of a network in its inputs, as those of physics-informed neural networks do (M.
Raissi, P. Perdikaris, G. E. Karniadakis, J. Comput. Phys. 378, 686 (2019)). Their Gauss-Newton matrix J^T J is what
energy natural gradients precondition with (J. Müller, M. Zeinhofer, ICML 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
from jax import Array

from repro.config.checks import integer, shown
from repro.curvature.linearized import PerSample
from repro.errors import InputError
from repro.problems.base import required
from repro.problems.losses import SumOfSquares
from repro.problems.mean_loss import LossProblem, draw_rows, gathered
from repro.problems.terms import Term, Terms, samples_first

Residual = Callable[[Any, Array], Array]
"""(params, points (S, ...)) -> residuals (S, N), point by point."""


@dataclass(frozen=True)
class LeastSquares(LossProblem):
    """L(theta) = sum_t w_t / S_t sum_s 1/2 |r_t(theta, x_s)|^2, a :class:`repro.problems.base.Problem`.

    There may be one term or several, of the interior and of each boundary, say. With one, what follows is a single
    function, number or array; with several, a tuple with one of them for each term.

    Its coefficients are the points, ``(S_t, ...)``: arguments of the compiled program, not constants in it. Before the
    first epoch its data are ``problem.draw(params, None, key, coefficients)[0]``. An optimiser's ``update`` takes
    ``points`` of the batch by keyword.

    The Fisher, the decision and the Gauss-Newton metric are one matrix, sum_t w_t E[J_t^T J_t], as if every residual
    were measured with normal errors of variance 1 / w_t; see :mod:`repro.problems.loss_geometry`.

    Attributes:
        residuals: ``(params, points (S, ...)) -> (S, N)``, point by point; N may differ from term to term.
        weights: w_t, positive.
        batch_size: points of an epoch, drawn anew in each and without replacement; None for all of them.
        chunk: points differentiated at a time, to bound the memory; None for all of the batch.

    Raises:
        InputError: if there is no term, not a weight and a size for each, or one of them is out of bounds.
    """

    residuals: Residual | tuple[Residual, ...]
    weights: float | tuple[float, ...] | None = field(default=None, kw_only=True)
    batch_size: int | tuple[int | None, ...] | None = field(default=None, kw_only=True)
    chunk: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name, given in (("weights", self._weights), ("batch_size", self._sizes)):
            if len(given) != len(self._residuals):
                raise InputError(
                    f"{name} = {shown(getattr(self, name))}: must be one for each of the terms, of which "
                    f"there are {len(self._residuals)}"
                )
        for weight in self._weights:
            if not 0 < weight < math.inf:
                raise InputError(f"weights = {shown(self.weights)}: must be positive and finite; leave a term out")
        for name, size in (*(("batch_size", size) for size in self._sizes), ("chunk", self.chunk)):
            if size is not None:
                integer(name, size, 1)

    @property
    def _residuals(self) -> tuple[Residual, ...]:
        return _each(self.residuals)

    @property
    def _weights(self) -> tuple[float, ...]:
        return (1.0,) * len(self._residuals) if self.weights is None else _each(self.weights)

    @property
    def _sizes(self) -> tuple[int | None, ...]:
        return (None,) * len(self._residuals) if self.batch_size is None else _each(self.batch_size)

    def draw(
        self, params: Any, data: Any, key: Array, coefficients: Array | tuple[Array, ...]
    ) -> tuple[tuple[Array | None, ...], None]:
        """Numbers of the points of each term, None for all of them; independent of the last.

        Raises:
            InputError: if there are not points for each term, or fewer than are wanted.
        """
        del params, data
        points = self._points(coefficients)
        drawn = zip(jax.random.split(key, len(points)), points, self._sizes, strict=True)
        return tuple(draw_rows(one, where.shape[0], size, "batch_size") for one, where, size in drawn), None

    def batch_of(self, data: tuple[Array | None, ...], coefficients: Array | tuple[Array, ...]) -> Mapping[str, Any]:
        """``points``, a tuple."""
        return {"points": tuple(map(gathered, self._points(coefficients), data))}

    def part(self, batch: Mapping[str, Any], fraction: float, number: int) -> Mapping[str, Any]:
        """Some of the points of each term, drawn without replacement: the same at each step, for a batch has no key.

        Raises:
            InputError: if the points of a term are missing.
        """
        (given,) = required(batch, "points")
        points = self._points(given)
        keys = jax.random.split(jax.random.key(number), len(points))
        counts = [max(1, round(fraction * where.shape[0])) for where in points]
        drawn = (
            draw_rows(key, where.shape[0], count, "fraction")
            for key, where, count in zip(keys, points, counts, strict=True)
        )
        return {"points": tuple(map(gathered, points, drawn))}

    def terms_of(self, batch: Mapping[str, Any]) -> Terms:
        """One for each residual function, the root of its weight in its outputs.

        Raises:
            InputError: if the points of a term are missing.
        """
        (given,) = required(batch, "points")
        terms = zip(self._residuals, self._weights, self._points(given), self._sizes, strict=True)
        return tuple(
            Term(
                _outputs(residual, weight), SumOfSquares(), points, points, self.chunk or len(points), size is not None
            )
            for residual, weight, points, size in terms
        )

    def _points(self, given: Array | tuple[Array, ...]) -> tuple[Array, ...]:
        points = _each(given)
        if len(points) != len(self._residuals):
            raise InputError(f"points: must be {len(self._residuals)} arrays, one for each term, not {len(points)}")
        return points


Each = TypeVar("Each")


def _each(given: Each | tuple[Each, ...]) -> tuple[Each, ...]:
    """One for each term."""
    return given if isinstance(given, tuple) else (given,)


def _outputs(residual: Residual, weight: float) -> PerSample:
    def outputs(params: Any, points: Array) -> Array:
        return math.sqrt(weight) * residual(params, points)

    return samples_first(outputs, "residuals(params, points)")
