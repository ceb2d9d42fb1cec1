"""The neural-network quantum state as pure functions of (parameters, positions)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array

from repro.errors import InputError
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Blocks
from repro.vmc.ansatz.determinant import log_sum_determinants, sum_laplacian_ratio
from repro.vmc.ansatz.forward_laplacian import F, Jet, position_jet
from repro.vmc.ansatz.layers import ENVELOPE, EquivariantOrbitals, Tap, untapped
from repro.vmc.ansatz.tangents import LinearTangents, LocalTangents
from repro.vmc.ansatz.trial import Params, Structure


class Wavefunction(NamedTuple):
    """The Slater-network state, a :class:`TrialState`; every function takes walkers of shape ``(W, A)``.

    Attributes:
        init: ``key -> params``.
        orbitals: ``(params, x) -> (A, A, D, W)``: particle i, orbital j, determinant, walker; with envelope.
        sign_log_psi: ``(params, x) -> (sign, ln|psi|)``, each ``(W,)``.
        log_psi: ``(params, x) -> ln|psi|``, ``(W,)``.
        laplacian_ratio: ``(params, x) -> (sum_i d^2 psi / dx_i^2) / psi``, ``(W,)``.
        structure: its linear maps: equivariant layers 1..L, the orbitals of determinants 1..D, the envelope.
    """

    init: Callable[[Array], Params]
    orbitals: Callable[[Params, Array], Array]
    sign_log_psi: Callable[[Params, Array], tuple[Array, Array]]
    log_psi: Callable[[Params, Array], Array]
    laplacian_ratio: Callable[[Params, Array], Array]
    structure: Structure


class _LinearMaps(NamedTuple):
    """The linear maps of the network: equivariant layers 1..L, the orbitals of determinants 1..D, the envelope.

    Attributes:
        orbitals: ``(params, x, tap) -> (A, A, D, W)``; the tap sees and may shift every map's outputs.
        particles: A.
        layers: L.
        hidden: H.
        determinants: D.
    """

    orbitals: Callable[[Params, Array, Tap], Array]
    particles: int
    layers: int
    hidden: int
    determinants: int

    def observed(self, params: Params, x: Array) -> tuple[LinearLayer, ...]:
        """The linear maps at the walkers ``x``, their sensitivities by one backward pass."""
        walkers = x.shape[0]
        equivariant = [f"equivariant_{index + 1}" for index in range(self.layers)]
        widths = dict.fromkeys(equivariant, self.hidden) | dict.fromkeys(
            ("orbitals", ENVELOPE), self.determinants * self.particles
        )

        def total(perturbations: dict[str, Array]) -> tuple[Array, dict[str, tuple[Array, Array | None]]]:
            inputs: dict[str, tuple[Array, Array | None]] = {}

            def tap(layer: str, own: Any, shared: Any, s: Any) -> Any:
                inputs[layer] = own, shared
                return s + perturbations[layer]

            log = log_sum_determinants(self.orbitals(params, x, tap))[1]
            return jnp.sum(log), inputs

        zeros = {name: jnp.zeros((self.particles, walkers, width), x.dtype) for name, width in widths.items()}
        sensitivities, inputs = jax.grad(total, has_aux=True)(zeros)
        one = jnp.ones((walkers, 1), x.dtype)
        found = []
        for name in equivariant:
            own, mean = inputs[name]
            found.append(LinearLayer(own, mean[0], one, sensitivities[name]))
        own = inputs["orbitals"][0]
        for sensitivity in jnp.split(sensitivities["orbitals"], self.determinants, axis=2):
            found.append(LinearLayer(own, one[:, :0], one, sensitivity))
        found.append(LinearLayer(inputs[ENVELOPE][0], one[:, :0], one[:, :0], sensitivities[ENVELOPE]))
        return tuple(found)

    def tangents(self, params: Params, x: Array) -> tuple[tuple[LinearLayer, ...], tuple[LinearTangents, ...]]:
        def along(direction: Array) -> tuple[tuple[LinearLayer, ...], tuple[LinearLayer, ...]]:
            return jax.jvp(lambda y: self.observed(params, y), (x,), (jnp.broadcast_to(direction, x.shape),))

        values, slopes = jax.vmap(along, out_axes=(None, 0))(jnp.eye(self.particles, dtype=x.dtype))
        # Positions and the first layer's features see their own particle and the mean of all; later ones see each.
        local = {0, 1, len(slopes) - 1}
        return values, tuple(
            LinearTangents(LocalTangents.of(slope.own) if index in local else slope.own, slope.mean, slope.sensitivity)
            for index, slope in enumerate(slopes)
        )

    def split(self, params: Params) -> Blocks:
        blocks = [
            jnp.concatenate([params[name]["w"], params[name]["b"][None]])
            for name in (f"ansatz/equivariant_{index + 1}" for index in range(self.layers))
        ]
        orbitals = params["ansatz/orbitals"]
        stacked = jnp.concatenate([orbitals["w"], orbitals["b"][None]])
        return (*blocks, *jnp.split(stacked, self.determinants, axis=1), orbitals[ENVELOPE][None])

    def join(self, blocks: Blocks) -> Params:
        params = {
            f"ansatz/equivariant_{index + 1}": {"b": block[-1], "w": block[:-1]}
            for index, block in enumerate(blocks[: self.layers])
        }
        stacked = jnp.concatenate(blocks[self.layers : -1], axis=1)
        params["ansatz/orbitals"] = {"b": stacked[-1], ENVELOPE: blocks[-1][0], "w": stacked[:-1]}
        return params


def slater_wavefunction(
    particles: int, layers: int = 2, hidden: int = 64, determinants: int = 1, dtype: str = "float32"
) -> Wavefunction:
    """psi(x) = sum_d det_d / sqrt(A!) with permutation-equivariant orbitals (Phys. Rev. A 108, 063320).

    Args:
        particles: A >= 1.
        layers: number L >= 1 of equivariant layers.
        hidden: units H >= 1 of each.
        determinants: number D >= 1.
        dtype: "float32" or "float64" (the latter needs ``jax.enable_x64``).

    Returns:
        The state as pure functions, see :class:`Wavefunction`.
    """
    float_dtype = jnp.dtype(dtype)

    def network(x: F, tap: Tap = untapped) -> F:
        return EquivariantOrbitals(layers, hidden, determinants, float_dtype)(x, particles, tap)

    transformed = hk.without_apply_rng(hk.transform(network))
    normalisation = 0.5 * math.lgamma(particles + 1)

    def columns(x: Array) -> Array:
        if x.shape[1:] != (particles,):
            raise InputError(
                f"each walker is of shape {x.shape[1:]}: must be ({particles},), for this state of particles = "
                f"{particles} on a line; give walkers of shape (W, {particles})"
            )
        return x.T[:, :, None]

    def matrices(orbitals: Array) -> Array:
        # (..., A, W, D A) -> (..., A, A, D, W): walkers last, for the elimination.
        split = orbitals.reshape(*orbitals.shape[:-1], determinants, particles)
        return jnp.moveaxis(split, (-3, -2, -1), (-1, -2, -3))

    def init(key: Array) -> Params:
        return transformed.init(key, jnp.zeros((particles, 1, 1), float_dtype))

    def orbitals(params: Params, x: Array) -> Array:
        return matrices(transformed.apply(params, columns(x)))

    def sign_log_psi(params: Params, x: Array) -> tuple[Array, Array]:
        sign, log = log_sum_determinants(orbitals(params, x))
        return sign, log - normalisation

    def log_psi(params: Params, x: Array) -> Array:
        return sign_log_psi(params, x)[1]

    def laplacian_ratio(params: Params, x: Array) -> Array:
        jet: Jet = transformed.apply(params, position_jet(columns(x)))
        return sum_laplacian_ratio(matrices(jet.value), matrices(jet.jacobian), matrices(jet.laplacian))

    def tapped(params: Params, x: Array, tap: Tap) -> Array:
        return matrices(transformed.apply(params, columns(x), tap))

    maps = _LinearMaps(tapped, particles, layers, hidden, determinants)
    structure = Structure(maps.split, maps.join, maps.observed, maps.tangents)
    return Wavefunction(init, orbitals, sign_log_psi, log_psi, laplacian_ratio, structure)
