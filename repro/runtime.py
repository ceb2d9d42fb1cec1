"""Settings of JAX that must be made before it is used: devices, determinism, compilation cache."""

from __future__ import annotations

import os
from pathlib import Path

DETERMINISTIC_GPU = ("--xla_gpu_exclude_nondeterministic_ops=true", "--xla_gpu_autotune_level=0")
"""No operations whose order of sums varies, and no kernels chosen by how fast they were a moment ago."""
IDLE_LAPACK = ("OPENBLAS_THREAD_TIMEOUT", "12")
"""For how many cycles, as a power of two, threads of JAX's linear algebra wait for more work before they sleep.

Left alone they wait for tens of milliseconds on the processors that the rest of the epoch wants: where layers are
diagonalised in each epoch, that takes up to 1.8 times as long. Read when the library is loaded, at its first use.
"""


def cache_directory() -> Path | None:
    """Where compiled programs are kept between processes; None where a user has no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "repro" / "xla"
    except RuntimeError:
        return None


def configure_jax(device: str | None = None) -> None:
    """Chooses the platform, asks XLA for determinism on a GPU, keeps idle threads from waiting, turns the cache on.

    Settings that the user made in the environment are left as they are.

    Args:
        device: "cpu" keeps JAX from looking for other devices; "gpu" or None let it.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if device != "cpu":
        missing = (flag for flag in DETERMINISTIC_GPU if flag.split("=")[0] not in flags)
        os.environ["XLA_FLAGS"] = " ".join([flags, *missing]).strip()
    os.environ.setdefault(*IDLE_LAPACK)
    import jax

    if device == "cpu" and "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        directory = cache_directory()
        try:
            if directory is None:
                return
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # a read-only home costs compilation time, nothing else
        if not os.access(directory, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
