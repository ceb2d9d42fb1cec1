"""Writing files so that a reader, or a crash, never meets one half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

TEMPORARY = ".tmp"


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` under a temporary name in the same directory, flushes it to disk and renames it to ``path``."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_temporaries(directory: Path) -> None:
    """Removes what writes cut short have left behind; call it only while no other process writes there."""
    for leftover in directory.glob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
