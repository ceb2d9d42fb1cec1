"""What the machine has: processors and memory, as far as its system tells."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux keeps what a container may use."""


def processors() -> list[int]:
    """The processors that this process may use; all of them where the system does not tell (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def memory_bytes() -> int | None:
    """The memory that this process can have at most, in bytes; None where the system does not tell."""
    found = []
    with suppress(ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in map(Path, _LIMITS):
        with suppress(ValueError, OSError):  # no such file, or "max"
            found.append(int(limit.read_text(encoding="ascii")))
    return min(found, default=None)
