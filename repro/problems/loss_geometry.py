"""The geometry of objectives that are sums of mean losses, L(theta) = sum_t 1/S_t sum_s l_t(z_t(theta, x_s), y_s).

All of it follows from the outputs z_t and the losses l_t: with J the Jacobian of the outputs and G_z the Hessian of the
loss in them,

    G = sum_t E[J^T G_z J],

the generalised Gauss-Newton matrix (N. N. Schraudolph, Neural Comput. 14, 1723 (2002)). Here it is the Fisher matrix,
too, since every l_t is the logarithmic score of an exponential family (J. Martens, J. Mach. Learn. Res. 21, 146 (2020),
section 9.2); and the decision metric, which a scoring rule induces, is the Fisher matrix for the logarithmic score. The
mean score vanishes at every sample where targets are drawn from the model, so that centring changes nothing either:
four of the :data:`CURVATURES` are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from repro.curvature.eigenbasis import Eigenbasis, from_eigenbases, to_eigenbases, turned_layer
from repro.curvature.pullback import Curvature, CurvatureSum
from repro.parameters.linear_layers import LinearLayer, squared_gradients
from repro.parameters.partition import Partition
from repro.problems.base import MeasuredChange, SampleSpace
from repro.problems.terms import Terms

GAUSS_NEWTON = ("fisher", "uncentred-fisher", "decision", "gauss-newton")
"""Names of one and the same matrix, see above."""
EMPIRICAL = "empirical-fisher"
"""E[g g^T] of the gradients g of single samples at their own targets: not a Fisher matrix, nor an approximation of one
far from a good fit (F. Kunstner, L. Balles, P. Hennig, NeurIPS 2019)."""
CURVATURES = (*GAUSS_NEWTON, EMPIRICAL)

FindLayers = Callable[[str], tuple[LinearLayer, ...] | None]
"""From targets, one of :data:`repro.config.FACTOR_TARGETS`, to the linear maps with their sensitivities."""


class LossGeometry:
    """See :class:`repro.problems.base.Geometry`.

    Args:
        terms: of the objective.
        params: where.
        parts: the blocks of the parameters.
        find_layers: the linear maps for some targets; None where they are not known.
    """

    def __init__(self, terms: Terms, params: Any, parts: Partition, find_layers: FindLayers | None) -> None:
        self._terms, self._params, self._parts, self._find_layers = terms, params, parts, find_layers

    @property
    def partition(self) -> Partition:
        """The blocks."""
        return self._parts

    @cached_property
    def layers(self) -> tuple[LinearLayer, ...] | None:
        """The linear maps, where they are known, with sampled sensitivities."""
        return self.factor_layers("sampled")

    def factor_layers(self, targets: str) -> tuple[LinearLayer, ...] | None:
        """The linear maps, where they are known, with the sensitivities of these targets."""
        return None if self._find_layers is None else self._find_layers(targets)

    def curvature(self, name: str) -> Curvature:
        """One of :data:`CURVATURES`."""
        if name == EMPIRICAL:
            return self._empirical
        if name in GAUSS_NEWTON:
            return self._gauss_newton
        raise ValueError(f"curvature {name!r}: is none of {', '.join(CURVATURES)}")

    @cached_property
    def _empirical(self) -> Curvature:
        known = self._squares("empirical")
        return _summed(term.empirical_fisher(self._params, self._parts, known) for term in self._terms)

    @cached_property
    def _gauss_newton(self) -> Curvature:
        sampled = self._squares("sampled")
        return _summed(term.gauss_newton(self._params, self._parts, sampled) for term in self._terms)

    def _squares(self, targets: str) -> Callable[[int], Array] | None:
        """The diagonal of E[g g^T] of each layer, with the gradients g of single samples at some targets.

        It takes two passes through the model for all layers, and no memory for the gradients. None where the linear
        maps are not known.
        """
        find_layers = self._find_layers
        if find_layers is None:
            return None
        # Found when the first layer is asked for: there may be no key for targets that nobody needs.
        found = cache(lambda: self.factor_layers(targets) if targets != "sampled" else self.layers)
        return lambda index: squared_gradients(cast("tuple[LinearLayer, ...]", found())[index])

    def turned(self, bases: tuple[Eigenbasis, ...]) -> LossGeometry:
        """As if each layer's matrix were written in these coordinates: only the cut into blocks is another."""
        parts = self._parts
        turned = Partition(
            lambda params: to_eigenbases(bases, parts.split(params)),
            lambda blocks: parts.join(from_eigenbases(bases, blocks)),
        )

        def layers(targets: str) -> tuple[LinearLayer, ...] | None:
            found = self.layers if targets == "sampled" else self.factor_layers(targets)
            return None if found is None else tuple(map(turned_layer, found, bases))

        return LossGeometry(self._terms, self._params, turned, None if self._find_layers is None else layers)

    def sample_space(self) -> SampleSpace:
        """The rows of all terms."""
        spaces = [term.sample_space(self._params) for term in self._terms]
        return SampleSpace(*(jnp.concatenate(parts) for parts in zip(*spaces, strict=True)))

    def trial(self) -> LossTrial:
        """Paired changes of the loss."""
        return LossTrial(self._terms, self._params)


class LossTrial:
    """Measures steps by L(theta + d) - L(theta) on the same samples; see :class:`repro.problems.base.StepTrial`."""

    def __init__(self, terms: Terms, params: Any) -> None:
        self._terms, self._params = terms, params
        self._before = tuple(term.values(params) for term in terms)

    def change(self, step: Any) -> MeasuredChange:
        """Of the loss, with the standard error of the samples' differences where the samples are drawn."""
        moved = jax.tree.map(jnp.add, self._params, step)
        pairs = zip(self._terms, self._before, strict=True)
        changes = [term.change(before, term.values(moved)) for term, before in pairs]
        change, error, rounding, overlap = (jnp.stack(parts) for parts in zip(*changes, strict=True))
        return MeasuredChange(jnp.sum(change), jnp.sqrt(jnp.sum(error**2)), jnp.sum(rounding), jnp.min(overlap))

    def damping(self, carried: Array, left_out: frozenset[str]) -> Array:
        """That of the rule: losses tell none."""
        del left_out
        return carried


def _summed(terms: Iterable[Curvature]) -> Curvature:
    found = tuple(terms)
    return found[0] if len(found) == 1 else CurvatureSum(found)
