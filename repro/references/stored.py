"""The table of reference energies that comes with the project."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from repro.config import Configuration, RunConfig, SystemConfig
from repro.errors import InputError, ReproError
from repro.reading import read_text, told
from repro.references.catalogue import Reference, reference

STORED = Path(__file__).resolve().parents[2] / "paper_runs" / "references" / "energies.csv"


@dataclass(frozen=True)
class Row:
    """A stored reference.

    Attributes:
        reference: the energy.
        seconds: what it took.
        revision: git revision of the code that computed it.
        command: that computes it again.
    """

    reference: Reference
    seconds: float
    revision: str
    command: str


def command_of(method: str, system: SystemConfig, modes: int | None = None) -> str:
    """The command line that computes one reference."""
    text = f"repro reference --method {method} --particles {system.particles} --v0 {system.v0:g}"
    if system.sigma0 != 0.5:
        text += f" --sigma0 {system.sigma0:g}"
    return text + (f" --modes {modes}" if modes is not None else "")


def encode(rows: list[Row]) -> str:
    """The table as text, ordered by method, particles and strength."""
    ordered = sorted(
        rows, key=lambda row: (row.reference.method, row.reference.particles, row.reference.sigma0, row.reference.v0)
    )
    stream = io.StringIO()
    names = [field.name for field in fields(Reference)]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*names, "seconds", "revision", "command"])
    for row in ordered:
        values = asdict(row.reference)
        values |= {name: f"{values[name]:.12g}" for name in ("energy", "v0", "sigma0")} | {
            "error": f"{values['error']:.2g}"
        }
        cells = ["" if values[name] is None else values[name] for name in names]
        writer.writerow([*cells, f"{row.seconds:.3g}", row.revision, row.command])
    return stream.getvalue()


def read_references(path: Path = STORED) -> list[Row]:
    """The stored references; none if there is no such file.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.exists():
        return []
    rows: list[Row] = []
    try:
        for cells in csv.DictReader(io.StringIO(read_text(path), newline="")):
            found = Reference(
                energy=_finite(cells["energy"]),
                error=_finite(cells["error"]),
                method=cells["method"],
                particles=int(cells["particles"]),
                v0=float(cells["v0"]),
                sigma0=float(cells["sigma0"]),
                basis=cells["basis"],
                modes=int(cells["modes"]) if cells["modes"] else None,
            )
            _ = found.system  # its couplings are within their bounds
            rows.append(Row(found, float(cells["seconds"]), cells["revision"], cells["command"]))
    except (KeyError, TypeError, ValueError, InputError, csv.Error) as error:
        raise InputError(f"{path}, line {len(rows) + 2}: not a stored reference ({told(error)})") from error
    return rows


def _finite(cell: str) -> float:
    if not math.isfinite(value := float(cell)):
        raise ValueError(f"{cell} is no energy")
    return value


def stored_reference(method: str, system: SystemConfig, path: Path = STORED) -> Reference | None:
    """The stored reference of a case, or None."""
    if not path.exists():
        return None
    status = path.stat()
    return _by_case(path, status.st_mtime_ns, status.st_size, status.st_ino).get((method, system))


@cache
def _by_case(path: Path, *state: int) -> dict[tuple[str, SystemConfig], Reference]:
    """The references by method and system, the first of each; read once for each state that the file is found in."""
    del state
    found: dict[tuple[str, SystemConfig], Reference] = {}
    for row in read_references(path):
        found.setdefault((row.reference.method, row.reference.system), row.reference)
    return found


def known_energy(system: SystemConfig) -> float | None:
    """The exact energy where it is known at once, else None: stored, by the shell model or by DMRG, or analytic."""
    for method in ("exact", "dmrg"):
        if (found := stored_reference(method, system)) is not None:
            return found.energy
    if system.particles > 2 and system.v0 != 0.0:
        return None
    try:
        return reference("exact", system).energy
    except ReproError:
        return None


def reference_of(config: Configuration) -> float | None:
    """What the numbers of a run are compared with while it goes on: the exact energy, where there is one."""
    return known_energy(config.system) if isinstance(config, RunConfig) else None
