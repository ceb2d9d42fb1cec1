"""The audit: trains runs again for their first epochs, and compares the result with the stored curve."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from repro.errors import DivergedError, InputError
from repro.references import known_energy
from repro.study.runs.store import STORED_RUNS, ProblemRun, Run, project_path
from repro.study.verification.consistency import pretraining_of
from repro.study.verification.rounding import ALARMS, Spread, blocks, distances, outside, spread_of, stored_replicas
from repro.training import environment
from repro.training.curve import SECONDS_COLUMNS
from repro.training.reporting import Reporter
from repro.training.rundir import RunDirectory

AUDITED_EPOCHS = 60
AFFORDABLE_SECONDS = 240.0
"""The most that one run of an audit may have cost when it was made; longer ones are left out of the draw."""
MOST, MOST_OTHER = 5.0, 8.0
"""How far apart energies and other columns may be, in the units of :func:`repro.study.verification.rounding.distances`.

Beyond that, replicas of the run itself say what rounding makes of it.
"""
REPLICAS = 4
"""Trainings that a stored curve is compared with where one is not enough, the first included."""
FIRST = 4
"""Epochs of pretraining in which hardly a walker has taken another path."""
FIRST_WALKERS = 20.0
"""So many walkers may nevertheless be elsewhere, and move the loss by their share of it."""
PRETRAINED_BLOCK, PRETRAINED_APART = 50, 0.04
"""Means of the logarithm of the loss over so many epochs may differ so much.

Those of the stored runs with the same pretraining differ by 0.019 at most, for A = 2 to 16; those of two seeds by 0.076
at least.
"""


@dataclass(frozen=True)
class Comparison:
    """A run trained again for its first epochs.

    Attributes:
        name: of the run.
        epochs: compared.
        identical: whether every number but the seconds is the same to the last digit.
        worst: largest distance of block means of the energy: in units of what rounding and noise usually make of a
            run, or, from several replicas, Student's t over its bound.
        replicas: trainings that the stored run was compared with.
        problems: what is wrong, a line each.
    """

    name: str
    epochs: int
    identical: bool
    worst: float
    replicas: int = 1
    problems: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The outcome in words."""
        if self.identical:
            return f"identical over {self.epochs} epochs"
        over = f"over {self.epochs} epochs"
        if self.replicas > 1:
            return (
                f"energies at {self.worst:.2f} of the bound for {self.replicas} replicas {over}; "
                f"false-alarm rate at most {ALARMS:g}"
            )
        return f"energies at most {self.worst:.1f} times the usual spread apart {over}; {MOST:g} may be"


def cost(run: Run) -> float:
    """Seconds that pretraining and the audited epochs of a run took when it was made."""
    seconds = float(run.curve["seconds"].head(AUDITED_EPOCHS).sum())
    return seconds + float(pretraining_of(run)["seconds"].sum() if run.config.pretraining.epochs else 0.0)


def affordable(run: Run, platform: str) -> bool:
    """Whether a run that came to its end can be audited in a few minutes by a device of ``platform``, "cpu" or "gpu".

    What a run took is known of the device that made it; a GPU takes no longer than a processor, but not the other way.
    """
    made_by = run.result["device"]["platform"]
    at_hand = not run.config.pretraining.network  # an imported network is not part of the project
    return run.complete and at_hand and made_by in ("cpu", platform) and cost(run) <= AFFORDABLE_SECONDS


def draw(runs: Sequence[Run], count: int, seed: int) -> list[Run]:
    """A random sample of runs, the same for the same seed and runs.

    Raises:
        InputError: for a negative count, or more than there are.
    """
    if not 0 <= count <= len(runs):
        raise InputError(f"audit = {count}: must be between 0 and the number of runs to choose from, {len(runs)}")
    return random.Random(seed).sample(sorted(runs, key=lambda run: run.path.name), count)


def made_here(run: Run | ProblemRun) -> bool:
    """Whether a run was made with what is here: code, processor, threads, and versions of what computes.

    Then every digit must come out again. An instruction set that ``XLA_FLAGS`` forbids is another processor.
    """
    device = environment.select_device(None)
    here, there = environment.device_record(device), run.result["device"]
    versions, theirs = environment.versions(), run.result["versions"]
    return (
        "xla_cpu_max_isa" not in os.environ.get("XLA_FLAGS", "")
        and all(here[name] == there.get(name) for name in ("platform", "kind", "processor", "threads"))
        and all(versions[name] == theirs.get(name) for name in environment.PACKAGES)
        and run.result["git_revision"] == environment.git_revision()
        and not run.result.get("earlier_revisions")
        and run.result.get("trained_together", 1) == 1
    )


def same_digits(stored: pd.DataFrame, found: pd.DataFrame) -> bool:
    """Whether all columns of the second but the seconds have the same digits in the first."""
    first, second = (
        table.reset_index(drop=True).drop(columns=list(SECONDS_COLUMNS), errors="ignore")
        for table in (stored.head(len(found)), found)
    )
    return list(first) == list(second) and first.equals(second.astype(first.dtypes.to_dict()))


def compare(stored: pd.DataFrame, found: pd.DataFrame, exact: float, spread: Spread) -> tuple[float, list[str]]:
    """Two curves over the epochs of the second.

    Returns:
        The largest distance of block means of the energy, in units of what rounding and noise usually make of a run,
        and the columns that are too far apart for that.
    """
    before, now = blocks(stored.head(len(found)).reset_index(drop=True)), blocks(found)
    apart = distances(before, now, exact, spread)
    return apart["energy"], [name for name, value in apart.items() if not value <= most(name)]


def most(column: str) -> float:
    """How far apart a column of two trainings may be before replicas are asked."""
    return MOST if column == "energy" else MOST_OTHER


def compare_cloud(
    stored: pd.DataFrame, replicas: Sequence[pd.DataFrame], exact: float, spread: Spread
) -> tuple[float, list[str]]:
    """A curve and those of replicas, over the epochs of the first of them.

    Returns:
        Student's t of the energy, over its bound, and a line for each column that is outside of the replicas.
    """
    before = blocks(stored.head(len(replicas[0])).reset_index(drop=True))
    found = outside(before, [blocks(one) for one in replicas], exact, spread)
    lines = [
        f"{name} is outside of {len(replicas)} replicas that differ by rounding: t = {value:.1f}, more than {bound:.1f}"
        for name, (value, bound) in found.items()
        if not value <= bound
    ]
    return found["energy"][0] / found["energy"][1], lines


def compare_pretraining(stored: pd.DataFrame, found: pd.DataFrame, walkers: int) -> list[str]:
    """A line for each stretch of two tables of pretraining that is further apart than rounding takes it.

    The network, the walkers and the fit are the seed's. The first epochs differ by rounding, which is not seen, and
    by the few walkers that it sent another way; later ones by noise that is small beside the seeds' differences.
    """
    ratio = np.abs(np.log(stored["loss"].to_numpy()[: len(found)] / found["loss"].to_numpy()))
    problems = []
    few = FIRST_WALKERS / walkers
    if not (ratio[:FIRST] <= few).all():
        problems.append(f"pretraining begins otherwise: losses differ by {ratio[:FIRST].max():.2g}, more than {few:g}")
    size = PRETRAINED_BLOCK
    whole = len(found) // size * size
    means = [np.log(table["loss"].to_numpy()[:whole].reshape(-1, size)).mean(axis=1) for table in (stored, found)]
    apart = np.abs(means[0] - means[1]).max(initial=0.0)
    if not apart <= PRETRAINED_APART * math.sqrt(max(1.0, 1024 / walkers)):
        problems.append(f"pretraining goes another way: losses of {size} epochs differ by {apart:.2g} on average")
    return problems


def audit(run: Run, reporter: Reporter | None = None, spread: Spread | None = None) -> Comparison:
    """Pretrains and trains a run again for its first epochs and compares all that comes out.

    Where that is further from what is stored than rounding and noise usually take a run of its optimiser, replicas
    of the run are trained, too, which differ from it by one weight's last place, and the stored curve must be one of
    their kind.

    Args:
        run: the run.
        reporter: told of the progress.
        spread: of runs of its optimiser by rounding; from the stored table when left out.

    Raises:
        InputError: if there is no exact energy, or no table of the spread.
    """
    from repro.study.verification.replicas import shortened, train_replica
    from repro.training.run import train

    name, epochs = run.path.name, min(AUDITED_EPOCHS, len(run.curve))
    spread = spread or spread_of(stored_replicas(project_path(STORED_RUNS)), run.config.optimizer.name)
    exact = known_energy(run.config.system)
    if exact is None:
        raise InputError(f"{name}: no exact energy stored; see `repro references`")
    short = shortened(run.config, epochs)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = RunDirectory(Path(folder) / "run")
        try:
            train(short, out.path, reporter=reporter)
        except DivergedError as error:
            return Comparison(name, epochs, False, math.inf, problems=(f"diverged now, not then: {error}",))
        found = pd.read_csv(out.curve)
        identical = same_digits(run.curve, found)
        if run.config.pretraining.epochs:
            then, now = pretraining_of(run), pd.read_csv(out.pretraining)
            identical = identical and same_digits(then, now)
            problems += compare_pretraining(then, now, run.config.sampling.walkers)
        worst, far = compare(run.curve, found, exact, spread)
        replicas = [found]
        if far and not problems:  # where pretraining is another already, replicas say no more
            for weight in range(REPLICAS - 1):
                replicas.append(train_replica(short, Path(folder) / str(weight), weight, reporter=reporter))
            worst, lines = compare_cloud(run.curve, replicas, exact, spread)
            problems += lines
    if made_here(run) and not identical:
        problems.append(
            "made with the same code, processor, threads and versions, but other digits come out "
            f"(the first in epoch {_first_apart(run.curve, found)})"
        )
    return Comparison(name, len(found), identical, worst, len(replicas), tuple(problems))


def _first_apart(stored: pd.DataFrame, found: pd.DataFrame) -> int:
    apart = stored["energy"].head(len(found)).to_numpy() != found["energy"].to_numpy()
    return int(apart.argmax()) + 1 if apart.any() else 1
