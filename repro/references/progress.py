"""How long calculations tell how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes a line for every step."""
