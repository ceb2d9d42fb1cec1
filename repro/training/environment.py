"""Where a run was made: versions, device, threads, memory, revision."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from repro import __version__
from repro.errors import InputError

PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what a result depends on."""
    found = {"python": platform.python_version(), "repro": __version__}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found


def processors() -> list[int]:
    """The processors that this process may use, by number; where the system does not tell, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def thread_count() -> int:
    """Processors this process may use, which is how many threads XLA's CPU backend takes."""
    return len(processors())


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def select_device(wanted: str | None) -> jax.Device:
    """The device to run on.

    Args:
        wanted: "cpu", "gpu", or None for a GPU when there is one.

    Raises:
        InputError: for a GPU that is not there, or an unknown name.
    """
    if wanted not in (None, "cpu", "gpu"):
        raise InputError(f"device = {wanted!r}: unknown; choose cpu or gpu")
    if wanted != "cpu":
        try:
            return jax.local_devices(backend="gpu")[0]
        except RuntimeError as error:
            if wanted == "gpu":
                raise InputError(
                    "device = gpu: JAX finds no GPU here; leave --device out to use the CPU, or install the CUDA "
                    "lock (make setup LOCK=cuda) and see `repro doctor`"
                ) from error
    return jax.local_devices(backend="cpu")[0]


def device_record(device: jax.Device) -> dict[str, Any]:
    """What ``result.json`` says of the device."""
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "processor": processor(),
        "threads": thread_count(),
    }


def peak_memory_bytes(device: jax.Device) -> int:
    """Peak memory of the device if it is a GPU, else the peak resident size of this process."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


GIT_SECONDS = 120.0
"""How long git may take to answer: on a machine with much to do, seconds are not enough."""


def git_revision() -> str:
    """Revision of the source tree, with "+changes" when it differs; "unknown" outside a repository.

    Raises:
        InputError: if git does not answer. Whoever records a revision asks for it before the work, not after it.
    """
    if stated := os.environ.get("REPRO_REVISION"):
        return stated
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> list[str]:
        # Without optional locks: other git commands of the user may be at work.
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        )
        return done.stdout.splitlines()

    try:
        top, head = git("rev-parse", "--show-toplevel", "HEAD")
        if Path(top) != root:
            return "unknown"
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no", "--", "repro") else "")
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"git did not tell the revision of {root} within {GIT_SECONDS:g} s; try again when the machine has less to "
            "do, or state it in REPRO_REVISION"
        ) from error
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown"


def in_no_commit(revision: str) -> bool:
    """Whether a revision, as recorded, names code that nobody can get back."""
    return revision == "unknown" or revision.endswith("+changes")
