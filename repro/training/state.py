"""The state that an optimisation carries from one epoch to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import Array

Metrics = dict[str, Array]
"""Scalars that an epoch reports, by the names of the curve's columns."""

PHASES = ("pretraining", "training", "evaluation")
"""The stretches of a run, in their order."""

PRETRAINING, TRAINING, EVALUATION = PHASES

# Streams of random numbers: key = fold_in(fold_in(key(seed), stream), epoch), so that an epoch's key depends on
# nothing before it.
INIT_STREAM, WALKER_STREAM, PRETRAINING_STREAM, TRAINING_STREAM, EVALUATION_STREAM, OBSERVATION_STREAM = range(6)


class TrainState(NamedTuple):
    """The state between two epochs.

    Attributes:
        params: of the model.
        opt_state: the optimiser's own state.
        data: samples that persist from epoch to epoch, such as the chains of a walk.
        epoch: number of epochs done, int32 scalar.
    """

    params: Any
    opt_state: Any
    data: Any
    epoch: Array


def stream_key(seed: Array, stream: int) -> Array:
    """Root key of one stream of a (possibly traced) seed."""
    return jax.random.fold_in(jax.random.key(seed), stream)
