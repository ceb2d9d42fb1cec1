"""The values of the lectures' items: measured by their demonstrations, stored as JSON, and read for their claims."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from repro.demonstrations.base import ERROR, Values
from repro.errors import InputError
from repro.reading import read_json, shortened
from repro.study.claims.statements import Claim, Subject
from repro.training.files import write_atomic

FOLDER = "values"
"""Of the stored values, in the folder of the stored runs."""
DIGITS = 12
"""Of a stored number: what is left out is rounding."""


@dataclass(frozen=True)
class Number:
    """One number of a value.

    Attributes:
        label: its name or place among several, or "".
        value: the number.
        error: its standard error, zero where it is not an estimate.
    """

    label: str
    value: float
    error: float


def measured(subject: Subject) -> Values:
    """Computes the values of an item.

    Raises:
        InputError: if there is no such function, or its values are no values.
    """
    name = subject.measured_by.rpartition(".")[2]
    try:
        function = getattr(import_module(module_of(subject)), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"{subject.name}.toml: measured_by = {subject.measured_by!r}: no such function ({error})"
        ) from error
    return checked_values(function().values, subject.name)


def module_of(subject: Subject) -> str:
    """The module of the function that measures an item: one of the chapter's demonstrations, or of ``repro``."""
    module = subject.measured_by.rpartition(".")[0]
    return module if module.startswith("repro.") else f"repro.demonstrations.{subject.chapter}.{module}"


def checked_values(values: object, source: str) -> Values:
    """Values if they are numbers, lists of numbers, or numbers by name.

    Raises:
        InputError: naming the first that is not.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: values = {shortened(repr(values))}: must be numbers by name")
    for name, value in values.items():
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not all(isinstance(part, int | float) and not math.isnan(part) for part in parts):
            raise InputError(f"{source}: {name} = {shortened(repr(value))}: must be numbers")
    return values


def values_path(root: Path, item: str) -> Path:
    """Where the values of an item are stored."""
    return root / FOLDER / f"{item}.json"


def stored_values(root: Path, item: str) -> Values | None:
    """The stored values of an item, None if there are none.

    Raises:
        InputError: if the file is damaged.
    """
    path = values_path(root, item)
    if not path.exists():
        return None
    document = read_json(path)
    if not isinstance(document, dict) or document.get("item") != item:
        raise InputError(f"{path}: damaged; `repro values {item} --store` makes it anew")
    return checked_values(_numbers(document.get("values")), str(path))


def store_values(root: Path, item: str, values: Values) -> Path:
    """Writes the values of an item atomically; the same values give the same bytes."""
    path = values_path(root, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps({"item": item, "values": plain_values(values)}, indent=1) + "\n").encode())
    return path


def plain_values(values: Values) -> dict[str, Any]:
    """Values as JSON knows them: numbers with :data:`DIGITS` digits, and infinity as a text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else ("inf" if value > 0 else "-inf")

    return {name: plain(value) for name, value in values.items()}


def _numbers(value: Any) -> Any:
    """The inverse of :func:`plain_values`."""
    if isinstance(value, dict):
        return {name: _numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def numbers_of(claim: Claim, values: Mapping[str, Any]) -> list[Number]:
    """The numbers that a claim is about, each with its standard error.

    Raises:
        InputError: if there is no such value, or an error does not fit its value.
    """
    if claim.quantity not in values:
        known = ", ".join(values)
        raise InputError(f"claim {claim.id}: quantity = {claim.quantity!r}: no such value; known are {known}")
    found = _labelled(values[claim.quantity])
    errors = _labelled(values.get(claim.quantity + ERROR, 0.0))
    if not found:
        raise InputError(f"claim {claim.id}: {claim.quantity} is empty")
    if errors.keys() == {""}:
        errors = dict.fromkeys(found, errors[""])
    if errors.keys() != found.keys():
        raise InputError(f"claim {claim.id}: {claim.quantity}{ERROR} must have the names of {claim.quantity}")
    return [Number(label, float(value), float(errors[label])) for label, value in found.items()]


def _labelled(value: Any) -> dict[str, float]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {f"[{place}]": part for place, part in enumerate(value)}
    return {"": value}


def told_number(one: Number) -> str:
    """Such as "0.5", "0.25: 3.1 +- 0.2"."""
    told = f"{one.value:.4g}" + (f" +- {one.error:.1g}" if one.error else "")
    return f"{one.label}: {told}" if one.label else told
