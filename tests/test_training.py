"""The epoch: one program for all couplings and seeds, chunks that do not matter, pretraining, convergence."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from repro.optimizers.base import from_optax
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.pretraining import pretraining_epoch
from repro.training.rounding import energy_rounding
from repro.training.state import TRAINING_STREAM, TrainState, stream_key
from repro.vmc.ansatz import slater_wavefunction
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import MonteCarlo, walker_energies
from repro.vmc.sampling import initial_chain

WALKERS, SWEEPS, CAPACITY = 64, 3, 8


def pieces(dtype="float64", particles=2):
    wavefunction = slater_wavefunction(particles, hidden=8, dtype=dtype)
    optimizer = from_optax(optax.adam(1e-3))

    def start(seed):
        params = wavefunction.init(stream_key(seed, 0))
        chain = initial_chain(stream_key(seed, 1), WALKERS, particles, dtype)
        return TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))

    epoch = training_epoch(MonteCarlo(wavefunction, WALKERS, SWEEPS), optimizer)
    return wavefunction, optimizer, jax.jit(start), chunk_of_epochs(epoch, TRAINING_STREAM, CAPACITY)


def test_one_program_serves_all_couplings_and_seeds_and_vmaps(x64):
    _, _, start, chunk = pieces()
    couplings = [(-10.0, 0.5), (0.0, 0.5), (20.0, 0.7)]
    seeds = [0, 5, 4_000_000_000]
    compiled = jax.jit(chunk)
    one_by_one = []
    for (v0, sigma0), number in zip(couplings, seeds, strict=True):
        seed = jnp.asarray(number, jnp.uint32)
        system = System(jnp.asarray(v0), jnp.asarray(sigma0))
        one_by_one.append(compiled(start(seed), seed, system, jnp.int32(5)))
    assert compiled._cache_size() == 1

    many = jnp.asarray(seeds, jnp.uint32)
    systems = System(*(jnp.asarray(values) for values in zip(*couplings, strict=True)))
    together = jax.jit(jax.vmap(chunk, in_axes=(0, 0, 0, None)))(jax.vmap(start)(many), many, systems, jnp.int32(5))
    for index, (state, metrics) in enumerate(one_by_one):
        np.testing.assert_allclose(together[1]["energy"][index][:5], metrics["energy"][:5], rtol=1e-8)
        np.testing.assert_allclose(together[0].data.walkers[index], state.data.walkers, rtol=1e-8, atol=1e-10)
    energies = np.asarray(together[1]["energy"])[:, 0]
    assert len(set(energies.round(6))) == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cutting_into_chunks_changes_no_bit(dtype):
    with jax.enable_x64(dtype == "float64"):
        _, _, start, chunk = pieces(dtype)
        seed = jnp.uint32(1)
        system = System(jnp.asarray(-10.0, dtype), jnp.asarray(0.5, dtype))
        compiled = jax.jit(chunk)
        state, whole = compiled(start(seed), seed, system, jnp.int32(7))
        rows, current = [], start(seed)
        for count in (1, 2, 4):
            current, metrics = compiled(current, seed, system, jnp.int32(count))
            rows.append(np.asarray(metrics["energy"])[:count])
        np.testing.assert_array_equal(np.concatenate(rows), whole["energy"][:7])
        for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(current), strict=True):
            np.testing.assert_array_equal(one, other)
        assert np.isnan(whole["energy"][7:]).all()


def test_nothing_in_a_single_precision_epoch_is_double():
    with jax.enable_x64(True):
        _, _, start, chunk = pieces("float32")
        seed = jnp.uint32(1)
        system = System(jnp.float32(-10.0), jnp.float32(0.5))
        text = str(jax.make_jaxpr(chunk)(start(seed), seed, system, jnp.int32(2)))
    assert "f64[" not in text.replace("f64[]", "")


def test_metrics_describe_the_walkers(x64):
    wavefunction, optimizer, start, _ = pieces()
    epoch = jax.jit(training_epoch(MonteCarlo(wavefunction, WALKERS, SWEEPS), optimizer))
    state = start(jnp.uint32(2))
    following, metrics = epoch(state, jax.random.key(0), System(3.0, 0.5))
    ratio = jax.jit(wavefunction.laplacian_ratio)(state.params, following.data.walkers)
    x = following.data.walkers
    energies = (
        -0.5 * ratio + 0.5 * (x**2).sum(1) + 3.0 / np.sqrt(2 * np.pi) / 0.5 * jnp.exp(-2 * (x[:, 0] - x[:, 1]) ** 2)
    )
    np.testing.assert_allclose(metrics["energy"], energies.mean(), rtol=1e-9)
    np.testing.assert_allclose(metrics["variance"], energies.var(ddof=1), rtol=1e-8)
    np.testing.assert_allclose(metrics["energy_error"], energies.std(ddof=1) / 8, rtol=1e-8)
    moved = jax.tree.map(jnp.subtract, following.params, state.params)
    np.testing.assert_allclose(metrics["step_norm"], optax.tree.norm(moved), rtol=1e-6)
    assert int(following.epoch) == 1


def test_pretraining_finds_the_oscillator():
    """After the fit the orbitals are close to the first two oscillator functions, and so is the energy to A^2/2."""
    wavefunction = slater_wavefunction(2, hidden=16)
    optimizer = from_optax(optax.adam(5e-3))
    params = wavefunction.init(jax.random.key(0))
    state = TrainState(
        params, optimizer.init(params), initial_chain(jax.random.key(1), 256, 2, "float32"), jnp.zeros((), jnp.int32)
    )
    chunk = jax.jit(chunk_of_epochs(pretraining_epoch(wavefunction, optimizer, 5), 2, 400))
    system = System(jnp.float32(0.0), jnp.float32(0.5))
    state, metrics = chunk(state, jnp.uint32(0), system, jnp.int32(400))
    assert metrics["loss"][-1] < 0.01 < metrics["loss"][0]
    again = jax.jit(training_epoch(MonteCarlo(wavefunction, 256, 50), optimizer))(state, jax.random.key(5), system)[1]
    assert abs(again["energy"] - 2.0) < 0.1


DEADLOCK = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax, jax.numpy as jnp
from repro.vmc.ansatz import slater_wavefunction
from repro.vmc.physics.hamiltonian import System
from repro.vmc.sampling import initial_chain
from repro.vmc.problem import energy_gradient, walker_energies
particles = int(sys.argv[1])
wavefunction = slater_wavefunction(particles)
params = wavefunction.init(jax.random.key(0))
x = initial_chain(jax.random.key(1), 4096, particles, "float32").walkers
system = System(jnp.float32(-10.0), jnp.float32(0.5))
@jax.jit
def both(x):
    energies = walker_energies(wavefunction, params, x, system, 4096)
    return energies, energy_gradient(wavefunction, params, x, energies, 4096)
for _ in range(3):
    energies, grads = jax.block_until_ready(both(x))
assert jnp.isfinite(energies).all()
assert "lapack" not in both.lower(x).as_text()
print("done")
"""


@pytest.mark.parametrize("particles", [4, 6])
def test_no_deadlock_on_two_threads(particles):
    """4096 walkers, whole, on two threads; LAPACK calls in this place have been seen to hang (JAX 0.10.2)."""
    command = [sys.executable, "-c", DEADLOCK, str(particles)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert done.stdout.strip() == "done", done.stderr


def test_dependent_orbitals_show_in_what_rounding_adds():
    """Two orbitals that differ by little leave few digits of the determinant in single precision."""
    couplings, walkers = System(jnp.float32(-3.0), jnp.float32(0.5)), 64
    single, double = (slater_wavefunction(2, hidden=8, dtype=dtype) for dtype in ("float32", "float64"))
    params = single.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (walkers, 2), "float32")

    def apart(distance):
        """The second orbital is the first one and this much of itself."""
        last = params["ansatz/orbitals"]
        mixed = {name: value.at[..., 1].set(value[..., 0] + distance * value[..., 1]) for name, value in last.items()}
        return params | {"ansatz/orbitals": mixed}

    @jax.jit
    def precise(params, x, couplings):
        return walker_energies(double, params, x, couplings, walkers)

    found, typical = [], []
    for distance in (1.0, 1e-2, 1e-4):
        here = apart(distance), x, couplings
        energies = np.asarray(jax.jit(lambda *at: walker_energies(single, *at, walkers))(*here))
        found.append(energy_rounding(double, here[0], np.asarray(x), couplings, energies, 16))
        with jax.enable_x64(True):
            there = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), here)
            added = energies - np.asarray(precise(*there))
        typical.append(np.median(np.abs(added)))
        assert found[-1] == pytest.approx(float(np.hypot(added.mean(), added.std() / np.sqrt(walkers))), rel=1e-6)
    # A mean is that of its worst walker, which is another one with every way to compile.
    assert found[0] < 1e-4
    assert found[2] > 1000 * found[0]
    assert typical[0] < 3e-6
    assert typical[1] > 2 * typical[0]
    assert typical[2] > 30 * typical[1]
