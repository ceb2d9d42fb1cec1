"""What every configuration of a run has: plain data, a content hash, and a file that shows when it was altered."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any, Self

from repro.config.checks import built, plain
from repro.errors import InputError
from repro.reading import parse_json, shortened

SCHEMA = 1


class Configuration(ABC):
    """Everything that determines a run's results on a given machine; a subclass is a frozen dataclass."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain data, ready for JSON."""
        return plain(self)

    @classmethod
    @abstractmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a missing or unknown key, or a value out of bounds.
        """

    @property
    @abstractmethod
    def run_name(self) -> str:
        """A directory name that a person can read and the hash makes unique."""

    def decisive(self) -> dict[str, Any]:
        """That of :meth:`to_dict` which decides the results; where a reader keeps a data set does not."""
        return self.to_dict()

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON form of what is decisive, 16 hexadecimal digits."""
        canonical = json.dumps(self.decisive(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The text of ``config.json``."""
        document = {"schema": SCHEMA, "content_hash": self.content_hash, "config": self.to_dict()}
        return json.dumps(document, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Reads ``config.json`` and verifies its hash.

        Args:
            text: the file's content.
            source: how to call the file in an error.

        Raises:
            InputError: if the text is no valid configuration or was altered.
        """
        data, stated = document_of(text, source)
        try:
            config = cls.from_dict(data)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        if config.content_hash != stated:
            raise InputError(
                f"{source}: content hash is {config.content_hash}, but the file states "
                f"{shortened(str(stated))}: "
                "the configuration was altered after the run"
            )
        return config


def document_of(text: str, source: str) -> tuple[Any, Any]:
    """The plain data in a ``config.json``, and the content hash that it states.

    Raises:
        InputError: if the text is no such file.
    """
    document = parse_json(text, f"{source}: not a run configuration")
    try:
        schema, stated, data = document["schema"], document["content_hash"], document["config"]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{source}: not a run configuration ({error!r})") from error
    if schema != SCHEMA:
        raise InputError(f"{source}: schema {shortened(repr(schema))}, but this version reads schema {SCHEMA}")
    return data, stated


def built_from(cls: type, data: object, parts: dict[str, Any]) -> Any:
    """A configuration from plain data.

    Args:
        cls: its class.
        data: of it.
        parts: what builds each of its values that is a configuration itself, by its name.

    Raises:
        InputError: as :meth:`Configuration.from_dict`.
    """
    if not isinstance(data, dict):
        raise InputError(f"configuration = {shortened(repr(data))}: must be an object with keys")
    return built(cls, {key: parts[key](value) if key in parts else value for key, value in data.items()}, "")


def differences(stored: Configuration, wanted: Configuration) -> list[str]:
    """One line for each decisive value in which two configurations differ, ``key: stored -> wanted``."""

    def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        items: dict[str, Any] = {}
        for key, value in data.items():
            items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return items

    old, new = flat(stored.decisive()), flat(wanted.decisive())
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in sorted(old | new) if old.get(key) != new.get(key)]
