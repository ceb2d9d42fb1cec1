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

from repro.curvature.output_metrics import Euclidean
from repro.errors import InputError, StorageError
from repro.optimizers import second_order
from repro.study.benchmarks import kronecker
from repro.study.claims.statements import all_claims
from repro.study.claims.verdicts import Verdict
from repro.study.reports.provenance import chain_of
from repro.study.runs import manifest
from repro.study.runs.manifest import MANIFEST, check_manifest, store_runs, write_manifest
from repro.study.runs.profiles import configure
from repro.study.runs.store import load_run, project_path
from repro.study.verification import audit, consistency, replicas, rounding, verify
from repro.study.verification import stored_tables as tables
from repro.training import environment
from repro.training.run import train
from repro.training.rundir import RunDirectory, packed
from repro.vmc import problem

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
    assert audit.cost(load_run(run.path)) == audit.cost(load_run(made.path)) > 0.0
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


@pytest.mark.parametrize("name", ["figures/F06.ipynb", "repro/study/claims/claims.toml"])
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


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing"), (b"not a checksum\n", "line 1: not a checksum"), (b"\xff\xfe", "line 1: not a checksum")],
)
def test_a_manifest_that_is_none(root, content, message):
    (root / MANIFEST).unlink()
    if content:
        (root / MANIFEST).write_bytes(content)
    assert message in check_manifest(root)[0]


def test_the_citation_names_the_manifest(tmp_path):
    """The anchor outside of the data: it is the stored manifest's, and it is renewed with it."""
    assert manifest.check_anchor(STORED) == []
    root = tmp_path / "paper_runs"
    root.mkdir()
    write_manifest(root)
    citation = tmp_path / manifest.CITATION
    assert manifest.check_anchor(root) == []
    citation.write_text(project_path(manifest.CITATION).read_text())
    assert "names another manifest" in manifest.check_anchor(root)[0]
    manifest.write_anchor(root)
    assert manifest.manifest_digest(root) in citation.read_text()
    assert manifest.check_anchor(root) == []
    citation.write_text("cff-version: 1.2.0")
    assert "none" in manifest.check_anchor(root)[0]


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
        ([verdict(told="median 9")], "its told is stored as 'median 9', the data give ''"),
        ([verdict(false_alarm=0.01)], "its false-alarm is stored as 0.01, the data give 0.03"),
        ([verdict(needs="5 seeds")], "its needs is stored"),
        ([verdict(wanted=6)], "its wanted is stored"),
    ],
)
def test_verdicts_that_cannot_be_confirmed(stored, message):
    assert message in verify.unconfirmed(stored, [verdict()])[0]


def test_verdicts_are_stored_and_read(tmp_path):
    verify.write_verdicts(tmp_path, [verdict(), verdict(claim="F03", false_alarm=None)])
    assert verify.read_verdicts(tmp_path) == [verdict(), verdict(claim="F03", false_alarm=None)]
    assert verify.unconfirmed(verify.read_verdicts(tmp_path), verify.read_verdicts(tmp_path)) == []
    verify.write_verdicts(tmp_path, [verdict(), verdict()])
    with pytest.raises(InputError, match="F02 is there twice"):
        verify.read_verdicts(tmp_path)
    for content in (b"{", b"\xff", b"5", b"[5]", b"[{}]", b"[" * 100_000):
        (tmp_path / verify.VERDICTS).write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            verify.read_verdicts(tmp_path)
    (tmp_path / verify.VERDICTS).unlink()
    with pytest.raises(InputError, match="repro claims --store"):
        verify.read_verdicts(tmp_path)


def test_the_stored_verdicts_are_confirmed():
    assert verify.unconfirmed(verify.read_verdicts(STORED), verify.judge_all(STORED)) == []


# Numbers against each other


def test_the_stored_runs_do_not_contradict_themselves():
    runs, _ = verify.stored_runs(STORED)
    assert [line for run in runs for line in consistency.run_problems(run)] == []
    assert consistency.shared_curves(runs) == []
    assert tables.table_problems(STORED) == []


DIVERGED = {"status": "diverged", "phase": "training", "epoch": 40}


def forged(run, column=None, epoch=0, by=1.0, **result):
    """A run with one number of its curve multiplied, or others in its result."""
    curve = run.curve.copy()
    if column:
        curve[column] = curve[column].astype(float)
        curve.loc[epoch, column] *= by
    return replace(run, curve=curve, result=run.result | result)


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda run: replace(run, curve=run.curve.head(60)), "should have epochs 1 to 61"),
        (lambda run: replace(run, curve=run.curve.drop(30)), "should have epochs 1 to 61"),
        (lambda run: forged(run, "epoch", 5, 2.0), "should have epochs 1 to 61"),
        (lambda run: replace(run, curve=run.curve.drop(columns="mu")), "the curve lacks mu"),
        (lambda run: forged(run, "energy", 5, np.nan), "energy of epoch 6 is not a finite number"),
        (lambda run: forged(run, "energy_error", 5, 1.001), "energy_error of epoch 6 is not that of its variance"),
        (
            lambda run: replace(
                run, curve=run.curve.assign(energy=run.curve["energy"] + 9 * run.curve["energy_error"])
            ),
            "from energy_clipped, more than clipping moves it",
        ),
        (lambda run: forged(run, "lambda", 0, 2.0), "lambda begins with 6, the configuration's damping with 3"),
        (lambda run: forged(run, "acceptance", 5, 3.0), "acceptance leaves 0 to 1"),
        (lambda run: forged(run, "seconds", 5, 2.0), "training_seconds is not the sum"),
        (lambda run: forged(run, energy_error=run.result["energy_error"] / 10), "is not that of its variance and ess"),
        (lambda run: forged(run, ess=1e9), "is not between 0 and the"),
        (lambda run: forged(run, energy=-9.0), "is below all energies of the last fifth"),
        (lambda run: forged(run, energy=9.0), "is above all energies of the last fifth"),
        (lambda run: forged(run, energy="low"), "final energy: damaged"),
        (lambda run: forged(run, status="fine"), "status 'fine'"),
        (lambda run: forged(run, status="diverged", phase="training"), "curve: damaged"),
        (lambda run: replace(run, result=run.result | DIVERGED), "should have epochs 1 to 39"),
    ],
)
def test_a_number_that_others_contradict(made, forge, message):
    run = load_run(made.path)
    assert consistency.run_problems(run) == []
    assert any(message in line for line in consistency.run_problems(forge(run)))


def test_a_run_that_diverged_may_be_shorter(made):
    run = load_run(made.path)
    short = replace(run, curve=run.curve.head(39))
    times = {"seconds_per_epoch": short.curve["seconds"].median(), "training_seconds": short.curve["seconds"].sum()}
    assert consistency.run_problems(replace(short, result=run.result | times | DIVERGED)) == []


OBSERVED = "dgd-A2-V-20-seed0-44052766"


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda seen: seen.scalars["kinetic"].update(mean=4.7), "not the sum of its parts"),
        (lambda seen: seen.scalars["energy"].update(mean=-2.45), "standard errors from the final energy"),
        (lambda seen: seen.density.loc.__setitem__((40, "n"), 9.0), "particles"),
        (lambda seen: seen.pair_density.loc.__setitem__((1600, "n2"), 9.0), "the pair density holds"),
        (lambda seen: seen.occupations.loc.__setitem__((0, "occupation"), 0.99), "not the eigenvalues"),
    ],
)
def test_observables_that_others_contradict(monkeypatch, forge, message):
    run = load_run(STORED / OBSERVED)
    seen = consistency.observables_of(run)
    monkeypatch.setattr(consistency, "observables_of", lambda run: seen)
    forge(seen)
    assert any(message in line for line in consistency.run_problems(run))


def test_curves_that_are_used_twice(made):
    """A common beginning is what runs from one start have; what has no effect makes no other run."""
    run = load_run(made.path)
    noise = np.random.default_rng(0).normal(size=len(run.curve))
    other = replace(
        run,
        path=run.path.parent / "other",
        config=replace(run.config, optimizer=configure(particles=2, v0=-10.0, optimizer="ngd").optimizer),
        curve=run.curve.assign(energy=run.curve["energy"].where(run.curve["epoch"] <= 7, noise)),
    )
    assert consistency.shared_curves([run, other]) == []
    longer = replace(run, path=run.path.parent / "longer", config=replace(run.config, epochs=100))
    assert consistency.shared_curves([run, longer]) == []

    def told(**changes):
        (problem,) = consistency.shared_curves([run, replace(other, **changes)])
        return problem

    assert "the first 61 epochs are those of other, which differs in optimizer" in told(curve=run.curve)
    shifted = run.curve.assign(epoch=run.curve["epoch"] + 1)
    assert "epoch 61 of the curve is epoch 62 of other" in told(curve=shifted)
    assert "differs in seed" in told(config=replace(run.config, seed=1))
    again = run.curve.copy()
    again.loc[9, ["energy", "variance"]] = again.loc[3, ["energy", "variance"]]
    assert consistency.shared_curves([replace(run, curve=again)]) == [
        f"{made.path.name}: epochs 4 and 10 of the curve are the same"
    ]
    exact = run.curve.assign(energy=2.0, variance=0.0)
    assert consistency.shared_curves([replace(run, curve=exact), replace(other, curve=exact)]) == []


def test_tables_and_references_that_others_contradict(tmp_path, monkeypatch):
    for name in ("benchmarks", "growth", "kronecker", "references", "grids"):
        shutil.copytree(STORED / name, tmp_path / name)
    assert tables.table_problems(tmp_path) == []
    peers = tmp_path / "growth" / "peers.csv"
    peers.write_text(peers.read_text().replace(",1.1602", ",1.6602", 1))
    (tmp_path / "benchmarks" / "T01.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "kronecker" / "F12.csv").unlink()
    (tmp_path / "grids" / "seeds.toml").write_text("runs = 5")
    told = tables.table_problems(tmp_path)
    for part in ("over_ours is 1.6602, its row gives 1.1602", "T01.csv: damaged", "F12.csv: missing", "seeds.toml"):
        assert any(part in line for line in told), part

    energies = tmp_path / tables.ENERGIES
    stored = pd.read_csv(energies, dtype=str)
    monkeypatch.setattr(tables, "REFERENCE_SECONDS", 0.0)
    asked = []
    assert tables.reference_problems(tmp_path, 0, asked.append) == []
    assert "again" in asked[0]

    def problems(row, column, value):
        table = stored.copy()
        table.loc[row, column] = value
        table.to_csv(energies, index=False)
        return tables.reference_problems(tmp_path, 0, asked.append)

    def row_of(method, particles, v0):
        chosen = (stored["method"] == method) & (stored["particles"] == particles) & (stored["v0"] == v0)
        return stored.index[chosen][0]

    two, three = row_of("exact", "2", "-10"), row_of("exact", "3", "-10")
    assert "gives" in problems(two, "energy", "0.6")[-1]
    assert "gives the error" in problems(two, "error", "0.05")[-1]
    assert any("is below the exact energy" in line for line in problems(three, "energy", "5.0"))
    assert "belongs to another case" in problems(three, "v0", "-11")[0]
    assert "not a stored reference" in problems(three, "energy", "low")[0]


# Audits


def test_the_draw_is_its_seed(made):
    runs = [replace(load_run(made.path), path=made.path.parent / str(n)) for n in range(20)]
    names = [[run.path.name for run in audit.draw(runs, 3, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 3
    for count in (-1, 21):
        with pytest.raises(InputError, match=f"audit = {count}: must be between 0 and"):
            audit.draw(runs, count, 0)


@pytest.mark.parametrize(
    ("made_by", "here", "seconds", "expected"),
    [
        ("cpu", "cpu", 1.0, True),
        ("cpu", "gpu", 1.0, True),
        ("gpu", "gpu", 1.0, True),
        ("gpu", "cpu", 1.0, False),  # what took a GPU seconds may take a processor hours
        ("cpu", "cpu", audit.AFFORDABLE_SECONDS, False),
    ],
)
def test_what_can_be_audited_here(made, made_by, here, seconds, expected):
    run = load_run(made.path)
    result = run.result | {"device": run.result["device"] | {"platform": made_by}}
    run = replace(run, result=result, curve=run.curve.assign(seconds=seconds))
    assert audit.affordable(run, here) is expected
    assert not audit.affordable(replace(run, result=result | {"status": "diverged"}), here)


@pytest.fixture
def whole(root, monkeypatch):
    """A folder with all that a verification looks at, and few claims, so that it takes a second."""
    for name in ("benchmarks", "growth", "kronecker", "references", "grids"):
        shutil.copytree(STORED / name, root / name)
    few = tuple(claim for claim in all_claims() if claim.quantity in ("fluctuation", "cost_ratio"))[:4]
    monkeypatch.setattr(verify, "all_claims", lambda: few)
    monkeypatch.setattr(tables, "drawn", lambda rows, seed: [])
    verify.write_verdicts(root, verify.judge_all(root))
    write_manifest(root)
    return root


def test_a_verification_from_end_to_end(whole, monkeypatch):
    """Sound data are confirmed, with an audit that gives the same digits; a stored verdict that is wrong is not."""
    told = []
    monkeypatch.setattr(verify, "audit_metric", lambda seed: [f"state {seed}"])
    report = verify.verify(whole, 1, 7, told.append)
    assert report.problems == ["state 7"]
    assert report.comparisons[0].identical
    assert report.digest == hashlib.sha256((whole / MANIFEST).read_bytes()).hexdigest()
    assert any("seed 7" in line for line in told)
    stored = json.loads((whole / verify.VERDICTS).read_text())
    stored[0]["verdict"] = "reproduced"
    (whole / verify.VERDICTS).write_text(json.dumps(stored))
    write_manifest(whole)
    (problem,) = verify.verify(whole, 0, 7, told.append).problems
    assert "stored is 'reproduced', the data say 'undecided'" in problem
    for count in (-1, 2):
        with pytest.raises(InputError, match=f"audit = {count}: must"):
            verify.verify(whole, count, 7, told.append)


RUN_FILES = ("config.json", "result.json", "curve.csv", "pretraining.csv")
STORED_FILES = (MANIFEST, verify.VERDICTS, "references/energies.csv", "benchmarks/T01.csv", "growth/peers.csv")
DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3]),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "other types": lambda path: path.write_text('{"config": 5, "status": [], "a,b": null}\n"x",y\n'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_damaged_is_a_line_and_no_end(whole, damage):
    """Each file in turn, with a manifest that lists it as it is: the line comes from the file itself, and the rest is
    still looked at."""
    assert verify.verify(whole, 0, 0, print).problems == []
    for name in (*(f"{CONFIG.run_name}/{file}" for file in RUN_FILES), *STORED_FILES):
        path = whole / name
        content = path.read_bytes()
        DAMAGES[damage](path)
        if name != MANIFEST:
            write_manifest(whole)
        report = verify.verify(whole, 0, 0, lambda line: None)
        assert report.problems, (damage, name)
        assert all("\n" not in line for line in report.problems)
        assert {verdict.claim for verdict in report.verdicts} == {claim.id for claim in verify.all_claims()}
        if path.is_dir():
            path.rmdir()
        path.write_bytes(content)
        write_manifest(whole)
    assert verify.verify(whole, 0, 0, print).problems == []


def test_an_audit_of_damaged_runs_takes_what_is_left(whole, monkeypatch):
    monkeypatch.setattr(verify, "audit_metric", lambda seed: [])
    (whole / CONFIG.run_name / "curve.csv").write_text("epoch\n")
    told = verify.verify(whole, 2, 0, lambda line: None).problems
    assert any("was altered after the run" in line for line in told)
    assert any("audit = 2: only 0 sound runs are there" in line for line in told)


@pytest.mark.usefixtures("optimized")  # it computes for longer than it compiles
def test_a_state_of_the_stored_table_is_formed_again():
    """It gives the stored numbers; a number that is altered is seen, and so is a state that is missing."""
    assert verify.audit_metric(3) == []
    again = verify.kronecker_table().set_index("seed").loc[3].to_dict() | {"seed": 3}
    altered = verify.kronecker_table().assign(gain=lambda table: table["gain"] * 1.00001)
    (problem,) = kronecker.differences(altered, again)
    assert problem.startswith("Kronecker factors, seed 3: gain is")
    with pytest.raises(InputError, match="seed = 3: 0 rows"):
        kronecker.differences(altered[altered["seed"] != 3], again)


def test_the_spread_is_that_of_the_replicas_by_hand():
    """Two replicas whose energies differ by a tenth of their distance from the exact one, and not by noise."""
    rows = [
        dict.fromkeys(rounding.COLUMNS, 0.0)
        | {"run": "one", "replica": replica, "optimizer": "dgd", "block": block}
        | {"exact": 1.0, "energy": 2.0 + shift, "grad_norm": 4.0 * shift}
        for replica, shift in (("a", -0.05), ("b", 0.05))
        for block in range(3)
    ]
    table = pd.DataFrame(rows)
    spread = rounding.spread_of(table, "dgd")
    assert spread.energy == pytest.approx(0.1)
    assert spread.columns["grad_norm"] == pytest.approx(0.4)
    assert rounding.spread_of(table, "adam") == spread  # of all optimisers, where it has none of its own
    now = table[table["replica"] == "a"].reset_index(drop=True)
    apart = rounding.distances(now.assign(energy=now["energy"] + 0.19, noise=9.0), now, 1.0, spread)
    assert apart["energy"] == pytest.approx(2.0, rel=1e-3)
    assert apart["grad_norm"] == 0.0


def test_a_training_is_outside_of_its_replicas_as_often_as_stated(monkeypatch):
    """Draws of one distribution, blocks that rise and fall together: the least favourable case.

    Beside the energy few columns, which share its probability as all of them do.
    """
    monkeypatch.setattr(rounding, "COMPARED", rounding.COMPARED[:3])
    random = np.random.default_rng(0)
    spread = rounding.Spread(0.0, {}, 1)
    alarms = 0
    for _ in range(1000):
        drawn = [
            pd.DataFrame({name: np.full(2, 0.2 * random.normal()) for name in rounding.COMPARED}).assign(
                energy=2.0 + 0.1 * random.normal(), noise=1e-6
            )
            for _ in range(1 + audit.REPLICAS)
        ]
        found = rounding.outside(drawn[0], drawn[1:], 1.0, spread)
        alarms += any(value > bound for value, bound in found.values())
    assert 0.05 * rounding.ALARMS < alarms / 1000 < 1.5 * rounding.ALARMS


def test_a_stored_error_hides_nothing(made):
    """The tolerance is that of what was trained again: energies that are off stay off with errors a hundred times."""
    run = load_run(made.path)
    spread = rounding.spread_of(rounding.stored_replicas(STORED), "dgd")
    exact = audit.known_energy(run.config.system)
    assert audit.compare(run.curve, run.curve, exact, spread) == (0.0, [])
    larger = run.curve.assign(energy_error=100.0 * run.curve["energy_error"])
    assert audit.compare(larger, run.curve, exact, spread) == (0.0, ["energy_error"])
    assert "energy" in audit.compare(larger.assign(energy=run.curve["energy"] + 1.0), run.curve, exact, spread)[1]


def test_pretraining_is_that_of_the_seed(made):
    then = audit.pretraining_of(load_run(made.path))
    assert audit.compare_pretraining(then, then, 1024) == []
    walkers = then.assign(loss=then["loss"] * (1.0 + 0.5 * audit.FIRST_WALKERS / 1024))
    assert audit.compare_pretraining(then, walkers, 1024) == []
    assert "begins otherwise" in audit.compare_pretraining(then, then.assign(loss=1.03 * then["loss"]), 1024)[0]
    later = then["loss"].where(then["epoch"] <= audit.FIRST, 1.06 * then["loss"])
    assert "goes another way" in audit.compare_pretraining(then, then.assign(loss=later), 1024)[0]


def test_every_digit_is_demanded_where_a_run_was_made_here(made, monkeypatch):
    run = load_run(made.path)
    monkeypatch.setenv("REPRO_REVISION", "1" * 40)
    assert not audit.made_here(run)
    monkeypatch.setenv("REPRO_REVISION", "0" * 40)
    assert audit.made_here(run)
    changes = (("device", "processor", "another"), ("device", "threads", 99), ("versions", "numpy", "1"))
    for part, name, value in changes:
        assert not audit.made_here(replace(run, result=run.result | {part: run.result[part] | {name: value}}))
    energies = run.curve["energy"].copy()
    energies[30] *= 1.0 + 1e-6
    monkeypatch.setattr(audit, "AUDITED_EPOCHS", 40)
    (problem,) = audit.audit(replace(run, curve=run.curve.assign(energy=energies))).problems
    assert problem.endswith("other digits come out (the first in epoch 31)")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=SSE4_2")
    assert not audit.made_here(run)


def test_a_replica_differs_by_one_place_of_one_weight(made, tmp_path):
    import jax.numpy as jnp

    params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
    other = replicas.nudged(params, 5)
    assert np.array_equal(params["a"], other["a"])
    assert np.sort(np.ravel(other["b"] - params["b"])).tolist() == [0.0, 0.0, 0.0, 2.0**-23]
    curve = replicas.train_replica(replace(CONFIG, epochs=20), tmp_path / "replica", 0)
    assert len(curve) == 20
    assert not curve["energy"].equals(load_run(made.path).curve["energy"].head(20))


def recorded():
    """Of each run with stored replicas: the run, its replicas' blocks, exact energy and the spread of its optimiser."""
    table = rounding.stored_replicas(STORED)
    for name, rows in table.groupby("run"):
        blocks = [found.reset_index(drop=True) for _, found in rows.groupby("replica")]
        spread = rounding.spread_of(table, rows["optimizer"].iloc[0])
        yield load_run(STORED / str(name)), blocks, float(rows["exact"].iloc[0]), spread


def far(curve, again, exact, spread):
    """The columns of a curve that are further from a training than is usual."""
    apart = rounding.distances(rounding.blocks(curve.head(audit.AUDITED_EPOCHS)), again, exact, spread)
    return [name for name, value in apart.items() if not value <= audit.most(name)]


def test_forged_curves_are_told_from_replicas():
    """The replicas are of other processors and weights; other optimisers' curves and energies that are off are seen."""
    others = verify.stored_runs(STORED)[0]
    shifted, exchanged = [], []
    for run, blocks, exact, spread in recorded():
        alike = [
            other
            for other in others
            if (other.config.system, other.config.sampling, other.config.seed)
            == (run.config.system, run.config.sampling, run.config.seed)
            and other.config.optimizer.name != run.config.optimizer.name
            and len(other.curve) >= audit.AUDITED_EPOCHS
        ]
        for again in blocks:
            exchanged += [bool(far(other.curve, again, exact, spread)) for other in alike]
            last = again.iloc[-1]
            # On the way down, or beside the walkers' noise, one per cent is little.
            if max(abs(last["energy"] - exact), 6.0 * last["noise"]) < 0.01 * abs(exact):
                shifted += [
                    "energy" in far(run.curve.assign(energy=factor * run.curve["energy"]), again, exact, spread)
                    for factor in (0.99, 1.01)
                ]
    assert len(shifted) >= 6
    assert all(shifted)
    assert len(exchanged) >= 100
    assert np.mean(exchanged) > 0.9


def test_an_audit_sees_a_wrong_metric(made, monkeypatch):
    """Four times the decision metric, as if the factor were forgotten in one place."""
    right = problem.decision_metric
    monkeypatch.setattr(problem, "decision_metric", lambda found: replace(right(found), output=Euclidean(4.0)))
    assert any("outside of 4 replicas" in line for line in audit.audit(load_run(made.path)).problems)


def test_an_audit_sees_a_wrong_damping_rule(made, monkeypatch):
    """Damping that grows where it should shrink: where the run was made, digits tell.

    Replicas of so small a run as this one are further apart than the two rules.
    """
    right = second_order.adapted_damping_released

    def wrong(damping, before, after, ratio, config):
        return damping**2 / right(damping, before, after, ratio, config)

    monkeypatch.setattr(second_order, "adapted_damping_released", wrong)
    monkeypatch.setattr(audit, "AUDITED_EPOCHS", 20)
    monkeypatch.setenv("REPRO_REVISION", "0" * 40)
    assert any("other digits come out" in line for line in audit.audit(load_run(made.path)).problems)


def test_why_shows_the_whole_chain(capsys):
    from rich.console import Console

    Console(width=200).print(chain_of("F06"))
    shown = capsys.readouterr().out
    for part in ("figures/F06.ipynb", "dgd-A2-V-10-seed0", "repro/vmc/metrics.py (decision_metric)", "revision"):
        assert part in shown
    with pytest.raises(InputError, match="figure = 'F99': unknown"):
        chain_of("F99")


def test_a_revision_can_be_stated(monkeypatch):
    monkeypatch.setenv("REPRO_REVISION", "abc")
    assert environment.git_revision() == "abc"
