"""The interface by which a run reports its progress, independent of who displays it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Receives the progress of a run; all calls come from one thread."""

    def start(self, phase: str, done: int, total: int) -> None:
        """A phase begins, or goes on after ``done`` of ``total`` epochs."""

    def advance(self, done: int, metrics: Mapping[str, float]) -> None:
        """``done`` epochs of the phase are finished; ``metrics`` are the last one's."""

    def note(self, message: str) -> None:
        """A line worth keeping."""

    def finish(self) -> None:
        """The phase is over."""


class Silent:
    """A reporter that says nothing."""

    def start(self, phase: str, done: int, total: int) -> None:
        """Says nothing."""

    def advance(self, done: int, metrics: Mapping[str, float]) -> None:
        """Says nothing."""

    def note(self, message: str) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""
