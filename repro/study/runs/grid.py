"""Grids of runs: a file that names many configurations by lists of values."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

from repro.config import AnyRunConfig
from repro.config.checks import suggestion
from repro.errors import InputError
from repro.reading import read_toml, shortened
from repro.study.runs.configurations import KEYS, configured

MOST_RUNS = 100_000


def read_grid(path: Path) -> list[AnyRunConfig]:
    """The configurations of a grid file, in its order and without repetitions.

    The file holds one or more tables ``[[runs]]``; each stands for all combinations of its values, a list being
    several values and the last key varying fastest.

    Raises:
        InputError: for a file that cannot be read, an unknown key, or a value out of its bounds.
    """
    document = read_toml(path)
    tables = document.pop("runs", None)
    if document:
        raise InputError(f"{path}: unknown key {sorted(document)[0]!r}; a grid consists of [[runs]] tables")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: holds no [[runs]] table")
    configs: dict[str, AnyRunConfig] = {}
    for number, table in enumerate(tables, start=1):
        for config in _combinations(table, f"{path}, [[runs]] number {number}"):
            configs.setdefault(config.content_hash, config)
    return list(configs.values())


def _combinations(table: dict[str, Any], place: str) -> list[AnyRunConfig]:
    if unknown := next((key for key in table if key not in KEYS), None):
        meant = suggestion(unknown, KEYS)
        raise InputError(f"{place}: unknown key {shortened(repr(unknown))}; {meant}known are {', '.join(KEYS)}")
    for required in () if "problem" in table else ("particles", "v0"):
        if required not in table:
            raise InputError(f"{place}: missing key {required!r}")
    values = {key: value if isinstance(value, list) else [value] for key, value in table.items()}
    if empty := next((key for key, choices in values.items() if not choices), None):
        raise InputError(f"{place}: {empty} = []: must hold at least one value")
    if (count := math.prod(map(len, values.values()))) > MOST_RUNS:
        raise InputError(f"{place}: stands for {count:,} runs; at most {MOST_RUNS:,} are read, so divide the grid")
    found = []
    for chosen in product(*values.values()):
        options = dict(zip(values, chosen, strict=True))
        try:
            found.append(configured(options))
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
    return found
