"""The table of the effect of rounding: replicas of stored runs, with a row for each block of their first epochs."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from repro.errors import DivergedError, InputError
from repro.references import known_energy
from repro.study.benchmarks.subprocesses import table_so_far, write_table
from repro.study.runs.store import Run
from repro.study.verification.audit import AUDITED_EPOCHS
from repro.study.verification.replicas import shortened, train_replica
from repro.study.verification.rounding import COLUMNS, replica_rows
from repro.training.reporting import Reporter
from repro.training.restart import pretraining_differences


def drawn_evenly(runs: Sequence[Run], count: int, seed: int) -> list[Run]:
    """Runs at random, one of each optimiser in turn, those with the same pretraining beside each other.

    Raises:
        InputError: for no run at all, or more than there are.
    """
    if not 1 <= count <= len(runs):
        raise InputError(f"runs = {count}: must be between 1 and the number of runs to choose from, {len(runs)}")
    shuffled = sorted(runs, key=lambda run: run.path.name)
    random.Random(seed).shuffle(shuffled)
    turns: dict[str, int] = {}
    ranked = []
    for run in shuffled:
        name = run.config.optimizer.name
        turns[name] = turns.get(name, 0) + 1
        ranked.append((turns[name], run))
    chosen = [run for _, run in sorted(ranked, key=lambda pair: pair[0])[:count]]
    return sorted(chosen, key=lambda run: (run.config.system.particles, run.config.seed, run.path.name))


def bench_rounding(
    runs: Sequence[Run],
    replicas: Sequence[int],
    label: str,
    out: Path,
    resume: bool,
    tell: Callable[[str], None],
    reporter: Reporter | None = None,
) -> pd.DataFrame:
    """Trains replicas of runs for their first epochs; runs with the same pretraining share it.

    Args:
        runs: whose replicas are made, in this order.
        replicas: the weights that are another in their last place, one for each replica.
        label: what is put before the weight as the replica's name, such as the processor that is emulated.
        out: the table, written after each replica.
        resume: keep what the table holds, and make the rest.
        tell: receives a line for each replica, with the time left.
        reporter: told of the progress of each.

    Returns:
        The whole table.

    Raises:
        InputError: if the table is there and ``resume`` is not set.
    """
    table = table_so_far(out, resume, COLUMNS)
    there = set() if table.empty else set(zip(table["run"], table["replica"], strict=True))
    names = {weight: f"{label} {weight}".strip() for weight in replicas}
    tasks = [(run, weight) for weight in replicas for run in runs if (run.path.name, names[weight]) not in there]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        donors: dict[int, list[tuple[Run, Path]]] = {}
        for number, (run, weight) in enumerate(tasks, start=1):
            place = Path(folder) / f"{run.path.name}-{weight}"
            own = donors.setdefault(weight, [])
            donor = next((path for one, path in own if not pretraining_differences(one.config, run.config)), None)
            config = shortened(run.config, min(AUDITED_EPOCHS, run.config.epochs))
            exact = known_energy(run.config.system)
            if exact is None:
                raise InputError(f"{run.path.name}: no exact energy stored; see `repro references`")
            try:
                curve = train_replica(config, place, weight, donor, reporter)
            except DivergedError as error:
                tell(f"{number}/{len(tasks)} {run.path.name}: {error}")
                continue
            if donor is None:
                own.append((run, place))
            rows = replica_rows(run.path.name, names[weight], run.config.optimizer.name, exact, curve)
            table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
            write_table(table, out)
            left = (time.monotonic() - begin) / number * (len(tasks) - number)
            tell(f"{number}/{len(tasks)} {run.path.name}, replica {names[weight]}; about {left / 60:.0f} min left")
    return table
