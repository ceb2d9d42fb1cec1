"""Grids and sweeps: what a file stands for, what is skipped, shared, recorded and refused."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time

import pytest

from repro.errors import InputError
from repro.study.reports.display import SweepLines, sweep_summary
from repro.study.runs.grid import read_grid
from repro.study.runs.profiles import configure
from repro.study.runs.store import project_path
from repro.study.runs.sweep import (
    DONE,
    FAILED,
    RUNNING,
    STORED,
    WAITING,
    Job,
    _let_go,
    _reap,
    _start,
    _together,
    plan,
    shares,
    sweep,
)
from repro.training.interruptions import interruptions
from repro.training.run import train
from repro.training.rundir import RunDirectory

TINY = {"profile": "smoke", "walkers": 32, "sweeps": 2, "epochs": 4, "pretrain_epochs": 3, "evaluation_batches": 8}
GRID = """
[[runs]]
profile = "smoke"
walkers = 32
sweeps = 2
epochs = 4
pretrain_epochs = 3
evaluation_batches = 8
particles = 2
optimizer = "adam"
v0 = [-1, 1.5]
seed = [0, 1]

[[runs]]
particles = 3
v0 = 20
optimizer = "dgd"
start = "aligned"
"""


def write(tmp_path, text):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return path


def test_a_grid_is_the_product_of_its_lists(tmp_path):
    found = read_grid(write(tmp_path, GRID))
    expected = [configure(**TINY, particles=2, v0=v0, seed=seed) for v0 in (-1.0, 1.5) for seed in (0, 1)]
    assert found == [*expected, configure(particles=3, v0=20.0, optimizer="dgd", start="aligned")]
    assert [config.content_hash for config in found[:4]] == [config.content_hash for config in expected]


def test_a_run_named_twice_is_one_run(tmp_path):
    assert len(read_grid(write(tmp_path, GRID + "\n[[runs]]\nparticles = 3\nv0 = 20.0\noptimizer = 'adam'\n" * 2))) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[runs]", "not TOML"),
        ("", "holds no"),
        ("runs = 3", "holds no"),
        ("jobs = 2\n" + GRID, "unknown key 'jobs'"),
        (GRID + "wlakers = 3\n", r"\[\[runs\]\] number 2: unknown key 'wlakers'"),
        ("[[runs]]\nparticles = 2\n", "missing key 'v0'"),
        ("[[runs]]\nparticles = 2\nv0 = []\n", r"v0 = \[\]: must hold at least one value"),
        ("[[runs]]\nparticles = 0\nv0 = 1\n", "number 1: particles = 0"),
        (
            "[[runs]]\nparticles = 2\nv0 = 1\noptimizer = 'adam'\ndamping = 3.0\n",
            "damping = 3: has no effect on adam",
        ),
    ],
)
def test_bad_grids_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_grid(write(tmp_path, text))


def test_a_grid_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_grid(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(project_path("paper_runs/grids").glob("*.toml")), ids=lambda path: path.stem)
def test_the_grids_of_the_study(path):
    assert read_grid(path)


def test_every_processor_is_shared_out_once():
    assert shares(1, [0, 1, 2]) == [(0, 1, 2)]
    assert shares(2, [0, 1, 2, 5]) == [(0, 2), (1, 5)]
    for jobs in (0, 4):
        with pytest.raises(InputError, match=f"jobs = {jobs}: must be between 1 and"):
            shares(jobs, [0, 1, 2])


def test_a_sweep_skips_shares_records_and_goes_on(tmp_path, capsys):
    """One run is stored, one directory is spoilt, two share their pretraining; the second call has nothing to do."""
    stored, out = tmp_path / "stored", tmp_path / "out"
    first, second, spoilt, known = (
        configure(**TINY, particles=2, v0=v0, optimizer=name)
        for v0, name in ((-1.0, "adam"), (1.5, "adam"), (0.5, "adam"), (2.0, "adam"))
    )
    stored.mkdir()
    train(known, stored / known.run_name)
    (out / spoilt.run_name).mkdir(parents=True)
    (out / spoilt.run_name / "notes.txt").write_text("not a run")
    watcher = SweepLines()
    jobs = sweep([first, spoilt, known, second], out, stored=[stored], watcher=watcher)
    assert [job.state for job in jobs] == [DONE, FAILED, STORED, DONE]
    assert "holds files that are not a run" in jobs[1].told
    assert (out / spoilt.run_name / "notes.txt").read_text() == "not a run"
    assert "pretraining taken from" in jobs[3].log.read_text()
    assert jobs[0].directory.pretraining.read_bytes() == jobs[3].directory.pretraining.read_bytes()
    assert RunDirectory(jobs[0].path).read_config() == first
    printed = capsys.readouterr().err
    assert f"failed {spoilt.run_name}" in printed
    assert f"done {second.run_name}" in printed
    assert sweep_summary(jobs) == "1 stored, 2 done, 1 failed"
    assert [job.state for job in plan([first, second], [stored], out)] == [DONE, DONE]


def test_an_interrupted_sweep_goes_on(tmp_path):
    """However it ends, kill -9 included, its runs end, too; the same command goes on from their checkpoints."""
    grid = write(
        tmp_path,
        '[[runs]]\nprofile = "smoke"\nwalkers = 32\nsweeps = 2\nepochs = 1000000\nparticles = 2\nv0 = 1\n'
        "pretrain_epochs = 3\nevaluation_batches = 8\n",
    )
    command = [sys.executable, "-m", "repro", "sweep", str(grid), "--out", str(tmp_path / "out")]
    config = read_grid(grid)[0]
    run = RunDirectory(tmp_path / "out" / config.run_name)

    def rows():
        return run.curve.read_text().count("\n") if run.curve.exists() else 1

    def within_a_minute(true):
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def nobody_writes():
        try:
            with run.locked():
                return True
        except InputError:
            return False

    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        before = rows()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        within_a_minute(lambda before=before: rows() > before)
        assert not nobody_writes()
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == code
        assert ("go on with the same command" in told) is (code == 130)
        within_a_minute(nobody_writes)
        assert not run.result.exists()
    (job,) = plan([config], [], tmp_path / "out")
    assert job.state == WAITING


def test_signals_of_one_moment_are_one_wish(monkeypatch):
    """A terminal's Ctrl-C reaches the runs of a sweep, and the sweep then asks them to end as well."""
    with interruptions() as asked:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert asked.is_set()
        monkeypatch.setattr("repro.training.interruptions.ONE_WISH_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def few_files():
    """A limit on open files as some systems have it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_hundreds_of_runs_in_one_process(tmp_path, few_files):
    """Their orders are longer than an argument may be, and their logs and locks more files than may be open."""
    jobs = []
    for seed in range(220):
        config = configure(**TINY, particles=2, v0=1.0, seed=seed)
        job = Job(config, tmp_path / config.run_name)
        job.path.mkdir()
        job.directory.config.write_text(config.to_json())
        numbers = dict.fromkeys(("energy", "energy_error", "rhat", "ess", "variance"), 1.0)
        record = {"status": "complete", "content_hash": config.content_hash, "curve_sha256": None, **numbers}
        job.directory.write_json(job.directory.result, record)
        jobs.append(job)
    _start(jobs, jobs, (), "cpu")
    assert jobs[0].process.wait(300) == 0
    _let_go(jobs[0].process)
    assert all("complete; nothing to do" in job.log.read_text() for job in jobs)


def test_more_runs_at_once_than_files_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1000))
    configs = [configure(**TINY, particles=2, v0=1.0, seed=seed) for seed in range(220)]
    with pytest.raises(InputError, match=r"batch = 220: needs 1136 open files.*limit is 1000; make it 186"):
        sweep(configs, tmp_path / "out", batch=300)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_falls_into_a_destructor_is_not_lost(tmp_path, monkeypatch, number):
    """An exception raised there would be: the sweep would go on for ever."""

    class Process:
        terminated = waited = False
        stdin = None

        def poll(self):
            return None

        def terminate(self):
            self.terminated = True

        def wait(self):
            self.waited = True

    class Dying:
        def __del__(self):
            signal.raise_signal(number)
            sum(range(1000))

    process, seen = Process(), []

    def watcher(jobs):
        seen.append(jobs[0].state)
        assert len(seen) < 5, "the signal was lost"
        Dying()

    def start(batch, jobs, cores, device):
        (job,) = batch
        job.process, job.state = process, RUNNING

    monkeypatch.setattr("repro.study.runs.sweep._start", start)
    monkeypatch.setattr("repro.study.runs.sweep.POLL_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt):
        sweep([configure(**TINY, particles=2, v0=1.0)], tmp_path, watcher=watcher)
    assert seen == [RUNNING]
    assert process.terminated
    assert process.waited


def test_a_batch_begins_with_the_job_that_may_start(tmp_path):
    """An earlier job that waits for another's pretraining is neither taken instead of it nor along with it."""
    seeds = (0, 0, 1, 1, 1)
    running, blocked, first, second, third = (
        Job(configure(**TINY, particles=2, v0=float(number), seed=seed), tmp_path / str(number))
        for number, seed in enumerate(seeds)
    )
    running.state = RUNNING
    jobs = [running, blocked, first, second, third]
    assert _together(first, jobs, 1) == [first]
    assert _together(first, jobs, 2) == [first, second]
    assert _together(third, jobs, 9) == [third, first, second]
    running.state = DONE
    assert _together(first, jobs, 2) == [first, blocked]


def test_another_run_of_the_same_name_is_not_taken_for_it(tmp_path):
    config, other = (configure(**TINY, particles=2, v0=v0) for v0 in (1.0, 2.0))
    train(other, tmp_path / config.run_name)
    with pytest.raises(InputError, match="holds another run"):
        plan([config], [], tmp_path)


def test_a_process_that_ends_after_its_run_is_let_go(tmp_path):
    """Its run was done before; no zombie stays, and no pipe, while the sweep goes on."""
    config = configure(**TINY, particles=2, v0=1.0)
    process = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    job = Job(config, tmp_path / "0", DONE, process=process)
    for _ in range(200):
        _reap([job])
        if process.stdin.closed:
            break
        time.sleep(0.05)
    assert process.returncode == 0
    assert process.stdin.closed


def test_time_left_is_told_once_it_is_known(tmp_path):
    config = configure(**TINY, particles=2, v0=1.0)
    jobs = [Job(config, tmp_path / str(n)) for n in range(3)]
    assert sweep_summary(jobs) == "3 waiting"
    jobs[0].state, jobs[0].seconds = DONE, 100.0
    assert sweep_summary(jobs) == "1 done, 2 waiting; about 3 min 20 s left"
