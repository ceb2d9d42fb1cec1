"""Run directories: one owner, foreign files left alone, files whole or not there, and what the system refuses told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT, is_one_line

from repro.errors import InputError, ReproError, StorageError
from repro.machine import processors
from repro.study.runs.profiles import configure
from repro.training import environment
from repro.training.files import write_atomic
from repro.training.run import train
from repro.training.rundir import RunDirectory, checked_path, claimed


def config(seed=0):
    return configure(particles=2, v0=-10.0, profile="smoke", seed=seed)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begun(path: Path) -> RunDirectory:
    """A directory with a file of each kind that a run leaves."""
    run = RunDirectory(path)
    with claimed(run, config(), resume=False, overwrite=False):
        run.begin(config())
        for name in ("curve.csv", "pretraining.csv.gz", "checkpoint.npz", "result.json"):
            (path / name).touch()
        run.observables.mkdir()
        (run.observables / "density.csv").touch()
    return run


def test_of_two_configurations_in_one_directory_one_is_refused(tmp_path):
    """Whoever is refused has changed nothing."""
    for number in range(50):
        run, ready, over, told = (
            RunDirectory(tmp_path / str(number)),
            threading.Barrier(2),
            threading.Barrier(2, timeout=60),
            [],
        )

        def attempt(seed, run=run, ready=ready, over=over, told=told):
            ready.wait()
            try:
                with claimed(run, config(seed), resume=seed == 1, overwrite=False):
                    run.begin(config(seed))
                    told.append(seed)
                    over.wait()
            except InputError as error:
                told.append(str(error))
                over.wait()

        threads = [threading.Thread(target=attempt, args=(seed,)) for seed in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        (owner,) = (one for one in told if isinstance(one, int))
        (refusal,) = (one for one in told if isinstance(one, str))
        assert "another process" in refusal or "already holds a run" in refusal or "holds another run" in refusal
        assert run.read_config() == config(owner)


def test_overwriting_removes_the_files_of_the_run_and_no_others(tmp_path):
    run = begun(tmp_path / "run")
    foreign = {"notes.txt": b"mine", ".notes.tmp": b"mine", "observables/mine.csv": b"1", "code/config.json": b"{}"}
    for name, content in foreign.items():
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_bytes(content)
    (run.path / ".curve.csv.0a1b2c3d.tmp").touch()  # left behind by a crash
    before = contents(run.path)
    with claimed(run, config(1), resume=False, overwrite=True) as claim:
        assert not claim.exists
        assert contents(run.path).keys() == before.keys() - {".curve.csv.0a1b2c3d.tmp"}
        run.begin(config(1))
    assert contents(run.path) == {**foreign, ".lock": b"", "config.json": config(1).to_json().encode()}
    other = begun(tmp_path / "other")
    with claimed(other, config(), resume=False, overwrite=True):
        other.begin(config())
        assert {path.name for path in (tmp_path / "other").iterdir()} == {".lock", "config.json"}


def test_overwriting_on_a_full_disk_leaves_the_old_run_whole(tmp_path, monkeypatch):
    run = begun(tmp_path / "run")
    before = contents(run.path)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with claimed(run, config(1), resume=False, overwrite=True), pytest.raises(StorageError, match="No space left"):
        run.begin(config(1))
    assert contents(run.path) == before


@pytest.mark.parametrize("text", ['{"name": "a web page"}', "", "[]", config().to_json().replace("-10.0", "-11.0")])
@pytest.mark.parametrize("options", [(False, False), (True, False), (False, True)])
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, text, options):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "thesis.txt").write_text("precious")
    before = contents(tmp_path)
    with (
        pytest.raises(InputError, match="nothing there is touched"),
        claimed(RunDirectory(tmp_path), config(), *options),
    ):
        pass
    assert contents(tmp_path) == before


def test_a_directory_in_the_place_of_a_file_is_named_before_anything_is_removed(tmp_path):
    run = begun(tmp_path)
    run.pretrained.mkdir()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"pretrained\.npz: is a directory"), claimed(run, config(), False, True):
        pass
    assert contents(tmp_path) == before


def test_the_lock_is_a_file_of_its_own(tmp_path):
    run, mine = RunDirectory(tmp_path / "run"), tmp_path / "mine.txt"
    run.path.mkdir()
    mine.write_text("precious")
    run.lock.symlink_to(mine)
    with pytest.raises(InputError, match="is a symbolic link"), run.locked():
        pass
    assert mine.read_text() == "precious"
    run.lock.unlink()
    run.lock.write_text("precious")
    with run.locked() as held:
        held()
        assert run.lock.read_text() == "precious"
        run.path.rename(tmp_path / "moved")
        with pytest.raises(StorageError, match="No such file"):
            held()
        run.path.mkdir()
        run.lock.touch()
        with pytest.raises(StorageError, match="was replaced"):
            held()
    run.lock.unlink()
    os.mkfifo(run.lock)
    with pytest.raises(InputError, match="is not a file"), run.locked():
        pass


def test_the_run_that_is_overwritten_gives_no_pretraining(tmp_path):
    run = begun(tmp_path)
    run.pretrained.touch()
    before = contents(tmp_path)
    with pytest.raises(InputError, match="is the run that --overwrite removes"):
        train(config(), tmp_path, overwrite=True, pretrained=tmp_path / ".")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_umask_gives(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EFBIG, "ulimit -f"), (errno.EIO, "mend that")]
)
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, number, remedy):
    (tmp_path / "file").write_bytes(b"before")

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=rf"file: {os.strerror(number)}; .*{remedy}.*, then .*--resume") as told:
        write_atomic(tmp_path / "file", b"after")
    assert told.value.exit_code == 2
    assert contents(tmp_path) == {"file": b"before"}


RUN = ("train", "--particles", "2", "--v0", "-10", "--profile", "smoke", "--out")


def test_what_the_system_refuses_is_told_in_one_line(tmp_path, called):
    file, long = tmp_path / "file", "x" * 300
    file.touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for arguments, message in (
        ((*RUN, f"{tmp_path}/{long}"), "File name too long"),
        ((*RUN, f"{file}/run"), "is a file"),
        ((*RUN, f"{tmp_path}/nowhere/run"), "symbolic link to nothing"),
        (("evaluate", f"{tmp_path}/{long}"), "File name too long"),
        (("sweep", str(ROOT / "paper_runs/grids/seeds.toml"), "--out", f"{tmp_path}/{long}"), "File name too long"),
    ):
        is_one_line(called(*arguments).err, message)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "nowhere"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_output_that_cannot_be_written_ends_in_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "repro", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    is_one_line(done.stderr, "No space left on device; make room")


def test_without_an_answer_of_git_no_run_begins(tmp_path, monkeypatch):
    """Else hours of work would be recorded as of unknown code."""

    def busy(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.delenv("REPRO_REVISION", raising=False)
    monkeypatch.setattr(subprocess, "run", busy)
    with pytest.raises(InputError, match="did not tell the revision"):
        train(config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_systems_that_do_not_tell_the_processors_of_a_process(monkeypatch):
    before = processors()
    assert before == sorted(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert processors() == [0, 1, 2]
    assert environment.thread_count() == 3


def test_a_place_is_looked_at_and_left_alone(tmp_path):
    with pytest.raises(ReproError, match="File name too long"):
        checked_path(tmp_path / ("x" * 300) / "run")
    assert checked_path(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
