"""Consistency of the numbers of a stored run: each number that follows from others is computed again."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from repro.config import RunConfig, differences
from repro.config.optimizers import ProximalLeastSquaresConfig
from repro.study.runs.convergence import TAIL
from repro.study.runs.damage import noting
from repro.study.runs.observables import observables_of
from repro.study.runs.store import ProblemRun, Run
from repro.training.curve import CURVE_COLUMNS, OCCASIONAL_COLUMNS, PRETRAINING_COLUMNS, SECONDS_COLUMNS
from repro.training.rundir import RunDirectory
from repro.training.state import EVALUATION, PRETRAINING, TRAINING

DIGITS = 1e-6
"""Relative: what numbers with nine digits, or sums in single precision, may be apart."""
WRITTEN = 2e-5
"""Of tables with six digits."""
SIGMAS = 5.0
TAILS = 4.0
"""Clipping moves energies, in the median, by so many of their errors at most, for 1024 walkers.

By so many at most if it touches one walker in 64 (Cauchy-Schwarz); of the stored runs the largest number is 2.8.
"""
BEGINNING = 100
"""Epochs that two runs from one start may have in common before their options tell; two of the stored runs have 52."""
SHORTEST = 10
"""A run that ends sooner may have all its epochs in common with another."""


def run_problems(run: Run) -> list[str]:
    """One line for each number of a run that others of the same run contradict."""
    problems: list[str] = []
    name = run.path.name
    for check in (_curve, _pretraining, times_apart, _final_energy, _observables):
        with noting(problems, f"{name}, {check.__name__.strip('_').replace('_', ' ')}"):
            problems += [f"{name}: {line}" for line in check(run)]
    return problems


def near(first: float, second: float, tolerance: float = DIGITS) -> bool:
    """Whether two numbers are the same but for rounding; false for what is not a number."""
    return bool(abs(first - second) <= tolerance * max(abs(first), abs(second)))


def epochs_apart(found: pd.DataFrame, wanted: int, file: str) -> Iterator[str]:
    """A line if the rows of a table are not those of all epochs that it should have, or steps, as they are called."""
    numbers = found.iloc[:, 0]
    if not np.array_equal(numbers.to_numpy(), np.arange(1, wanted + 1)):
        ends = f"{numbers.iloc[0]} to {numbers.iloc[-1]}" if len(found) else "none"
        unit = found.columns[0]
        yield f"{file} should have {unit}s 1 to {wanted}, each once; it has {len(found)} rows ({ends})"


def ended_after(run: Run | ProblemRun) -> int:
    """The epochs that the curve of a run should have, by its configuration and its outcome.

    Raises:
        ValueError: if the outcome is none that a run has.
    """
    status, phase, config = run.result["status"], run.result.get("phase"), run.config
    wanted, pretrained = (
        (config.epochs, config.pretraining.epochs) if isinstance(config, RunConfig) else (config.steps, 0)
    )
    if status == "complete" or (status == "diverged" and phase == EVALUATION):
        return wanted
    if status == "diverged" and phase in (PRETRAINING, TRAINING):
        epoch = int(run.result["epoch"])
        bound = wanted if phase == TRAINING else pretrained
        if not 1 <= epoch <= bound:
            raise ValueError(f"diverged in {phase} epoch {epoch} of {bound}")
        return epoch - 1 if phase == TRAINING else 0
    raise ValueError(f"status {status!r}, phase {phase!r}")


def _curve(run: Run) -> Iterator[str]:
    curve, walkers = run.curve, run.config.sampling.walkers
    if lacking := [column for column in CURVE_COLUMNS if column not in curve]:
        yield f"the curve lacks {', '.join(lacking)}"
        return
    yield from epochs_apart(curve, ended_after(run), "the curve")
    for column in curve:
        values = pd.to_numeric(curve[column], errors="coerce").to_numpy(np.float64)
        if column not in OCCASIONAL_COLUMNS and curve[column].isna().all():
            continue  # what this optimiser does not have
        bad = np.isinf(values) if column in OCCASIONAL_COLUMNS else ~np.isfinite(values)
        if bad.any():
            yield f"{column} of epoch {curve['epoch'][bad.argmax()]} is not a finite number"
            return
    error = np.sqrt(curve["variance"].clip(lower=0.0) / walkers)
    wrong = (error - curve["energy_error"]).abs() > DIGITS * error
    if wrong.any():
        row = curve[wrong].iloc[0]
        yield f"energy_error of epoch {row['epoch']:.0f} is not that of its variance and {walkers} walkers"
    moved = (curve["energy"] - curve["energy_clipped"]) / (curve["energy_error"] + 1e-5 * curve["energy"].abs())
    if abs(moved.median()) > TAILS * max(1.0, math.sqrt(walkers / 1024)):
        yield f"energy is {abs(moved.median()):.1f} of its errors from energy_clipped, more than clipping moves it"
    yield from damping_apart(run)
    for column, low, high in (("variance", 0.0, math.inf), ("acceptance", 0.0, 1.0), ("grad_norm", 0.0, math.inf)):
        if not curve[column].between(low, high).all():
            yield f"{column} leaves {low:g} to {high:g}"


def damping_apart(run: Run | ProblemRun) -> Iterator[str]:
    """A line if a curve does not begin with the damping of its configuration.

    Some curves have no damping; and where it is given in units of the largest eigenvalue, the curve has another number.
    """
    if isinstance(run.config.optimizer, ProximalLeastSquaresConfig) or "lambda" not in run.curve:
        return
    damping, curve = run.config.to_dict()["optimizer"].get("damping"), run.curve
    first = damping["initial"] if isinstance(damping, dict) else damping
    if first is not None and len(curve) and not near(float(curve["lambda"].iloc[0]), float(first)):
        yield f"lambda begins with {curve['lambda'].iloc[0]:g}, the configuration's damping with {first:g}"


def pretraining_of(run: Run) -> pd.DataFrame:
    """The stored table of a run's pretraining.

    Raises:
        InputError: if there is none.
    """
    directory = RunDirectory(run.path)
    return pd.read_csv(io.BytesIO(directory.read_table(directory.pretraining)))


def _pretraining(run: Run) -> Iterator[str]:
    wanted = run.config.pretraining.epochs
    if not wanted:
        return
    table = pretraining_of(run)
    if run.result.get("phase") == PRETRAINING:
        wanted = int(run.result["epoch"]) - 1
    yield from epochs_apart(table, wanted, "pretraining")
    if not np.isfinite(table[list(PRETRAINING_COLUMNS)].to_numpy(np.float64)).all():
        yield "pretraining has what is not a finite number"


def times_apart(run: Run | ProblemRun) -> Iterator[str]:
    """What ``result.json`` says of the seconds, from the curve; an empty curve has no median."""
    for column in SECONDS_COLUMNS:
        if column not in run.curve:
            continue
        each, all_of_them = f"{column}_per_{run.curve.columns[0]}", f"training_{column}"
        if len(run.curve) and not near(run.result[each], float(run.curve[column].median())):
            yield f"{each} is not the median of the curve's"
        if not near(run.result[all_of_them], float(run.curve[column].sum())):
            yield f"{all_of_them} is not the sum of the curve's"


def _final_energy(run: Run) -> Iterator[str]:
    if not run.complete:
        return
    energy, error, variance, ess = (float(run.result[key]) for key in ("energy", "energy_error", "variance", "ess"))
    if not all(map(math.isfinite, (energy, error, variance, ess, float(run.result["rhat"])))):
        yield "the final energy, its error, variance, ess or rhat is not a finite number"
        return
    samples = run.config.evaluation.batches * run.config.sampling.walkers
    if not 0.0 < ess <= samples * (1.0 + DIGITS):
        yield f"ess = {ess:g} is not between 0 and the {samples} samples"
    elif variance < 0.0 or (error and not near(error, math.sqrt(variance / ess))):
        yield f"energy_error = {error:.9g} is not that of its variance and ess, {math.sqrt(abs(variance) / ess):.9g}"
    elif not error and variance > 1e-20 * max(1.0, energy**2):
        yield "energy_error is zero, the variance is not"
    tail = run.curve.tail(math.ceil(TAIL * len(run.curve)))
    noise = SIGMAS * tail["energy_error"]
    resolution = SIGMAS * error + DIGITS * abs(energy)
    if energy + resolution < (tail["energy"] - noise).min():
        yield f"the final energy, {energy:.6g}, is below all energies of the last fifth of the curve and their errors"
    # The last update alone may throw a state off: then it is another state, and its variance is larger, too.
    if energy - resolution > (tail["energy"] + noise).max() and variance <= 1.1 * tail["variance"].median():
        yield f"the final energy, {energy:.6g}, is above all energies of the last fifth of the curve and their errors"


def _observables(run: Run) -> Iterator[str]:
    """Sums that hold sample by sample, and the energy, which was sampled twice in the same state."""
    if not RunDirectory(run.path).observables.exists():
        return
    found, particles = observables_of(run), run.config.system.particles
    mean = {name: float(found.scalars[name]["mean"]) for name in ("energy", "kinetic", "trap", "interaction")}
    scale = abs(mean["kinetic"]) + abs(mean["trap"]) + abs(mean["interaction"])
    if abs(mean["energy"] - mean["kinetic"] - mean["trap"] - mean["interaction"]) > DIGITS * scale:
        yield "the observed energy is not the sum of its parts"
    error = math.hypot(float(found.scalars["energy"]["error"]), float(run.result["energy_error"]))
    apart = abs(mean["energy"] - float(run.result["energy"]))
    if apart > SIGMAS * error + DIGITS * scale:
        yield f"the observed energy, {mean['energy']:.6g}, is {apart / error:.1f} standard errors from the final energy"
    outside, virial = float(found.scalars["outside"]["mean"]), float(found.scalars["virial"]["error"])
    if not (0.0 <= outside <= particles and virial >= 0.0):
        yield "the particles outside of the bins, or the error of the virial, cannot be"
    centres = found.density["x"].to_numpy()
    width = float(centres[1] - centres[0])
    inside = width * float(found.density["n"].sum())
    # A lost particle is one lost, or not counted in all its pairs.
    if abs(inside + outside - particles) > WRITTEN * particles + 0.01 * outside:
        yield f"the density holds {inside:.6g} particles, with {outside:.3g} outside of it, not {particles}"
    pairs, all_pairs = width**2 * float(np.nansum(found.pair_matrix())), particles * (particles - 1)
    if not -2.1 * (particles - 1) * outside - WRITTEN * all_pairs <= pairs - all_pairs <= WRITTEN * all_pairs:
        yield f"the pair density holds {pairs:.6g} pairs, not {all_pairs}"
    count = len(found.occupations)
    matrix = np.zeros((count, count))
    i, j = (found.density_matrix[name].to_numpy(int) for name in ("i", "j"))
    matrix[i, j] = matrix[j, i] = found.density_matrix["rho"]
    occupations = np.linalg.eigvalsh(matrix)[::-1]
    if np.abs(occupations - found.occupations["occupation"]).max() > WRITTEN * max(1.0, np.abs(matrix).max()):
        yield "the occupations are not the eigenvalues of the density matrix"


def shared_curves(runs: Sequence[Run]) -> list[str]:
    """One line for each pair of runs that have epochs in common which they cannot have by what they are.

    Epochs with the same energy and the same variance, to nine digits, are one epoch. Runs from the same start have
    their first ones in common, until their options make a difference. Runs that differ in nothing that came into
    effect are the same run. An exact state has no variance, and many runs may have its energy.
    """
    tables = [run.curve[["epoch", "energy", "variance"]].assign(run=number) for number, run in enumerate(runs)]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["energy", "variance"])
    rows = rows[rows["variance"] > (DIGITS * rows["energy"]) ** 2]
    twice = rows[rows.duplicated(["energy", "variance"], keep=False)]
    common: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for _, group in twice.groupby(["energy", "variance"], sort=False):
        for one, other in combinations(zip(group["run"], group["epoch"], strict=True), 2):
            common.setdefault((one[0], other[0]), []).append((int(one[1]), int(other[1])))
    problems: list[str] = []
    for (first, second), pairs in common.items():
        problems += [f"{runs[first].path.name}: {line}" for line in _sharing(runs[first], runs[second], pairs)]
    return problems


def _sharing(one: Run, other: Run, pairs: list[tuple[int, int]]) -> Iterator[str]:
    if one is other:
        yield f"epochs {pairs[0][0]} and {pairs[0][1]} of the curve are the same"
        return
    name, count = other.path.name, len(pairs)
    if sorted(pairs) != [(epoch, epoch) for epoch in range(1, count + 1)]:
        yield f"epoch {pairs[-1][0]} of the curve is epoch {pairs[-1][1]} of {name}"
        return
    apart = [key for key in _differing(one, other) if not key.startswith(("optimizer.", "epochs", "evaluation."))]
    if apart:
        yield f"the first {count} epochs are those of {name}, which differs in {', '.join(apart)}"
        return
    whole = count == min(len(one.curve), len(other.curve)) and count >= SHORTEST
    if (whole or count > BEGINNING) and (acting := _acting(one, other)):
        yield f"the first {count} epochs are those of {name}, which differs in {', '.join(acting)}"


def _differing(one: Run, other: Run) -> list[str]:
    return [line.split(":")[0] for line in differences(one.config, other.config)]


def _acting(one: Run, other: Run) -> list[str]:
    """The options in which two runs differ and which came into effect."""
    keys = [key for key in _differing(one, other) if not key.startswith(("epochs", "evaluation."))]
    if keys == ["optimizer.step_limit"]:  # it shortens longer steps only
        least = min(float(run.config.to_dict()["optimizer"]["step_limit"]) for run in (one, other))
        if max(float(run.curve["step_norm"].max()) for run in (one, other)) ** 2 < least:
            return []
    return keys
