"""Consistency of the numbers in the stored tables; reference energies are computed again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from repro.references import reference
from repro.references.stored import Row, command_of, read_references
from repro.study.runs.damage import noting
from repro.study.runs.grid import read_grid
from repro.study.verification.stored_searches import search_contradictions

DIGITS = 2e-5
"""Relative: tables have six digits."""
REFERENCE_SECONDS = 5.0
"""What computing references again may take in all, by what they took when they were stored."""
ENERGIES = "references/energies.csv"


EXPECTED = {
    "benchmarks/T01.csv": ("optimizer", "particles", "walkers", "sweeps", "seconds_per_epoch", "dense_over_this"),
    "benchmarks/laptop.csv": ("optimizer", "particles", "walkers", "sweeps", "seconds_per_epoch"),
    "growth/kfac_jax.csv": ("protocol", "damping", "seed", "code", "steps", "cpu_seconds", "training_error"),
    "growth/momentum.csv": ("part", "method", "batch", "eps", "learning_rate", "damping", "momentum", "tuning", "seed"),
    "growth/F15.csv": ("optimizer", "particles", "walkers", "hidden", "part", "seconds"),
    "growth/search.csv": ("problem", "method", "phase", "samples", "scale", "seed"),
    "growth/peers.csv": ("task", "code", "particles", "walkers", "seconds", "over_ours"),
    "growth/sweeps.csv": ("particles", "v0", "asked", "energy", "error", "ess", "seconds", "independent_a_second"),
    "kronecker/F12.csv": ("seed", "energy", "distance", "gain"),
}
"""The tables that claims and figures rest on, with columns that are full."""


def table_problems(root: Path) -> list[str]:
    """One line for each stored table or grid below ``root`` that cannot be read or contradicts itself."""
    problems: list[str] = []
    for path in sorted(root.glob("grids/*.toml")):
        with noting(problems, path):
            read_grid(path)
    for path in sorted(root.glob("*/*.csv")):
        if (path.parent / "config.json").exists() or path == root / ENERGIES:
            continue
        with noting(problems, path):
            if not path.read_bytes().endswith(b"\n"):
                problems.append(f"{path}: truncated: does not end with its line")
            table = pd.read_csv(path)
            for column in EXPECTED.get(path.relative_to(root).as_posix(), ()):
                if table[column].isna().any():
                    problems.append(f"{path}: {column} has an empty cell")
            problems += [f"{path}: {line}" for line in _contradictions(table)]
    return problems + [f"{root / name}: missing" for name in EXPECTED if not (root / name).is_file()]


def _off(table: pd.DataFrame, column: str, wanted: pd.Series) -> Iterator[str]:
    """A line on the first row where a column is not what others make of it; empty cells say nothing."""
    wrong = (table[column] - wanted).abs() > DIGITS * wanted.abs()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        yield f"line {row + 2}: {column} is {table[column].iloc[row]:.6g}, its row gives {wanted.iloc[row]:.6g}"


def _contradictions(table: pd.DataFrame) -> Iterator[str]:
    if not len(table):
        yield "has no rows"
    for column in table.select_dtypes("number").columns.difference(["fraction_of_rate"]):
        if np.isinf(table[column]).any():
            yield f"{column} is infinite"
    for column in table.columns.intersection(["seconds", "seconds_per_epoch", "peak_memory_gb", "error"]):
        if not (table[column].dropna().astype(float) >= 0.0).all():
            yield f"{column} is negative"
    if "over_ours" in table:
        ours = table["seconds"].where(table["code"] == "this package")
        same = [table[name] for name in ("task", "particles", "walkers")]
        yield from _off(table, "over_ours", table["seconds"] / ours.groupby(same).transform("max"))
    if "fraction_of_rate" in table:
        yield from _off(table, "fraction_of_rate", table["operations"] / table["seconds"] / table["rate"])
    if "independent_a_second" in table:
        yield from _off(table, "independent_a_second", table["ess"] / table["seconds"])
    if "off_diagonal" in table:
        yield from search_contradictions(table)
    if "fastest_seconds_per_epoch" in table:
        if (table["fastest_seconds_per_epoch"] > table["seconds_per_epoch"] * (1.0 + DIGITS)).any():
            yield "fastest_seconds_per_epoch is above seconds_per_epoch"
        dense = table["dense_over_this"] * table["seconds_per_epoch"]
        same = [table[name] for name in ("particles", "walkers", "sweeps")]
        yield from _off(table, "dense_over_this", dense.groupby(same).transform("median") / table["seconds_per_epoch"])


def reference_problems(root: Path, seed: int, tell: Callable[[str], None]) -> list[str]:
    """One line for each stored reference energy that others contradict, or that comes out otherwise.

    All without an interaction or of two particles are computed again, and as many of the others, drawn by ``seed``, as
    took :data:`REFERENCE_SECONDS` in all. DMRG needs a package that need not be there; its energies are compared with
    exact ones.

    Args:
        root: of what is stored.
        seed: of the draw.
        tell: receives a line on what is computed.
    """
    problems: list[str] = []
    path = root / ENERGIES
    with noting(problems, path):
        if not path.exists():
            return [f"{path}: missing"]
        rows = read_references(path)
        if not rows:
            return [f"{path}: has no rows"]
        problems += [f"{path}: {line}" for line in _disagreeing(rows)]
        chosen = drawn(rows, seed)
        tell(f"references: computing {len(chosen)} of {len(rows)} again")
        for row in chosen:
            known = row.reference
            with noting(problems, row.command):
                found = reference(known.method, known.system, known.modes)
                # What is left to convergence may itself be rounding, which differs; a larger error hides nothing.
                resolution = 1e-9 * abs(found.energy)
                if not abs(found.energy - known.energy) <= 2.0 * found.error + resolution:
                    problems.append(f"{row.command}: gives {found.energy:.12g}, stored is {known.energy:.12g}")
                if not found.error / 10.0 - resolution <= known.error <= 10.0 * found.error + resolution:
                    problems.append(f"{row.command}: gives the error {found.error:.2g}, stored is {known.error:.2g}")
    return problems


def drawn(rows: list[Row], seed: int) -> list[Row]:
    """The references that are computed again, see :func:`reference_problems`."""
    able = [row for row in rows if row.reference.method != "dmrg"]
    simple = [row for row in able if row.reference.method == "exact" and _simple(row)]
    others = [row for row in able if row not in simple]
    random.Random(seed).shuffle(others)
    left = REFERENCE_SECONDS
    for row in others:
        if 0.0 < row.seconds <= left:
            left -= row.seconds
            simple.append(row)
    return simple


def _simple(row: Row) -> bool:
    return row.reference.particles <= 2 or row.reference.v0 == 0.0


def _disagreeing(rows: list[Row]) -> Iterator[str]:
    known = {(row.reference.method, row.reference.system): row.reference for row in rows}
    if len(known) < len(rows):
        yield "a case is there twice"
    for row in rows:
        found = row.reference
        if not (math.isfinite(found.energy) and 0.0 <= found.error < 0.1 * abs(found.energy)):
            yield f"{row.command}: {found.energy} +- {found.error} is no energy with its error"
        if row.command != command_of(found.method, found.system, found.modes):
            yield f"{row.command}: belongs to another case than its row, A = {found.particles}, V0 = {found.v0:g}"
        exact = known.get(("exact", found.system))
        if exact is None or found.method == "exact":
            continue
        error = found.error + exact.error + 1e-9 * abs(exact.energy)
        if found.energy < exact.energy - error:
            yield f"{row.command}: {found.energy:.9g} is below the exact energy, {exact.energy:.9g}"
        if found.method == "dmrg" and found.energy > exact.energy + 10.0 * error:
            yield f"{row.command}: {found.energy:.9g} is not the exact energy, {exact.energy:.9g}"
