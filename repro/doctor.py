"""What this machine has, what is wrong with it for this package, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
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


def examine(place: Path) -> list[Finding]:
    """Looks at interpreter, packages, devices, threads, determinism flags, memory, disk and compilation cache.

    Args:
        place: directory in which runs would be written.
    """
    findings = []

    def report(subject: str, value: str, good: bool = True, remedy: str = "") -> None:
        findings.append(Finding(subject, value, "" if good else remedy))

    report("python", sys.version.split()[0], sys.version_info >= (3, 11), "use Python 3.11 or later")
    for name, version in environment.versions().items():
        if name not in ("python", "jax", "jaxlib"):
            report(name, version)
    for name in ("jax", "jaxlib"):
        version = metadata.version(name)
        report(name, version, _inside(version, (0, 10), (0, 12)), f"{name} 0.10 or 0.11 is supported: run `make setup`")
    devices = []
    try:
        devices = jax.devices()
        report("devices", ", ".join(f"{device.platform}: {device.device_kind}" for device in devices))
    except RuntimeError as error:
        report("devices", told(error), False, "unset JAX_PLATFORMS, or make it cpu")
    on_gpu = any(device.platform == "gpu" for device in devices)
    nvidia = shutil.which("nvidia-smi") is not None
    report(
        "GPU",
        "used by default" if on_gpu else ("present, but JAX does not see it" if nvidia else "none"),
        on_gpu or not nvidia,
        "install the CUDA lock: make setup LOCK=cuda",
    )
    if on_gpu:
        flags = os.environ.get("XLA_FLAGS", "")
        report(
            "determinism",
            flags or "XLA_FLAGS not set",
            all(flag in flags for flag in DETERMINISTIC_GPU),
            f'set XLA_FLAGS="{" ".join(DETERMINISTIC_GPU)}" for runs that repeat bit for bit',
        )
    else:
        report("determinism", "same machine, versions and threads: bit for bit")
    report("processor", environment.processor())
    threads = environment.thread_count()
    report("threads", f"{threads}; another number rounds sums differently")
    for variable in ("JAX_ENABLE_X64", "JAX_DISABLE_JIT", "JAX_DEBUG_NANS", *map(str.upper, environment.REFUSED)):
        if value := os.environ.get(variable):
            report(
                variable,
                value,
                value.lower() in ("0", "false"),
                f"unset {variable}: this package sets by itself what its numbers need",
            )
    available = _available_gib()
    if available is not None:
        report(
            "free memory",
            f"{available:.1f} GiB",
            available >= LEAST_FREE_GIB,
            f"less than {LEAST_FREE_GIB:g} GiB: close other programs, or lower --walkers or --walker-chunk",
        )
    existing = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
    disk = shutil.disk_usage(existing).free / 2**30
    report("free disk", f"{disk:.1f} GiB at {existing}", disk >= LEAST_DISK_GIB, "make room for runs and figures")
    report(
        "writable", str(existing), os.access(existing, os.W_OK), f"{existing} cannot be written: choose another place"
    )
    cache = getattr(jax.config, "jax_compilation_cache_dir", None)
    report("compilation cache", str(cache or "none"), cache is not None, "start through `repro`, which sets one")
    return findings
