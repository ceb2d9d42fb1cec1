"""Runs each measurement in a separate process, one after the other, so that none shares memory, programs or threads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.errors import InputError, ReproError
from repro.training.files import write_atomic


def write_table(table: pd.DataFrame, path: Path, digits: int = 6) -> None:
    """Writes measurements as CSV, with so many digits; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, table.to_csv(index=False, float_format=f"%.{digits}g").encode())


def keep(path: Path) -> None:
    """Refuses to measure into a table that is there.

    Raises:
        InputError: if it is.
    """
    if path.exists():
        raise InputError(f"{path}: is there already; move it away, or name another --out")


def table_so_far(path: Path, resume: bool, columns: Sequence[str]) -> pd.DataFrame:
    """What is to be gone on with; nothing for a new table.

    Args:
        path: of the table.
        resume: whether to go on.
        columns: that it must have.

    Raises:
        InputError: if there is nothing to go on with, if that is no table of such measurements, or if a new table
            would take the place of another.
    """
    if not resume:
        keep(path)
        return pd.DataFrame()
    if not path.exists():
        raise InputError(f"{path}: not there, so there is nothing to go on with; leave --resume out")
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise InputError(f"{path}: not a table of measurements ({error}); name another --out") from error
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path}: has no column {missing[0]!r}, so it cannot be gone on with; name another --out")
    return table


def cases_left(cases: Sequence[tuple[Any, ...]], table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """The cases of which a table has no row yet; a case begins with the values of the columns ``keys``."""
    if table.empty:
        return list(cases)
    there = set(table[list(keys)].itertuples(index=False, name=None))
    return [case for case in cases if case[: len(keys)] not in there]


def measure_each(
    module: str, cases: Sequence[tuple[Any, ...]], label: Callable[..., str], outcome: Callable[[Any], str]
) -> Iterator[Any]:
    """Runs ``python -m module ARGUMENTS`` for each case and yields what it printed last, read as JSON.

    Each measurement is announced on standard error with an estimate of the time left.

    Args:
        module: takes its arguments as one JSON list.
        cases: the lists.
        label: of a case, given its arguments.
        outcome: what to say of a result.

    Raises:
        ReproError: if a measurement fails.
    """
    begin = time.monotonic()
    for number, case in enumerate(cases, start=1):
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, json.dumps(case)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
            raise ReproError(f"{label(*case)}: {last[0]}")
        result = json.loads(done.stdout.splitlines()[-1])
        left = (time.monotonic() - begin) / number * (len(cases) - number)
        print(
            f"{number}/{len(cases)} {label(*case)}: {outcome(result)}, about {left / 60:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
        yield result
