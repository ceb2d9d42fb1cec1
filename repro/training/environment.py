"""The environment of a run: versions, device, threads, memory, revision."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from repro import __version__
from repro.config.checks import choice
from repro.errors import InputError
from repro.machine import processors
from repro.reading import told

PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what a result depends on."""
    found = {"python": platform.python_version(), "repro": __version__}
    for name in PACKAGES:
        found[name] = metadata.version(name)
    return found


def thread_count() -> int:
    """How many threads XLA's CPU backend takes: one for each of :func:`processors`."""
    return len(processors())


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
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
        InputError: for a GPU that is not there, an unknown name, or settings of JAX that no run can be made with.
    """
    if wanted is not None:
        choice("device", wanted, ("cpu", "gpu"))
    refuse_settings()
    if wanted != "cpu":
        try:
            return jax.local_devices(backend="gpu")[0]
        except RuntimeError as error:
            if wanted == "gpu":
                raise InputError(
                    "device = gpu: JAX finds no GPU here; leave --device out to use the CPU, or install the CUDA "
                    "lock (make setup LOCK=cuda) and see `repro doctor`"
                ) from error
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(f"JAX_PLATFORMS = {platforms!r}: JAX finds no device ({told(error)}); unset it") from error


REFUSED = {
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
}
"""Settings of JAX that change or prevent what is computed and that no context fixes, with their defaults."""


def refuse_settings() -> None:
    """Refuses settings of JAX under which a configuration would stand for other numbers.

    Raises:
        InputError: for one of :data:`REFUSED` that is not as it comes.
    """
    for name, default in REFUSED.items():
        if (value := jax.config.values.get(name, default)) != default:
            raise InputError(f"{name.upper()} = {value!r}: would change the numbers of a run; unset it")


@contextmanager
def fixed_settings() -> Iterator[None]:
    """The settings of JAX that decide about numbers as they come, whatever the environment says, in this thread.

    What decides about compilation (``XLA_FLAGS``, levels of optimisation) is left: it moves rounding, as another
    processor does.
    """
    with ExitStack() as stack:
        for setting in (
            jax.threefry_partitionable(True),
            jax.default_prng_impl("threefry2x32"),
            jax.enable_custom_prng(False),
            jax.legacy_prng_key("allow"),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.softmax_custom_jvp(False),
            jax.disable_jit(False),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.debug_key_reuse(False),
            jax.transfer_guard("allow"),
        ):
            stack.enter_context(setting)
        yield


def device_record(device: jax.Device) -> dict[str, Any]:
    """What ``result.json`` says of the device."""
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "processor": processor(),
        "threads": thread_count(),
    }


def device_memory(device: jax.Device, count: int = 1) -> int | None:
    """The memory of so many devices alike, in bytes; None for the CPU, whose memory is the machine's."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return count * int(stats["bytes_limit"]) if stats and "bytes_limit" in stats else None


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
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=GIT_SECONDS)
        return os.fsdecode(done.stdout).splitlines()  # a path, in whatever encoding paths have here

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
