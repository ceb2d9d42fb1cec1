"""Checks of values; each error names the value and the bound, and is an ``InputError``."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from repro.errors import InputError


def integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """Checks a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} = {value!r}: must be a whole number")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise InputError(f"{name} = {value}: must be {bounds}")


def real(part: object, attribute: str, positive: bool = False, name: str | None = None) -> None:
    """Checks a number and stores it as a float, so that -10 and -10.0 are one configuration."""
    name, value = name or attribute, getattr(part, attribute)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} = {value!r}: must be a number")
    if not math.isfinite(value):
        raise InputError(f"{name} = {value}: must be finite")
    if positive and value <= 0:
        raise InputError(f"{name} = {value:g}: must be positive")
    object.__setattr__(part, attribute, float(value))


def fraction(part: object, attribute: str, name: str) -> None:
    """As :func:`real`, for what lies between 0 and 1."""
    real(part, attribute, positive=True, name=name)
    if (value := getattr(part, attribute)) >= 1:
        raise InputError(f"{name} = {value:g}: must be below 1")


OPTIONAL = {"optional": True}
"""Metadata of a field that plain data leave out where it has its default: configurations stored before the field was
there keep their content hash."""


def plain(part: object) -> dict[str, Any]:
    """Nested plain data of a configuration, without the optional values that are the default."""
    data: dict[str, Any] = {}
    for entry in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, entry.name)
        if not (entry.metadata.get("optional") and value == entry.default):
            data[entry.name] = plain(value) if dataclasses.is_dataclass(value) else value
    return data


def built(cls: type, data: object, prefix: str) -> Any:
    """A part of a configuration from plain data, which must have all of its keys but the optional, and no others."""
    if not isinstance(data, dict):
        raise InputError(f"{prefix.rstrip('.') or 'configuration'} = {data!r}: must be an object with keys")
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(known)):
        raise InputError(f"unknown key {prefix}{unknown[0]}; known are {', '.join(sorted(known))}")
    if missing := sorted(name for name in set(known) - set(data) if not known[name].metadata.get("optional")):
        raise InputError(f"missing key {prefix}{missing[0]}")
    return cls(**data)
