"""Checks of values; each error names the value and the bound, and is an ``InputError``."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any

from repro.errors import InputError
from repro.reading import shortened

LARGEST_INTEGER = 2**31 - 1
"""Of 32 bits, as the compiled programs count."""
LARGEST, SMALLEST = (2.0 - 2.0**-23) * 2.0**127, 2.0**-126
"""What single precision holds without infinity or a loss of digits."""


def shown(value: object) -> str:
    """A value in an error, whatever it is."""
    if isinstance(value, float):
        return f"{value:g}"
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # Python prints no integer of more than 4300 digits
        return f"({type(value).__name__}, too long to print)"


def integer(name: str, value: object, least: int, most: int = LARGEST_INTEGER) -> None:
    """Checks a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} = {shown(value)}: must be a whole number")
    if not least <= value <= most:
        bounds = f"at least {least}" if value < least and most == LARGEST_INTEGER else f"between {least} and {most}"
        raise InputError(f"{name} = {shown(value)}: must be {bounds}")


def text(name: str, value: object) -> None:
    """Checks a text."""
    if not isinstance(value, str):
        raise InputError(f"{name} = {shown(value)}: must be a text")


def suggestion(value: object, known: Sequence[str]) -> str:
    """A question whether the word that is most like the value was meant; "" if none is. Capitals do not count."""
    if not isinstance(value, str):
        return ""

    def alike(word: str) -> float:
        return difflib.SequenceMatcher(None, value.lower(), word.lower()).ratio()

    word = max(known, key=alike, default="")
    return f"did you mean {word}? " if alike(word) >= 0.6 else ""


def choice(name: str, value: object, known: Sequence[str]) -> None:
    """Checks a word of a list; the nearest one is suggested."""
    if value not in known:
        raise InputError(
            f"{name} = {shown(value)}: unknown; {suggestion(value, known)}choose one of {', '.join(known)}"
        )


def real(part: object, attribute: str, positive: bool = False, name: str | None = None) -> None:
    """Checks a number and stores it as a float, so that -10 and -10.0 are one configuration."""
    name, value = name or attribute, getattr(part, attribute)
    if hasattr(value, "dtype") and not isinstance(value, float):
        remedy = "must be a Python number, which the compiled update has built in; give float(...) of it"
        raise InputError(f"{name} = {shown(value)}: {remedy}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} = {shown(value)}: must be a number")
    if value != value or value in (math.inf, -math.inf):
        raise InputError(f"{name} = {value}: must be finite")
    if positive and value <= 0:
        raise InputError(f"{name} = {shown(value)}: must be positive")
    if abs(value) > LARGEST:
        raise InputError(
            f"{name} = {shown(value)}: must be at most {LARGEST:.1e} in modulus, or single precision overflows"
        )
    if 0 < abs(value) < SMALLEST:
        least = "at least" if positive else "0, or at least"
        raise InputError(
            f"{name} = {value:g}: must be {least} {SMALLEST:.1e} in modulus, or it is 0 in single precision"
        )
    object.__setattr__(part, attribute, float(value))


def fraction(part: object, attribute: str, name: str) -> None:
    """As :func:`real`, for what lies between 0 and 1."""
    real(part, attribute, positive=True, name=name)
    if (value := getattr(part, attribute)) >= 1:
        raise InputError(f"{name} = {shown(value)}: must be below 1")


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
        raise InputError(f"{prefix.rstrip('.') or 'configuration'} = {shown(data)}: must be an object with keys")
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(known)):
        raise InputError(f"unknown key {prefix}{shortened(unknown[0])}; known are {', '.join(sorted(known))}")
    if missing := sorted(name for name in set(known) - set(data) if not known[name].metadata.get("optional")):
        raise InputError(f"missing key {prefix}{missing[0]}")
    return cls(**data)
