"""Seconds of an epoch, from benchmarks on an idle machine.

What a run itself took says little: runs share their machine with others, and single epochs wait for it. So times are
epochs times the benchmark's seconds per epoch, all from one machine.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from repro.config import AUTO, RunConfig
from repro.errors import ReproError
from repro.study.store import STORED_RUNS, project_path

BENCHMARKS = f"{STORED_RUNS}/benchmarks"


@cache
def read_benchmarks(folder: Path) -> dict[tuple[str, int, int, int], float]:
    """Seconds per epoch by optimiser, particles, walkers and sweeps, from all tables in a folder.

    Raises:
        ReproError: if a table is damaged.
    """
    found: dict[tuple[str, int, int, int], float] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            table = pd.read_csv(path)
            keys = zip(table["optimizer"], table["particles"], table["walkers"], table["sweeps"], strict=True)
            found |= {
                (str(name), int(count), int(walkers), int(sweeps)): float(seconds)
                for (name, count, walkers, sweeps), seconds in zip(keys, table["seconds_per_epoch"], strict=True)
            }
        except (KeyError, ValueError) as error:
            raise ReproError(f"{path}: no benchmark ({error!r}); make it again with `repro bench epoch`") from error
    return found


def seconds_per_epoch(config: RunConfig) -> float | None:
    """Of a run of this optimiser and size, or None where it was not measured."""
    if config.sampling.sweeps == AUTO:
        return None
    key = (config.optimizer.name, config.system.particles, config.sampling.walkers, config.sampling.sweeps)
    return read_benchmarks(project_path(BENCHMARKS)).get(key)
