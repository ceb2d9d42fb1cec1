"""Reading files that anyone may have written: whatever is wrong with one ends as an error of one line.

Parsers raise what they like on hostile bytes: ``RecursionError`` for deep nesting, ``OverflowError`` and ``ValueError``
for huge numbers, ``UnicodeDecodeError``, ``MemoryError``. Here each becomes an ``InputError`` that names the file.
"""

from __future__ import annotations

import gzip
import io
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from repro.errors import InputError

MOST_BYTES = 256 * 2**20
"""More than any text of this package: the longest curves have some hundred bytes an epoch."""
MOST_TOLD = 160
"""Characters of a parser's own words, or of a bad value, that an error repeats."""


def told(error: BaseException) -> str:
    """What an exception says, in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return shortened(text)


def shortened(text: str) -> str:
    """The beginning of a text that may be of any length."""
    return text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}..."


@contextmanager
def _in_one_line(complaint: str) -> Iterator[None]:
    """Whatever a parser raises becomes an InputError that says so."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{complaint} ({told(error)})") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: if it is missing, cannot be read, or is larger than :data:`MOST_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: is larger than {MOST_BYTES:,} bytes, the most that is read")
    return content


def read_text(path: Path) -> str:
    """A text in UTF-8, whatever the locale.

    Raises:
        InputError: as :func:`read_bytes`, and for other bytes.
    """
    return decoded(read_bytes(path), str(path))


def decoded(content: bytes, source: str) -> str:
    """Bytes as text, with the line ends of Unix.

    Raises:
        InputError: if they are not UTF-8.
    """
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: damaged or no text in UTF-8 ({told(error)})") from error


def unpacked(content: bytes, source: str) -> bytes:
    """The content of a gzip file.

    Raises:
        InputError: if it is damaged, or larger than :data:`MOST_BYTES`.
    """
    with _in_one_line(f"{source}: damaged"), gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        found = stream.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise InputError(f"{source}: unpacks to more than {MOST_BYTES:,} bytes, the most that is read")
    return found


def parse_json(text: str, source: str) -> Any:
    """Strict JSON: NaN and Infinity, which Python's parser takes, are none.

    Args:
        text: the content.
        source: how to call it in an error.

    Raises:
        InputError: for what is no JSON, or nested too deeply.
    """
    with _in_one_line(f"{source}: damaged or not JSON"):
        return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def read_json(path: Path) -> Any:
    """The document in a file; errors as :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path), str(path))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """A document of TOML.

    Args:
        text: the content.
        source: how to call it in an error.

    Raises:
        InputError: for what is no TOML, or nested too deeply.
    """
    with _in_one_line(f"{source}: not TOML"):
        return tomllib.loads(text)


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a file; errors as :func:`read_text` and :func:`parse_toml`."""
    return parse_toml(read_text(path), str(path))


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type as annotations write it: a class, a union, ``tuple[X, ...]``, ``dict`` or Any."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(one, inner[0]) for one in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, origin or hint)


Record = TypeVar("Record")


def record(kind: type[Record], values: Mapping[str, Any], source: str) -> Record:
    """A dataclass from a document's values, which must have its types.

    Raises:
        InputError: for a key that is unknown or missing, or a value of another type.
    """
    hints = get_type_hints(kind)
    try:
        made = kind(**values)
    except TypeError as error:
        raise InputError(f"{source}: {told(error)}") from error
    if wrong := next((name for name in values if not fits(values[name], hints[name])), None):
        raise InputError(f"{source}: {wrong} = {shortened(repr(values[wrong]))}: of the wrong type")
    return made
