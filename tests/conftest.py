"""Shared fixtures: double precision where mathematics is proved, small random wavefunctions, the command line."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# Programs are compiled once in a test session, also those of the processes it starts (a parallel session's workers
# inherit the variables). JAX reads these when it is imported.
# OpenBLAS takes a thread a core, and with two processes on two cores its threads wait for each other by spinning: one
# thread is up to eighteen times as fast then.
# Most of a test is compiling: programs are compiled in less time, and run slower, where no test asks for `optimized`.
# XLA's newer code for fused loops takes twice as long to compile in double precision; the stored curves of the
# regression tests hold with either. Code cut into pieces, to be compiled side by side, takes longer where every core
# is busy. Sums in two stages are a program each, and unrolled loops more code to compile, for no gain here.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="repro-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1 --xla_disable_hlo_passes=tree_reduction_rewriter"
        " --xla_backend_extra_options=xla_cpu_disable_loop_unrolling",
    }

import jax
import numpy as np
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from repro import runtime
from repro.__main__ import main
from repro.vmc.ansatz import Wavefunction, slater_wavefunction
from repro.vmc.ansatz.trial import Params
from repro.vmc.physics.hamiltonian import System
from repro.vmc.physics.local_energy import clip_local_energies, local_energy
from repro.vmc.problem import energy_gradient, walker_energies

ROOT = Path(__file__).resolve().parents[1]

# Tracing makes objects by the million that stay: looking through them for garbage is a fifth of its time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def x64():
    """Double precision for the duration of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimized():
    """Programs compiled as they are outside of tests."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def random_state(
    particles: int, determinants: int = 1, layers: int = 2, hidden: int = 16, dtype: str = "float64", seed: int = 0
) -> tuple[Wavefunction, Params]:
    """A wavefunction with parameters well away from singular orbital matrices.

    Fresh networks give orbitals that are nearly dependent; three times larger weights make them generic.
    """
    wavefunction = slater_wavefunction(particles, layers, hidden, determinants, dtype)
    params = jax.jit(wavefunction.init)(jax.random.key(seed))
    scaled = {
        module: {name: value if name == "envelope" else 3.0 * value for name, value in values.items()}
        for module, values in params.items()
    }
    return wavefunction, scaled


SITUATION = System(-3.0, 0.5)
"""The couplings of :func:`situation`."""


@cache
def situation(walkers: int) -> tuple[Wavefunction, Params, Array, Array, Params]:
    """A small state of two particles, so many walkers, their local energies, and the gradient of clipped ones."""
    psi, params = random_state(2, hidden=4)
    x = jax.random.normal(jax.random.key(10), (walkers, 2))

    @jax.jit
    def at_walkers(params: Params, x: Array) -> tuple[Array, Params]:
        energies = walker_energies(psi, params, x, SITUATION, walkers)
        return energies, energy_gradient(psi, params, x, clip_local_energies(energies), walkers)

    return psi, params, x, *at_walkers(params, x)


def single_walker_derivatives(psi: Wavefunction, params: Params, system: System) -> Callable[..., tuple[Array, ...]]:
    """Derivatives of single walkers by brute force, one walker after another.

    Returns:
        A compiled function of the parameters, flattened in the order of the state's blocks ``(P,)``, and of walkers
        ``(W, A)``: d ln|psi| / d theta ``(W, P)``, its derivatives in the positions ``(W, A, P)``, E_L ``(W,)``, and
        dE_L / d theta ``(W, P)``.
    """
    unravel = ravel_pytree(psi.structure.split(params))[1]

    def rows(theta: Array, walker: Array) -> tuple[Array, ...]:
        def log_psi(t: Array, y: Array) -> Array:
            return psi.log_psi(psi.structure.join(unravel(t)), y[None])[0]

        def energy(t: Array) -> Array:
            ratio = psi.laplacian_ratio(psi.structure.join(unravel(t)), walker[None])
            return local_energy(ratio, walker[None], system)[0]

        score, mixed = jax.grad(log_psi), jax.jacfwd(jax.grad(log_psi), 1)
        return score(theta, walker), mixed(theta, walker).T, *jax.value_and_grad(energy)(theta)

    return jax.jit(jax.vmap(rows, (None, 0)))


class DenseMetrics(NamedTuple):
    """Of :func:`situation`, as matrices, in the order of the state's blocks.

    Attributes:
        decision: the decision metric.
        fisher: the Fisher metric.
    """

    decision: np.ndarray
    fisher: np.ndarray


def dense_metrics(walkers: int) -> DenseMetrics:
    """The metrics from the derivatives of single walkers."""
    psi, params, x, *_ = situation(walkers)
    theta = ravel_pytree(psi.structure.split(params))[0]
    scores, mixed, *_ = single_walker_derivatives(psi, params, SITUATION)(theta, x)
    centred = scores - scores.mean(0)
    return DenseMetrics(
        np.einsum("wka,wkb->ab", mixed, mixed) / walkers,
        4.0 * np.asarray(centred.T @ centred) / walkers,
    )


def repro(*arguments: str, timeout: float = 300.0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "repro", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command line in this process, which has its JAX: ``called(*arguments, code=2)`` is what it printed.

    ``code`` is the exit code that is asked for.
    """

    def run(*arguments: str, code: int = 2) -> Any:
        monkeypatch.setattr(runtime, "configure_jax", lambda device: None)
        monkeypatch.setattr(sys, "argv", ["repro", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        return capsys.readouterr()

    return run


def is_one_line(text: str, message: str) -> None:
    """Asserts that all a command says on standard error is this error, in one line."""
    assert message in text
    assert text.startswith("error: ")
    assert len(text.strip().splitlines()) == 1
