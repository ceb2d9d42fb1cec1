"""The progress reports of long calculations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes a line for every step."""
