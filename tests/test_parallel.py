"""Walkers spread over devices: the same random numbers to the bit, the same epochs to rounding.

A process has the devices it began with, so the comparison is made by this file run as a program, with four of them:

    JAX_NUM_CPU_DEVICES=4 python tests/test_parallel.py

For devices of several processes, one of two processes that make a run together is

    JAX_NUM_CPU_DEVICES=2 python tests/test_parallel.py ADDRESS NUMBER DIRECTORY
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from repro.config import PARTS_OF, RunConfig
from repro.errors import InputError
from repro.numerics.sharding import WALKERS, all_gather, mean_from_sums, pmean, psum, sharing_devices
from repro.optimizers import proximal_step as proximal
from repro.study.runs.profiles import configure
from repro.training.epoch import chunk_of_epochs
from repro.training.evaluation import EVALUATION_CAPACITY, evaluation_epoch, held
from repro.training.executor import LEAST_WALKERS, Executor, SingleDevice, Spread, executor_for
from repro.training.model import build_model, numerics
from repro.training.run import train
from repro.training.rundir import RunDirectory
from repro.training.state import EVALUATION_STREAM
from repro.training.walker_chunk import resolve_walker_chunk
from repro.vmc.sampling import noise

ROOT = Path(__file__).parents[1]
EPOCHS = (3, 4)
# Between them they sum over walkers in every place there is: energies, scores, factors, both metrics, both models,
# paired changes, the walkers' own matrix.
OPTIMIZERS = {"adam": (2, 4), "qn-mr-kfac": (4,), "dgd": (4,), "proximal-dgd": (4,), "spring": (4,)}


def tiny(optimizer: str, **sizes: Any) -> RunConfig:
    regulated = optimizer in PARTS_OF
    options: dict[str, Any] = {"damping": 1000.0, "minres_iterations": 6} if regulated else {}
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
        **sizes,
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
        parts = [psum(jnp.sum(x)), pmean(x), mean_from_sums(jnp.sum(x**2), x.shape[0]), jnp.median(all_gather(x))]
        return jnp.stack([*parts, jnp.asarray(sharing_devices(), x.dtype)])

    return spread(found, devices, PartitionSpec(WALKERS), PartitionSpec())(jnp.arange(8.0)).tolist()


def trained(config: RunConfig, executor: Executor) -> Any:
    """Curve, walkers, parameters and local energies after a few epochs from the initial state.

    The evaluation knows nothing of the optimiser: it is that of Adam's run only.
    """
    # Once MINRES has found an eigenvector, further iterations amplify rounding.
    with numerics(config.dtype, jax.devices()[0]), mock.patch.object(proximal, "ITERATIONS", 4):
        model = build_model(config, resolve_walker_chunk(config, 32))
        phase = model.phases[1]
        state = model.enter(phase, jax.jit(model.initial_state)())
        chunk = chunk_of_epochs(phase.epoch, phase.stream, max(EPOCHS))
        run = executor.compile(phase.name, chunk, state, model.seed, model.system)
        curves = []
        for count in EPOCHS:  # the second call begins with what the first returned
            state, metrics = run(state, model.seed, model.system, jnp.int32(count))
            curves.append({name: values[:count] for name, values in metrics.items()})
        if config.optimizer.name != "adam":
            return jax.device_get((curves, state))
        chunk = chunk_of_epochs(evaluation_epoch(model), EVALUATION_STREAM, EVALUATION_CAPACITY)
        start = held(state)
        run = executor.compile("evaluation", chunk, start, model.seed, model.system)
        last, found = run(start, model.seed, model.system, jnp.int32(2))
        return jax.device_get((curves, state, last.data, found["energies"][:2]))


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
        alone = trained(tiny(optimizer), SingleDevice())
        for count in counts:
            found[f"{optimizer}, {count}"] = largest_difference(
                alone, trained(tiny(optimizer), Spread(jax.devices()[:count]))
            )
    print(json.dumps(found))


def shared() -> RunConfig:
    """A run that two processes make together."""
    return tiny("adam", epochs=sum(EPOCHS), pretrain_epochs=5, evaluation_batches=8)


def one_of_two(address: str, number: str, directory: str) -> None:
    """Makes the run together with another process."""
    jax.distributed.initialize(address, num_processes=2, process_id=int(number))
    with pytest.raises(InputError, match="walkers = 66: must be a multiple of 4"):
        executor_for(66, jax.local_devices()[0])
    train(shared(), directory, checkpoint_seconds=0.0)


def program(*arguments: str, devices: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_several_devices_compute_what_one_does():
    """Every column of the curve, walkers, parameters and optimiser state after 7 epochs, to 1e-8."""
    with program(devices=4) as process:
        told, errors = process.communicate()
    assert process.returncode == 0, errors
    found = json.loads(told.splitlines()[-1])
    assert found.pop("bits") == [True] * 4
    assert found.pop("sums") == [28.0, 3.5, 17.5, 3.5, 4.0]
    assert found.pop("chosen") == 4
    assert len(found) == sum(map(len, OPTIMIZERS.values()))
    assert max(found.values()) < 1e-8, found


def test_two_processes_make_a_run_together(tmp_path):
    """Each writes all of it, the same to the byte but for the seconds; to 1e-8 it is what one process makes alone."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    with ExitStack() as stack:
        processes = []
        for number in ("0", "1"):
            process = stack.enter_context(program(address, number, str(tmp_path / number), devices=2))
            stack.callback(process.kill)  # one of them alone would wait for the other
            processes.append(process)
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    train(shared(), tmp_path / "alone")
    runs = [RunDirectory(tmp_path / name) for name in ("0", "1", "alone")]
    first, second, alone = (pd.read_csv(run.curve).drop(columns="seconds") for run in runs)
    assert len(alone) == sum(EPOCHS)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    pd.testing.assert_frame_equal(first, alone, rtol=1e-8)
    assert [run.read_result()["devices"] for run in runs] == [4, 4, 1]
    together, by_itself = (run.read_result()["energy"] for run in runs[1:])
    assert together == pytest.approx(by_itself, rel=1e-8)
    with np.load(runs[0].checkpoint) as one, np.load(runs[2].checkpoint) as other:
        names = [name for name in one.files if name != "header"]
        assert names == [name for name in other.files if name != "header"]
        assert largest_difference([one[name] for name in names], [other[name] for name in names]) < 1e-8


def test_one_device_needs_nothing_of_it():
    assert sharing_devices() == 1
    assert float(pmean(jnp.arange(8.0))) == 3.5
    assert float(mean_from_sums(jnp.asarray(28.0), 8)) == 3.5
    assert isinstance(executor_for(4096, jax.devices()[0]), SingleDevice)


@pytest.mark.parametrize("walkers", [1, 64, LEAST_WALKERS])
def test_few_walkers_stay_together(walkers):
    assert isinstance(executor_for(walkers, jax.devices()[0]), SingleDevice)


if __name__ == "__main__":
    if sys.argv[1:]:
        one_of_two(*sys.argv[1:])
    else:
        main()
