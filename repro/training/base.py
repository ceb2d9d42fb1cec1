"""What is trained: phases of epochs, and a model that has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from repro.config import AnyRunConfig
from repro.optimizers import Optimizer
from repro.training.curve import Table
from repro.training.epoch import Epoch
from repro.training.state import TrainState


class Watch(NamedTuple):
    """What is measured now and then during a phase, outside of the time that its epochs take.

    Attributes:
        interval: epochs from one measurement to the next; the first is at the beginning.
        measure: parameters -> numbers by the names of columns, which are finite if all is well.
    """

    interval: int
    measure: Callable[[Any], dict[str, float]]


class Phase(NamedTuple):
    """One stretch of epochs of the same kind; ``columns`` of its table begin with how its epochs are called."""

    name: str
    epochs: int
    stream: int
    epoch: Epoch
    optimizer: Optimizer
    columns: tuple[str, ...]
    watch: Watch | None = None


class Model(ABC):
    """The functions that a configuration stands for; a subclass is a frozen dataclass.

    Attributes:
        config: of the run.
        walker_chunk: walkers differentiated at once; 0 where there are none.
        phases: in their order.
    """

    config: AnyRunConfig
    walker_chunk: int
    phases: tuple[Phase, ...]

    @property
    @abstractmethod
    def coefficients(self) -> Any:
        """What defines the objective: the couplings, or the data; an argument of the compiled programs."""

    @abstractmethod
    def initial_state(self) -> TrainState:
        """Fresh parameters and samples, at the beginning of the first phase."""

    @abstractmethod
    def recorded(self) -> dict[str, Any]:
        """What ``result.json`` says of how it was computed."""

    @property
    def seed(self) -> jax.Array:
        """Of everything random."""
        return jnp.asarray(self.config.seed, jnp.uint32)

    def tables(self) -> dict[str, Table]:
        """An empty table for each phase."""
        return {phase.name: Table(phase.columns) for phase in self.phases}

    def enter(self, phase: Phase, state: TrainState) -> TrainState:
        """The state with which a later phase begins: same parameters and samples, a fresh optimiser."""
        opt_state = phase.optimizer.init(state.params)
        return state._replace(opt_state=opt_state, epoch=jnp.zeros((), jnp.int32))
