"""Timing and memory measurement, shared by all benchmarks, in a process of their own."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from repro.config import RunConfig
from repro.training.base import Phase
from repro.training.model import EnergyModel, build_model, numerics
from repro.training.state import TRAINING, TrainState
from repro.training.walker_chunk import resolve_walker_chunk

EPOCHS = 5
"""Epochs in a row that are timed: the period of the released regulators."""
LEAST_CALLS, LEAST_SECONDS, ENOUGH_SECONDS = 3, 0.5, 10.0
RATE_SIZE = 3072


class Subject(NamedTuple):
    """A run that is to be timed, at the beginning of its training, without pretraining."""

    model: EnergyModel
    phase: Phase
    state: TrainState
    device: jax.Device


def prepare(config: RunConfig) -> Subject:
    """Builds a run's model on the first device; from then on this process compiles everything anew."""
    jax.config.update("jax_enable_compilation_cache", False)
    device = jax.devices()[0]
    model = build_model(config, resolve_walker_chunk(config, platform=device.platform), device.platform)
    phase = next(phase for phase in model.phases if phase.name == TRAINING)
    with numerics(config.dtype, device):
        return Subject(model, phase, model.enter(phase, jax.jit(model.initial_state)()), device)


def seconds_of(program: Callable[..., Any], *arguments: Any, warm: bool = False) -> float:
    """Median over calls of a program: three and half a second at least, unless they take long.

    Args:
        program: what is timed.
        arguments: of it.
        warm: it has been called before; otherwise a first call is not counted.
    """
    if not warm:
        jax.block_until_ready(program(*arguments))
    seconds: list[float] = []
    while sum(seconds) < LEAST_SECONDS or (len(seconds) < LEAST_CALLS and sum(seconds) < ENOUGH_SECONDS):
        begin = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def product_rate() -> float:
    """Operations per second of one large square matrix product in single precision, the best of several."""
    matrix = jnp.ones((RATE_SIZE, RATE_SIZE), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        jax.block_until_ready(product(matrix))
        best = min(best, time.perf_counter() - begin)
    return 2.0 * RATE_SIZE**3 / best


def peak_memory_gb(device: jax.Device) -> float:
    """Of the device where it counts that, else of this process."""
    counted = device.memory_stats() or {}
    if "peak_bytes_in_use" in counted:
        return float(counted["peak_bytes_in_use"]) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
