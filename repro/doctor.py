"""What this machine has, what is wrong with it for this package, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import jax

from repro.reading import told
from repro.runtime import DETERMINISTIC_GPU
from repro.training import environment

LEAST_FREE_GIB = 2.0
LEAST_DISK_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``remedy`` is empty when all is well."""

    subject: str
    value: str
    remedy: str = ""


def _available_gib() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return None


def _inside(version: str, least: tuple[int, int], below: tuple[int, int]) -> bool:
    found = tuple(int(part) for part in version.split(".")[:2])
    return least <= found < below


def _finding(subject: str, value: str, good: bool = True, remedy: str = "") -> Finding:
    return Finding(subject, value, "" if good else remedy)


def examine(place: Path) -> list[Finding]:
    """Looks at interpreter, packages, devices, threads, determinism flags, memory, disk and compilation cache.

    Args:
        place: directory in which runs would be written.
    """
    return [*_packages(), *_devices(), *_settings(), *_room(place)]


def _packages() -> Iterator[Finding]:
    yield _finding("python", sys.version.split()[0], sys.version_info >= (3, 11), "use Python 3.11 or later")
    for name, version in environment.versions().items():
        if name not in ("python", "jax", "jaxlib"):
            yield _finding(name, version)
    for name in ("jax", "jaxlib"):
        version = metadata.version(name)
        supported = f"{name} 0.10 or 0.11 is supported: run `make setup`"
        yield _finding(name, version, _inside(version, (0, 10), (0, 12)), supported)


def _devices() -> Iterator[Finding]:
    devices = []
    try:
        devices = jax.devices()
        yield _finding("devices", ", ".join(f"{device.platform}: {device.device_kind}" for device in devices))
    except RuntimeError as error:
        yield _finding("devices", told(error), False, "unset JAX_PLATFORMS, or make it cpu")
    on_gpu = any(device.platform == "gpu" for device in devices)
    nvidia = shutil.which("nvidia-smi") is not None
    yield _finding(
        "GPU",
        "used by default" if on_gpu else ("present, but JAX does not see it" if nvidia else "none"),
        on_gpu or not nvidia,
        "install the CUDA lock: make setup LOCK=cuda",
    )
    if on_gpu:
        flags = os.environ.get("XLA_FLAGS", "")
        yield _finding(
            "determinism",
            flags or "XLA_FLAGS not set",
            all(flag in flags for flag in DETERMINISTIC_GPU),
            f'set XLA_FLAGS="{" ".join(DETERMINISTIC_GPU)}" for runs that repeat bit for bit',
        )
    else:
        yield _finding("determinism", "same machine, versions and threads: bit for bit")
    yield _finding("processor", environment.processor())
    yield _finding("threads", f"{environment.thread_count()}; another number rounds sums differently")


def _settings() -> Iterator[Finding]:
    for variable in ("JAX_ENABLE_X64", "JAX_DISABLE_JIT", "JAX_DEBUG_NANS", *map(str.upper, environment.REFUSED)):
        if value := os.environ.get(variable):
            remedy = f"unset {variable}: this package sets by itself what its numbers need"
            yield _finding(variable, value, value.lower() in ("0", "false"), remedy)


def _room(place: Path) -> Iterator[Finding]:
    available = _available_gib()
    if available is not None:
        yield _finding(
            "free memory",
            f"{available:.1f} GiB",
            available >= LEAST_FREE_GIB,
            f"less than {LEAST_FREE_GIB:g} GiB: close other programs, or lower --walkers or --walker-chunk",
        )
    existing = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
    disk = shutil.disk_usage(existing).free / 2**30
    yield _finding(
        "free disk", f"{disk:.1f} GiB at {existing}", disk >= LEAST_DISK_GIB, "make room for runs and figures"
    )
    writable = os.access(existing, os.W_OK)
    yield _finding("writable", str(existing), writable, f"{existing} cannot be written: choose another place")
    cache = getattr(jax.config, "jax_compilation_cache_dir", None)
    yield _finding(
        "compilation cache", str(cache or "none"), cache is not None, "start through `repro`, which sets one"
    )
