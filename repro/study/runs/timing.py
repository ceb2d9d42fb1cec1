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
from repro.study.runs.store import STORED_RUNS, project_path

BENCHMARKS = f"{STORED_RUNS}/benchmarks"


@cache
def read_benchmarks(folder: Path) -> dict[tuple[str, int, int, int], float]:
    """Seconds per epoch by optimiser, particles, walkers and sweeps, from all tables in a folder.

    Raises:
        ReproError: if a table is damaged, or two rows are about the same optimiser and size.
    """
    found: dict[tuple[str, int, int, int], tuple[float, str]] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            table = pd.read_csv(path)
            columns = (table[name] for name in ("optimizer", "particles", "walkers", "sweeps", "seconds_per_epoch"))
            rows = [
                ((str(name), int(count), int(walkers), int(sweeps)), float(seconds))
                for name, count, walkers, sweeps, seconds in zip(*columns, strict=True)
            ]
        except (KeyError, ValueError) as error:
            raise ReproError(f"{path}: no benchmark ({error!r}); make it again with `repro bench epoch`") from error
        for key, seconds in rows:
            if key in found:
                name, count, walkers, sweeps = key
                raise ReproError(
                    f"{path}: {name} at A = {count}, {walkers} walkers and {sweeps} sweeps is measured in "
                    f"{found[key][1]}, too; keep the row that was measured beside the other optimisers"
                )
            found[key] = seconds, path.name
    return {key: seconds for key, (seconds, _) in found.items()}


def seconds_per_epoch(config: RunConfig) -> float | None:
    """Of a run of this optimiser and size, or None where it was not measured."""
    if config.sampling.sweeps == AUTO:
        return None
    key = (config.optimizer.name, config.system.particles, config.sampling.walkers, config.sampling.sweeps)
    return read_benchmarks(project_path(BENCHMARKS)).get(key)
