"""A run as a library has it: configuration, curve, outcome, and the state with its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from repro.config import AnyRunConfig, RunConfig
from repro.problems.registry import build_problem
from repro.problems.trainable import Trainable
from repro.training import environment
from repro.training.curve import Table
from repro.training.model import numerics, wavefunction_of
from repro.training.restart import load_state
from repro.training.rundir import RunDirectory
from repro.vmc.ansatz.wavefunction import Wavefunction


class LoadedRun(NamedTuple):
    """A run.

    Attributes:
        config: its complete configuration.
        result: the outcome, with the energy and its error in hbar omega; None while the run has not ended.
        curve: columns by name, a row for each epoch; empty cells are NaN.
        psi: the state as pure functions, in the run's precision; None if the run is of another problem.
        params: its parameters; None where the run was stored without its checkpoint.
        walkers: positions that follow ``|psi|^2``, shape ``(W, A)``; None likewise, and for other problems.
        trainable: the problem, with data and model, that the run is of; None if it is an energy.
    """

    config: AnyRunConfig
    result: dict[str, Any] | None
    curve: dict[str, np.ndarray]
    psi: Wavefunction | None
    params: Any
    walkers: np.ndarray | None
    trainable: Trainable | None = None


def load_run(path: str | Path) -> LoadedRun:
    """Reads a run directory, of a run that has ended or not; nothing is written or trained.

    Args:
        path: of the run.

    Raises:
        InputError: if there is no run, or a file of it is damaged.
    """
    run = RunDirectory(Path(path))
    config = run.read_any_config()
    if run.ended:
        verified = run.read_verified()
        result, table = verified.result, verified.curve
    else:
        result, table = None, run.read_table(run.curve) if run.curve.exists() else b""
    params, walkers = None, None
    if run.checkpoint.exists():
        with numerics(config.dtype, environment.select_device("cpu")):
            state = load_state(config, run, None, "cpu").state
        params = jax.tree.map(np.asarray, state.params)
        walkers = np.asarray(state.data.walkers) if isinstance(config, RunConfig) else None
    curve = _columns(table.decode())
    if isinstance(config, RunConfig):
        return LoadedRun(config, result, curve, wavefunction_of(config, config.dtype), params, walkers)
    return LoadedRun(config, result, curve, None, params, None, build_problem(config.problem, config.dtype))


def _columns(text: str) -> dict[str, np.ndarray]:
    if not text:
        return {}
    header, *lines = text.splitlines()
    table = Table(tuple(header.split(",")), lines)
    return {name: np.array(table.column(name)) for name in table.columns}
