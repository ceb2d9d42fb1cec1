"""What an optimiser knows of a state: ln|psi|, the Laplacian, and, where there are any, its linear maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array

from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Blocks
from repro.vmc.ansatz.tangents import LinearTangents
from repro.vmc.physics.local_energy import log_laplacian_ratio

Params = Mapping[str, Mapping[str, Array]]
"""Parameters by module and name."""


class Structure(NamedTuple):
    """A state whose parameters are all weights of linear maps, seen as such.

    Attributes:
        split: a parameter tree to one matrix ``(I + S, O)`` for each linear map, in their order; linear and isometric.
        join: its inverse.
        layers: ``(params, x) -> `` one :class:`LinearLayer` for each of them.
        tangents: ``(params, x) -> (layers, `` one :class:`LinearTangents` for each ``)``.
    """

    split: Callable[[Any], Blocks]
    join: Callable[[Blocks], Any]
    layers: Callable[[Any, Array], tuple[LinearLayer, ...]]
    tangents: Callable[[Any, Array], tuple[tuple[LinearLayer, ...], tuple[LinearTangents, ...]]]


class TrialState(Protocol):
    """What sampling, local energies and every optimiser need; walkers have shape ``(W, A)``."""

    @property
    def log_psi(self) -> Callable[[Any, Array], Array]:
        """``(params, x) -> ln|psi|``, ``(W,)``."""

    @property
    def laplacian_ratio(self) -> Callable[[Any, Array], Array]:
        """``(params, x) -> (sum_i d^2 psi / dx_i^2) / psi``, ``(W,)``."""

    @property
    def structure(self) -> Structure | None:
        """The linear maps, where they are known; None leaves everything to automatic differentiation."""


class GeneralState(NamedTuple):
    """A :class:`TrialState` of which only ln|psi| is known."""

    log_psi: Callable[[Any, Array], Array]
    laplacian_ratio: Callable[[Any, Array], Array]
    structure: Structure | None = None


def trial_state(log_psi: Callable[[Any, Array], Array]) -> GeneralState:
    """A state from any function ln|psi|; derivatives are automatic, so near nodes they are only as good as it is.

    Args:
        log_psi: ``(params, x) -> ln|psi|``, a scalar, for one walker ``x`` of shape ``(A,)`` and any tree ``params``.
    """

    def ratio(params: Any, x: Array) -> Array:
        return jax.vmap(lambda walker: log_laplacian_ratio(lambda y: log_psi(params, y), walker))(x)

    return GeneralState(jax.vmap(log_psi, in_axes=(None, 0)), ratio)
