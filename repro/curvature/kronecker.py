"""Kronecker factors of the Fisher metric for weights shared over the particles, and their damped inverse.

For a linear map with inputs a_m (the 1 of the bias among them) and sensitivities e_m,

    F ~ A (x) S,      A = E[sum_m a_m a_m^T],      S = E[sum_m e_m e_m^T],

so that the inverse of a layer's block costs the inverses of two small matrices (J. Martens, R. Grosse, ICML 2015;
factored Tikhonov regularisation: section 6.3 there).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from repro.numerics.sharding import mean_from_sums, pmean
from repro.parameters.linear_layers import LinearLayer


class KroneckerFactors(NamedTuple):
    """The factors of one layer.

    Attributes:
        inputs: A, shape ``(I + S, I + S)``.
        sensitivities: S, shape ``(O, O)``.
    """

    inputs: Array
    sensitivities: Array


def _second_moment(values: Array, centred: bool) -> Array:
    """E[sum_m v_m v_m^T] for ``(A, W, F)``, each particle's mean over the walkers taken off first if ``centred``."""
    if centred:
        values = values - pmean(values, axis=1, keepdims=True)
    flat = values.reshape(-1, values.shape[-1])
    return mean_from_sums(flat.T @ flat, values.shape[1])


def kronecker_factors(layers: tuple[LinearLayer, ...], centred: bool, scale: float) -> tuple[KroneckerFactors, ...]:
    """A and S of every layer at the walkers.

    Args:
        layers: the linear maps.
        centred: take the mean over the walkers off a and e, particle by particle. The constant input 1 vanishes with
            it, and with that the bias' row and column of A.
        scale: factor of F, carried by S.
    """
    factors = []
    for layer in layers:
        inputs, sensitivities = _second_moment(layer.inputs, centred), _second_moment(layer.sensitivity, centred)
        factors.append(KroneckerFactors(inputs, scale * sensitivities))
    return tuple(factors)


def moving_average(
    past: tuple[KroneckerFactors, ...], now: tuple[KroneckerFactors, ...], epoch: Array, memory: ArrayLike
) -> tuple[KroneckerFactors, ...]:
    """Eps past + (1 - eps) now with eps = min(1 - 1/(t+1), memory), t = 0, 1, ... the epoch."""
    dtype = now[0].inputs.dtype
    weight = jnp.minimum(1.0 - 1.0 / (epoch + 1.0), memory).astype(dtype)

    def mix(old: Array, new: Array) -> Array:
        return weight * old + (1.0 - weight) * new

    return tuple(
        KroneckerFactors(mix(old.inputs, new.inputs), mix(old.sensitivities, new.sensitivities))
        for old, new in zip(past, now, strict=True)
    )


class Spectrum(NamedTuple):
    """Eigenvalues, rounding kept from making them negative, and eigenvectors of one factor."""

    values: Array
    vectors: Array


def spectrum(factor: Array) -> Spectrum:
    """Diagonalises a factor, once for all regularisations of it."""
    values, vectors = jnp.linalg.eigh(factor)
    return Spectrum(jnp.maximum(values, 0.0), vectors)


def _balance(mean: Callable[[Any], Array], *factors: Any) -> Array:
    """Pi, from the mean eigenvalues of A and S."""
    mean_inputs, mean_sensitivities = (
        jnp.maximum(value := mean(factor), jnp.finfo(value.dtype).tiny) for factor in factors
    )
    return jnp.sqrt(mean_inputs / mean_sensitivities)


def kronecker_solve(inputs: Spectrum, sensitivities: Spectrum, block: Array, gamma: ArrayLike) -> Array:
    """(A + gamma pi I)^-1 block (S + gamma/pi I)^-1 with pi^2 = (tr A / dim A) / (tr S / dim S).

    Args:
        inputs: of A.
        sensitivities: of S.
        block: gradient of the layer, shape ``(I + S, O)``.
        gamma: strength of the regularisation, positive.
    """
    pi = _balance(lambda spectrum: jnp.mean(spectrum.values), inputs, sensitivities)
    rotated = inputs.vectors.T @ block @ sensitivities.vectors
    damped = (inputs.values + gamma * pi)[:, None] * (sensitivities.values + gamma / pi)
    return inputs.vectors @ (rotated / damped) @ sensitivities.vectors.T


def damped_inverse(factors: KroneckerFactors, gamma: ArrayLike) -> KroneckerFactors:
    """(A + gamma pi I)^-1 and (S + gamma/pi I)^-1 by Cholesky decompositions; pi as in :func:`kronecker_solve`.

    Args:
        factors: A and S of a layer.
        gamma: strength of the regularisation, positive.

    Returns:
        The two inverses, of the shapes of A and S; not a number where rounding leaves a matrix that is not positive.
    """
    pi = _balance(lambda factor: jnp.trace(factor) / factor.shape[0], *factors)

    def inverse(factor: Array, shift: ArrayLike) -> Array:
        identity = jnp.eye(factor.shape[0], dtype=factor.dtype)
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(factor + shift * identity), True), identity)

    return KroneckerFactors(inverse(factors.inputs, gamma * pi), inverse(factors.sensitivities, gamma / pi))
