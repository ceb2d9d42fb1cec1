"""Builds the model of a problem that is no energy: one phase of steps, and what is measured now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from repro.config import ProblemRunConfig
from repro.errors import InputError
from repro.machine import memory_bytes
from repro.optimizers import Optimizer, build_optimizer
from repro.problems.registry import build_problem
from repro.problems.trainable import Trainable
from repro.training.base import Model, Phase, Watch
from repro.training.curve import REPORTED_COLUMNS
from repro.training.epoch import training_epoch
from repro.training.state import INIT_STREAM, TRAINING, TRAINING_STREAM, TrainState, stream_key

STEP = "step"
"""How the epochs of such a run are called."""
COPIES = 4
"""Of the parameters that are held at one time at the least: they, their gradient, the step and the optimiser's own."""


@dataclass(frozen=True)
class ProblemModel(Model):
    """The functions that the configuration of a problem stands for.

    Attributes:
        training: the training data, on the device.
        held_out: see :class:`repro.problems.trainable.Trainable`.
    """

    config: ProblemRunConfig
    trainable: Trainable
    training: Any
    held_out: Any
    phases: tuple[Phase, ...]
    walker_chunk: int = 0

    @property
    def coefficients(self) -> Any:
        """The training data."""
        return self.training

    def initial_state(self) -> TrainState:
        """Fresh parameters; the first samples are drawn anew by the first step."""
        params = self.trainable.initial(stream_key(self.seed, INIT_STREAM))
        key = stream_key(self.seed, TRAINING_STREAM)
        data = self.trainable.problem.draw(params, None, key, self.coefficients)[0]
        return TrainState(params, self.phases[0].optimizer.init(params), data, jnp.zeros((), jnp.int32))

    def recorded(self) -> dict[str, str]:
        """The checksum of the data, and what they are."""
        told = self.trainable.told
        return {"data_sha256": self.trainable.data_digest} | ({"data": told} if told else {})

    def evaluate(self, params: Any) -> dict[str, float]:
        """What the problem measures of parameters."""
        (phase,) = self.phases
        return phase.watch.measure(params) if phase.watch else {}


def build_problem_model(config: ProblemRunConfig) -> ProblemModel:
    """Problem, optimiser and steps of a configuration, with the data; nothing is computed yet.

    Raises:
        InputError: if the data are not at hand, the optimiser is not for this problem, or the machine has not the
            memory.
    """
    trainable = build_problem(config.problem, config.dtype)
    coefficients, held_out = jax.tree.map(jnp.asarray, (trainable.coefficients, trainable.held_out))
    optimizer = build_optimizer(config.optimizer, trainable.problem)
    like = jax.eval_shape(trainable.initial, jax.random.key(0))
    _refuse_size(config, like)
    evaluate = jax.jit(trainable.evaluate)

    def measure(params: Any) -> dict[str, float]:
        found = evaluate(params, coefficients, held_out)
        return {name: float(found[name]) for name in trainable.evaluated}

    phase = Phase(
        TRAINING,
        config.steps,
        TRAINING_STREAM,
        training_epoch(trainable.problem, optimizer),
        optimizer,
        columns_of(trainable, optimizer, like),
        Watch(config.evaluation_interval, measure),
    )
    return ProblemModel(config, trainable, coefficients, held_out, (phase,))


def columns_of(trainable: Trainable, optimizer: Optimizer, params: Any) -> tuple[str, ...]:
    """The columns of the curve: the objective, errors, norms, seconds, and what the optimiser reports.

    Args:
        trainable: the problem.
        optimizer: made for it.
        params: like the parameters.
    """
    reports = jax.eval_shape(lambda theta: optimizer.report(optimizer.init(theta)), params).keys()
    judged = {"rho"} if optimizer.judge is not None else set()
    return (
        *(STEP, *trainable.reported, *trainable.evaluated, "grad_norm", "step_norm", "seconds", "cpu_seconds"),
        *(name for name in REPORTED_COLUMNS if name in reports | judged),
        *optimizer.further,
    )


def _refuse_size(config: ProblemRunConfig, params: Any) -> None:
    needed = COPIES * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    memory = memory_bytes()
    if memory is not None and needed > memory:
        raise InputError(
            f"problem = {config.problem.name}: its parameters need {needed / 1e9:,.1f} GB of memory at least, and "
            f"there are {memory / 1e9:,.1f}; make its network smaller"
        )
