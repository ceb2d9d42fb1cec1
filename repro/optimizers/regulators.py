"""The rules that adapt damping and gamma along a run."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from repro.config import DampingConfig, FactorsConfig

RISE_FORGIVEN = 0.1


def reduction_ratio(before: Array, after: Array, predicted: Array) -> Array:
    """The ratio rho = (E' - E) / (M(delta) - M(0)), actual over predicted change of the objective."""
    return (after - before) / predicted


def adapted_damping(damping: Array, ratio: Array, config: DampingConfig) -> Array:
    """Levenberg-Marquardt: lambda w1^T if rho > 3/4, lambda / w1^T if rho < 1/4, then clamped.

    Args:
        damping: lambda.
        ratio: rho; not a number leaves lambda as it is.
        config: w1 (``factor``), T (``interval``), thresholds and clamps.
    """
    change = config.factor**config.interval
    scaled = jnp.where(ratio > config.high, damping * change, jnp.where(ratio < config.low, damping / change, damping))
    return jnp.clip(scaled, config.least, config.most)


def adapted_damping_released(damping: Array, before: Array, after: Array, ratio: Array, config: DampingConfig) -> Array:
    """The same rule as the released implementation has it, which compares logarithms.

    log(E - E') does not exist where the energy rises. A rise beyond a tenth of |E| raises lambda; a smaller one
    *lowers* it.

    Args:
        damping: lambda.
        before: E.
        after: E'.
        ratio: rho, of which the logarithm is compared with those of the thresholds.
        config: as for :func:`adapted_damping`.
    """
    rise = after - before
    logarithm = jnp.where(rise > 0, -jnp.inf, ratio)
    forgiven = (rise > 0) & (rise <= RISE_FORGIVEN * jnp.abs(before))
    return adapted_damping(damping, jnp.where(forgiven, jnp.inf, logarithm), config)


def gamma_candidates(gamma: Array, config: FactorsConfig) -> Array:
    """Gamma w2^T, gamma and gamma / w2^T, clamped; shape ``(3,)``."""
    change = config.factor**config.interval
    return jnp.clip(gamma * jnp.asarray([change, 1.0, 1.0 / change], gamma.dtype), config.least, config.most)
