"""Whether what is stored can be trusted: checksums, verdicts made again, runs trained again for their first epochs."""

from __future__ import annotations

import io
import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from repro.config import EvaluationConfig, RunConfig
from repro.errors import DivergedError, InputError, ReproError
from repro.reading import read_json
from repro.study.benchmarks.tasks import SMALL_STATES
from repro.study.claims import load_claims
from repro.study.evidence import kronecker_table
from repro.study.store import Run, RunSource, load_run
from repro.study.verdicts import Verdict, judge, restored
from repro.training import environment
from repro.training.files import write_atomic
from repro.training.reporting import Reporter
from repro.training.rundir import RunDirectory

VERDICTS = "verdicts.json"
AUDITED_EPOCHS = 60
BLOCK = 10
SIGMAS = 5.0
AFFORDABLE_SECONDS = 240.0
"""The most that one run of an audit may have cost when it was made; longer ones are left out of the draw."""


def judge_all(root: Path) -> list[Verdict]:
    """The verdicts on all claims from the runs below ``root`` alone."""
    source = RunSource(root, root, quiet=True)
    return [judge(claim, source) for claim in load_claims()]


def write_verdicts(root: Path, verdicts: Sequence[Verdict]) -> None:
    """Stores verdicts, to be confirmed later."""
    document = [asdict(verdict) for verdict in verdicts]
    write_atomic(root / VERDICTS, (json.dumps(document, indent=1) + "\n").encode())


def read_verdicts(root: Path) -> list[Verdict]:
    """The stored verdicts.

    Raises:
        InputError: if there are none or the file is damaged.
    """
    path = root / VERDICTS
    if not path.exists():
        raise InputError(f"{path}: missing; make it with `repro claims --store`")
    try:
        return [restored(entry) for entry in read_json(path)]
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: damaged ({error})") from error


def unconfirmed(stored: Sequence[Verdict], found: Sequence[Verdict]) -> list[str]:
    """One line for each stored verdict that the data do not give again."""
    known = {verdict.claim: verdict for verdict in stored}
    now = {verdict.claim: verdict for verdict in found}
    problems = [f"{name}: a verdict is stored, but no such claim exists" for name in known if name not in now]
    for name, verdict in now.items():
        if name not in known:
            problems.append(f"{name}: no verdict is stored; `repro claims --store` stores one")
        elif known[name].verdict != verdict.verdict:
            problems.append(f"{name}: stored is {known[name].verdict!r}, the data say {verdict.verdict!r}")
        elif (known[name].found, known[name].runs) != (verdict.found, verdict.runs):
            problems.append(f"{name}: the stored verdict rests on other runs than those that are there")
    return problems


@dataclass(frozen=True)
class Comparison:
    """A run trained again for its first epochs.

    Attributes:
        name: of the run.
        epochs: compared.
        identical: whether every energy is the same to the last digit.
        worst: largest difference of block means of the energy, in standard errors.
        problem: what is wrong, or "".
    """

    name: str
    epochs: int
    identical: bool
    worst: float
    problem: str


def cost(run: Run) -> float:
    """Seconds that pretraining and the audited epochs of a run took when it was made."""
    seconds = float(run.curve["seconds"].head(AUDITED_EPOCHS).sum())
    if run.config.pretraining.epochs:
        directory = RunDirectory(run.path)
        pretraining = pd.read_csv(io.BytesIO(directory.read_table(directory.pretraining)))
        seconds += float(pretraining["seconds"].sum())
    return seconds


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


def compare(stored: pd.DataFrame, found: pd.DataFrame) -> tuple[bool, float]:
    """Two curves over the epochs of the second.

    Returns:
        Whether the energies are identical, and the largest difference of the means over :data:`BLOCK` epochs in units
        of its standard error.
    """
    first = stored.head(len(found)).reset_index(drop=True)
    identical = bool((first["energy"] == found["energy"]).all())
    worst = 0.0
    for begin in range(0, len(found), BLOCK):
        rows = slice(begin, begin + BLOCK)
        differences = first["energy"][rows] - found["energy"][rows]
        variance = first["energy_error"][rows] ** 2 + found["energy_error"][rows] ** 2
        error = math.sqrt(float(variance.sum())) / len(differences)
        mean = abs(float(differences.mean()))
        # An exact state has no variance, and its energy is known to single precision.
        resolution = 1e-5 * abs(float(first["energy"][rows].mean()))
        worst = max(worst, mean / max(error, resolution))
    return identical, worst


def audit(run: Run, reporter: Reporter | None = None) -> Comparison:
    """Pretrains and trains a run again for its first epochs and compares the energies."""
    from repro.training.run import train

    epochs = min(AUDITED_EPOCHS, len(run.curve))
    short = replace(run.config, epochs=epochs, evaluation=EvaluationConfig(8))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            train(short, out, reporter=reporter)
        except DivergedError as error:
            if len(run.curve) > epochs:
                return Comparison(run.path.name, epochs, False, math.inf, f"diverged now, not then: {error}")
        found = pd.read_csv(RunDirectory(out).curve).head(epochs)
    identical, worst = compare(run.curve, found)
    problem = "" if worst <= SIGMAS else f"energies differ by {worst:.1f} standard errors, more than {SIGMAS:g}"
    if not np.isfinite(worst):
        problem = "energies cannot be compared"
    return Comparison(run.path.name, len(found), identical, worst, problem)


def audit_metric(seed: int) -> list[str]:
    """Trains one of the small states again whose Fisher metric claims rest on, and forms its matrices.

    Args:
        seed: of the state.

    Returns:
        One line for each number that the stored table has otherwise.
    """
    from repro.study.benchmarks.kronecker import differences, quality
    from repro.study.fisher_images import fisher_matrices, small_run

    return differences(kronecker_table(), quality(seed, fisher_matrices(small_run(seed))))


def stored_runs(root: Path) -> tuple[list[Run], list[str]]:
    """All runs below ``root``, and one line for each that does not verify."""
    runs, problems = [], []
    for file in sorted(root.glob("*/config.json")):
        try:
            run = load_run(file.parent)
        except ReproError as error:
            problems.append(str(error))
            continue
        if file.parent.name != run.config.run_name:
            problems.append(f"{file.parent}: should be named {run.config.run_name}")
        runs.append(run)
    return runs, problems


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        verdicts: made again from the data.
        comparisons: of the runs that were trained again.
        problems: one line each; none if everything is confirmed.
    """

    verdicts: list[Verdict]
    comparisons: list[Comparison]
    problems: list[str]


def verify(
    root: Path,
    count: int,
    seed: int,
    tell: Callable[[str], None],
    reporter_for: Callable[[RunConfig], Reporter] | None = None,
) -> Report:
    """Checks checksums, runs and verdicts below ``root`` and audits a sample of the runs.

    Args:
        root: of the stored runs.
        count: runs to train again.
        seed: of their choice.
        tell: receives a line for each step.
        reporter_for: makes the reporter of an audited run.

    Raises:
        InputError: if there are too few runs to choose from, or no manifest or verdicts.
    """
    from repro.study.manifest import check_manifest

    problems = check_manifest(root)
    tell(f"checksums: {'all as listed' if not problems else f'{len(problems)} problems'}")
    runs, broken = stored_runs(root)
    problems += broken
    tell(f"runs: {len(runs)} verified" + (f", {len(broken)} not" if broken else ""))
    platform = environment.select_device(None).platform
    candidates = [run for run in runs if affordable(run, platform)]
    chosen = draw(candidates, count, seed)
    stored = read_verdicts(root)
    tell("verdicts: making them again from the data")
    verdicts = judge_all(root)
    problems += unconfirmed(stored, verdicts)
    if count:
        state = seed % SMALL_STATES
        tell(f"audit: forming the Fisher metric of seed {state} again, one of {SMALL_STATES}")
        problems += audit_metric(state)
        tell(f"audit: {count} of {len(candidates)} runs that take at most {AFFORDABLE_SECONDS:g} s, seed {seed}")
    comparisons = []
    for run in chosen:
        tell(f"audit: training {run.path.name} again for {AUDITED_EPOCHS} epochs")
        comparison = audit(run, reporter_for(run.config) if reporter_for else None)
        how = "identical" if comparison.identical else f"at most {comparison.worst:.1f} standard errors apart"
        tell(f"audit: {comparison.name}: {how} over {comparison.epochs} epochs")
        if comparison.problem:
            problems.append(f"{comparison.name}: {comparison.problem}")
        comparisons.append(comparison)
    return Report(verdicts, comparisons, problems)
