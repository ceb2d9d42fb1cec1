"""The autoencoder trained by kfac-jax, as a peer: the same network, start, images and loss in another environment.

kfac-jax 0.0.8, the newest, does not run with this package's JAX. ``requirements/peers-kfac.lock`` makes an environment
with the newest JAX that it does run with,

    python3 -m venv kfac && kfac/bin/python -m pip install --require-hashes -r requirements/peers-kfac.lock

whose interpreter runs :mod:`repro.study.benchmarks.kfac_jax_program`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from repro.config.checks import integer
from repro.errors import InputError, ReproError
from repro.problems.autoencoder import L2, Autoencoder
from repro.reading import parse_json, told

PROGRAM = Path(__file__).with_name("kfac_jax_program.py")
REMEDY = "make an environment with requirements/peers-kfac.lock, and give its interpreter"
KEPT = ("PATH", "HOME", "XLA_FLAGS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "TMPDIR")
"""Variables that the other environment gets: not those that would let it find this one's packages."""


def train_with_kfac_jax(
    python: Path,
    network: Autoencoder,
    training: np.ndarray,
    *,
    steps: int,
    batch_size: int = 500,
    l2: float = L2,
    damping: float = 150.0,
    inverse_interval: int = 20,
    interval: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains in another process.

    Args:
        python: interpreter of an environment with kfac-jax.
        network: with its start.
        training: images, shape ``(S, pixels)``.
        steps: how many.
        batch_size: images of a step, drawn without replacement.
        l2: eta of the penalty.
        damping: lambda of the first step.
        inverse_interval: steps from one inversion of the factors to the next.
        interval: steps from one measurement of the error on all images to the next.
        seed: of the start and of the images drawn.

    Returns:
        ``losses`` and ``dampings`` of the steps; ``cpu_seconds`` of each step, the first of which compile; ``errors``,
        pairs of a step and the error after it, measured outside of the steps' seconds; ``preparing_cpu_seconds``,
        before the first step; ``seconds`` by the clock, all in all; ``versions``.

    Raises:
        InputError: if there is no such interpreter, or a number is out of bounds.
        ReproError: if the process fails; it says how.
    """
    for name, value in (("steps", steps), ("inverse_interval", inverse_interval), ("interval", interval)):
        integer(name, value, 1)
    integer("batch_size", batch_size, 1, len(training))
    if not python.is_file():
        raise InputError(f"{python}: not there; {REMEDY}")
    request = {
        **{"activation": network.activation, "steps": steps, "batch_size": batch_size, "l2": l2, "damping": damping},
        **{"inverse_interval": inverse_interval, "interval": interval, "seed": seed},
    }
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        params = network.init(jax.random.key(seed))
        in_order = sorted(params, key=lambda name: (len(name), name))
        layers: dict[str, Any] = {
            f"{number}/{part}": np.asarray(params[name][part])
            for number, name in enumerate(in_order)
            for part in ("w", "b")
        }
        np.savez(arrays, training=training.astype(np.float32), **layers)
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(
            [str(python), "-P", str(PROGRAM), json.dumps(request | {"arrays": str(arrays)})],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment | {"JAX_PLATFORMS": "cpu"},
            check=False,
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        raise ReproError(f"kfac-jax: {told(RuntimeError(said[0]))}; {REMEDY}")
    return dict(parse_json(done.stdout.splitlines()[-1], "kfac-jax"))
