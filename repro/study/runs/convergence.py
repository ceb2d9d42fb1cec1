"""Defines when a run counts as converged, and how much its energy still fluctuates; nothing else defines these."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from repro.study.runs.store import Run
from repro.study.runs.timing import seconds_per_epoch

DEFINITION = (
    "Converged: the median over the last 5 % of the epochs of the relative error (E - E_exact) / |E_exact| is at most "
    "1 %, and no energy in that window is further than 10 % away. A run that diverges has not converged."
)
WINDOW, LEVEL, OUTLIER = 0.05, 0.01, 0.10
LEVELS = (LEVEL, 0.001)
"""Relative errors that are reported and drawn."""
TAIL = 0.2
RESOLUTION = 1e-6
"""Smallest relative error told apart from none: single precision."""

SMOOTHING = 40
"""Epochs whose median must be within a level for the level to be reached."""

SPEED = (
    f"A level is reached when the median relative error of {SMOOTHING} epochs in a row is at most that, in modulus; "
    "a run that never gets there needs infinitely many."
)
KINDS = (
    "A run that has not converged is unstable if it diverged, or if in the last fifth of its epochs an energy lies "
    "more than 10 % of |E_exact| from their median; otherwise it is stuck: steady, but at another energy."
)
UNJUDGED = 1.0
"""A larger standard error, over |E_exact|, leaves nothing to be judged of a final energy."""


def relative_error(energies: pd.Series, exact: float) -> pd.Series:
    """(E - E_exact) / |E_exact|."""
    return (energies - exact) / abs(exact)


def last_errors(run: Run, exact: float) -> pd.Series:
    """Relative errors of the epochs in the window that :data:`DEFINITION` looks at."""
    return relative_error(run.curve["energy"], exact).tail(math.ceil(WINDOW * run.config.epochs))


def converged(run: Run, exact: float, level: float = LEVEL) -> bool:
    """Whether a run converged, by :data:`DEFINITION`; ``level`` in place of 1 % if given."""
    if not run.complete:
        return False
    window = last_errors(run, exact)
    return bool(abs(window.median()) <= level and window.abs().max() <= OUTLIER)


def fluctuation(run: Run, exact: float) -> float:
    """Half the central 68 % range of the relative error over the last fifth of the epochs; infinite if it diverged."""
    if not run.complete:
        return math.inf
    tail = relative_error(run.curve["energy"], exact).tail(math.ceil(TAIL * run.config.epochs))
    low, high = np.quantile(tail, [0.16, 0.84])
    return float(high - low) / 2.0


def excursion(run: Run, exact: float) -> float:
    """Largest distance of an energy of the last fifth from their median, over |E_exact|; infinite if it diverged."""
    if not run.complete:
        return math.inf
    tail = relative_error(run.curve["energy"], exact).tail(math.ceil(TAIL * run.config.epochs))
    return float((tail - tail.median()).abs().max())


def kind(run: Run, exact: float) -> str:
    """How a run ended: converged by :data:`DEFINITION`, unstable or stuck by :data:`KINDS`."""
    if converged(run, exact):
        return "converged"
    return "unstable" if excursion(run, exact) > OUTLIER else "stuck"


def stopped_at(run: Run, epochs: int) -> Run:
    """The run as it would have ended after fewer epochs; one that diverged later had not by then."""
    there = len(run.curve) >= epochs
    return replace(
        run,
        config=replace(run.config, epochs=epochs),
        curve=run.curve.head(epochs),
        result=run.result | {"status": "complete" if there else "diverged"},
    )


def _running_errors(run: Run, exact: float) -> np.ndarray:
    """The median relative error of each epoch and those before it, :data:`SMOOTHING` in all, in modulus; (epochs,)."""
    return relative_error(run.curve["energy"], exact).rolling(SMOOTHING).median().abs().to_numpy()


def epochs_to(run: Run, exact: float, level: float = LEVEL) -> float:
    """Epochs until a level is reached, by :data:`SPEED`; infinite if it never is."""
    inside = np.flatnonzero(_running_errors(run, exact) <= level)
    return float(inside[0]) + 1.0 if inside.size else math.inf


def departure(run: Run, exact: float) -> float:
    """How far a run leaves the ground state again: its largest running error once 1 % was reached by :data:`SPEED`.

    Infinite if it diverged, or if an energy of its last fifth lies further than :data:`OUTLIER` from their median; zero
    if it never reached 1 %, since it had nothing to leave.
    """
    if excursion(run, exact) > OUTLIER:
        return math.inf
    reached = epochs_to(run, exact)
    return 0.0 if math.isinf(reached) else float(_running_errors(run, exact)[int(reached) - 1 :].max())


def sigma_below(run: Run, exact: float) -> float:
    """How many standard errors the final energy lies below the exact one, which no energy of a state does.

    The error is at least :data:`RESOLUTION`. Infinite where it is larger than :data:`UNJUDGED` times the energy itself,
    as what is known so badly passes no check; not a number for a run that diverged and has no final energy.
    """
    if not run.complete:
        return math.nan
    error = run.result["energy_error"] / abs(exact)
    if error > UNJUDGED:
        return math.inf
    return float((exact - run.result["energy"]) / abs(exact) / max(error, RESOLUTION))


def epochs_column(level: float) -> str:
    """The column of a table that has the epochs until a level is reached."""
    return f"epochs_to_{100 * level:g}_percent"


def seconds_column(level: float) -> str:
    """The column of a table that has the seconds until a level is reached."""
    return f"seconds_to_{100 * level:g}_percent"


def seconds_to(run: Run, exact: float, level: float = LEVEL) -> float:
    """Seconds of training until a level is reached, on the benchmark's machine; not a number without a benchmark."""
    seconds = seconds_per_epoch(run.config)
    return math.nan if seconds is None else seconds * epochs_to(run, exact, level)


def final_error(run: Run, exact: float) -> float:
    """|E - E_exact| / |E_exact| of the final energy, at least its standard error; infinite if the run diverged."""
    if not run.complete:
        return math.inf
    least = max(run.result["energy_error"], RESOLUTION * abs(exact))
    return float(max(abs(run.result["energy"] - exact), least) / abs(exact))


def summary(runs: list[Run], exact: float) -> pd.DataFrame:
    """One row for each run: how it ended."""
    rows = []
    for run in runs:
        rows.append(
            {
                "optimizer": run.config.optimizer.name,
                "walkers": run.config.sampling.walkers,
                "seed": run.config.seed,
                "status": run.result["status"],
                "epochs": len(run.curve),
                "converged": converged(run, exact),
                "within_1_percent_at": epochs_to(run, exact),
                "fluctuation": fluctuation(run, exact),
                "energy": run.result.get("energy", math.nan),
                "energy_error": run.result.get("energy_error", math.nan),
            }
        )
    return pd.DataFrame(rows)
