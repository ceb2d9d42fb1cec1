"""Filling the table of stored reference energies, one case after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from repro.config import SystemConfig
from repro.config.checks import choice
from repro.references.catalogue import METHODS, STUDY_MODES, reference
from repro.references.stored import Row, command_of, encode, read_references
from repro.study.runs.cases import case_label
from repro.training.environment import git_revision
from repro.training.files import write_atomic


def fill_table(
    path: Path,
    methods: Sequence[str],
    systems: Sequence[SystemConfig],
    note: Callable[[str], None],
) -> list[Row]:
    """Computes what is missing in the table and stores each case as soon as it is known.

    Args:
        path: of the table, made where it does not exist.
        methods: of :data:`repro.references.METHODS`.
        systems: the cases, in the order in which they are computed.
        note: told a line for every case, and for every step of a long one.

    Returns:
        The whole table.

    Raises:
        InputError: for an unknown method, or a case that a method cannot do.
    """
    for method in methods:
        choice("method", method, METHODS)
    cases = list(product(methods, systems))
    rows = read_references(path)
    there = {(row.reference.method, row.reference.system) for row in rows}
    missing = [case for case in cases if case not in there]
    note(f"{path}: {len(cases) - len(missing)} of {len(cases)} cases are there")
    revision, begin = git_revision(), time.monotonic()
    for number, (method, system) in enumerate(missing, start=1):
        modes = STUDY_MODES if method == "ci" else None
        started = time.monotonic()
        found = reference(method, system, modes, progress=lambda line: note(f"    {line}"))
        seconds = time.monotonic() - started
        rows.append(Row(found, seconds, revision, command_of(method, system, modes)))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encode(rows).encode())
        left = (time.monotonic() - begin) / number * (len(missing) - number)
        note(
            f"{number}/{len(missing)} {method}, {case_label(system)}: E = {found.energy:.9f} +- {found.error:.1g}, "
            f"{seconds:.1f} s; about {left / 60:.0f} min left"
        )
    return rows
