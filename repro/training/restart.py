"""The starting points of a run: its own checkpoint, or the pretraining of another run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax

from repro.config import AnyRunConfig, RunConfig, differences
from repro.errors import InputError
from repro.training.base import Model, Phase
from repro.training.checkpoint import Header, load_checkpoint
from repro.training.imported import ImportedNetwork, is_imported, load_imported
from repro.training.models import fits, model_of
from repro.training.rundir import RunDirectory
from repro.training.state import TrainState


class Restored(NamedTuple):
    """What a checkpoint holds, with the functions that belong to it."""

    model: Model
    phase: Phase
    state: TrainState
    header: Header


def load_state(config: AnyRunConfig, run: RunDirectory, walker_chunk: int | None, platform: str) -> Restored:
    """Functions, phase and state of a run with a checkpoint.

    Raises:
        InputError: if there is no usable checkpoint, or another ``walker_chunk`` than the run's is asked for.
    """
    checkpoint = load_checkpoint(run.checkpoint)
    header = checkpoint.header
    if walker_chunk not in (None, header.walker_chunk):
        raise InputError(
            f"walker_chunk = {walker_chunk}: the run was begun with {header.walker_chunk}; leave --walker-chunk out"
        )
    if header.content_hash != config.content_hash:
        raise InputError(f"{run.checkpoint}: belongs to configuration {header.content_hash}, not to this run's")
    if not fits(config, header.walker_chunk):
        raise InputError(
            f"{run.checkpoint}: damaged (walker_chunk = {header.walker_chunk}); start anew with --overwrite"
        )
    model = model_of(config, header.walker_chunk, platform)
    phase = next((phase for phase in model.phases if phase.name == header.phase), None)
    if phase is None:
        raise InputError(f"{run.checkpoint}: unknown phase {header.phase!r}")

    def template() -> TrainState:
        return model.enter(phase, model.initial_state())

    state = checkpoint.state(jax.eval_shape(template))
    if int(state.epoch) != header.epoch or not 0 <= header.epoch <= phase.epochs:
        raise InputError(f"{run.checkpoint}: damaged (epoch {header.epoch}); start anew with --overwrite")
    return Restored(model, phase, state, header)


def pretraining_differences(theirs: AnyRunConfig, ours: AnyRunConfig) -> list[str]:
    """What makes the pretraining of two runs differ; it knows neither couplings nor optimiser.

    Only energies are pretrained: any other run differs in what it is.
    """
    if not (isinstance(theirs, RunConfig) and isinstance(ours, RunConfig)):
        return [f"run: {theirs.run_name} -> {ours.run_name}"]
    same = replace(
        ours,
        system=replace(ours.system, v0=theirs.system.v0, sigma0=theirs.system.sigma0),
        optimizer=theirs.optimizer,
        epochs=theirs.epochs,
        evaluation=theirs.evaluation,
    )
    return differences(theirs, same)


def pretraining_donor(config: RunConfig, path: Path) -> RunDirectory:
    """The run in ``path``, known to have ended the same pretraining as ``config`` asks for."""
    donor = RunDirectory(path)
    if changed := pretraining_differences(donor.read_config(), config):
        raise InputError(f"pretrained = {path}: was pretrained differently; there -> here: {'; '.join(changed)}")
    if not donor.pretrained.exists():
        raise InputError(f"pretrained = {path}: has no {donor.pretrained.name}: its pretraining has not ended yet")
    return donor


Donor = RunDirectory | ImportedNetwork
"""What a run can take the place of its pretraining from."""


def donor_of(config: AnyRunConfig, path: Path | None, goes_on: bool) -> Donor | None:
    """Where a run's parameters and walkers come from, if not from a pretraining of its own.

    Args:
        config: of the run.
        path: a run with the same pretraining, or a folder with the network that the configuration names.
        goes_on: whether the run has a checkpoint, so that nothing needs to be taken.

    Raises:
        InputError: if they do not belong together, or the configuration names a network and nothing is given.
    """
    if not isinstance(config, RunConfig):
        if path is not None:
            raise InputError(f"pretrained = {path}: {config.problem.name} has no pretraining; leave it out")
        return None
    if path is not None and is_imported(path):
        network = load_imported(path)
        network.refuse_other(config, path)
        return network
    if path is not None:
        return pretraining_donor(config, path)
    if config.pretraining.network and not goes_on:
        raise InputError(
            f"network = {config.pretraining.network}: not at hand; name its folder with --pretrained "
            "(`repro import-published` makes one)"
        )
    return None
