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


def thread_count() -> int:
    """Processors this process may use, which is how many threads XLA's CPU backend takes."""
    return len(os.sched_getaffinity(0))


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


def git_revision() -> str:
    """Revision of the source tree, with "+changes" when it differs; "unknown" outside a repository."""
    if stated := os.environ.get("REPRO_REVISION"):
        return stated
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "repro")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
