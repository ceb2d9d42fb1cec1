"""Goes on where a stored file is damaged: the problem becomes a line, and the other files are still checked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from repro.errors import ReproError

DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(zlib.error, BadZipFile),
)
"""What reading and computing with a file raise whose content is not what it should be, beside errors of our own."""


@contextmanager
def noting(problems: list[str], subject: str | Path) -> Iterator[None]:
    """Leaves what is inside at the first error that damaged data cause, and adds a line on it to ``problems``.

    Args:
        problems: gets the line.
        subject: what is looked at; it begins the line where the error is not one of our own, which names it itself.
    """
    try:
        yield
    except ReproError as error:
        problems.append(_one_line(str(error)))
    except DAMAGE as error:
        problems.append(_one_line(f"{subject}: damaged ({error!r})"))


def _one_line(text: str) -> str:
    """Without line breaks, and with what a terminal cannot write escaped."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())
