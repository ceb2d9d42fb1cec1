"""The least memory and time that a run needs, checked against the machine before the run begins."""

from __future__ import annotations

from typing import NamedTuple

from repro.config import AUTO, RunConfig
from repro.errors import InputError
from repro.machine import memory_bytes, processors

ROW_BYTES = 100
"""Of an epoch's row in a curve, which is kept as text."""
LEAST_SWEEPS = 10
"""Of a walk that finds its own length."""
OPERATIONS_A_SECOND = {"cpu": 2e11, "gpu": 1e14}
"""More than a processor's core, or a GPU, does of single precision."""
LONGEST_SECONDS = 365 * 86400.0
METRIC_OF_WALKERS = ("minsr", "spring")
"""Optimisers that keep the derivatives of every walker, and a matrix between walkers."""


class Part(NamedTuple):
    """Some of the memory of a run: its bytes, and the options that it grows with."""

    bytes: int
    options: str


def parameters(config: RunConfig) -> int:
    """The number of parameters of the ansatz."""
    ansatz, particles = config.ansatz, config.system.particles
    layers = 3 * ansatz.hidden + (ansatz.layers - 1) * (2 * ansatz.hidden**2 + ansatz.hidden)
    return layers + ansatz.determinants * particles * (ansatz.hidden + 2)


def memory_parts(config: RunConfig, chunk: int) -> list[Part]:
    """What must be held at one time at the least; what a program needs beyond it is left out.

    Args:
        config: the run.
        chunk: walkers differentiated at once.
    """
    item = {"float32": 4, "float64": 8}[config.dtype]
    particles, walkers, ansatz = config.system.particles, config.sampling.walkers, config.ansatz
    weights = parameters(config)
    widest = max(ansatz.hidden, ansatz.determinants * particles)
    told = {name: f"{name} = {value}" for name, value in {
        "walkers": walkers, "hidden": ansatz.hidden, "layers": ansatz.layers, "particles": particles,
        "determinants": ansatz.determinants, "evaluation_batches": config.evaluation.batches,
        "epochs": config.epochs, "pretrain_epochs": config.pretraining.epochs,
    }.items()}  # fmt: skip

    def part(size: int, *options: str) -> Part:
        return Part(size, ", ".join(told[name] for name in options))

    parts = [
        part(4 * weights * item, "hidden", "layers", "determinants"),
        part(3 * walkers * particles * item, "walkers", "particles"),
        part(2 * chunk * (particles + 2) * particles * widest * item, "particles", "hidden", "determinants"),
        part(2 * walkers * particles * ansatz.hidden * item, "walkers", "particles", "hidden"),
        part(walkers * config.evaluation.batches * item, "walkers", "evaluation_batches"),
        part(ROW_BYTES * (config.epochs + config.pretraining.epochs), "epochs", "pretrain_epochs"),
    ]
    if config.pretraining.epochs:  # the fit is differentiated for all walkers at once, every layer kept
        parts.append(
            part(3 * walkers * particles * ansatz.hidden * ansatz.layers * item, "walkers", "particles", "hidden")
        )
    if config.optimizer.name in METRIC_OF_WALKERS:
        parts.append(part(walkers * (weights + walkers) * item, "walkers", "hidden", "layers"))
    return parts


def operations(config: RunConfig) -> float:
    """Floating-point operations of all walks and local energies, at the least."""
    particles, ansatz, sampling = config.system.particles, config.ansatz, config.sampling
    layers = particles * 2 * ansatz.hidden * (2 + (ansatz.layers - 1) * 2 * ansatz.hidden)
    value = float(layers + 2 * ansatz.determinants * particles**2 * ansatz.hidden)
    walk = value * (LEAST_SWEEPS if sampling.sweeps == AUTO else sampling.sweeps)
    energy = value * (particles + 2)
    steps = config.epochs + 1.1 * config.evaluation.batches
    return sampling.walkers * (config.pretraining.epochs * walk + steps * (walk + energy))


def refuse_size(
    config: RunConfig, chunk: int, platform: str = "cpu", memory: int | None = None, devices: int = 1
) -> None:
    """Refuses a run for which the machine has not the memory, or that would take it more than a year.

    Both are lower bounds: what passes may still be too much.

    Args:
        config: the run.
        chunk: walkers differentiated at once.
        platform: of the devices, "cpu" or "gpu".
        memory: of all devices together, in bytes; the machine's own when left out.
        devices: how many share the walkers.

    Raises:
        InputError: that names the options, what they need and what there is.
    """
    memory = memory_bytes() if memory is None else memory
    parts = memory_parts(config, chunk)
    needed, largest = sum(part.bytes for part in parts), max(parts)
    if memory is not None and needed > memory:
        raise InputError(
            f"{largest.options}: the run needs {needed / 1e9:,.1f} GB of memory at least, and there are "
            f"{memory / 1e9:,.1f}; lower {'one of them' if ',' in largest.options else 'it'}, or take a larger machine"
        )
    count = len(processors()) if platform == "cpu" else devices
    seconds = operations(config) / (count * OPERATIONS_A_SECOND[platform])
    if seconds > LONGEST_SECONDS:
        sampling = config.sampling
        raise InputError(
            f"epochs = {config.epochs}, sweeps = {sampling.sweeps}, walkers = {sampling.walkers}, hidden = "
            f"{config.ansatz.hidden}: some {operations(config):.0e} operations, {seconds / LONGEST_SECONDS:,.0f} years "
            "of this machine at its best; lower one of them"
        )
