"""What an optimiser knows of a state: ln|psi|, the Laplacian, and, where there are any, its linear maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from repro.errors import InputError
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
    """What sampling, local energies and every optimiser need; walkers have shape ``(W, A)``, or ``(W, n, d)``."""

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
        log_psi: ``(params, x) -> ln|psi|``, a real scalar, for one walker ``x`` and any tree ``params``. Walkers may be
            of any shape: ``(A,)`` for particles on a line, ``(n, d)`` for n of them in d dimensions.

    Raises:
        InputError: by the functions of the state, if ``log_psi`` gives anything but a real scalar.
    """

    def scalar(params: Any, walker: Array) -> Array:
        return _real_values(log_psi(params, walker), (), f"one walker of shape {walker.shape}")

    def ratio(params: Any, x: Array) -> Array:
        return jax.vmap(lambda walker: log_laplacian_ratio(lambda y: scalar(params, y), walker))(x)

    return GeneralState(jax.vmap(scalar, in_axes=(None, 0)), ratio)


def checked_walkers(psi: TrialState, params: Any, walkers: Any) -> Array:
    """The walkers, if they suit a state; nothing is evaluated.

    Args:
        psi: the state.
        params: of a single type, float32 or float64.
        walkers: shape ``(W, ...)``.

    Raises:
        InputError: if there are none, if their type is not that of the parameters, or if ln|psi| of them is not of
            shape ``(W,)`` and of that type.
    """
    walkers = jnp.asarray(walkers)
    if walkers.ndim == 0 or walkers.shape[0] == 0:
        raise InputError(f"walkers of shape {walkers.shape}: there must be at least one, along the first axis")
    dtype = jnp.result_type(jax.tree.leaves(params)[0])
    if walkers.dtype != dtype:
        raise InputError(
            f"walkers are {walkers.dtype} and the parameters {dtype}: must be of one type; use walkers.astype({dtype})"
        )
    found = _real_values(jax.eval_shape(psi.log_psi, params, walkers), walkers.shape[:1], f"{len(walkers)} walkers")
    if found.dtype != dtype:
        raise InputError(
            f"ln|psi| is {found.dtype}, of parameters and walkers that are {dtype}: must be of their type; "
            "leave out the conversion"
        )
    return walkers


def _real_values(found: Any, shape: tuple[int, ...], given: str) -> Any:
    """What ln|psi| gave for one walker or several, if it is real numbers of this shape."""
    if len(jax.tree.leaves(found)) != 1 or not jax.tree_util.all_leaves([found]):
        raise InputError(
            f"ln|psi| of {given} is {type(found).__name__}: must be an array of shape {shape}; return it alone"
        )
    told = f"ln|psi| of {given} is {jnp.result_type(found)} of shape {jnp.shape(found)}"
    if jnp.shape(found) != shape:
        remedy = "return a scalar for one walker" if shape == () else "return one number a walker"
        raise InputError(f"{told}: must be of shape {shape}; {remedy}")
    if jnp.result_type(found) not in (jnp.float32, jnp.float64):
        complex_valued = jnp.issubdtype(jnp.result_type(found), jnp.complexfloating)
        remedy = "return the logarithm of the absolute value, its real part" if complex_valued else "convert it"
        raise InputError(f"{told}: must be float32 or float64; {remedy}")
    return found
