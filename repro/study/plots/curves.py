"""Summaries of curves: medians of blocks and of bins, of single runs and of several seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from repro.study.plots.run_selection import exact_of
from repro.study.runs.store import Run
from repro.study.runs.timing import seconds_per_epoch

BLOCK = 20
PER_DECADE = 12
TIMES = {"epoch": "epoch", "seconds": "seconds of training, idle machine"}


def log_binned(epochs: pd.Series, values: pd.Series, per_decade: int = 12) -> pd.DataFrame:
    """Median and central 68 % band of ``values`` in bins of equal width in log(epoch).

    Args:
        epochs: positive, increasing.
        values: of the same length.
        per_decade: bins in a factor of ten.

    Returns:
        One row for each bin that holds something: ``epoch`` (geometric mean), ``median``, ``low``, ``high``, ``count``.
    """
    # Closed on the right, so that the last epoch of a run, often a power of ten, does not make a bin of its own.
    groups = np.ceil(np.log10(epochs.to_numpy()) * per_decade - 1e-9).astype(int)
    frame = pd.DataFrame({"log": np.log(epochs.to_numpy()), "value": values.to_numpy(), "group": groups})
    binned = frame.groupby("group")
    quantile = binned["value"].quantile
    return pd.DataFrame(
        {
            "epoch": np.exp(binned["log"].mean()),
            "median": binned["value"].median(),
            "low": quantile(0.16),
            "high": quantile(0.84),
            "count": binned.size(),
        }
    ).reset_index(drop=True)


def block_median(curve: pd.DataFrame, column: str, block: int = BLOCK) -> pd.DataFrame:
    """Median of ``column`` over blocks of epochs, at the last epoch of each."""
    groups = curve.groupby((curve["epoch"] - 1) // block)
    return pd.DataFrame({"epoch": groups["epoch"].last(), column: groups[column].median()})


def error_bins(run: Run, time: str = "epoch") -> pd.DataFrame:
    """The relative error of the single epochs in bins of the logarithm of time, as from ``log_binned``.

    Args:
        run: what to bin.
        time: "epoch", or "seconds" as from :mod:`repro.study.runs.timing`; the column that replaces ``epoch``.

    Returns:
        The bins, numbered so that a bin has the same number in every run; none where there is no benchmark.
    """
    curve, exact = run.curve, exact_of(run)
    each = 1.0 if time == "epoch" else seconds_per_epoch(run.config)
    if each is None:
        return pd.DataFrame(columns=[time, "median", "low", "high", "count"], dtype=float)
    times = each * curve["epoch"]
    binned = log_binned(times, (curve["energy"] - exact).abs() / abs(exact), PER_DECADE)
    binned.index = np.ceil(np.log10(binned["epoch"].to_numpy()) * PER_DECADE - 1e-9).astype(int)
    return binned.rename(columns={"epoch": time})


def group_bins(runs: Sequence[Run], time: str = "epoch") -> pd.DataFrame:
    """As :func:`error_bins` for several seeds: medians over the seeds, ``low`` and ``high`` their range.

    Args:
        runs: of one optimiser and case. The band of a single one is the central 68 % of its epochs.
        time: "epoch" or "seconds".
    """
    if len(runs) == 1:
        return error_bins(runs[0], time)
    # Where some seeds have ended the others go on alone.
    bins = pd.concat([error_bins(run, time) for run in runs]).groupby(level=0)
    medians = bins["median"]
    return pd.DataFrame(
        {time: bins[time].median(), "median": medians.median(), "low": medians.min(), "high": medians.max()}
    )


def drawn(runs: Sequence[Run], blocks: bool = True, times: Sequence[str] = tuple(TIMES)) -> pd.DataFrame:
    """The numbers behind the thick curves, long: medians of the energy and of the relative error.

    Args:
        runs: in any number.
        blocks: whether to include the former.
        times: in bins of what to include the latter.
    """
    tables = [pd.DataFrame(columns=["particles", "v0", "sigma0", "optimizer", "walkers", "seed", "curve", "epoch"])]
    for run in runs:
        parts = [block_median(run.curve, "energy").assign(curve="energy, blocks")] if blocks else []
        parts += [error_bins(run, time).assign(curve=f"relative error, {time} bins") for time in times]
        config = run.config
        for part in parts:
            tables.append(
                part.assign(
                    particles=config.system.particles,
                    v0=config.system.v0,
                    sigma0=config.system.sigma0,
                    optimizer=config.optimizer.name,
                    walkers=config.sampling.walkers,
                    seed=config.seed,
                )
            )
    columns = tables[0].columns
    found = pd.concat(tables[1:], ignore_index=True) if tables[1:] else tables[0]
    return found[[*columns, *(name for name in found.columns if name not in columns)]]


def energy_limits(runs: Sequence[Run], exact: float) -> tuple[float, float]:
    """Limits of the energy that show where the runs begin and where they go, but not every excursion.

    The scale is the largest distance of a run's first block from the exact energy (at least 2 % of the latter). Shown
    is from three tenths of it below the exact energy to eight fifths above, or to four times where more than 15 % of
    all blocks' medians would be cut otherwise.
    """
    medians = [block_median(run.curve, "energy")["energy"] for run in runs]
    scale = max([*(abs(values.iloc[0] - exact) for values in medians), 0.02 * abs(exact)])
    common = float(np.quantile(pd.concat(medians), 0.85)) if medians else exact
    return exact - 0.3 * scale, max(exact + 1.6 * scale, min(common, exact + 4.0 * scale))
