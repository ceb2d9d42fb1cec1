"""The two kinds of runs, energies of the study and other problems: how each is built, sized and executed."""

from __future__ import annotations

import jax

from repro.config import AnyRunConfig, ProblemRunConfig
from repro.errors import InputError
from repro.training import environment
from repro.training.base import Model
from repro.training.executor import Executor, SingleDevice, executor_for
from repro.training.model import build_model
from repro.training.problem_model import build_problem_model
from repro.training.size import refuse_size
from repro.training.walker_chunk import resolve_walker_chunk


def executor_of(config: AnyRunConfig, device: jax.Device) -> Executor:
    """What runs a single run best: an energy's walkers are shared out to several devices, other problems take one."""
    return SingleDevice() if isinstance(config, ProblemRunConfig) else executor_for(config.sampling.walkers, device)


def walker_chunk_of(config: AnyRunConfig, wanted: int | None, device: jax.Device, executor: Executor) -> int:
    """Walkers to differentiate at once, with which the machine can make the run; 0 where there are none.

    Args:
        config: of the run.
        wanted: a choice to check, or None.
        device: that runs it.
        executor: of the run.

    Raises:
        InputError: for a choice that does not fit, or a run that is too large.
    """
    if isinstance(config, ProblemRunConfig):
        if wanted is not None:
            raise InputError(f"walker_chunk = {wanted}: {config.problem.name} has no walkers; leave it out")
        return 0
    chunk = resolve_walker_chunk(config, wanted, device.platform)
    refuse_size(config, chunk, device.platform, environment.device_memory(device, executor.devices), executor.devices)
    return chunk


def model_of(config: AnyRunConfig, walker_chunk: int, platform: str) -> Model:
    """The functions that a configuration stands for; arguments as for :func:`repro.training.model.build_model`.

    Raises:
        InputError: if the optimiser is not for this problem.
    """
    if isinstance(config, ProblemRunConfig):
        return build_problem_model(config)
    return build_model(config, walker_chunk, platform)


def fits(config: AnyRunConfig, walker_chunk: int) -> bool:
    """Whether a run can have been made with so many walkers differentiated at once."""
    if isinstance(config, ProblemRunConfig):
        return walker_chunk == 0
    return walker_chunk >= 1 and config.sampling.walkers % walker_chunk == 0
