"""Run directories: complete, resumable after a kill, never overwritten by accident; and what a user may get wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, is_one_line, repro

from repro import runtime
from repro.cli import main
from repro.errors import DivergedError, InputError
from repro.study.manifest import store_runs
from repro.study.profiles import configure
from repro.study.sweep import Job, donor_for
from repro.training.curve import CURVE_COLUMNS, Table
from repro.training.evaluation import evaluate
from repro.training.run import train
from repro.training.rundir import RunDirectory

TINY = {"particles": 2, "v0": -10.0, "profile": "smoke", "walkers": 64, "sweeps": 4}
OPTIONS = ("--particles", "2", "--v0", "-10", "--profile", "smoke", "--walkers", "64", "--sweeps", "4")


def tiny(**options):
    return configure(**(TINY | {"epochs": 30, "pretrain_epochs": 20} | options))


def without_seconds(path: Path) -> list[list[str]]:
    rows = list(csv.reader(path.read_text().splitlines()))
    column = rows[0].index("seconds")
    return [row[:column] + row[column + 1 :] for row in rows]


def row_count(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished small run."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(tiny(), out)


def test_contents_of_a_run_directory(finished):
    run, result = finished
    assert {entry.name for entry in run.path.iterdir()} == {
        ".lock", "config.json", "curve.csv", "pretraining.csv", "checkpoint.npz", "pretrained.npz", "result.json",
    }  # fmt: skip
    assert run.read_config() == tiny()
    rows = list(csv.DictReader(run.curve.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 31))
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert all(row["lambda"] == row["rho"] == row["minres_iterations"] == "" for row in rows)
    assert all(float(row["energy_error"]) > 0 for row in rows)
    assert result["status"] == "complete"
    assert result["content_hash"] == run.read_config().content_hash
    for key in ("energy", "energy_error", "rhat", "ess", "variance", "seconds_per_epoch", "peak_memory_bytes"):
        assert np.isfinite(result[key])
    assert 0.0 < result["rounding"] < result["energy_error"]
    assert set(result["versions"]) >= {"python", "jax", "jaxlib", "dm-haiku", "optax", "numpy", "repro"}
    assert set(result["device"]) == {"platform", "kind", "processor", "threads"}
    assert result["git_revision"]


def test_evaluation_repeats(finished):
    run, result = finished
    again = evaluate(run.path)
    assert again["energy"] == result["energy"]
    assert (again["phase"], again["epoch"]) == ("training", 30)


def launch(out: Path, epochs: int, pretrain: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "repro", "train", *OPTIONS, "--epochs", str(epochs), "--pretrain-epochs",
               str(pretrain), "--checkpoint-seconds", "0", "--out", str(out), "--resume"]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_rows(process: subprocess.Popen[bytes], table: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while row_count(table) < rows:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path):
    """kill -9 once while pretraining and once while training, then compare with the uninterrupted run."""
    epochs, pretrain = 2000, 1500
    out = tmp_path / "killed"
    run = RunDirectory(out)
    for watched, rows in ((run.pretraining, 20), (run.curve, 20)):
        with launch(out, epochs, pretrain) as process:
            wait_for_rows(process, watched, rows)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not run.result.exists()
    assert 20 <= row_count(run.curve) < epochs
    with launch(out, epochs, pretrain) as process:
        assert process.wait(timeout=240) == 0
    whole = train(tiny(epochs=epochs, pretrain_epochs=pretrain), tmp_path / "whole")
    assert row_count(run.curve) == epochs
    assert without_seconds(run.pretraining) == without_seconds(whole.run.pretraining)
    assert without_seconds(run.curve) == without_seconds(whole.run.curve)
    assert run.read_result()["energy"] == whole.result["energy"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_the_last_chunk(tmp_path, number):
    out = tmp_path / "interrupted"
    run = RunDirectory(out)
    with launch(out, 1000000, 1) as process:
        wait_for_rows(process, run.curve, 10)
        process.send_signal(number)
        message = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "error: interrupted" in message
    assert row_count(run.curve) >= 10
    assert not run.result.exists()


def test_rows_beyond_the_checkpoint_are_computed_again(tmp_path, finished):
    """What a crash leaves between the table and the checkpoint, and a torn last line, are healed."""
    out = tmp_path / "healed"
    config = tiny(epochs=30)
    run = train(config, out).run
    whole = run.curve.read_text()
    run.result.unlink()
    run.curve.write_text(whole + "31,0.5,0.1")
    (out / ".curve.csv.abc.tmp").write_text("left behind")
    train(config, out, resume=True)
    assert without_seconds(run.curve) == without_seconds(finished.run.curve)
    assert not (out / ".curve.csv.abc.tmp").exists()


def test_resuming_a_complete_run_changes_nothing(finished):
    before = finished.run.curve.read_bytes()
    again = train(tiny(), finished.run.path, resume=True)
    assert again.result == finished.result
    assert finished.run.curve.read_bytes() == before


def test_an_existing_run_is_not_overwritten(finished, tmp_path):
    with pytest.raises(InputError, match=r"--resume.*--overwrite"):
        train(tiny(), finished.run.path)
    with pytest.raises(InputError, match=r"seed: 0 -> 1"):
        train(tiny(seed=1), finished.run.path, resume=True)
    with pytest.raises(InputError, match="exclude each other"):
        train(tiny(), finished.run.path, resume=True, overwrite=True)
    (tmp_path / "thesis.txt").write_text("precious")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="not a run"):
            train(tiny(), tmp_path, **options)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_overwrite_replaces(tmp_path):
    out = tmp_path / "run"
    train(tiny(epochs=2, pretrain_epochs=0), out)
    outcome = train(tiny(epochs=3, pretrain_epochs=0), out, overwrite=True)
    assert row_count(outcome.run.curve) == 3


def test_two_writers_exclude_each_other(finished):
    with finished.run.locked(), pytest.raises(InputError, match="another process"):
        train(tiny(), finished.run.path, overwrite=True)
    assert finished.run.result.exists()


def damaged(finished, tmp_path, change):
    """A copy of the finished run without its result, its checkpoint changed."""
    copy = RunDirectory(tmp_path / "copy")
    copy.path.mkdir()
    for source in (finished.run.config, finished.run.curve, finished.run.pretraining, finished.run.checkpoint):
        (copy.path / source.name).write_bytes(source.read_bytes())
    change(copy.checkpoint)
    return copy


def drop_array(path: Path) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays.pop(next(name for name in arrays if "walkers" in name))
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "truncated or damaged"),
        (lambda p: p.write_bytes(b""), "truncated or damaged"),
        (lambda p: np.savez(p, a=np.zeros(3)), "not a checkpoint"),
        (drop_array, "found nothing"),
    ],
)
def test_damaged_checkpoints(finished, tmp_path, change, message):
    copy = damaged(finished, tmp_path, change)
    before = {entry.name: entry.read_bytes() for entry in copy.path.iterdir()}
    with pytest.raises(InputError, match=message):
        train(tiny(), copy.path, resume=True)
    assert {e.name: e.read_bytes() for e in copy.path.iterdir() if e.name != ".lock"} == before


def test_checkpoint_of_another_run(finished, tmp_path):
    other = train(tiny(seed=3, epochs=2), tmp_path / "other").run
    copy = damaged(finished, tmp_path, lambda p: p.write_bytes(other.checkpoint.read_bytes()))
    with pytest.raises(InputError, match="belongs to configuration"):
        train(tiny(), copy.path, resume=True)


def test_curve_shorter_than_its_checkpoint(finished, tmp_path):
    copy = damaged(finished, tmp_path, lambda p: None)
    copy.curve.write_text("\n".join(copy.curve.read_text().splitlines()[:5]) + "\n")
    with pytest.raises(InputError, match="4 rows, but the checkpoint knows 30"):
        train(tiny(), copy.path, resume=True)


def test_walker_chunk_is_kept_on_resuming(finished, tmp_path):
    copy = damaged(finished, tmp_path, lambda p: None)
    with pytest.raises(InputError, match="begun with 64"):
        train(tiny(), copy.path, resume=True, walker_chunk=32)


def test_revisions_of_all_the_code_that_made_a_run_are_recorded(tmp_path, monkeypatch):
    """Whether it goes on with an interrupted run or takes over a pretraining; such a run is not stored."""
    monkeypatch.setenv("REPRO_REVISION", "first")
    one = train(tiny(), tmp_path / "one")
    assert (one.result["git_revision"], one.result["earlier_revisions"]) == ("first", [])
    one.run.result.unlink()
    assert train(tiny(), one.run.path, resume=True).result["earlier_revisions"] == []
    one.run.result.unlink()
    assert donor_for(tiny(epochs=5), [Job(tiny(), one.run.path)]) == one.run.path
    monkeypatch.setenv("REPRO_REVISION", "second")
    assert donor_for(tiny(epochs=5), [Job(tiny(), one.run.path)]) is None
    resumed = train(tiny(), one.run.path, resume=True)
    taken = train(tiny(epochs=5), tmp_path / "taken", pretrained=one.run.path)
    for made in (resumed, taken):
        assert (made.result["git_revision"], made.result["earlier_revisions"]) == ("second", ["first"])
        (tmp_path / "stored").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"several revisions \(first, second\)"):
            store_runs([made.run.path], tmp_path / "stored")
        assert not any((tmp_path / "stored").iterdir())


def test_sweeps_found_by_the_walkers(tmp_path):
    run, result = train(tiny(sweeps="auto", epochs=15), tmp_path / "auto")
    for path in (run.pretraining, run.curve):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        sweeps = [float(row["sweeps"]) for row in rows]
        assert list(rows[0])[-1] == "sweeps"
        assert all(count % 10 == 0 and 10 <= count <= 1000 for count in sweeps)
    assert evaluate(run.path)["energy"] == result["energy"]
    refused = repro("train", *OPTIONS[:-1], "many", "--out", str(tmp_path / "other"))
    assert refused.returncode == 2
    assert "sweeps = 'many': must be a whole number, or 'auto'" in refused.stderr
    assert not (tmp_path / "other").exists()


def test_divergence_is_a_result(tmp_path):
    out = tmp_path / "diverged"
    with pytest.raises(DivergedError, match="is not finite at training epoch"):
        train(tiny(learning_rate=1e38, pretrain_epochs=0), out)
    run = RunDirectory(out)
    result = run.read_result()
    assert (result["status"], result["phase"]) == ("diverged", "training")
    # The curve holds every epoch before the bad one, and the checkpoint a state that can be looked at.
    assert row_count(run.curve) == result["epoch"] - 1 < 30
    assert "nan" not in run.curve.read_text()
    with np.load(run.checkpoint) as archive:
        assert all(np.isfinite(archive[name]).all() for name in archive.files if name != "header")
    with pytest.raises(DivergedError):
        train(tiny(learning_rate=1e38, pretrain_epochs=0), out, resume=True)
    done = repro(
        "train", *OPTIONS, "--pretrain-epochs", "0", "--learning-rate", "1e38", "--out", str(tmp_path / "again")
    )
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "-"), "name of a directory"),
        (("--v0", "nan"), "v0 = nan: must be finite"),
        (("--particles", "0"), "particles = 0: must be at least 1"),
        (("--particles", "two"), "--particles"),
        (("--hidden", "0"), "hidden = 0: must be at least 1"),
        (("--hidden", "-5"), "hidden = -5: must be at least 1"),
        (("--particles", "65"), "raise --hidden to at least 65"),
        (("--checkpoint-seconds", "nan"), "checkpoint_seconds = nan: must be finite"),
        (("--optimizer", "sgd"), "choose one of adam"),
        (("--optimizer", "dgd", "--protocol", "published"), "choose one of released, deck"),
        (("--optimizer", "dgd", "--damping", "-1"), "damping = -1: must be positive"),
        (("--optimizer", "ngd", "--minres-iterations", "0"), "minres_iterations = 0: must be at least 1"),
        (("--optimizer", "kfac", "--minres-iterations", "9"), "has no effect on kfac"),
        (("--optimizer", "adam", "--start", "aligned"), "has no effect on adam"),
        (("--device", "tpu"), "choose cpu or gpu"),
        (("--walker-chunk", "7"), "must divide"),
        (("--nonsense", "1"), "No such option"),
    ],
)
def test_bad_options_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(runtime, "configure_jax", lambda device: None)  # this process has its JAX
    monkeypatch.setattr(sys, "argv", ["repro", "train", *OPTIONS, "--out", str(tmp_path / "never"), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    is_one_line(told.err, message)
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_one_line_says_so(tmp_path):
    done = repro("train", *OPTIONS, "--out", str(tmp_path / "never"), "--device", "gpu", JAX_PLATFORMS="cpu")
    assert done.returncode == 2
    is_one_line(done.stderr, "finds no GPU")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file"):
        train(tiny(), file / "run")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written"):
        train(tiny(), tmp_path / "run")
    monkeypatch.undo()
    with pytest.raises(InputError, match="cannot be written"):
        train(tiny(), "/proc/run")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_evaluate_on_the_command_line(finished, tmp_path):
    done = repro("evaluate", str(finished.run.path), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["energy"] == finished.result["energy"]
    assert found["source"] == "sampled now"
    assert abs(found["exact"] - 0.59590593) < 1e-8
    stored = tmp_path / "stored"
    stored.mkdir()
    for file in (finished.run.config, finished.run.result):
        (stored / file.name).write_bytes(file.read_bytes())
    table = repro("evaluate", str(stored))
    assert "stored result" in table.stdout
    assert "split R-hat" in table.stdout
    nothing = repro("evaluate", str(tmp_path))
    assert nothing.returncode == 2
    assert "not a run directory" in nothing.stderr


def test_plain_lines_when_the_output_is_no_terminal(tmp_path):
    done = repro("train", *OPTIONS, "--epochs", "5", "--pretrain-epochs", "5", "--out", str(tmp_path / "run"))
    assert done.returncode == 0
    assert "\x1b" not in done.stderr
    assert "training: 5/5, E = " in done.stderr
    assert "(exact " in done.stderr


def test_tables_keep_nine_digits():
    table = Table(("epoch", "energy", "lambda"))
    table.append({"epoch": 1, "energy": 1 / 3})
    assert table.encode() == b"epoch,energy,lambda\n1,0.333333333,\n"
    with pytest.raises(InputError, match="header"):
        Table.decode(("epoch", "energy"), table.encode().decode(), 1, "curve.csv")
