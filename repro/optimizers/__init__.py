"""The optimisers of the study behind optax's face: ``init(params)`` and ``update(grads, state, params)``."""

from __future__ import annotations

import optax

from repro.config import AdamConfig


def build_optimizer(config: AdamConfig) -> optax.GradientTransformation:
    """The optimiser that a configuration names."""
    return optax.adam(config.learning_rate)
