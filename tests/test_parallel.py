"""Walkers spread over devices: the same random numbers to the bit, the same epochs to rounding.

A process has the devices it began with, so the comparison is made by this file run as a program, with four of them:

    JAX_NUM_CPU_DEVICES=4 python tests/test_parallel.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from repro.chunks import resolve_walker_chunk
from repro.config import RunConfig
from repro.parallel import WALKERS, average, gathered, mean, sharers, total
from repro.sampling import noise
from repro.study.profiles import configure
from repro.training.epoch import chunk_of_epochs
from repro.training.executor import LEAST_WALKERS, Alone, Executor, Spread, executor_for
from repro.training.run import EVALUATION_CAPACITY, _evaluation_epoch, build_model, numerics
from repro.training.state import EVALUATION_STREAM, TrainState

ROOT = Path(__file__).parents[1]
EPOCHS = (3, 4)
# Between them they sum over walkers in every place there is: energies, scores, factors, both metrics, both models.
OPTIMIZERS = {"adam": (2, 4), "qn-mr-kfac": (4,), "dgd": (4,)}


def tiny(optimizer: str) -> RunConfig:
    options: dict[str, Any] = {} if optimizer == "adam" else {"damping": 1000.0, "minres_iterations": 6}
    return configure(
        particles=2,
        v0=-10.0,
        optimizer=optimizer,
        profile="smoke",
        walkers=64,
        sweeps=5,
        layers=1,
        hidden=8,
        dtype="float64",
        **options,
    )


def spread(function: Any, devices: int, inputs: PartitionSpec, outputs: PartitionSpec) -> Any:
    mesh = Mesh(np.array(jax.devices()[:devices]), (WALKERS,), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False))


def same_numbers(devices: int, dtype: str) -> bool:
    """Whether the devices together draw what ``jax.random`` draws, to the bit."""
    key, count, everywhere, own = jax.random.key(7), 24, PartitionSpec(), PartitionSpec(WALKERS)
    with numerics(dtype, jax.devices()[0]):
        for ours, theirs in ((noise.normal, jax.random.normal), (noise.uniform, jax.random.uniform)):
            part = spread(lambda key, f=ours: f(key, count // devices, jnp.dtype(dtype)), devices, everywhere, own)
            if not np.array_equal(part(key), jax.jit(lambda key, f=theirs: f(key, (count,), dtype))(key)):
                return False
    return True


def sums(devices: int) -> list[float]:
    """What the sums of 0 ... 7 come to, and how many devices were counted."""

    def found(x: jax.Array) -> jax.Array:
        parts = [total(jnp.sum(x)), mean(x), average(jnp.sum(x**2), x.shape[0]), jnp.median(gathered(x))]
        return jnp.stack([*parts, jnp.asarray(sharers(), x.dtype)])

    return spread(found, devices, PartitionSpec(WALKERS), PartitionSpec())(jnp.arange(8.0)).tolist()


def trained(config: RunConfig, executor: Executor) -> Any:
    """Curve, walkers, parameters and local energies after a few epochs from the initial state."""
    with numerics(config.dtype, jax.devices()[0]):
        model = build_model(config, resolve_walker_chunk(config, 32))
        phase = model.phases[1]
        state = model.enter(phase, jax.jit(model.initial_state)())
        chunk = chunk_of_epochs(phase.epoch, phase.stream, max(EPOCHS))
        run = executor.compile(phase.name, chunk, state, model.seed, model.system)
        curves = []
        for count in EPOCHS:  # the second call begins with what the first returned
            state, metrics = run(state, model.seed, model.system, jnp.int32(count))
            curves.append({name: values[:count] for name, values in metrics.items()})
        chunk = chunk_of_epochs(_evaluation_epoch(model), EVALUATION_STREAM, EVALUATION_CAPACITY)
        start = TrainState(state.params, (), state.chain, jnp.zeros((), jnp.int32))
        run = executor.compile("evaluation", chunk, start, model.seed, model.system)
        last, found = run(start, model.seed, model.system, jnp.int32(2))
        return jax.device_get((curves, state, last.chain, found["energies"][:2]))


def largest_difference(one: Any, other: Any) -> float:
    """Of all arrays, relative to the largest number in each."""
    differences = []
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape
        assert np.array_equal(np.isfinite(a), np.isfinite(b))
        finite = np.isfinite(a)
        scale = np.max(np.abs(a[finite]), initial=1e-300)
        differences.append(float(np.max(np.abs(a[finite] - b[finite]), initial=0.0) / scale))
    return max(differences)


def main() -> None:
    """Prints what the devices find."""
    bits = [same_numbers(count, dtype) for count in (2, 4) for dtype in ("float32", "float64")]
    found: dict[str, Any] = {
        "bits": bits,
        "sums": sums(4),
        "chosen": executor_for(4 * LEAST_WALKERS, jax.devices()[0]).devices,
    }
    for optimizer, counts in OPTIMIZERS.items():
        alone = trained(tiny(optimizer), Alone())
        for count in counts:
            found[f"{optimizer}, {count}"] = largest_difference(
                alone, trained(tiny(optimizer), Spread(jax.devices()[:count]))
            )
    print(json.dumps(found))


def test_several_devices_compute_what_one_does():
    """Every column of the curve, walkers, parameters and optimiser state after 7 epochs, to 1e-8."""
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("bits") == [True] * 4
    assert found.pop("sums") == [28.0, 3.5, 17.5, 3.5, 4.0]
    assert found.pop("chosen") == 4
    assert len(found) == sum(map(len, OPTIMIZERS.values()))
    assert max(found.values()) < 1e-8, found


def test_one_device_needs_nothing_of_it():
    assert sharers() == 1
    assert float(mean(jnp.arange(8.0))) == 3.5
    assert float(average(jnp.asarray(28.0), 8)) == 3.5
    assert isinstance(executor_for(4096, jax.devices()[0]), Alone)


@pytest.mark.parametrize("walkers", [1, 64, LEAST_WALKERS])
def test_few_walkers_stay_together(walkers):
    assert isinstance(executor_for(walkers, jax.devices()[0]), Alone)


if __name__ == "__main__":
    main()
