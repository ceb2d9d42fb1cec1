"""Verifies stored data: checksums, numbers against each other, verdicts made again, runs trained again.

Nothing that is damaged ends the verification: each problem is a line, and what is sound is still looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from repro.config import PROBLEMS, AnyRunConfig
from repro.errors import InputError, ReproError
from repro.reading import read_json
from repro.study.benchmarks.tasks import SMALL_STATES
from repro.study.claims.measurements import kronecker_table
from repro.study.claims.statements import all_claims, chosen_subjects
from repro.study.claims.values import measured, stored_values, values_path
from repro.study.claims.verdicts import Verdict, judge, restored, values_apart
from repro.study.runs.damage import DAMAGE, noting
from repro.study.runs.manifest import check_anchor, check_manifest, manifest_digest
from repro.study.runs.store import (
    Config,
    FinishedRun,
    ProblemRun,
    Run,
    RunSource,
    load_problem_run,
    load_run,
    place_of,
)
from repro.study.verification.audit import AFFORDABLE_SECONDS, AUDITED_EPOCHS, Comparison, affordable, audit, draw
from repro.study.verification.consistency import run_problems, shared_curves
from repro.study.verification.problem_runs import (
    audit_problem_run,
    drawn,
    problem_run_problems,
    shared_problem_curves,
)
from repro.study.verification.stored_tables import reference_problems, table_problems
from repro.training import environment
from repro.training.files import write_atomic
from repro.training.reporting import Reporter

VERDICTS = "verdicts.json"


@dataclass
class SoundRuns(RunSource):
    """A source of runs that were read and verified before; the others are as if they were not there.

    Attributes:
        sound: the runs by content hash.
    """

    sound: Mapping[str, Run] = field(default_factory=dict)

    def available(self, configs: Sequence[Config]) -> list[FinishedRun[Config]]:
        """Those of the runs that are sound."""
        found = [self.sound[key] for config in configs if (key := config.content_hash) in self.sound]
        return cast("list[FinishedRun[Config]]", found)


def judge_sound(root: Path, runs: Sequence[Run], problems: list[str]) -> list[Verdict]:
    """The verdicts on all claims that the given runs and the stored tables allow to judge; a line for each other."""
    source = SoundRuns(root, root, quiet=True, sound={run.config.content_hash: run for run in runs})
    verdicts = []
    for claim in all_claims():
        with noting(problems, f"{claim.id}: cannot be judged"):
            try:
                verdicts.append(judge(claim, source))
            except ReproError as error:
                raise InputError(f"{claim.id}: cannot be judged: {error}") from error
    return verdicts


def judge_all(root: Path) -> list[Verdict]:
    """The verdicts on all claims from the runs below ``root`` alone.

    Raises:
        ReproError: if something stored is damaged.
    """
    source = RunSource(root, root, quiet=True)
    return [judge(claim, source) for claim in all_claims()]


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
        found = [restored(entry) for entry in read_json(path)]
        names = [verdict.claim for verdict in found]
        if twice := sorted(name for name in set(names) if names.count(name) > 1):
            raise InputError(f"{twice[0]} is there twice")
        return found
    except (InputError, *DAMAGE) as error:
        raise InputError(f"{path}: damaged ({error}); `repro claims --store` makes it anew") from error


def unconfirmed(stored: Sequence[Verdict], found: Sequence[Verdict]) -> list[str]:
    """One line for each stored verdict that the data do not give again, with its text, rate and runs."""
    known = {verdict.claim: verdict for verdict in stored}
    now = {verdict.claim: verdict for verdict in found}
    claims = {claim.id for claim in all_claims()} | set(now)
    problems = [f"{name}: a verdict is stored, but no such claim exists" for name in known if name not in claims]
    for name, verdict in now.items():
        if name not in known:
            problems.append(f"{name}: no verdict is stored; `repro claims --store` stores one")
        elif apart := _apart(asdict(known[name]), asdict(verdict)):
            problems.append(f"{name}: {'; '.join(apart)}")
    return problems


def _apart(stored: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """In words, each field in which a stored verdict differs; rates may differ in their last digits."""
    apart = []
    for name, value in found.items():
        was = stored[name]
        rates = isinstance(value, float) and isinstance(was, float) and abs(was - value) <= 1e-9 * abs(value)
        if was == value or rates:
            continue
        if name == "verdict":
            apart.append(f"stored is {was!r}, the data say {value!r}")
        elif name in ("found", "runs"):
            told = "the stored verdict rests on other runs than those that are there"
            apart += [told] if told not in apart else []
        else:
            apart.append(f"its {name.replace('_', '-')} is stored as {was!r}, the data give {value!r}")
    return apart


def audit_metric(seed: int) -> list[str]:
    """Trains one of the small states again whose Fisher metric claims rest on, and forms its matrices.

    Args:
        seed: of the state.

    Returns:
        One line for each number that the stored table has otherwise.
    """
    from repro.study.benchmarks.kronecker import differences, quality
    from repro.study.experiments.fisher_images import fisher_matrices, small_run

    return differences(kronecker_table(), quality(seed, fisher_matrices(small_run(seed))))


def audit_values(root: Path, count: int, seed: int, tell: Callable[[str], None]) -> list[str]:
    """Computes the values of some of the lectures' items again, and compares numbers and verdicts with the stored ones.

    Args:
        root: of what is stored.
        count: how many items.
        seed: of their choice.
        tell: receives a line for each item.

    Returns:
        One line for each number that differs by more than rounding does, or verdict that is another.
    """
    subjects = [subject for subject in chosen_subjects([]) if values_path(root, subject.name).exists()]
    chosen = np.random.default_rng(seed).permutation(len(subjects))[:count]
    problems: list[str] = []
    for subject in (subjects[place] for place in sorted(chosen)):
        with noting(problems, f"audit of {subject.name}"):
            tell(f"audit: computing the values of {subject.name} again")
            stored = stored_values(root, subject.name) or {}
            problems += values_apart(subject, stored, measured(subject))
    return problems


def stored_runs(root: Path) -> tuple[list[Run], list[str]]:
    """All runs of energies below ``root``, and one line for each that does not verify."""
    return _read(root, ("*",), load_run, ("epoch", "energy", "variance", "seconds"))


def stored_problem_runs(root: Path) -> tuple[list[ProblemRun], list[str]]:
    """All runs of other problems below ``root``, and one line for each that does not verify."""
    return _read(root, tuple(f"{name}/*" for name in PROBLEMS), load_problem_run, ("step", "loss", "seconds"))


def _read(
    root: Path, folders: Sequence[str], load: Callable[[Path], FinishedRun[Config]], columns: Sequence[str]
) -> tuple[list[FinishedRun[Config]], list[str]]:
    """The runs in folders of these patterns, with these columns of numbers."""
    runs: list[FinishedRun[Config]] = []
    problems: list[str] = []
    files = ("config.json", "result.json", "curve.csv", "curve.csv.gz")
    for folder in sorted({path.parent for one in folders for name in files for path in root.glob(f"{one}/{name}")}):
        with noting(problems, folder):
            run = load(folder)
            run.curve[list(columns)].astype(float)
            if folder != root / (place := place_of(run.config)):
                problems.append(f"{folder}: should be named {place}")
            runs.append(run)
    return runs, problems


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        verdicts: made again from the data.
        comparisons: of the runs that were trained again.
        problems: one line each; none if everything is confirmed.
        digest: SHA-256 of the manifest, "" if there is none.
    """

    verdicts: list[Verdict]
    comparisons: list[Comparison]
    problems: list[str]
    digest: str


def _checked(problems: list[str], subject: str, tell: Callable[[str], None], check: Callable[[], list[str]]) -> None:
    """Adds what a check finds, and tells how much that is."""
    before = len(problems)
    with noting(problems, subject):
        problems += check()
    count = len(problems) - before
    tell(f"{subject}: {f'{count} problems' if count else 'no problem'}")


def _problem_runs(
    root: Path,
    seed: int | None,
    problems: list[str],
    tell: Callable[[str], None],
    reporter_for: Callable[[AnyRunConfig], Reporter] | None,
) -> list[Comparison]:
    """Checks the runs of problems that are no energies, and audits the one that ``seed`` chooses, if there is any."""
    runs, broken = stored_problem_runs(root)
    tell(f"runs of other problems: {len(runs)} read" + (f", {len(broken)} damaged" if broken else ""))
    problems += broken
    _checked(problems, "their numbers", tell, lambda: [line for run in runs for line in problem_run_problems(run)])
    _checked(problems, "their curves used twice", tell, lambda: shared_problem_curves(runs))
    chosen: list[ProblemRun] = []
    with noting(problems, root):
        chosen = [run] if seed is not None and (run := drawn(runs, seed)) is not None else []
    return _audited(chosen, audit_problem_run, "", problems, tell, reporter_for)


def _audited(
    runs: Sequence[FinishedRun[Config]],
    again: Callable[[FinishedRun[Config], Reporter | None], Comparison],
    length: str,
    problems: list[str],
    tell: Callable[[str], None],
    reporter_for: Callable[[AnyRunConfig], Reporter] | None,
) -> list[Comparison]:
    """Trains runs ``again``, for a ``length`` that is told, and adds what differs to ``problems``."""
    comparisons: list[Comparison] = []
    for run in runs:
        tell(f"audit: training {run.path.name} again{length}")
        with noting(problems, f"audit of {run.path.name}"):
            comparison = again(run, reporter_for(run.config) if reporter_for else None)
            tell(f"audit: {comparison.name}: {comparison.told}")
            problems += [f"{comparison.name}: {line}" for line in comparison.problems]
            comparisons.append(comparison)
    return comparisons


def verify(
    root: Path,
    count: int,
    seed: int,
    tell: Callable[[str], None],
    reporter_for: Callable[[AnyRunConfig], Reporter] | None = None,
) -> Report:
    """Checks all that is stored below ``root``, makes its verdicts again, and audits a sample of the runs.

    Args:
        root: of the stored runs.
        count: runs to train again.
        seed: of their choice.
        tell: receives a line for each step.
        reporter_for: makes the reporter of an audited run.

    Raises:
        InputError: if ``count`` is negative or more than there are runs to choose from, though all are sound.
    """
    if count < 0:
        raise InputError(f"audit = {count}: must not be negative")
    problems: list[str] = []
    digest = ""
    with noting(problems, root):
        digest = manifest_digest(root)
    _checked(problems, "checksums", tell, lambda: [*check_anchor(root), *check_manifest(root)])
    runs, broken = stored_runs(root)
    tell(f"runs: {len(runs)} read" + (f", {len(broken)} damaged" if broken else ""))
    problems += broken
    platform = environment.select_device(None).platform
    candidates: list[Run] = []
    for run in runs:
        with noting(problems, run.path):
            candidates += [run] if affordable(run, platform) else []
    if count > len(candidates) and problems:
        problems.append(f"audit = {count}: only {len(candidates)} sound runs are there to choose from")
    chosen = draw(candidates, min(count, len(candidates)) if problems else count, seed)
    _checked(problems, "numbers of runs", tell, lambda: [line for run in runs for line in run_problems(run)])
    _checked(problems, "curves used twice", tell, lambda: shared_curves(runs))
    _checked(problems, "tables", tell, lambda: table_problems(root))
    _checked(problems, "references", tell, lambda: reference_problems(root, seed, tell))
    tell("verdicts: making them again from the data")
    verdicts = judge_sound(root, runs, problems)
    _checked(problems, "verdicts", tell, lambda: unconfirmed(read_verdicts(root), verdicts))
    if count:
        problems += audit_values(root, count, seed, tell)
        state = seed % SMALL_STATES
        tell(f"audit: forming the Fisher metric of seed {state} again, one of {SMALL_STATES}")
        with noting(problems, "audit of the Fisher metric"):
            problems += audit_metric(state)
        tell(f"audit: {len(chosen)} of {len(candidates)} runs that take at most {AFFORDABLE_SECONDS:g} s, seed {seed}")
    comparisons = _problem_runs(root, seed if count else None, problems, tell, reporter_for)
    comparisons += _audited(chosen, audit, f" for {AUDITED_EPOCHS} epochs", problems, tell, reporter_for)
    return Report(verdicts, comparisons, list(dict.fromkeys(problems)), digest)
