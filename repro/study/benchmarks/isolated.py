"""Measurements in processes of their own, one after the other: none has another's memory, programs or threads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.errors import ReproError
from repro.training.files import write_atomic


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes measurements as CSV, with six digits; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, table.to_csv(index=False, float_format="%.6g").encode())


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
            [sys.executable, "-m", module, json.dumps(case)], capture_output=True, text=True, check=False
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
