"""The tables of a run, ``curve.csv`` and ``pretraining.csv``: one row an epoch, text with 9 significant digits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from repro.config import AUTO, SWEEPS_COLUMN, Sweeps
from repro.errors import InputError

REPORTED_COLUMNS = ("lambda", "gamma", "alpha", "mu", "rho", "minres_residual", "minres_iterations")
"""What the study's optimisers report of themselves, each of them some of it."""

CURVE_COLUMNS = (
    "epoch",
    "energy",
    "energy_error",
    "variance",
    "energy_clipped",
    "acceptance",
    "proposal_width",
    "grad_norm",
    "step_norm",
    "seconds",
    *REPORTED_COLUMNS,
)
OCCASIONAL_COLUMNS = ("rho",)
"""Columns that are measured in some epochs only; their cell is empty (not a number) in the others."""

SECONDS_COLUMNS = ("seconds", "cpu_seconds")
"""Of an epoch: by the clock, and of all processors together. What is in them is no number of the run's."""

PRETRAINING_COLUMNS = ("epoch", "loss", "acceptance", "proposal_width", "seconds")

MEND = "get the file back, or start anew with --overwrite"


def with_sweeps(columns: tuple[str, ...], sweeps: Sweeps) -> tuple[str, ...]:
    """The columns of a table of a run with so many sweeps."""
    return (*columns, SWEEPS_COLUMN) if sweeps == AUTO else columns


def _cell(value: float | int | None) -> str:
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _problem(cells: list[str], columns: tuple[str, ...], epoch: int) -> str:
    """What is wrong with a row; empty if nothing."""
    if len(cells) != len(columns):
        return f"{len(cells)} cells, but there are {len(columns)} columns"
    for name, cell in zip(columns, cells, strict=True):
        try:
            float(cell or "nan")
        except ValueError:
            return f"{name} = {cell[:20]!r} is not a number"
    return "" if cells[0] == str(epoch) else f"is of {columns[0]} {cells[0]}, and {columns[0]}s count from 1"


class Table:
    """Rows of text, kept so that the file can be rewritten whole, and atomically, at every checkpoint."""

    def __init__(self, columns: tuple[str, ...], lines: Iterable[str] = ()) -> None:
        self.columns = columns
        self.lines = list(lines)

    def append(self, row: Mapping[str, float | int]) -> None:
        """Adds one epoch; columns that ``row`` lacks stay empty."""
        self.lines.append(",".join(_cell(row.get(column)) for column in self.columns))

    def encode(self) -> bytes:
        """The whole file."""
        return "".join(f"{line}\n" for line in (",".join(self.columns), *self.lines)).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the whole file."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, columns: tuple[str, ...], text: str, rows: int, source: str) -> Table:
        """The first ``rows`` rows of a file: those that its checkpoint knows.

        Raises:
            InputError: if the header is another, rows are missing, or one of them is not the row of its epoch.
        """
        header, *lines = text.splitlines() or [""]
        if header != ",".join(columns):
            raise InputError(f"{source}: the header is not that of this version; {MEND}")
        if len(lines) < rows:
            raise InputError(f"{source}: {len(lines)} rows, but the checkpoint knows {rows}; {MEND}")
        for epoch, line in enumerate(lines[:rows], start=1):
            if problem := _problem(line.split(","), columns, epoch):
                raise InputError(f"{source}, row {epoch}: {problem}; {MEND}")
        return cls(columns, lines[:rows])

    def confirm(self, recorded: str | None, source: str) -> None:
        """Checks the rows against the checksum in their checkpoint; None, of earlier versions, says nothing.

        Raises:
            InputError: if the rows are not those.
        """
        if recorded is not None and self.digest != recorded:
            raise InputError(
                f"{source}: was altered: its first {len(self.lines)} rows have another SHA-256 than the checkpoint "
                f"knows; {MEND}"
            )

    def column(self, name: str) -> list[float]:
        """One column as numbers."""
        index = self.columns.index(name)
        return [float(line.split(",")[index] or "nan") for line in self.lines]
