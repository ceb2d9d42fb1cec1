"""Tables and sentences that several figures share: how runs ended, how fast they were, how accurate they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from repro.config import SystemConfig
from repro.demonstrations.base import Values
from repro.study.claims.statements import STUDY, Claim, claims_of
from repro.study.claims.statistics import bootstrap_interval
from repro.study.claims.verdicts import Verdict, judge, judge_values
from repro.study.plots.run_selection import exact_of, names_of, of_optimizer
from repro.study.plots.style import LARGEST, LOOKS, SMALLEST
from repro.study.runs.cases import CASES
from repro.study.runs.convergence import (
    DEFINITION,
    KINDS,
    LEVELS,
    converged,
    epochs_column,
    epochs_to,
    final_error,
    kind,
    seconds_column,
    seconds_to,
    stopped_at,
    summary,
)
from repro.study.runs.store import Run, RunSource

ERRORS_TOLD = f"binned medians of single epochs and their 68 % band, up to {LARGEST:g}; dotted: 1 % and 0.1 %"
"""What is to be said of panels of relative errors with one seed."""


def how_they_ended(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each run: how it ended. The definitions behind the words are printed."""
    print(DEFINITION)
    print(KINDS)
    rows = []
    for run in runs:
        exact, system = exact_of(run), run.config.system
        row = summary([run], exact).assign(kind=kind(run, exact), at_0_1_percent=converged(run, exact, LEVELS[1]))
        for place, (column, value) in enumerate(asdict(system).items(), start=1):
            row.insert(place, column, value)
        rows.append(row)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"optimizer": [], "kind": []})


def print_counts(runs: Sequence[Run], cases: int = len(CASES)) -> None:
    """Prints how many runs of each optimiser converged, at 1 % and at 0.1 %."""
    for name in names_of([run.config for run in runs]):
        group = of_optimizer(runs, name)
        told = [
            f"{sum(converged(run, exact_of(run), level) for run in group)} at {100 * level:g} %" for level in LEVELS
        ]
        print(f"{LOOKS[name].label}: converged {', '.join(told)}, of {len(group)} runs at hand ({cases} cases)")


def print_counts_by_length(runs: Sequence[Run], lengths: Sequence[int]) -> None:
    """Prints how many runs would count as converged had all been told to end earlier; it may hang on that."""
    if not lengths:
        print("no run is at hand that could have ended earlier")
        return
    told = [
        f"{sum(converged(stopped_at(run, epochs), exact_of(run)) for run in runs)} after {epochs}" for epochs in lengths
    ]
    print(f"had they ended earlier: converged {', '.join(told)} epochs, of {len(runs)} runs")


def print_verdicts(figure: str, source: RunSource) -> list[Verdict]:
    """Prints the verdict on each claim that a figure shows, from the runs at hand."""
    return [_printed(claim, judge(claim, source)) for claim in claims_of(figure)]


def print_value_verdicts(figure: str, values: Values) -> list[Verdict]:
    """Prints the verdict on each claim of an item of a lecture, from the values that were measured just now."""
    return [_printed(claim, judge_values(claim, values)) for claim in claims_of(figure)]


def _printed(claim: Claim, verdict: Verdict) -> Verdict:
    if verdict.false_alarm is None:
        rest = f"needs {verdict.needs}" if verdict.needs else ""
    elif verdict.false_alarm == 0.0 and claim.chapter != STUDY:
        rest = "computed: no false alarm"
    else:
        rest = f"false-alarm rate {verdict.false_alarm:.2g}"
    lines = [f"{verdict.verdict.upper()}: {claim.statement}", f"source: {claim.source}", verdict.told, rest]
    print("\n  ".join(filter(None, lines)))
    return verdict


def median_told(runs: Sequence[Run], measure: Callable[[Run, float], float]) -> str:
    """The median of a number of runs with its bootstrap interval, such as "310 [270, 340]"."""
    values = [measure(run, exact_of(run)) for run in runs]
    if not values:
        return "no run"
    if any(math.isnan(value) for value in values):
        return "no benchmark"
    low, high = bootstrap_interval(values)
    shown = ["never" if math.isinf(value) else f"{value:,.0f}" for value in (float(np.median(values)), low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(values) > 1 else shown[0]


def epochs_told(epochs: float) -> str:
    """A number of epochs, infinite for a miss."""
    return "never" if math.isinf(epochs) else f"{epochs:.0f}"


def levels_told(row: Mapping[str, Any]) -> str:
    """Epochs to 1 % and to 0.1 % of a row of a table that has a column for each."""
    return " / ".join(epochs_told(row[epochs_column(level)]) for level in LEVELS)


def seconds_told(row: Mapping[str, Any]) -> str:
    """Seconds to 1 % and to 0.1 % of a row of a table that has a column for each."""
    values = [row[seconds_column(level)] for level in LEVELS]
    if any(math.isnan(value) for value in values):
        return "no benchmark"
    return " / ".join("never" if math.isinf(value) else f"{value:,.0f} s" for value in values)


def error_told(error: float, uncertainty: float = math.inf) -> str:
    """A relative error in per cent, infinite for a run that diverged.

    Args:
        error: of an energy.
        uncertainty: standard error of the energy over the exact one, of either sign; told beside an error that is.
    """
    if math.isinf(error):
        return "diverged"
    if error <= SMALLEST:
        return f"< {100.0 * SMALLEST:g} %"
    if error > LARGEST:
        return f"> {100.0 * LARGEST:g} %"
    told = f"{100.0 * error:.0f}" if error >= 0.1 else f"{100.0 * error:.2g}"
    if math.isinf(uncertainty):
        return f"{told} %"
    spread = 100.0 * abs(uncertainty)
    return f"{told} ± {spread:.0f} %" if spread >= 1.0 else f"{told} ± {spread:.1g} %"


def final_told(run: Run) -> str:
    """A run's final error in per cent, and whether rounding moved its energy by more than the statistical error."""
    told = error_told(final_error(run, exact_of(run)))
    rounded = run.complete and (run.result.get("rounding") or 0.0) > run.result["energy_error"]
    return f"{told} (rounding)" if rounded else told


def case_title(system: SystemConfig) -> str:
    """A case as it stands above a panel; the width of the interaction is named where it is not the study's."""
    width = "" if system.sigma0 == SystemConfig.sigma0 else f", $\\sigma_0$ = {system.sigma0:g}"
    return f"A = {system.particles}, $V_0$ = {system.v0:g}".replace("-", "−") + width


def speeds_told(groups: Sequence[Sequence[Run]], measure: Callable[[Run, float], float]) -> str:
    """When the runs of each optimiser came within 1 %: medians with intervals."""
    return "\n".join(f"{LOOKS[runs[0].config.optimizer.name].label} {median_told(runs, measure)}" for runs in groups)


def standings(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each optimiser: how many of its runs came within each level, when in the median, and how they ended.

    Misses count as infinitely many epochs and seconds; seconds are not numbers without a benchmark.
    """
    rows = []
    for name in names_of([run.config for run in runs]):
        mine = [(run, exact_of(run)) for run in of_optimizer(runs, name)]
        row: dict[str, Any] = {"optimizer": name, "runs": len(mine)}
        for level in LEVELS:
            epochs, seconds = ([measure(*each, level) for each in mine] for measure in (epochs_to, seconds_to))
            row[f"within_{100 * level:g}_percent"] = int(np.isfinite(epochs).sum())
            row |= {epochs_column(level): float(np.median(epochs)), seconds_column(level): float(np.median(seconds))}
        row["converged"] = sum(kind(*each) == "converged" for each in mine)
        row["final_error"] = float(np.median([final_error(*each) for each in mine]))
        rows.append(row)
    return pd.DataFrame(rows)
