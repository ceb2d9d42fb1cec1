"""The tables of a run, ``curve.csv`` and ``pretraining.csv``: one row an epoch, text with 9 significant digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from repro.config import AUTO, Sweeps
from repro.errors import InputError

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
    "lambda",
    "gamma",
    "alpha",
    "mu",
    "rho",
    "minres_residual",
    "minres_iterations",
)
OCCASIONAL_COLUMNS = ("rho",)
"""Columns that are measured in some epochs only; their cell is empty (not a number) in the others."""

PRETRAINING_COLUMNS = ("epoch", "loss", "acceptance", "proposal_width", "seconds")

SWEEPS = "sweeps"
"""The last column of both tables where the number of sweeps is not fixed."""


def with_sweeps(columns: tuple[str, ...], sweeps: Sweeps) -> tuple[str, ...]:
    """The columns of a table of a run with so many sweeps."""
    return (*columns, SWEEPS) if sweeps == AUTO else columns


def _cell(value: float | int | None) -> str:
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


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

    @classmethod
    def decode(cls, columns: tuple[str, ...], text: str, rows: int, source: str) -> Table:
        """The first ``rows`` rows of a file: those that its checkpoint knows.

        Raises:
            InputError: if the header is another or rows are missing.
        """
        header, *lines = text.splitlines() or [""]
        if header != ",".join(columns):
            raise InputError(f"{source}: the header is not that of this version; start anew with --overwrite")
        if len(lines) < rows:
            raise InputError(
                f"{source}: {len(lines)} rows, but the checkpoint knows {rows}; start anew with --overwrite"
            )
        return cls(columns, lines[:rows])

    def column(self, name: str) -> list[float]:
        """One column as numbers."""
        index = self.columns.index(name)
        return [float(line.split(",")[index] or "nan") for line in self.lines]
