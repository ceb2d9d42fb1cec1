"""The data that the study's authors published: the network at the start of their runs, and one energy curve.

Their network is not part of the project: its hash names it in the configurations of the runs that begin with it, and
``repro import-published`` makes it of a copy of their repository. Of their curve (DGD, A = 2, V0 = -10, 4096 walkers,
400 sweeps) the medians of blocks of epochs are quoted, with half the central 68 % range of the epochs in each.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from repro.config import RunConfig, SystemConfig
from repro.study.runs.profiles import configure, study_run
from repro.study.runs.store import STORED_RUNS, project_path

NETWORK = "32b3d1f3cabde2bf"
CASE = SystemConfig(2, -10.0)
SEEDS = range(5)
"""Of the walks and samples, from their network; of pretraining as well, from our own."""
BLOCK = 50
BLOCKS = 20
CURVE = f"{STORED_RUNS}/published/dgd_A2_V-10_blocks.csv"


def from_their_network(seed: int) -> RunConfig:
    """DGD at the study's own size, from the authors' network."""
    return configure(particles=CASE.particles, v0=CASE.v0, optimizer="dgd", profile="paper", seed=seed, network=NETWORK)


def from_our_network(seed: int) -> RunConfig:
    """The same from a pretraining of its own."""
    return study_run("dgd", CASE, seed, "paper")


def starts() -> list[RunConfig]:
    """All runs that are compared: from their network, then from ours, a seed after the other."""
    return [make(seed) for make in (from_their_network, from_our_network) for seed in SEEDS]


def published_blocks() -> pd.DataFrame:
    """Columns first_epoch, last_epoch, median and half_band of the energy in hbar omega; one row for each block."""
    return pd.read_csv(project_path(CURVE))


def in_blocks(curve: pd.DataFrame) -> pd.DataFrame:
    """The same columns of a run's curve; epochs beyond the last whole block are left out."""
    groups = curve["energy"].head(len(curve) // BLOCK * BLOCK).to_numpy().reshape(-1, BLOCK)
    low, high = np.quantile(groups, [0.16, 0.84], axis=1)
    last = BLOCK * np.arange(1, len(groups) + 1)
    medians = np.median(groups, axis=1)
    return pd.DataFrame(
        {"first_epoch": last - BLOCK + 1, "last_epoch": last, "median": medians, "half_band": (high - low) / 2}
    )


def distances(curve: pd.DataFrame) -> pd.Series:
    """How far the medians of a run's blocks are from the published ones, over the sum of both half bands."""
    ours, theirs = in_blocks(curve), published_blocks()
    return (ours["median"] - theirs["median"]).abs() / (ours["half_band"] + theirs["half_band"])
