"""The guide's code runs as printed, and finds the energies it says; the dense baseline takes the same steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, random_state, repro

from repro.errors import InputError
from repro.optimizers import dgd
from repro.study.benchmarks.epoch import bench_epoch, dense_dgd, quicker
from repro.training.epoch import training_epoch
from repro.training.state import TrainState
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import MonteCarlo
from repro.vmc.sampling import initial_chain


def test_the_guide_runs_as_printed(capsys):
    """A quantum dot, a classifier and a differential equation, twenty lines each; then a loop of one's own."""
    blocks = [block.split("```")[0] for block in (ROOT / "docs" / "use-dgd.md").read_text().split("```python\n")[1:]]
    scope: dict = {}
    printed = []
    for number, block in enumerate(blocks):
        exec(compile(block, f"use-dgd.md, block {number + 1}", "exec"), scope)
        printed.append(capsys.readouterr().out)
        assert len([line for line in block.splitlines() if line and "import" not in line]) <= 20
        if number == 0:
            metrics = {name: values[-1] for name, values in scope["found"].curve.items()}
            # M. Taut, J. Phys. A 27, 1045 (1994)
            assert abs(metrics["energy"] - 3.0) < 0.01 + 5 * metrics["energy_error"]
            assert "E = " in printed[0]
        if number == 1:
            wrong = [float(line.split("wrong ")[1].rstrip("%")) for line in printed[1].splitlines()]
            assert len(wrong) == 3
            assert max(wrong) < 25.0
        if number == 2:
            assert float(scope["worst"]) < 1e-4
    assert np.isfinite(jax.flatten_util.ravel_pytree(scope["params"])[0]).all()
    assert int(scope["opt_state"].epoch) == 1
    assert np.isfinite(scope["rho"])


def test_the_dense_baseline_takes_the_same_steps():
    """What the benchmark compares with is the same algorithm."""
    with jax.enable_x64(True):
        psi, params = random_state(2, hidden=5)
        energies = []
        for optimizer in (dgd(psi, damping=100.0, minres_iterations=50), dense_dgd(psi, damping=100.0)):
            chain = initial_chain(jax.random.key(5), 64, 2, "float64")
            state = TrainState(params, optimizer.init(params), chain, jnp.int32(0))
            epoch = jax.jit(training_epoch(MonteCarlo(psi, 64, 3), optimizer))
            found = []
            for t in range(6):
                state, metrics = epoch(state, jax.random.key(t), System(jnp.asarray(-3.0), jnp.asarray(0.5)))
                found.append(float(metrics["energy"]))
            energies.append(found)
        np.testing.assert_allclose(energies[0], energies[1], rtol=1e-6)


def test_bench_prints_and_stores_the_table(tmp_path):
    out = tmp_path / "T01.csv"
    done = repro(
        *("bench", "epoch", "--particles", "2", "--walkers", "64", "--sweeps", "2", "--epochs", "5"),
        *("--optimizer", "adam", "--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    assert "about 0 min left" in done.stderr
    header, ours, dense = out.read_text().splitlines()
    assert header.startswith(
        "optimizer,particles,walkers,sweeps,epochs,seconds_per_epoch,fastest_seconds_per_epoch,compile_seconds,"
    )
    assert ours.startswith("adam,2,64,2,5,")
    assert dense.startswith('"dgd, dense",2,64,2,1,')
    assert dict(zip(header.split(","), ours.split(","), strict=True))["rounds"] == "1"
    assert float(ours.split(",")[-1]) > 0
    assert "dense" in done.stdout


def test_bench_refuses_what_it_cannot_measure(tmp_path):
    out = tmp_path / "T01.csv"
    for arguments, told in [
        ((["newton"], [2], 64, 2, 5), "unknown"),
        (([], [2], 64, 2, 0), "epochs = 0"),
        (([], [0], 64, 2, 5), "particles = 0"),
        (([], [2], 1, 2, 5), "walkers = 1"),
    ]:
        with pytest.raises(InputError, match=told):
            bench_epoch(*arguments, False, out)
    with pytest.raises(InputError, match="rounds = 0"):
        bench_epoch([], [2], 64, 2, 5, False, out, rounds=0)


def test_of_each_case_the_quickest_round_is_kept():
    best = None
    for seconds in (3.0, 2.0, 2.5):
        best = quicker(best, {"case": seconds, "seconds_per_epoch": seconds})
    assert best == {"case": 2.0, "seconds_per_epoch": 2.0, "rounds": 3}
