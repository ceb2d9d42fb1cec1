"""Benchmarks: operations counted against formulas, growth against made-up laws, and that the parts make up an epoch."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from repro.cli import app
from repro.config import SystemConfig
from repro.errors import InputError, ReproError
from repro.study.benchmarks import epoch as whole_epoch
from repro.study.benchmarks import peers, sweeps
from repro.study.benchmarks.growth import WHOLE, apportioned, growth
from repro.study.benchmarks.operations import matrix_operations
from repro.study.benchmarks.parts import Size, bench_parts, measure
from repro.study.benchmarks.subprocesses import measure_each, write_table
from repro.study.runs.profiles import configure
from repro.vmc.ansatz.wavefunction import slater_wavefunction
from repro.vmc.problem import density
from repro.vmc.sampling.metropolis import LENGTH_BOUNDS, STRIDE, initial_chain, walk

M, N, K = 3, 5, 7


def test_operations_of_products_and_loops():
    a, b, square = jnp.ones((M, K)), jnp.ones((K, N)), jnp.ones((K, K))
    once, step = 2.0 * M * N * K, 2.0 * M * K * K

    def repeated(count, x):
        return jax.lax.fori_loop(0, count, lambda _, y: y @ square, x)

    assert matrix_operations(jnp.matmul, a, b) == once
    assert matrix_operations(lambda x: jnp.tanh(x) + jnp.sum(x), a) == 0.0
    assert matrix_operations(jax.vmap(jnp.matmul, (None, 0)), a, jnp.stack([b] * 4)) == 4.0 * once
    assert matrix_operations(lambda x: repeated(6, x), a) == 6.0 * step
    assert matrix_operations(jax.jit(repeated), 6, a, repetitions=(6,)) == 6.0 * step
    cond = lambda flag, x: jax.lax.cond(flag, lambda y: y @ square, lambda y: y, x)  # noqa: E731
    assert matrix_operations(cond, True, a) == step
    # The gradient of sum(a b) in both: two products more.
    assert matrix_operations(jax.grad(lambda x, y: jnp.sum(jnp.tanh(x @ y)), (0, 1)), a, b) == 3.0 * once


def test_operations_in_nested_loops_whose_length_is_data():
    square = jnp.eye(K)

    def inner(count, x):
        return jax.lax.fori_loop(0, count, lambda _, y: y @ square, x)

    def outer(count, x):
        return jax.lax.fori_loop(0, count, lambda n, y: inner(n, y), x)

    def idle(count, x):
        return jax.lax.fori_loop(0, count, lambda _, y: jnp.tanh(y), x) @ square

    x = jnp.ones((M, K))
    assert matrix_operations(outer, 4, x, repetitions=(4, 1.5)) == 6.0 * 2.0 * M * K * K
    assert matrix_operations(idle, 4, x) == 2.0 * M * K * K
    with pytest.raises(ValueError, match="repetitions"):
        matrix_operations(outer, 4, x, repetitions=(4,))


def test_operations_of_a_walk_are_those_of_its_densities():
    psi = slater_wavefunction(3, hidden=8)
    params, chain = psi.init(jax.random.key(0)), initial_chain(jax.random.key(1), 16, 3, "float32")
    target = density(psi, params)
    one = matrix_operations(target, chain.walkers)
    # Per particle: each layer sees its own features and the mean of all, once a walker; then three orbitals.
    assert one == 2.0 * 16 * (3 * (1 * 8 + 8 * 8 + 8 * 3) + 1 * 8 + 8 * 8)
    assert matrix_operations(lambda c: walk(target, c, jax.random.key(2), 10), chain) == 11.0 * one


def test_parts_that_add_up_to_more_than_their_epoch_are_shortened_in_proportion():
    seconds = {("adam", WHOLE): 4.0, ("adam", "sampling"): 1.0, ("adam", "gradient"): 2.0}
    seconds |= {("dgd", WHOLE): 3.0, ("dgd", "sampling"): 1.0, ("dgd", "gradient"): 2.0, ("dgd", "direction"): 1.0}
    rows = pd.DataFrame([{"optimizer": o, "part": p, "seconds": s} for (o, p), s in seconds.items()])
    parts, excess = apportioned(rows)
    assert list(parts.index) == ["sampling", "gradient", "direction"]
    assert parts["adam"].to_list() == [1.0, 2.0, 0.0]
    assert parts["dgd"].to_list() == [0.75, 1.5, 0.75]
    assert excess.to_dict() == {"adam": 0.75, "dgd": pytest.approx(4 / 3)}


def test_growth_finds_the_exponents_of_a_law():
    sizes = [(a, 64, 8) for a in (4, 2, 6, 10)] + [(4, w, 8) for w in (128, 256)] + [(4, 64, h) for h in (16, 32)]
    rows = [
        {
            "optimizer": "dgd",
            "part": part,
            "particles": a,
            "walkers": w,
            "hidden": h,
            "parameters": h * h,
            # Two particles break the law: they are left out.
            "seconds": (7.0 if a == 2 else 1.0) * a**2 * w * h**power,
            "peak_memory_gb": a**3.0 if part == WHOLE else float("nan"),
        }
        for a, w, h in sizes
        for part, power in ((WHOLE, 1.0), ("direction", 3.0))
    ]
    found = growth(pd.DataFrame(rows)).set_index(["part", "with", "of"])["exponent"].to_dict()
    assert found == pytest.approx(
        {
            (WHOLE, "A", "seconds"): 2.0,
            (WHOLE, "W", "seconds"): 1.0,
            (WHOLE, "parameters", "seconds"): 0.5,
            ("direction", "A", "seconds"): 2.0,
            ("direction", "W", "seconds"): 1.0,
            ("direction", "parameters", "seconds"): 1.5,
            (WHOLE, "A", "memory"): 3.0,
            (WHOLE, "W", "memory"): 0.0,
            (WHOLE, "parameters", "memory"): 0.0,
        }
    )


@pytest.mark.parametrize(
    ("optimizer", "update"),
    [
        ("adam", []),
        ("dgd", ["derivatives", "direction", "scaling"]),
        ("spring", ["update"]),
    ],
)
def test_the_parts_of_an_epoch(optimizer, update):
    whole, *parts = measure(Size(optimizer, 2, 64, 5, 64))
    assert whole["part"] == WHOLE
    assert [row["part"] for row in parts] == ["sampling", "local energy", "gradient", *update]
    assert all(row["seconds"] >= 0.0 for row in parts)
    # What SPRING computes is not counted, so nothing is said of the whole.
    assert np.isnan([row["operations"] for row in (parts[-1], whole)]).all() == (optimizer == "spring")
    if optimizer != "spring":
        assert whole["operations"] == pytest.approx(sum(row["operations"] for row in parts))
    assert whole["compile_seconds"] > 0.0
    assert whole["peak_memory_gb"] > 0.0
    if optimizer == "dgd":
        named = {row["part"]: row["operations"] for row in parts}
        # Scaling pushes two vectors. MINRES pushes and pulls in each of 50 iterations and once to begin with; what is
        # beyond that forms the small blocks, whose matrices then take the place of the pushes.
        push = named["scaling"] / 2.0
        assert 95.0 * push < named["direction"] < 115.0 * push


def test_a_benchmark_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    out, asked = tmp_path / "new" / "parts.csv", []

    def measured(module, cases, label, outcome):
        for case in cases:
            asked.append(case)
            if len(asked) == 3:
                raise KeyboardInterrupt
            own = dict(zip(("optimizer", "particles", "walkers", "sweeps", "hidden"), case, strict=True))
            yield [own | {"part": WHOLE, "seconds": 0.5, "operations": 3.0, "rate": 12.0}]

    monkeypatch.setattr("repro.study.benchmarks.parts.measure_each", measured)
    arguments = (["adam", "dgd"], [2, 3], [64], [8], 5, out)
    with pytest.raises(InputError, match="nothing to go on with"):
        bench_parts(*arguments, resume=True)
    with pytest.raises(KeyboardInterrupt):
        bench_parts(*arguments)
    assert len(pd.read_csv(out)) == 2
    table = bench_parts(*arguments, resume=True)
    assert asked[2:] == [("adam", 3, 64, 5, 8), ("adam", 3, 64, 5, 8), ("dgd", 3, 64, 5, 8)]
    pd.testing.assert_frame_equal(pd.read_csv(out), table, check_dtype=False)
    assert list(table["fraction_of_rate"]) == [0.5] * 4
    # What was measured before stays as it was written.
    write_table(table.assign(fraction_of_rate=0.25), out)
    further = bench_parts(["adam", "dgd"], [2, 3, 4], [64], [8], 5, out, resume=True)
    assert list(further["fraction_of_rate"]) == [0.25] * 4 + [0.5] * 2


def test_a_benchmark_says_what_it_cannot_measure(tmp_path):
    for arguments, told in [
        ((["newton"], [2], [64], [8], 5), "unknown"),
        (([], [0], [64], [8], 5), "particles = 0"),
        (([], [2], [1], [8], 5), "walkers = 1"),
        (([], [2], [64], [8], 0), "sweeps = 0"),
        (([], [2], [64], [8, 0], 5), "hidden = 0"),
    ]:
        with pytest.raises(InputError, match=told):
            bench_parts(*arguments, tmp_path / "parts.csv")
    with pytest.raises(ReproError, match=r"case 1: .*missing"):
        list(measure_each("repro.study.benchmarks.parts", [(1,)], lambda n: f"case {n}", str))


@pytest.mark.usefixtures("optimized")  # it computes for longer than it compiles
def test_walks_of_any_length_measure_one_energy(monkeypatch):
    monkeypatch.setattr(sweeps, "OPTIMIZER", "adam")  # compiles sooner
    monkeypatch.setattr(sweeps, "configure", partial(configure, pretrain_epochs=100))
    short, longer, own = sweeps.measure(2, -10.0, 5, 64, 200, [1, 40, "auto"])
    assert [row["asked"] for row in (short, longer, own)] == ["1", "40", "auto"]
    assert (short["sweeps"], longer["sweeps"]) == (1.0, 40.0)
    assert LENGTH_BOUNDS[0] <= own["sweeps"] <= LENGTH_BOUNDS[1]
    assert round(own["sweeps"] * own["batches"]) % STRIDE == 0
    for one, other in ((short, longer), (own, longer)):
        assert abs(one["energy"] - other["energy"]) < 5.0 * np.hypot(one["error"], other["error"])
    # What is alike from batch to batch counts for less.
    assert short["correlation"] > 0.5 > own["correlation"]
    assert short["ess"] < 0.5 * longer["ess"]
    assert short["error"] > longer["error"]
    assert all(row["seconds"] > 0.0 for row in (short, longer, own))
    for row in (short, longer, own):
        assert row["independent_a_second"] == pytest.approx(row["ess"] / row["seconds"])


def test_walks_are_measured_case_by_case(tmp_path, monkeypatch):
    out, asked = tmp_path / "sweeps.csv", []

    def measured(module, cases, label, outcome):
        for case in cases:
            asked.append(case[:2])
            if len(asked) == 2:
                raise KeyboardInterrupt
            numbers = {"energy": -1.23456789, "error": 1e-6, "independent_a_second": 50.0}
            rows = [{"particles": case[0], "v0": case[1], "asked": str(one), **numbers} for one in case[-1]]
            assert outcome(rows) == "10: 50 a second, auto: 50 a second"
            yield rows

    monkeypatch.setattr(sweeps, "measure_each", measured)
    arguments = ([SystemConfig(2, -10.0), SystemConfig(3, 20.0)], [10, "auto"], 5, 64, 20, out)
    with pytest.raises(KeyboardInterrupt):
        sweeps.bench_sweeps(*arguments)
    with pytest.raises(InputError, match="is there already"):
        sweeps.bench_sweeps(*arguments)
    table = sweeps.bench_sweeps(*arguments, resume=True)
    assert asked == [(2, -10.0), (3, 20.0), (3, 20.0)]
    assert list(table["asked"]) == ["10", "auto"] * 2
    assert (pd.read_csv(out)["energy"] == -1.23456789).all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--batches", "15"], "batches = 15: must be a multiple of 10"),
        (["--batches", "0"], "batches = 0"),
        (["--sweeps", "0"], "sweeps = 0"),
        (["--sweeps", "many"], "sweeps = 'many'"),
        (["--cases", "two"], "cases = 'two'"),
        (["--walkers", "1"], "walkers = 1"),
    ],
)
def test_walks_that_cannot_be_measured(tmp_path, arguments, told):
    done = CliRunner().invoke(app, ["bench", "sweeps", "--out", str(tmp_path / "sweeps.csv"), *arguments])
    assert isinstance(done.exception, InputError)
    assert told in str(done.exception)


@pytest.mark.parametrize("code", peers.TASKS["laplacian"])
def test_all_laplacians_are_the_same(x64, code):
    if peers.installed(code) is None:
        pytest.skip(f"{code} is not installed: make setup LOCK=peers")
    psi = slater_wavefunction(3, hidden=8, dtype="float64")
    params, x = psi.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (6, 3), "float64")
    found = jax.jit(peers.LAPLACIANS[code], static_argnums=0)(psi, params, x)
    np.testing.assert_allclose(found, jax.jit(psi.laplacian_ratio)(params, x), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")  # those of other packages are theirs
@pytest.mark.parametrize(("task", "code"), [(task, code) for task, codes in peers.TASKS.items() for code in codes])
def test_the_work_of_a_peer_is_measured(task, code):
    if peers.installed(code) is None:
        pytest.skip(f"{code} is not installed: make setup LOCK=peers")
    row = peers.measure(task, code, 2, 16)
    assert row["seconds"] > 0.0
    assert row["code"].startswith(code)


def test_without_peers_there_is_nothing_to_compare(monkeypatch):
    def absent(package):
        raise peers.PackageNotFoundError(package)

    monkeypatch.setattr(peers, "version", absent)
    assert peers.installed(peers.OURS) == peers.OURS
    assert peers.installed("netket, SR") is None
    with pytest.raises(InputError, match="LOCK=peers"):
        peers.bench_peers([2], 64)
    with pytest.raises(InputError, match="walkers = 1"):
        peers.bench_peers([2], 1)


def test_an_epoch_of_ones_own_choice_is_timed():
    """Also of optimisers that the study does not have: claims about seconds rest on it."""
    row = whole_epoch.measure("proximal-dgd", 2, 32, 5, 1)
    assert [row[name] for name in ("optimizer", "particles", "walkers", "sweeps", "epochs")] == [
        "proximal-dgd",
        2,
        32,
        5,
        1,
    ]
    assert 0.0 < row["fastest_seconds_per_epoch"] <= row["seconds_per_epoch"]


@pytest.mark.parametrize(
    ("optimizers", "particles", "count", "message"),
    [
        (["newton"], [2], 5, "newton.*proximal-dgd"),
        (["dgd"], [0], 5, "particles = 0"),
        (["dgd"], [2], 0, "epochs = 0: must be at least 1"),
    ],
)
def test_bad_sizes_are_refused_before_an_epoch_is_timed(monkeypatch, tmp_path, optimizers, particles, count, message):
    monkeypatch.setattr(whole_epoch, "measure_each", None)
    with pytest.raises(InputError, match=message):
        whole_epoch.bench_epoch(optimizers, particles, 32, 5, count, False, tmp_path / "T01.csv")


def test_rounds_go_on_where_they_were_interrupted(tmp_path, monkeypatch):
    """By the command line: every row keeps its quickest round, and a later call adds the rounds that are missing."""
    out, seconds, asked = tmp_path / "T01.csv", iter([4.0, 2.0, 3.0, 5.0, 1.0, 9.0]), []

    def measured(module, cases, label, outcome):
        for case in cases:
            asked.append(case[0])
            if len(asked) == 4:
                raise KeyboardInterrupt
            yield dict(zip(whole_epoch.CASE, case, strict=True)) | {
                "seconds_per_epoch": next(seconds),
                "compile_seconds": 1.0,
                "peak_memory_gb": 0.5,
            }

    monkeypatch.setattr(whole_epoch, "measure_each", measured)
    monkeypatch.setattr("repro.runtime.configure_jax", lambda: None)

    def bench(*further, walkers=32):
        arguments = ["bench", "epoch", "--particles", "2", "--optimizer", "dgd", "--walkers", str(walkers)]
        return CliRunner().invoke(app, [*arguments, "--sweeps", "5", "--epochs", "5", "--out", str(out), *further])

    assert "nothing to go on with" in str(bench("--resume").exception)
    assert isinstance(bench("--rounds", "2").exception, KeyboardInterrupt | SystemExit)
    assert asked == ["dgd", "dgd, dense", "dgd", "dgd, dense"]
    table = pd.read_csv(out)
    assert list(table["seconds_per_epoch"]) == [3.0, 2.0]
    assert list(table["rounds"]) == [2, 1]
    assert "is there already" in str(bench().exception)
    assert "has dgd with 32 walkers, 5 sweeps and 5 epochs, not 64, 5 and 5" in str(
        bench("--resume", walkers=64).exception
    )
    assert bench("--rounds", "3", "--resume").exit_code == 0
    assert asked[4:] == ["dgd, dense", "dgd", "dgd, dense"]
    table = pd.read_csv(out)
    assert list(table["epochs"]) == [5, 1]
    assert list(table["seconds_per_epoch"]) == [1.0, 2.0]
    assert list(table["dense_over_this"]) == [2.0, 1.0]
    assert list(table["rounds"]) == [3, 3]
    for damaged, told in [(b"", "not a table"), (b"optimizer\ndgd\n", "has no column 'particles'")]:
        out.write_bytes(damaged)
        assert told in str(bench("--resume").exception)
        assert out.read_bytes() == damaged
