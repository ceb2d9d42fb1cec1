"""Replicas of a run: it is trained again from a network in which one weight differs in its last place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pandas as pd

from repro.config import EvaluationConfig, RunConfig
from repro.training import environment
from repro.training.checkpoint import Header, save_checkpoint
from repro.training.curve import Table
from repro.training.files import write_atomic
from repro.training.model import build_model, numerics
from repro.training.reporting import Reporter
from repro.training.run import train
from repro.training.rundir import RunDirectory, claimed
from repro.training.walker_chunk import resolve_walker_chunk


def shortened(config: RunConfig, epochs: int) -> RunConfig:
    """The run for its first epochs only, with the shortest evaluation."""
    return replace(config, epochs=epochs, evaluation=EvaluationConfig(8))


def nudged(params: object, weight: int) -> object:
    """Parameters of which the given number of the last layer is the next larger one that can be written."""
    leaves, structure = jax.tree.flatten(params)
    last = leaves[-1].reshape(-1)
    place = weight % last.size
    leaves[-1] = last.at[place].set(jnp.nextafter(last[place], jnp.inf)).reshape(leaves[-1].shape)
    return jax.tree.unflatten(structure, leaves)


def train_replica(
    config: RunConfig, out: Path, weight: int, pretrained: Path | None = None, reporter: Reporter | None = None
) -> pd.DataFrame:
    """Trains a replica and returns its curve.

    Args:
        config: of the run, with the epochs that are wanted.
        out: its directory, which must not hold a run.
        weight: which weight is another, from 0 on.
        pretrained: a replica of the same weight with the same pretraining, to take that from.
        reporter: told of the progress.

    Raises:
        InputError: as :func:`repro.training.run.train`.
        DivergedError: if the optimisation left the finite numbers.
    """
    if pretrained is None:
        run, device = RunDirectory(out), environment.select_device(None)
        with claimed(run, config, resume=False, overwrite=False), numerics(config.dtype, device):
            model = build_model(config, resolve_walker_chunk(config, None, device.platform), device.platform)
            state = jax.jit(model.initial_state)()
            state = state._replace(params=nudged(state.params, weight))
            first, table = model.phases[0], Table(model.phases[0].columns)
            run.begin(config)
            write_atomic(run.pretraining, table.encode())
            header = Header(
                *(config.content_hash, first.name, 0, model.walker_chunk),
                revisions=(environment.git_revision(),),
                tables={first.name: table.digest},
            )
            save_checkpoint(run.checkpoint, header, state)
    outcome = train(config, out, resume=True, pretrained=pretrained, reporter=reporter)
    return pd.read_csv(outcome.run.curve)
