"""The same work by other packages, on the same ansatz, the same walkers and the same machine.

Two tasks: the Laplacian of psi at all walkers, and an epoch of natural gradient descent without its walk. What the
packages do within a step is not the same, and nothing is said about the quality of a step: NetKet solves for the dense
metric (SR) or for the kernel of the walkers (minSR) by Cholesky and walks one sweep; ours solves by MINRES in layer
blocks, without matrices, and adds the quadratic model and the regulators.

kfac-jax is compared with apart, on an autoencoder (:mod:`repro.study.benchmarks.kfac_jax`): version 0.0.8, the newest,
does not run with JAX 0.9.2 or later (its interpreter expects two values of ``Primitive.get_bind_params``).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pandas as pd
from jax import Array

from repro.errors import InputError
from repro.numerics.batching import map_in_batches
from repro.optimizers import Optimizer
from repro.study.benchmarks.stopwatch import EPOCHS, peak_memory_gb, prepare, seconds_of
from repro.study.benchmarks.subprocesses import measure_each
from repro.study.benchmarks.tasks import NESTED, OURS, TASKS
from repro.study.runs.profiles import configure
from repro.training.model import numerics
from repro.vmc.ansatz import Wavefunction
from repro.vmc.physics.hamiltonian import System, potential_energy
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.problem import density, energy_gradient, walker_energies
from repro.vmc.sampling.metropolis import walk

BURN_IN_SWEEPS = 400
DAMPING = 1e-3
LEARNING_RATE = 1e-3


def package_of(code: str) -> str | None:
    """The package that a code needs, or None."""
    return None if code in (OURS, NESTED) else code.partition(",")[0]


def installed(code: str) -> str | None:
    """Name and version of what a code needs, or None where it is not installed."""
    package = package_of(code)
    if package is None:
        return code
    try:
        return f"{code} {version(package)}"
    except PackageNotFoundError:
        return None


def nested_laplacian_ratio(psi: Wavefunction, params: Any, x: Array) -> Array:
    """(sum_i d^2 psi / dx_i^2) / psi as one would write it first: forward through backward, one direction at a time."""

    def of_one(y: Array) -> Array:
        slope = jax.grad(lambda z: psi.log_psi(params, z[None])[0])
        second = [jax.jvp(slope, (y,), (direction,))[1] @ direction for direction in jnp.eye(y.size, dtype=y.dtype)]
        return sum(second, start=jnp.zeros((), y.dtype)) + jnp.sum(slope(y) ** 2)

    return jax.vmap(of_one)(x)


def folx_laplacian_ratio(psi: Wavefunction, params: Any, x: Array) -> Array:
    """The same by folx's forward Laplacian of ln|psi|."""
    import folx

    def of_one(y: Array) -> Array:
        found = folx.forward_laplacian(lambda z: psi.log_psi(params, z[None])[0])(y)
        return found.laplacian + jnp.sum(found.jacobian.dense_array**2)

    return jax.vmap(of_one)(x)


LAPLACIANS: dict[str, Callable[[Wavefunction, Any, Array], Array]] = {
    OURS: lambda psi, params, x: psi.laplacian_ratio(params, x),
    "folx": folx_laplacian_ratio,
    NESTED: nested_laplacian_ratio,
}


def own_steps(
    psi: Wavefunction, optimizer: Optimizer, params: Any, x: Array, system: System, chunk: int
) -> Callable[[], Any]:
    """Epochs of ours without their walks."""

    def step(params: Any, opt_state: Any) -> tuple[Any, Any]:
        energies = walker_energies(psi, params, x, system, chunk)
        grads = energy_gradient(psi, params, x, clip_local_energies(energies), chunk)
        updates, opt_state = optimizer.update(grads, opt_state, params, walkers=x, local_energies=energies)
        return optax.apply_updates(params, updates), opt_state

    compiled, start = jax.jit(step), optimizer.init(params)

    def steps() -> Any:
        state = params, start
        for _ in range(EPOCHS):
            state = compiled(*state)
        return state

    return steps


def netket_steps(psi: Wavefunction, params: Any, x: Array, system: System, kernel: bool) -> Callable[[], Any]:
    """Steps of NetKet's driver for SR, or with the kernel minSR, one sweep each."""
    import netket as nk

    nk.config.netket_enable_x64 = False
    count, particles = x.shape
    hilbert = nk.experimental.hilbert.Particle(N=particles, geometry=nk.experimental.geometry.FreeSpace(d=1))
    sampler = nk.sampler.MetropolisGaussian(hilbert, sigma=0.5, n_chains=count, sweep_size=1, dtype=x.dtype)

    def log_psi(variables: Any, y: Array) -> Array:
        return psi.log_psi(variables["params"], y.reshape(-1, particles)).reshape(y.shape[:-1])

    state = nk.vqs.MCState(
        sampler, apply_fun=log_psi, variables={"params": params}, n_samples=count, n_discard_per_chain=0, seed=0
    )
    state.sampler_state = state.sampler_state.replace(σ=x)
    energy = nk.operator.KineticEnergy(hilbert, mass=1.0, dtype=x.dtype)
    energy += nk.operator.PotentialEnergy(hilbert, lambda y: potential_energy(y[None], system)[0], dtype=x.dtype)
    driver = nk.driver.VMC_SR(
        energy,
        optax.sgd(LEARNING_RATE),
        diag_shift=DAMPING,
        variational_state=state,
        use_ntk=kernel,
        on_the_fly=False,
        mode="real",
        linear_solver=nk.optimizer.solver.cholesky,
    )

    def steps() -> Any:
        driver.run(EPOCHS, show_progress=False)
        return state.parameters

    return steps


def measure(task: str, code: str, particles: int, walkers: int) -> dict[str, Any]:
    """Times one task by one code in this process.

    Returns:
        ``task``, ``code`` with its version, sizes, ``seconds`` (of all Laplacians, or of a step) and
        ``peak_memory_gb``.
    """
    config = configure(particles=particles, v0=-10.0, optimizer="ngd", walkers=walkers)
    model, phase, state, device = prepare(config)
    psi, chunk, system = model.wavefunction, model.walker_chunk, model.system
    with numerics(config.dtype, device):
        params = state.params
        target = density(psi, params)
        x = jax.jit(lambda chain: walk(target, chain, jax.random.key(0), BURN_IN_SWEEPS)[0])(state.data).walkers
        if task == "laplacian":
            ratio = LAPLACIANS[code]
            program = jax.jit(lambda params, x: map_in_batches(lambda y: ratio(psi, params, y), x, chunk))
            seconds = seconds_of(program, params, x)
        else:
            if code == OURS:
                steps = own_steps(psi, phase.optimizer, params, x, system, chunk)
            else:
                steps = netket_steps(psi, params, x, system, kernel=code.endswith("minSR"))
            seconds = seconds_of(steps) / EPOCHS
        memory = peak_memory_gb(device)
    return {
        "task": task,
        "code": installed(code),
        "particles": particles,
        "walkers": walkers,
        "seconds": seconds,
        "peak_memory_gb": memory,
    }


def bench_peers(particles: Sequence[int], walkers: int) -> pd.DataFrame:
    """Every task by every code that is installed, with ``over_ours``: its seconds over this package's.

    Args:
        particles: numbers of particles.
        walkers: W.

    Raises:
        InputError: for a size out of bounds, or if no other package is installed.
        ReproError: if a measurement fails.
    """
    for count in particles:
        configure(particles=count, v0=-10.0, walkers=walkers)  # refuses bad sizes before the first wait
    codes = [(task, code) for task, named in TASKS.items() for code in named]
    if not any(installed(code) for _, code in codes if package_of(code)):
        raise InputError("neither folx nor netket is installed; `make setup LOCK=peers` does it")
    os.environ.setdefault("NETKET_ENABLE_X64", "0")
    cases = [(task, code, count, walkers) for count in particles for task, code in codes if installed(code)]
    results = measure_each(
        "repro.study.benchmarks.peers",
        cases,
        lambda task, code, count, _: f"{task}, {code}, A = {count}",
        lambda row: f"{row['seconds']:.4f} s",
    )
    table = pd.DataFrame(list(results))
    ours = table[table["code"] == OURS].set_index(["task", "particles"])["seconds"]
    keys = pd.MultiIndex.from_frame(table[["task", "particles"]])
    return table.assign(over_ours=table["seconds"].to_numpy() / ours.reindex(keys).to_numpy())


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
