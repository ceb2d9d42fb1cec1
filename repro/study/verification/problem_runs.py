"""Verification of the stored runs of problems that are no energies: their numbers, and one of them trained again.

They have no walkers: all that moves their first steps is rounding. So the first losses are compared tightly, wherever
the run was made. Later ones drift apart on another processor, and every digit is demanded only where a run was made
with what is here.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from repro.config import ProblemRunConfig, differences
from repro.errors import DivergedError, InputError
from repro.problems.registry import build_problem
from repro.study.runs.damage import noting
from repro.study.runs.store import ProblemRun
from repro.study.verification.audit import AFFORDABLE_SECONDS, AUDITED_EPOCHS, Comparison, made_here, same_digits
from repro.study.verification.consistency import (
    SHORTEST,
    damping_apart,
    ended_after,
    epochs_apart,
    times_apart,
)
from repro.training.curve import OCCASIONAL_COLUMNS, SECONDS_COLUMNS
from repro.training.reporting import Reporter
from repro.training.rundir import RunDirectory

COLUMNS = ("step", "loss", "grad_norm", "step_norm", *SECONDS_COLUMNS)
"""Of every such curve."""
WHOLE_SECONDS = 20.0
"""A run that took no longer than that is trained again as a whole."""
FIRST_LOSSES, APART = 10, 1e-5
"""How many losses are compared wherever a run was made, and how far apart they may be, relatively, in single precision.

Measured by code for SSE4.2 only, over so many steps: 2e-7 at most, for Adam, gradient descent, K-FAC and DGD on the
digits, and for stored runs of the first three on the autoencoder. One thread instead of two makes no more of it.
"""
DOUBLE = 1e-6
"""In double precision, they may be so much less apart."""
SAME_LOSSES = 1e-5
"""Relative, of the mean of a loss over all samples that is computed by two programs."""


def problem_run_problems(run: ProblemRun) -> list[str]:
    """One line for each number of a run that others of the same run contradict."""
    problems: list[str] = []
    name = run.path.name
    for check in (_curve, _evaluations, times_apart):
        with noting(problems, f"{name}, {check.__name__.strip('_').replace('_', ' ')}"):
            problems += [f"{name}: {line}" for line in check(run)]
    return problems


def _curve(run: ProblemRun) -> Iterator[str]:
    curve = run.curve
    if lacking := [column for column in COLUMNS if column not in curve]:
        yield f"the curve lacks {', '.join(lacking)}"
        return
    yield from epochs_apart(curve, ended_after(run), "the curve")
    occasional = {*OCCASIONAL_COLUMNS, *run.result.get("evaluation", {})}
    for column in curve:
        values = pd.to_numeric(curve[column], errors="coerce").to_numpy(np.float64)
        written = curve[column].notna().to_numpy()
        bad = ~np.isfinite(values) & (written if column in occasional else True)
        if bad.any() and run.complete:
            yield f"{column} of step {curve['step'][bad.argmax()]} is not a finite number"
            return
    if "lambda" in curve:
        yield from damping_apart(run)
    for column in ("grad_norm", "step_norm", *SECONDS_COLUMNS):
        if (curve[column] < 0.0).any():
            yield f"{column} is negative"


def _evaluations(run: ProblemRun) -> Iterator[str]:
    """What is measured now and then is there when it should be; over all samples it is what the steps saw, too."""
    if not run.complete:
        return
    curve, interval = run.curve, run.config.evaluation_interval
    wanted = (curve["step"] - 1) % interval == 0
    for name in run.result["evaluation"]:
        if name not in curve:
            yield f"the curve lacks {name}, which the result has"
        elif not curve[name].notna().equals(wanted):
            yield f"{name} is not in the steps 1, {1 + interval}, ... of the curve and in no others"
    problem = run.config.to_dict()["problem"]
    whole = problem.get("batch") == 0 and not problem.get("l2")
    for name, total in (("loss", "training_loss"), ("error", "training_error")):
        if whole and {name, total} <= set(curve):
            apart = (curve[name] - curve[total]).abs() > SAME_LOSSES * curve[total].abs().clip(lower=SAME_LOSSES)
            if apart.any():
                yield f"{total} of step {curve['step'][apart.to_numpy().argmax()]} is not the {name} of that step"


def shared_problem_curves(runs: Sequence[ProblemRun]) -> list[str]:
    """One line for each pair of runs that have the same losses, and differ in more than how long they went on."""
    problems = []
    for one, other in combinations(runs, 2):
        count = min(len(one.curve), len(other.curve))
        if count < SHORTEST or not one.curve["loss"].head(count).equals(other.curve["loss"].head(count)):
            continue
        apart = [line.split(":")[0] for line in differences(one.config, other.config)]
        if acting := [key for key in apart if key not in ("steps", "evaluation_interval")]:
            problems.append(
                f"{one.path.name}: its {count} losses are those of {other.path.name}, which differs in "
                f"{', '.join(acting)}"
            )
    return problems


@dataclass(frozen=True)
class LossComparison(Comparison):
    """A run of a problem trained again: ``worst`` is the largest relative distance of the first losses."""

    @property
    def told(self) -> str:
        """The outcome in words."""
        if self.identical:
            return f"identical over {self.epochs} steps"
        return f"the first {min(FIRST_LOSSES, self.epochs)} losses differ by at most {self.worst:.1e}, relatively"


def cost(run: ProblemRun) -> float:
    """Seconds that the steps of an audit took when the run was made."""
    seconds = run.curve["seconds"]
    return float(seconds.sum() if seconds.sum() <= WHOLE_SECONDS else seconds.head(AUDITED_EPOCHS).sum())


def drawn(runs: Sequence[ProblemRun], seed: int) -> ProblemRun | None:
    """The run that is audited, the same for the same seed and runs: a complete one whose data are at hand."""
    complete = sorted((run for run in runs if run.complete), key=lambda run: run.path.name)
    order = random.Random(seed).sample(complete, len(complete))
    return next((run for run in order if cost(run) <= AFFORDABLE_SECONDS and _at_hand(run.config)), None)


def _at_hand(config: ProblemRunConfig) -> bool:
    try:
        build_problem(config.problem, config.dtype)
    except InputError:
        return False
    return True


def audit_problem_run(run: ProblemRun, reporter: Reporter | None = None) -> LossComparison:
    """Trains a run again, a long one for its first steps, and compares what comes out.

    Args:
        run: the run.
        reporter: told of the progress.

    Raises:
        InputError: if its data are not at hand.
    """
    from repro.training.run import train

    name, whole = run.path.name, float(run.curve["seconds"].sum()) <= WHOLE_SECONDS
    steps = len(run.curve) if whole else min(AUDITED_EPOCHS, len(run.curve))
    with tempfile.TemporaryDirectory() as folder:
        out = RunDirectory(Path(folder) / "run")
        try:
            outcome = train(replace(run.config, steps=steps), out.path, reporter=reporter)
        except DivergedError as error:
            return LossComparison(name, steps, False, math.inf, problems=(f"diverged now, not then: {error}",))
        found = pd.read_csv(out.curve)
    problems = []
    if outcome.result["data_sha256"] != run.result.get("data_sha256"):
        problems.append("its data were others than those that are here")
    identical = same_digits(run.curve, found)
    if whole:
        identical = identical and outcome.result["evaluation"] == run.result["evaluation"]
    worst, lines = losses_apart(run.curve, found, run.config.dtype)
    problems += lines
    if made_here(run) and not identical:
        problems.append(
            "made with the same code, processor, threads and versions, but other digits come out "
            f"({_first_apart(run.curve, found)})"
        )
    return LossComparison(name, steps, identical, worst, problems=tuple(problems))


def losses_apart(stored: pd.DataFrame, found: pd.DataFrame, dtype: str) -> tuple[float, list[str]]:
    """The largest relative distance of the first losses of two curves, and a line if that is more than rounding."""
    then, now = (curve["loss"].head(FIRST_LOSSES).to_numpy(np.float64) for curve in (stored, found))
    worst = float(np.max(np.abs(then - now) / np.abs(now))) if len(then) == len(now) else math.inf
    most = APART if dtype == "float32" else APART * DOUBLE
    if worst <= most:
        return worst, []
    return worst, [f"its first losses are others: they differ by {worst:.1e}, relatively, more than {most:.1e}"]


def _first_apart(stored: pd.DataFrame, found: pd.DataFrame) -> str:
    apart = stored["loss"].head(len(found)).to_numpy() != found["loss"].to_numpy()
    return f"the first loss in step {int(apart.argmax()) + 1}" if apart.any() else "not of the losses"
