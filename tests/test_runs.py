"""Run directories: complete, resumable after a kill, never overwritten by accident; and what a user may get wrong."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT, is_one_line, repro

from repro.errors import DivergedError, InputError, StorageError
from repro.study.runs.manifest import store_runs
from repro.study.runs.profiles import configure
from repro.study.runs.sweep import Job, donor_for
from repro.training.checkpoint import HEADER, Checkpoint, load_checkpoint
from repro.training.curve import CURVE_COLUMNS, Table
from repro.training.evaluation import evaluate
from repro.training.loading import load_run
from repro.training.reporting import Silent
from repro.training.restart import load_state
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


def test_overwriting_waits_until_nothing_can_be_refused_any_more(finished, tmp_path):
    """Here what is taken from another run turns out damaged; the run that was to be replaced is still there."""
    kept, donor = damaged(finished, tmp_path, lambda p: None), RunDirectory(tmp_path / "donor")
    donor.path.mkdir()
    for source in (finished.run.config, finished.run.pretraining):
        (donor.path / source.name).write_bytes(source.read_bytes())
    donor.pretrained.write_bytes(finished.run.pretrained.read_bytes()[:-100])
    before = {entry.name: entry.read_bytes() for entry in kept.path.iterdir()}
    with pytest.raises(InputError, match="truncated or damaged"):
        train(tiny(epochs=3), kept.path, overwrite=True, pretrained=donor.path)
    assert {e.name: e.read_bytes() for e in kept.path.iterdir() if e.name != ".lock"} == before


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


def momentum_without_a_number(path: Path) -> None:
    """A number of the optimiser's state: it may be infinite where nothing was measured yet, so nothing else tells."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = next(name for name in arrays if "opt_state" in name and arrays[name].dtype == np.float32)
    arrays[name] = np.full_like(arrays[name], np.nan)
    np.savez(path, **arrays)


def earlier_without_an_array(path: Path) -> None:
    drop_array(path)
    forget_checksums(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "truncated or damaged"),
        (lambda p: p.write_bytes(b""), "truncated or damaged"),
        (lambda p: np.savez(p, a=np.zeros(3)), "not a checkpoint"),
        (drop_array, "was altered"),
        (momentum_without_a_number, "was altered"),
        (earlier_without_an_array, "found nothing"),
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


def test_a_run_is_loaded_with_its_curve_its_outcome_and_its_state(finished):
    loaded = load_run(finished.run.path)
    assert loaded.config == finished.run.read_config()
    assert loaded.result == finished.result
    rows = list(csv.DictReader(finished.run.curve.read_text().splitlines()))
    assert set(loaded.curve) == set(rows[0])
    assert loaded.curve["energy"].tolist() == [float(row["energy"]) for row in rows]
    assert np.isnan(loaded.curve["rho"]).sum() == sum(not row["rho"] for row in rows)
    assert loaded.walkers.shape == (loaded.config.sampling.walkers, loaded.config.system.particles)
    assert np.isfinite(loaded.psi.log_psi(loaded.params, loaded.walkers)).all()
    stored = load_run(next((ROOT / "paper_runs").glob("dgd-A2-*")))  # packed, and without a checkpoint
    assert stored.params is None
    assert len(stored.curve["epoch"]) == stored.config.epochs
    with pytest.raises(InputError, match="not a run directory"):
        load_run(ROOT / "figures")


def test_a_checkpoint_of_an_earlier_version_is_read(finished):
    """It called the samples that persist ``.chain``."""
    path, found = finished.run.checkpoint, load_checkpoint(finished.run.checkpoint)
    former = {name.replace(".data", ".chain"): array for name, array in found.arrays.items()}
    assert former.keys() != found.arrays.keys()
    template = load_state(tiny(), finished.run, None, "cpu").state
    states = [Checkpoint(path, found.header, arrays).state(template) for arrays in (found.arrays, former)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def rewritten(path: Path, change) -> None:
    """Changes the rows of a table, header included."""
    rows = path.read_text().splitlines()
    path.write_text("\n".join(change(rows)) + "\n")


def with_cell(rows, row, column, value):
    cells = rows[row].split(",")
    cells[column] = value
    return [*rows[:row], ",".join(cells), *rows[row + 1 :]]


def forget_checksums(path: Path) -> None:
    """Makes a checkpoint one of an earlier version, which knew no checksums."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays[HEADER].tobytes())
    assert set(header.pop("tables")) == {"pretraining", "training"}
    assert header.pop("arrays")
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:5], "4 rows, but the checkpoint knows 30"),
        (lambda rows: ["epoch,energy", *rows[1:]], "the header is not that of this version"),
        (lambda rows: with_cell(rows, 7, 1, "0.6x"), "row 7: energy = '0.6x' is not a number"),
        (lambda rows: with_cell(rows, 7, 1, "0.6,0.1"), "row 7: 18 cells, but there are 17 columns"),
        (lambda rows: [*rows[:7], *rows[8:], rows[7]], "row 7: is of epoch 8, and epochs count from 1"),
        (lambda rows: with_cell(rows, 7, 1, "0.6"), "was altered"),
    ],
)
def test_damaged_curves(finished, tmp_path, change, message, earlier):
    """Neither gone on with nor vouched for; without a checksum in the checkpoint, form is all that can be told."""
    copy = damaged(finished, tmp_path, forget_checksums if earlier else lambda p: None)
    rewritten(copy.curve, change)
    before = {entry.name: entry.read_bytes() for entry in copy.path.iterdir()}
    if earlier and message == "was altered":
        assert train(tiny(), copy.path, resume=True).result["energy"] == finished.result["energy"]
        return
    with pytest.raises(InputError, match=rf"curve\.csv.*{message}.*; get the file back, or start anew"):
        train(tiny(), copy.path, resume=True)
    assert {e.name: e.read_bytes() for e in copy.path.iterdir() if e.name != ".lock"} == before


def test_other_tables_are_confirmed_too(finished, tmp_path):
    """The pretraining of a run, one that is taken from another run, and the curve of a run that has ended."""
    copy = damaged(finished, tmp_path, lambda p: None)
    copy.pretrained.write_bytes(finished.run.pretrained.read_bytes())
    rewritten(copy.pretraining, lambda rows: with_cell(rows, 3, 1, "0.5"))
    for options in ({"out": copy.path, "resume": True}, {"out": tmp_path / "new", "pretrained": copy.path}):
        with pytest.raises(InputError, match=r"pretraining\.csv: was altered"):
            train(tiny(), **options)
    copy.result.write_bytes(finished.run.result.read_bytes())
    rewritten(copy.curve, lambda rows: with_cell(rows, 3, 1, "0.5"))
    with pytest.raises(InputError, match=r"was altered after the run.*start anew with --overwrite"):
        train(tiny(), copy.path, resume=True)


def test_resuming_without_a_checkpoint_does_not_begin_again(finished, tmp_path):
    """Only where no epoch was kept there is nothing to lose."""
    copy = damaged(finished, tmp_path, Path.unlink)
    before = {entry.name: entry.read_bytes() for entry in copy.path.iterdir()}
    for table in (copy.curve, copy.pretraining):
        with pytest.raises(InputError, match=rf"has epochs in {table.name}, but no checkpoint\.npz"):
            train(tiny(), copy.path, resume=True)
        assert {e.name: e.read_bytes() for e in copy.path.iterdir() if e.name != ".lock"} == before
        before.pop(table.name)
        table.unlink()
    again = train(tiny(), copy.path, resume=True)
    assert without_seconds(again.run.curve) == without_seconds(finished.run.curve)


def test_damage_anywhere_in_a_checkpoint_is_found(finished, tmp_path):
    """Bytes altered, cut off or put in: the arrays are those that were saved, or a line says what is wrong."""
    path, random = tmp_path / "checkpoint.npz", np.random.default_rng(0)
    whole, saved = finished.run.checkpoint.read_bytes(), load_checkpoint(finished.run.checkpoint)
    names, found = set(saved.arrays), 0
    for _ in range(300):
        content, place = bytearray(whole), int(random.integers(len(whole)))
        place = place if random.integers(2) else len(whole) - 1 - place % 3000  # where the names are
        content[place : place + int(random.integers(3))] = random.bytes(int(random.integers(3)))
        path.write_bytes(content)
        try:
            read = load_checkpoint(path)
        except InputError as error:
            found += len(str(error).splitlines()) == 1
        else:
            assert read.header == saved.header
            assert all(np.array_equal(read.arrays[name], saved.arrays[name]) for name in names & set(read.arrays))
    assert found > 100


def test_a_full_disk_that_has_room_again(finished, tmp_path, monkeypatch):
    """Wherever the disk is full, one line says so; the run goes on and ends as one that was never interrupted."""
    flush, out = os.fsync, tmp_path / "run"
    for failing in (0, 1, 2, 4, 7, None):
        calls = iter(range(1000))

        def full(handle, calls=calls, failing=failing):
            if failing is not None and next(calls) >= failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            flush(handle)

        monkeypatch.setattr(os, "fsync", full)
        if failing is None:
            train(tiny(), out, resume=True, checkpoint_seconds=0)
            break
        with pytest.raises(StorageError, match="No space left on device; make room"):
            train(tiny(), out, resume=True, checkpoint_seconds=0)
        assert not [entry for entry in out.iterdir() if entry.name.endswith(".tmp")]
    run = RunDirectory(out)
    for table, expected in ((run.curve, finished.run.curve), (run.pretraining, finished.run.pretraining)):
        assert without_seconds(table) == without_seconds(expected)
    assert run.read_result()["energy"] == finished.result["energy"]


def test_a_run_does_not_write_into_a_directory_that_took_the_place_of_its_own(tmp_path):
    out = tmp_path / "run"

    class Mover(Silent):
        def advance(self, done, metrics):
            if not (tmp_path / "moved").exists():
                out.rename(tmp_path / "moved")
                out.mkdir()
                (out / ".lock").touch()

    with pytest.raises(StorageError, match="was replaced meanwhile"):
        train(tiny(), out, checkpoint_seconds=0, reporter=Mover())
    assert [entry.name for entry in out.iterdir()] == [".lock"]


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
    assert donor_for(tiny(epochs=5), [Job(tiny(), one.run.path)], "first") == one.run.path
    monkeypatch.setenv("REPRO_REVISION", "second")
    assert donor_for(tiny(epochs=5), [Job(tiny(), one.run.path)], "second") is None
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
        (("--optimizer", "lion"), "choose one of adam"),
        (("--optimizer", "dgd", "--protocol", "published"), "choose one of released, deck"),
        (("--optimizer", "dgd", "--damping", "-1"), "damping = -1: must be positive"),
        (("--optimizer", "ngd", "--minres-iterations", "0"), "minres_iterations = 0: must be at least 1"),
        (("--optimizer", "kfac", "--minres-iterations", "9"), "has no effect on kfac"),
        (("--optimizer", "adam", "--start", "aligned"), "has no effect on adam"),
        (("--device", "tpu"), "choose one of cpu, gpu"),
        (("--walker-chunk", "7"), "must divide"),
        (("--nonsense", "1"), "No such option"),
    ],
)
def test_bad_options_end_in_one_line(tmp_path, called, arguments, message):
    told = called("train", *OPTIONS, "--out", str(tmp_path / "never"), *arguments)
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
