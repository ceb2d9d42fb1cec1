"""What the table of ``repro bench kfac-jax`` says: steps and seconds of K-FAC, by this package and by kfac-jax."""

from __future__ import annotations

import math

import pandas as pd

from repro.datasets import load_images
from repro.problems.autoencoder import error_of_pca

OWN, PEER = "this package", "kfac-jax"
INVERSE_INTERVAL = 20
"""Steps from one inversion of the factors to the next, in both."""
TABLE_COLUMNS = ("protocol", "damping", "seed", "code", "steps", "cpu_seconds", "training_error")
COMPONENTS = 30
"""Of the principal component analysis whose error is the target: as many as the code has numbers."""


def target_error() -> float:
    """The training error of 30 principal components."""
    images = load_images("mnist-5k").training
    return error_of_pca(images, images, COMPONENTS)


def iterations_to(rows: pd.DataFrame, error: float) -> float:
    """The steps after which the training error of a run was first seen to be at most this; infinite if it never was."""
    seen = rows[rows["training_error"] <= error]
    return float(seen["steps"].min()) if len(seen) else math.inf


def seconds_per_step(rows: pd.DataFrame) -> float:
    """Seconds of processor time for a step of a run, without the steps up to the first whole interval of inversions.

    In the first steps either package compiles.
    """
    later = rows[rows["steps"] >= INVERSE_INTERVAL].sort_values("steps")
    first, last = later.iloc[0], later.iloc[-1]
    return float((last["cpu_seconds"] - first["cpu_seconds"]) / (last["steps"] - first["steps"]))


def chosen_damping(table: pd.DataFrame, protocol: str, code: str, error: float) -> float:
    """The damping with which a package is first at an error, with seed 0; of several, the one that ends lowest."""
    own = table[(table["protocol"] == protocol) & (table["code"] == code) & (table["seed"] == 0)]

    def order(damping: float) -> tuple[float, float]:
        rows = own[own["damping"] == damping]
        return iterations_to(rows, error), float(rows["training_error"].iloc[-1])

    return float(min(own["damping"].unique(), key=order))


def best_runs(table: pd.DataFrame, code: str, error: float) -> pd.DataFrame:
    """The rows of a package with its best damping in each protocol, all seeds.

    ``cpu_seconds`` are without the time to compile: the first steps count as much as the later ones.
    """
    mine = table[table["code"] == code]
    best = {protocol: chosen_damping(table, str(protocol), code, error) for protocol in mine["protocol"].unique()}
    chosen = mine[mine["damping"] == mine["protocol"].map(best)]
    runs = [rows for _, rows in chosen.groupby(["protocol", "seed"], sort=False)]
    return pd.concat([rows.assign(cpu_seconds=_without_compiling(rows)) for rows in runs]) if runs else chosen


def _without_compiling(rows: pd.DataFrame) -> pd.Series:
    pace = seconds_per_step(rows)
    early = rows[rows["steps"] >= INVERSE_INTERVAL].sort_values("steps").iloc[0]
    later = rows["cpu_seconds"] - early["cpu_seconds"] + pace * early["steps"]
    return later.where(rows["steps"] >= early["steps"], pace * rows["steps"])


def compared(table: pd.DataFrame, error: float) -> dict[str, dict[str, float]]:
    """What the claims rest on, by protocol.

    Args:
        table: of :func:`repro.study.benchmarks.kfac_jax_comparison.bench_kfac_jax`.
        error: the target.

    Returns:
        ``seconds_over_kfac_jax``: processor time of a step of ours over that of kfac-jax, the median over the runs that
        both made with the same damping and seed. ``iterations`` and ``kfac_jax_iterations``: to the target, the
        medians over the seeds, each with its best damping.
    """
    found: dict[str, dict[str, float]] = {"seconds_over_kfac_jax": {}, "iterations": {}, "kfac_jax_iterations": {}}
    for protocol, rows in table.groupby("protocol", sort=False):
        runs = dict(iter(rows.groupby(["damping", "seed", "code"])))
        pairs = [(runs[one], runs[(*one[:2], PEER)]) for one in runs if one[2] == OWN and (*one[:2], PEER) in runs]
        ratios = [seconds_per_step(mine) / seconds_per_step(theirs) for mine, theirs in pairs]
        found["seconds_over_kfac_jax"][str(protocol)] = float(pd.Series(ratios).median())
        for code, name in ((OWN, "iterations"), (PEER, "kfac_jax_iterations")):
            best = chosen_damping(table, str(protocol), code, error)
            reached = [iterations_to(run, error) for case, run in runs.items() if case[0] == best and case[2] == code]
            found[name][str(protocol)] = float(pd.Series(reached).median())
    return found
