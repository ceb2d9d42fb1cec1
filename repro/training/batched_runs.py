"""Trains several runs together: one vectorised program computes an epoch of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from repro.config import AnyRunConfig, RunConfig, differences
from repro.errors import InputError
from repro.training.environment import git_revision
from repro.training.executor import Batch, Executor, in_threads
from repro.training.interruptions import interruptions
from repro.training.reporting import Reporter
from repro.training.run import Outcome, train


@dataclass(frozen=True)
class Member:
    """One run of several that are trained together.

    Attributes:
        config: what to run.
        out: directory of the run.
        pretrained: as for :func:`repro.training.run.train`.
        reporter: told of its progress.
    """

    config: AnyRunConfig
    out: Path
    pretrained: Path | None
    reporter: Reporter


def common_program(config: AnyRunConfig) -> str:
    """The same for all runs that differ in couplings and seed only, which one compiled program can train together.

    Runs of other problems than energies are trained one by one.
    """
    if not isinstance(config, RunConfig):
        return config.content_hash
    return replace(config, seed=0, system=replace(config.system, v0=0.0, sigma0=1.0)).content_hash


def train_member(
    member: Member, *, device: str | None = None, executor: Executor | None = None, revision: str | None = None
) -> Outcome:
    """Makes or finishes one run; arguments and errors as for :func:`repro.training.run.train`."""
    return train(
        member.config,
        member.out,
        device=device,
        resume=True,
        pretrained=member.pretrained,
        reporter=member.reporter,
        executor=executor,
        revision=revision,
    )


def train_together(members: Sequence[Member], *, device: str | None = None) -> list[Outcome | BaseException]:
    """Makes several runs, or finishes them, each epoch of all in one vectorised program.

    A single run leaves a GPU idle most of the time. What is written is the same as by
    :func:`repro.training.run.train`; runs that diverge or fail do so for themselves.

    Args:
        members: runs of one :func:`common_program`.
        device: as for :func:`repro.training.run.train`.

    Returns:
        For each its outcome, or the error that it ended with.

    Raises:
        InputError: if the runs differ in more than couplings and seed.
        KeyboardInterrupt: after all have written their checkpoints.
    """
    first = members[0].config
    if other := next((m.config for m in members if common_program(m.config) != common_program(first)), None):
        raise InputError(
            f"{first.run_name} and {other.run_name} cannot be trained together: they differ in "
            f"{'; '.join(differences(first, other))}, and only v0, sigma0 and seed may differ"
        )
    batch = Batch(len(members))
    # Once for all: git would be asked by all of them at the same moment.
    one = partial(train_member, device=device, executor=batch, revision=git_revision())

    def stop() -> None:
        batch.stop(KeyboardInterrupt())
        if not batch.computed:  # there is nothing to keep, and hundreds of members take minutes to begin
            raise KeyboardInterrupt

    with interruptions(stop) as asked:
        ended = in_threads(batch, [partial(one, member) for member in members])
        if asked.is_set():
            raise KeyboardInterrupt
    return ended
