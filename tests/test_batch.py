"""Runs trained together in one vectorised program: the same numbers, decisions made once, each run its own end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from repro.errors import DivergedError, InputError
from repro.study.runs.profiles import configure
from repro.study.runs.sweep import DIVERGED, DONE, RUNNING, plan, sweep
from repro.training.batched_runs import Member, train_member, train_together
from repro.training.epoch import chunk_of_epochs
from repro.training.executor import Batch, in_threads, mapped_chunk
from repro.training.model import build_model
from repro.training.reporting import Silent
from repro.training.run import train
from repro.training.rundir import RunDirectory
from repro.vmc.physics.hamiltonian import System

COUPLINGS = [(-10.0, 0), (5.0, 0), (-10.0, 7)]
"""V0 and seed. All batches have three members, so that DGD's program is compiled once for all tests."""
EPOCHS = 2000
"""So many that a batch can be interrupted in the midst of them."""
TOO_STRONG = 1.7e308
"""A coupling whose energies are not finite."""


def tiny(v0=-10.0, seed=0, optimizer="dgd", **options):
    if optimizer in ("ngd", "dgd"):
        options = {"minres_iterations": 6, **options}
    return configure(
        particles=2,
        v0=v0,
        seed=seed,
        optimizer=optimizer,
        profile="smoke",
        hidden=8,
        walkers=64,
        sweeps=3,
        epochs=12,
        pretrain_epochs=10,
        evaluation_batches=8,
        dtype="float64",
        **options,
    )


def members(tmp_path, configs):
    return [Member(config, tmp_path / config.run_name, None, Silent()) for config in configs]


def curve(path):
    return pd.read_csv(RunDirectory(path).curve).drop(columns="seconds")


@pytest.mark.parametrize("optimizer", ["adam", "kfac"])
def test_a_batch_gives_each_run_what_it_has_alone(tmp_path, optimizer):
    configs = [tiny(v0, seed, optimizer, **({} if optimizer == "adam" else {"damping": 1e3})) for v0, seed in COUPLINGS]
    ended = train_together(members(tmp_path / "together", configs))
    alone, together = train(configs[1], tmp_path / "alone"), ended[1]
    pd.testing.assert_frame_equal(curve(together.run.path), curve(alone.run.path), rtol=1e-8, atol=1e-10)
    assert together.result["energy"] == pytest.approx(alone.result["energy"], rel=1e-7)
    assert (together.result["trained_together"], alone.result["trained_together"]) == (3, 1)
    assert len({float(curve(outcome.run.path)["energy"][3]) for outcome in ended}) == 3


def test_what_depends_on_the_epoch_is_decided_once_for_all(x64):
    """Mapped, the counter of epochs would turn decisions into the computation of both branches."""
    model = build_model(tiny(optimizer="qn-kfac"), 64)
    state = model.enter(model.phases[1], jax.jit(model.initial_state)())
    chunk = chunk_of_epochs(model.phases[1].epoch, model.phases[1].stream, 4)
    two = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if getattr(path[-1], "name", "") == "epoch" else jnp.stack([leaf, leaf]), state
    )
    seeds = jnp.stack([model.seed, model.seed])
    systems = jax.tree.map(lambda part: jnp.stack([part, part]), model.system)

    def equations(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for part in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda part: hasattr(part, "eqns")):
                if (inner := getattr(part, "jaxpr", part)) is not part or hasattr(part, "eqns"):
                    yield from equations(inner)

    def decisions(function, *arguments):
        """Branches, and loops that go on for all members while any of them wants it."""
        found = list(equations(jax.make_jaxpr(function)(*arguments).jaxpr))
        loops = [equation.params["cond_jaxpr"] for equation in found if equation.primitive.name == "while"]
        together = sum(loop.out_avals[0].shape != () for loop in loops)
        return sum(equation.primitive.name == "cond" for equation in found), together

    alone = decisions(chunk, state, model.seed, model.system, jnp.int32(2))
    assert alone[0] >= 1  # the judgement of a step
    assert alone[1] == 0  # the loop over candidates for gamma
    assert decisions(mapped_chunk(chunk, state), two, seeds, systems, jnp.int32(2)) == alone
    everything = jax.vmap(chunk, in_axes=(0, 0, 0, None))
    all_two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    branches, loops = decisions(everything, all_two, seeds, systems, jnp.int32(2))
    assert branches < alone[0]
    assert loops > 0


def test_a_run_that_diverges_leaves_the_others_alone(tmp_path, monkeypatch):
    for bound in ("checks.LARGEST", "run.STRONGEST"):  # couplings that are accepted have finite energies
        monkeypatch.setattr(f"repro.config.{bound}", math.inf)
    configs = [tiny(v0) for v0 in (-10.0, TOO_STRONG, 4.0)]
    first, lost, last = train_together(members(tmp_path, configs))
    assert isinstance(lost, DivergedError)
    assert RunDirectory(tmp_path / configs[1].run_name).read_result()["status"] == "diverged"
    assert first.result["status"] == last.result["status"] == "complete"
    assert len(curve(first.run.path)) == 12
    assert [job.state for job in plan(configs, [], tmp_path)] == [DONE, DIVERGED, DONE]


def test_one_that_cannot_be_written_is_reported_and_the_others_end(tmp_path):
    good, other, bad = members(tmp_path, [tiny(), tiny(2.0), tiny(3.0)])
    bad.out.mkdir()
    (bad.out / "something else").touch()
    outcome, another, refused = train_together([good, other, bad])
    assert outcome.result["status"] == another.result["status"] == "complete"
    assert isinstance(refused, InputError)
    assert "holds files that are not a run" in str(refused)


def test_members_of_one_seed_are_pretrained_once(tmp_path):
    """Pretraining knows nothing of the couplings; what follows does."""
    configs = [tiny(v0, seed, "adam") for v0, seed in COUPLINGS]
    batch = Batch(3)
    tasks = [partial(train_member, member, executor=batch) for member in members(tmp_path, configs)]
    outcomes = in_threads(batch, tasks)
    assert set(batch._programs) == {("pretraining", 2), ("training", 3), ("evaluation", 3)}
    alone = train(configs[2], tmp_path / "alone")
    for outcome in outcomes:
        same = outcome.run.read_config().seed == 7
        tables = [pd.read_csv(run.pretraining).drop(columns="seconds") for run in (outcome.run, alone.run)]
        assert np.allclose(*(table.to_numpy() for table in tables), rtol=1e-8) is same


def test_runs_at_different_places_wait_for_each_other(tmp_path):
    """One has its pretraining behind it, another one has ended: the curves are the same."""
    configs = [tiny(v0, optimizer="adam") for v0 in (-10.0, 2.0, 7.0)]
    alone = [train(config, tmp_path / "alone" / config.run_name).run.path for config in configs]
    first, second, _ = members(tmp_path, configs)
    ended = train_together(
        [replace(first, pretrained=alone[1]), second, replace(second, config=configs[2], out=alone[2])]
    )
    for path, outcome in zip(alone, ended, strict=True):
        pd.testing.assert_frame_equal(curve(outcome.run.path), curve(path), rtol=1e-8, atol=1e-10)


class Counted(NamedTuple):
    """The least that a batch takes for a state."""

    value: jax.Array
    epoch: jax.Array


def test_a_member_that_leaves_does_not_compute_in_its_own_precision():
    """Precision is a setting of the thread, and the one that leaves last has left the context of its run."""

    def chunk(state, seed, system, count):
        del seed, system
        return Counted(state.value / 3.0, state.epoch + count), {"value": state.value[None]}

    batch, found = Batch(2), []

    def ask():
        with jax.enable_x64(True):
            state = Counted(jnp.ones(()), jnp.int32(0))
            take_part = batch.compile("training", chunk, state, jnp.uint32(0), System(0.0, 1.0))
            found.append(take_part(state, jnp.uint32(0), System(jnp.zeros(()), jnp.ones(())), 1))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(1.0)
    assert found == []
    batch.leave()
    thread.join(60)
    assert found[0][0].value.dtype == np.float64


def test_runs_of_different_programs_are_refused(tmp_path):
    with pytest.raises(InputError, match="only v0, sigma0 and seed may differ"):
        train_together(members(tmp_path, [tiny(), tiny(optimizer="ngd")]))
    assert not any(tmp_path.iterdir())


def grid_of(epochs):
    return [replace(tiny(v0, seed, "adam"), epochs=epochs) for v0, seed in COUPLINGS]


def test_a_sweep_in_batches(tmp_path):
    configs = [*grid_of(12), replace(tiny(optimizer="adam"), epochs=9)]
    seen = set()

    def watcher(jobs):
        running = {job.process.pid for job in jobs if job.state == RUNNING}
        seen.add(len(running))

    jobs = sweep(configs, tmp_path, batch=8, watcher=watcher)
    assert [job.state for job in jobs] == [DONE, DONE, DONE, DONE]
    assert max(seen) == 1
    together = [job.directory.read_result()["trained_together"] for job in jobs]
    assert together == [3, 3, 3, 1]
    assert "evaluation" in jobs[1].log.read_text()


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_none_is_refused(tmp_path, batch):
    with pytest.raises(InputError, match=f"batch = {batch}: must be at least 1"):
        sweep(grid_of(3), tmp_path / "out", batch=batch)
    assert not (tmp_path / "out").exists()


def test_a_batch_that_has_computed_nothing_ends_at_once(tmp_path, monkeypatch):
    """Hundreds of members take minutes to begin."""
    monkeypatch.setattr("repro.training.batched_runs.train_member", lambda member, **options: time.sleep(60))
    begin = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt):
        train_together(members(tmp_path, [tiny(), tiny(2.0)]))
    assert time.monotonic() - begin < 30


def test_an_interrupted_batch_goes_on_to_the_same_bits(tmp_path):
    configs = grid_of(EPOCHS)
    grid = [{"config": config.to_dict(), "pretrained": None} for config in configs]

    def started(out):
        runs = [{**entry, "out": str(out / config.run_name)} for entry, config in zip(grid, configs, strict=True)]
        out.mkdir(exist_ok=True)
        process = subprocess.Popen([sys.executable, "-m", "repro.study.runs.sweep"], stdin=subprocess.PIPE, text=True)
        process.stdin.write(json.dumps({"runs": runs, "device": "cpu", "cores": [0]}) + "\n")
        process.stdin.flush()
        return process

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with started(whole) as process:
        assert process.wait() == 0
    with started(cut) as process:
        log = cut / f"{configs[0].run_name}.log"
        while (
            not (log.exists() and "training: 0/" in log.read_text().replace("pretraining", ""))
            and process.poll() is None
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert max(len(curve(cut / config.run_name)) for config in configs) < EPOCHS
    with started(cut) as process:
        assert process.wait() == 0
    for config in configs:
        np.testing.assert_array_equal(curve(cut / config.run_name), curve(whole / config.run_name))
