"""What is stored: every kind of tampering is caught, every verdict confirmed or not, and audits see broken code."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError, StorageError
from repro.optimizers import second_order
from repro.study import manifest, verify
from repro.study.benchmarks import kronecker
from repro.study.chain import chain_of
from repro.study.manifest import MANIFEST, check_manifest, store_runs, write_manifest
from repro.study.profiles import configure
from repro.study.store import load_run, project_path
from repro.study.verdicts import Verdict
from repro.study.verify import cost
from repro.training import environment
from repro.training.run import train
from repro.training.rundir import RunDirectory, packed

STORED = project_path("paper_runs")
CONFIG = configure(
    particles=2, v0=-10.0, optimizer="dgd", profile="smoke", damping=3.0, pretrain_epochs=50, epochs=61, walkers=128
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of DGD, by code that says it is committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_REVISION", "0" * 40)
        return train(CONFIG, tmp_path_factory.mktemp("made") / "run").run


@pytest.fixture
def root(made, tmp_path):
    """A folder of stored runs with one run in it."""
    store_runs([made.path], tmp_path)
    return tmp_path


def test_what_comes_with_the_project_is_as_listed():
    assert check_manifest(STORED) == []
    runs, problems = verify.stored_runs(STORED)
    assert problems == []
    assert len(runs) > 50


def test_storing_keeps_what_a_figure_needs_and_no_more(root, made):
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    assert folder.name == CONFIG.run_name
    assert {path.name for path in folder.iterdir()} == {"config.json", "curve.csv", "pretraining.csv", "result.json"}
    assert check_manifest(root) == []
    again = store_runs([made.path], root)
    assert (again.added, again.known) == ((), (CONFIG.run_name,))


def test_storing_is_done_whole_or_not_at_all(made, tmp_path, monkeypatch):
    """Whatever is in its way: another process, a disk that fills, what a killed one has left; and umask rules."""
    with manifest.storing(tmp_path), pytest.raises(InputError, match="another process is storing there"):
        store_runs([made.path], tmp_path)
    flush, calls = os.fsync, iter(range(1000))

    def full(handle):
        if next(calls) >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device; make room"):
            store_runs([made.path], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [manifest.LOCK]
    (tmp_path / f"{manifest.STAGE}left" / CONFIG.run_name).mkdir(parents=True)
    source = tmp_path / "source"
    shutil.copytree(made.path, source)
    RunDirectory(source).curve.chmod(0o600)
    before = os.umask(0o027)
    try:
        store_runs([source], tmp_path)
    finally:
        os.umask(before)
    shutil.rmtree(source)
    run = RunDirectory(tmp_path / CONFIG.run_name)
    write_manifest(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {manifest.LOCK, MANIFEST, run.path.name}
    assert {file.stat().st_mode & 0o777 for file in run.path.iterdir()} == {0o640}
    assert load_run(run.path).curve.equals(load_run(made.path).curve)


def test_runs_that_go_on_are_left_out(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "going-on")
    RunDirectory(tmp_path / "going-on").result.unlink()
    (tmp_path / "stored").mkdir()
    with pytest.raises(InputError, match="has not ended"):
        store_runs([tmp_path / "going-on"], tmp_path / "stored")
    assert list((tmp_path / "stored").iterdir()) == []
    done = store_runs([tmp_path / "going-on", made.path], tmp_path / "stored")
    assert (done.added, done.unfinished) == ((CONFIG.run_name,), ("going-on",))
    with pytest.raises(InputError, match="not a run directory"):
        store_runs([tmp_path / "no-run", made.path], tmp_path / "stored")


def test_observables_sampled_later_are_added(root, made, tmp_path):
    run = RunDirectory(tmp_path / "observed" / "run")
    shutil.copytree(made.path, run.path)
    run.observables.mkdir()
    (run.observables / "observables.json").write_text("{}")
    # Another curve that verifies, as of the same configuration on another machine.
    curve, result = run.curve.read_bytes(), run.read_result()
    run.curve.write_bytes(curve.replace(b"1", b"2", 1))
    run.write_json(run.result, result | {"curve_sha256": hashlib.sha256(run.curve.read_bytes()).hexdigest()})
    with pytest.raises(InputError, match="of another state"):
        store_runs([run.path], root)
    assert not (root / CONFIG.run_name / "observables").exists()
    run.curve.write_bytes(curve)
    run.write_json(run.result, result)
    done = store_runs([run.path], root)
    assert (done.added, done.known, done.observed) == ((), (CONFIG.run_name,), (CONFIG.run_name,))
    assert (root / CONFIG.run_name / "observables" / "observables.json").read_text() == "{}"
    assert check_manifest(root) == []
    assert store_runs([run.path], root).observed == ()


def test_long_tables_are_stored_packed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "PLAIN_BYTES", 10)
    store_runs([made.path], tmp_path)
    run, plain = RunDirectory(tmp_path / CONFIG.run_name), RunDirectory(made.path)
    assert not run.curve.exists()
    assert not run.pretraining.exists()
    assert run.read_table(run.pretraining) == plain.pretraining.read_bytes()
    assert load_run(run.path).curve.equals(load_run(made.path).curve)
    assert cost(load_run(run.path)) == cost(load_run(made.path)) > 0.0
    file = packed(run.curve)
    content = file.read_bytes()
    manifest.store_table(run.read_table(run.curve), run.curve)
    assert file.read_bytes() == content
    file.write_bytes(gzip.compress(run.read_table(run.curve).replace(b"1", b"2", 1)))
    with pytest.raises(InputError, match="altered after the run"):
        load_run(run.path)
    for damaged in (content[:-20], content[:40] + b"x" + content[41:], b"1,2,3"):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"curve\.csv\.gz: damaged"):
            load_run(run.path)
    file.unlink()
    with pytest.raises(InputError, match=r"curve\.csv: missing"):
        load_run(run.path)


def test_the_manifest_is_in_the_format_of_sha256sum(root):
    name = f"{CONFIG.run_name}/curve.csv"
    lines = dict(reversed(line.split("  ")) for line in (root / MANIFEST).read_text().splitlines())
    assert lines[name] == load_run(root / CONFIG.run_name).result["curve_sha256"]


@pytest.mark.parametrize("revision", ["0" * 40 + "+changes", "unknown"])
def test_runs_of_uncommitted_code_are_not_stored(made, tmp_path, revision):
    shutil.copytree(made.path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    run.write_json(run.result, run.read_result() | {"git_revision": revision})
    (tmp_path / "stored").mkdir()
    with pytest.raises(InputError, match="commit and run it again"):
        store_runs([tmp_path / "run"], tmp_path / "stored")
    assert list((tmp_path / "stored").iterdir()) == []


def alter(path):
    path.write_text(path.read_text().replace("1", "2", 1))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda run: alter(run.curve), "curve.csv: altered"),
        (lambda run: alter(run.result), "result.json: altered"),
        (lambda run: shutil.rmtree(run.path), "config.json: missing"),
        (lambda run: (run.path / "more.csv").write_text("x"), "more.csv: not listed"),
    ],
)
def test_tampering_is_caught(root, tamper, message):
    tamper(RunDirectory(root / CONFIG.run_name))
    assert any(message in problem for problem in check_manifest(root))


def test_an_altered_curve_is_caught_even_if_the_manifest_is_written_anew(root):
    alter(RunDirectory(root / CONFIG.run_name).curve)
    write_manifest(root)
    assert check_manifest(root) == []
    assert "was altered after the run" in verify.stored_runs(root)[1][0]


@pytest.mark.parametrize("name", ["figures/F06.ipynb", "repro/study/claims.toml"])
def test_a_changed_parameter_or_bound_is_caught(root, name):
    """Notebooks and claims are listed too: a default or a bound that is moved afterwards shows."""
    stored = root / "paper_runs"
    path = root / name
    stored.mkdir()
    path.parent.mkdir(parents=True)
    path.write_text("at_least = 2.0")
    write_manifest(stored)
    assert check_manifest(stored) == []
    path.write_text("at_least = 1.0")
    assert check_manifest(stored)[0].startswith(f"../{name}: altered")


def test_a_folder_of_another_name_is_caught(root):
    (root / CONFIG.run_name).rename(root / "dgd-elsewhere")
    assert "should be named" in verify.stored_runs(root)[1][0]


@pytest.mark.parametrize("text", [None, "not a checksum\n"])
def test_a_manifest_that_is_none(root, text):
    (root / MANIFEST).unlink()
    if text:
        (root / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"missing|not a checksum"):
        check_manifest(root)


def verdict(**values):
    return replace(Verdict("F02", "reproduced", "", 0.03, "", 5, 5, ("run",)), **values)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([verdict(verdict="undecided")], "stored is 'undecided', the data say 'reproduced'"),
        ([verdict(runs=("another",))], "other runs"),
        ([verdict(found=4)], "other runs"),
        ([], "no verdict is stored"),
        ([verdict(), verdict(claim="F99")], "no such claim"),
    ],
)
def test_verdicts_that_cannot_be_confirmed(stored, message):
    assert message in verify.unconfirmed(stored, [verdict()])[0]


def test_verdicts_are_stored_and_read(tmp_path):
    verify.write_verdicts(tmp_path, [verdict(), verdict(claim="F03", false_alarm=None)])
    assert verify.read_verdicts(tmp_path) == [verdict(), verdict(claim="F03", false_alarm=None)]
    assert verify.unconfirmed(verify.read_verdicts(tmp_path), verify.read_verdicts(tmp_path)) == []
    (tmp_path / verify.VERDICTS).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        verify.read_verdicts(tmp_path)
    (tmp_path / verify.VERDICTS).unlink()
    with pytest.raises(InputError, match="repro claims --store"):
        verify.read_verdicts(tmp_path)


def test_the_stored_verdicts_are_confirmed():
    assert verify.unconfirmed(verify.read_verdicts(STORED), verify.judge_all(STORED)) == []


# Audits


def curve(energies, error=0.1):
    return pd.DataFrame({"energy": energies, "energy_error": error})


def test_curves_are_compared_in_blocks_by_hand():
    noise = 0.1 * np.random.default_rng(0).normal(size=(2, 60))
    identical, worst = verify.compare(curve(2.0 + noise[0]), curve(2.0 + noise[0]))
    assert identical
    assert worst == 0.0
    identical, worst = verify.compare(curve(2.0 + noise[0]), curve(2.0 + noise[1]))
    assert not identical
    assert worst < verify.SIGMAS
    shifted = 2.0 + noise[1]
    shifted[30:40] += 0.3  # six standard errors of a mean of ten differences are 0.27
    assert verify.compare(curve(2.0 + noise[0]), curve(shifted))[1] > verify.SIGMAS


def test_the_draw_is_its_seed(made):
    runs = [replace(load_run(made.path), path=made.path.parent / str(n)) for n in range(20)]
    names = [[run.path.name for run in verify.draw(runs, 3, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 3
    for count in (-1, 21):
        with pytest.raises(InputError, match=f"audit = {count}: must be between 0 and"):
            verify.draw(runs, count, 0)


@pytest.mark.parametrize(
    ("made_by", "here", "seconds", "expected"),
    [
        ("cpu", "cpu", 1.0, True),
        ("cpu", "gpu", 1.0, True),
        ("gpu", "gpu", 1.0, True),
        ("gpu", "cpu", 1.0, False),  # what took a GPU seconds may take a processor hours
        ("cpu", "cpu", verify.AFFORDABLE_SECONDS, False),
    ],
)
def test_what_can_be_audited_here(made, made_by, here, seconds, expected):
    run = load_run(made.path)
    result = run.result | {"device": run.result["device"] | {"platform": made_by}}
    run = replace(run, result=result, curve=run.curve.assign(seconds=seconds))
    assert verify.affordable(run, here) is expected
    assert not verify.affordable(replace(run, result=result | {"status": "diverged"}), here)


def test_a_verification_from_end_to_end(root, monkeypatch):
    """Sound data are confirmed, with an audit that gives the same digits; a stored verdict that is wrong is not."""
    verify.write_verdicts(root, verify.judge_all(root))
    write_manifest(root)
    told = []
    monkeypatch.setattr(verify, "audit_metric", lambda seed: [f"state {seed}"])
    report = verify.verify(root, 1, 7, told.append)
    assert report.problems == ["state 7"]
    assert report.comparisons[0].identical
    assert any("seed 7" in line for line in told)
    stored = json.loads((root / verify.VERDICTS).read_text())
    stored[0]["verdict"] = "reproduced"
    (root / verify.VERDICTS).write_text(json.dumps(stored))
    write_manifest(root)
    problems = verify.verify(root, 0, 7, told.append).problems
    assert problems == ["F01: stored is 'reproduced', the data say 'undecided'"]


def test_a_state_of_the_stored_table_is_formed_again(monkeypatch):
    """It gives the stored numbers; a number that is altered is seen, and so is a state that is missing."""
    assert verify.audit_metric(3) == []
    again = verify.kronecker_table().set_index("seed").loc[3].to_dict() | {"seed": 3}
    altered = verify.kronecker_table().assign(gain=lambda table: table["gain"] * 1.00001)
    (problem,) = kronecker.differences(altered, again)
    assert problem.startswith("Kronecker factors, seed 3: gain is")
    with pytest.raises(InputError, match="seed = 3: 0 rows"):
        kronecker.differences(altered[altered["seed"] != 3], again)


def test_an_audit_sees_a_wrong_metric(made, monkeypatch):
    """Four times the decision metric, as if the factor were forgotten in one place."""
    right = second_order.decision_metric
    monkeypatch.setattr(second_order, "decision_metric", lambda found: replace(right(found), scale=4.0))
    assert "standard errors" in verify.audit(load_run(made.path)).problem


def test_an_audit_sees_a_wrong_damping_rule(made, monkeypatch):
    """Damping that grows where it should shrink."""
    right = second_order.adapted_damping_released

    def wrong(damping, before, after, ratio, config):
        return damping**2 / right(damping, before, after, ratio, config)

    monkeypatch.setattr(second_order, "adapted_damping_released", wrong)
    assert "standard errors" in verify.audit(load_run(made.path)).problem


def test_why_shows_the_whole_chain(capsys):
    from rich.console import Console

    Console(width=200).print(chain_of("F06"))
    shown = capsys.readouterr().out
    for part in ("figures/F06.ipynb", "dgd-A2-V-10-seed0", "repro/curvature/metric.py (decision_metric)", "revision"):
        assert part in shown
    with pytest.raises(InputError, match="figure = 'F99': unknown"):
        chain_of("F99")


def test_a_revision_can_be_stated(monkeypatch):
    monkeypatch.setenv("REPRO_REVISION", "abc")
    assert environment.git_revision() == "abc"
