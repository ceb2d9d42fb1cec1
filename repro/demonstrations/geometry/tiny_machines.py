"""Helmholtz machines that are small enough to be enumerated: exact likelihoods and exact Fisher matrices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.problems.helmholtz import Machine, log_generative, log_recognition


def all_states(units: int) -> np.ndarray:
    """All states of some units, rows of zeros and ones, shape ``(2^units, units)``."""
    return (np.arange(2**units)[:, None] >> np.arange(units)) & 1


def split_layers(states: np.ndarray, sizes: tuple[int, ...]) -> tuple[Array, ...]:
    """States of all units as layers h_0 ... h_L, in the precision of the default."""
    return tuple(jnp.asarray(part, float) for part in np.split(states, np.cumsum(sizes)[:-1], axis=1))


def log_likelihood(machine: Machine, pictures: Array, hidden: tuple[Array, ...]) -> Array:
    """Ln p(x) of pictures, by the sum over all states of the hidden units.

    Args:
        machine: the parameters.
        pictures: shape ``(S, l_0)``.
        hidden: layers h_1 ... h_L of all states, ``(H, l_i)``.
    """

    def of_picture(x: Array) -> Array:
        repeated = jnp.broadcast_to(x, (hidden[0].shape[0], x.shape[0]))
        return jax.scipy.special.logsumexp(log_generative(machine, (repeated, *hidden)))

    return jax.lax.map(of_picture, pictures)


def scores(machine: Machine, layers: tuple[Array, ...], net: str) -> Array:
    """The gradient of ln p or ln q of each state in the parameters of the net, shape ``(N, P)``.

    Args:
        machine: the parameters.
        layers: of N states.
        net: "generative" or "recognition".
    """
    flat, restore = ravel_pytree(getattr(machine, net))
    log_net = log_generative if net == "generative" else log_recognition

    def of_state(state: tuple[Array, ...]) -> Array:
        return jax.grad(lambda theta: log_net(machine._replace(**{net: restore(theta)}), state))(flat)

    return jax.vmap(of_state)(layers)


def block_numbers(net: tuple[Any, ...]) -> np.ndarray:
    """The number of the unit that each parameter of a net belongs to, in the order of the flat parameters."""
    numbers, first = [], 0
    for weights in net:
        inputs, units = weights.shape
        numbers.append(np.tile(np.arange(first, first + units), inputs))
        first += units
    return np.concatenate(numbers)
