"""Runs of problems that are no energies: complete, resumable, found again, verified; and what a user may get wrong."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest
from conftest import ROOT, is_one_line

import repro
from repro.config import OPTIONS, PROBLEM_OPTIONS, PROBLEMS, ProblemRunConfig, RunConfig, config_from_json, differences
from repro.errors import DivergedError, InputError
from repro.problems.digits import digits_data
from repro.problems.registry import BUILDERS
from repro.study.runs import store
from repro.study.runs.configurations import ENERGY_KEYS, configure_problem
from repro.study.runs.grid import read_grid
from repro.study.runs.manifest import check_manifest, store_runs, write_manifest
from repro.study.runs.profiles import configure
from repro.study.runs.store import RunSource, find_run, load_problem_run, load_run, place_of
from repro.study.runs.sweep import DONE, STORED, sweep
from repro.study.verification import problem_runs, verify
from repro.training.evaluation import evaluate
from repro.training.problem_model import build_problem_model
from repro.training.reporting import Silent
from repro.training.run import train
from repro.training.rundir import RunDirectory

STEPS, INTERVAL = 30, 7


def tiny(**options) -> ProblemRunConfig:
    given = {"optimizer": "adam", "learning_rate": 3e-3, "steps": STEPS, "units": "8", "evaluation_interval": INTERVAL}
    return configure_problem(problem="digits", **(given | options))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished small run, by code that says it is committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_REVISION", "0" * 40)
        return train(tiny(), tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture
def root(finished, tmp_path):
    """A folder of stored runs with one run in it."""
    stored = tmp_path / "paper_runs"
    stored.mkdir()
    store_runs([finished.run.path], stored)
    return stored


def without_seconds(path: Path) -> list[tuple]:
    rows = csv.DictReader(path.read_text().splitlines())
    return [tuple((name, cell) for name, cell in row.items() if not name.endswith("seconds")) for row in rows]


# Configurations.


@pytest.mark.parametrize("name", PROBLEMS)
def test_configurations_are_read_as_they_are_written(name):
    config = configure_problem(problem=name, optimizer="kfac", steps=3, seed=5)
    again = config_from_json(config.to_json(), "test")
    assert again == config
    assert re.fullmatch(rf"kfac-{name}-seed5-{config.content_hash[:8]}", config.run_name)
    assert replace(config, seed=6).content_hash != config.content_hash
    with pytest.raises(InputError, match="altered"):
        config_from_json(config.to_json().replace('"seed": 5', '"seed": 6'), "test")
    energy = configure(particles=2, v0=-1.0)
    assert config_from_json(energy.to_json(), "test") == energy


def test_where_the_data_are_kept_makes_no_other_run():
    here, there = (
        configure_problem(problem="autoencoder", images="mnist", data_dir=folder) for folder in ("here", "there")
    )
    assert here.content_hash == there.content_hash != configure_problem(problem="autoencoder").content_hash
    assert differences(here, there) == []
    assert config_from_json(there.to_json(), "config.json") == there


def test_every_problem_has_a_builder_and_options_with_one_meaning():
    assert {known.config for known in PROBLEMS.values()} == set(BUILDERS)
    assert not PROBLEM_OPTIONS.keys() & (OPTIONS.keys() | set(ENERGY_KEYS))


def test_the_hash_never_changes_by_accident():
    """Stored runs are found by it."""
    assert configure_problem(problem="digits", optimizer="kfac", steps=200).content_hash == "0b0651d961a18cc8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problem": "digit"}, "did you mean digits"),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"evaluation_interval": 0}, "at least 1"),
        ({"batch": 1438}, "batch = 1438: must be between 0 and 1437"),
        ({"batch": True}, "whole number"),
        ({"units": "16,16"}, "units = '16,16': must be at most 20 whole numbers"),
        ({"units": "016"}, "must be at most"),
        ({"units": "16-0"}, "from 1 to"),
        ({"units": 16}, "must be a text"),
        ({"l2": -1.0}, "must not be negative"),
        ({"dtype": "float16"}, "float32, float64"),
        ({"optimizer": "lion"}, "choose one of adam"),
        ({"damping": 3.0}, "has no effect on adam"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InputError, match=message):
        configure_problem(**({"problem": "digits"} | options))


# Runs.


def test_contents_of_a_run_directory(finished):
    run, result = finished
    assert {entry.name for entry in run.path.iterdir()} == {
        *(".lock", "config.json", "curve.csv", "checkpoint.npz", "result.json"),
    }
    curve = pd.read_csv(run.curve)
    evaluated = ["training_loss", "training_error", "test_loss", "test_error"]
    assert list(curve) == [
        *("step", "loss", "error", *evaluated, "grad_norm", "step_norm", "seconds", "cpu_seconds"),
    ]
    assert curve["step"].tolist() == list(range(1, STEPS + 1))
    for name in evaluated:
        assert (curve["step"][curve[name].notna()] - 1).tolist() == [0, 7, 14, 21, 28]
    assert (curve[["seconds", "cpu_seconds"]] > 0.0).all(axis=None)
    assert result["evaluation"].keys() == set(evaluated)
    assert result["evaluation"]["training_loss"] < 0.9 * curve["training_loss"][0]
    assert result["compile_seconds"] > 0.0
    assert result["seconds_per_step"] == pytest.approx(curve["seconds"].median())


def test_the_numbers_are_those_of_the_pictures(finished):
    """The network and its loss by hand, at the parameters that the run ended with."""
    loaded = repro.load_run(finished.run.path)
    assert loaded.psi is loaded.walkers is None
    assert loaded.curve["loss"].shape == (STEPS,)
    _, test = digits_data()
    hidden, output = (loaded.params[name] for name in sorted(loaded.params))
    scores = np.tanh(test.inputs @ hidden["w"] + hidden["b"]) @ output["w"] + output["b"]
    logarithms = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    losses = -logarithms[np.arange(len(scores)), test.targets]
    found = finished.result["evaluation"]
    assert found["test_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["test_error"] == pytest.approx((scores.argmax(axis=1) != test.targets).mean(), abs=1e-6)
    again = evaluate(finished.run.path)
    assert again["evaluation"] == found
    assert again["epoch"] == STEPS
    assert loaded.trainable.data_digest == finished.result["data_sha256"]


KILLED = {"problem": "digits", "optimizer": "adam", "units": "8", "steps": 400, "evaluation_interval": 20}


def launch(out: Path) -> subprocess.Popen[bytes]:
    options = [part for name, value in KILLED.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "repro", "train", *options, "--checkpoint-seconds", "0", "--out", str(out)]
    return subprocess.Popen([*command, "--resume"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path):
    """kill -9 at a random moment, then to the end; the curve is that of a run that nobody disturbed."""
    run, moments = RunDirectory(tmp_path / "killed"), random.Random()
    with launch(run.path) as process:
        deadline = time.monotonic() + 120
        while not run.curve.exists() or run.curve.stat().st_size < 1000:
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL or run.result.exists()  # on a fast machine it may have ended
    with launch(run.path) as process:
        assert process.wait(timeout=240) == 0
    whole = train(configure_problem(**KILLED), tmp_path / "whole")
    assert len(without_seconds(run.curve)) == KILLED["steps"]
    assert without_seconds(run.curve) == without_seconds(whole.run.curve)
    assert run.read_result()["evaluation"] == whole.result["evaluation"]


def test_cut_anywhere_the_curve_is_the_same(finished, tmp_path):
    """A run that was kept after any number of steps goes on to the same end: here the interval is not whole there."""
    config = tiny()
    out = RunDirectory(tmp_path / "run")

    class Cut(Silent):
        def advance(self, done, metrics):
            if done in self.at:
                self.at.discard(done)
                raise KeyboardInterrupt

    cut = Cut()
    for at in ({1}, {3, 4}, {7}, {8, 9, 10, 14}):
        cut.at = set(at)
        with pytest.raises(KeyboardInterrupt):
            train(config, out.path, resume=True, checkpoint_seconds=0.0, reporter=cut)
    ended = train(config, out.path, resume=True)
    assert without_seconds(out.curve) == without_seconds(finished.run.curve)
    assert ended.result["evaluation"] == finished.result["evaluation"]


def test_a_run_that_leaves_the_finite_numbers_says_so(tmp_path):
    config = tiny(optimizer="sgd", learning_rate=1e38, evaluation_interval=100)
    with pytest.raises(DivergedError, match="not finite at training step"):
        train(config, tmp_path / "run")
    run = load_problem_run(tmp_path / "run")
    assert not run.complete
    assert len(run.curve) == run.result["epoch"] - 1
    assert problem_runs.problem_run_problems(run) == []


def test_overwriting_an_energy_or_going_on_with_it(finished, tmp_path):
    with pytest.raises(InputError, match=r"seed: 0 -> 1"):
        train(tiny(seed=1), finished.run.path, resume=True)
    with pytest.raises(InputError, match=r"--resume.*--overwrite"):
        train(tiny(), finished.run.path)
    energy = configure(particles=2, v0=-1.0, profile="smoke")
    with pytest.raises(InputError, match="holds another run"):
        train(energy, finished.run.path, resume=True)
    run = RunDirectory(tmp_path / "energy")
    run.path.mkdir()
    run.begin(energy)
    assert train(tiny(steps=1), run.path, overwrite=True).run.read_any_config() == tiny(steps=1)


# The command line.


DIGITS = ("--problem", "digits")
ENERGY = ("--particles", "2", "--v0", "-10")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*DIGITS, *ENERGY), "particles = 2: is an option of energies"),
        ((*DIGITS, "--profile", "smoke"), "profile = 'smoke': is an option of energies"),
        ((*DIGITS, "--hidden", "64"), "hidden = 64: is an option of energies"),  # also where it is the default
        ((*ENERGY, "--units", "16"), "units = '16': is no option of an energy"),
        ((*ENERGY, "--steps", "1000"), "steps = 1000: is no option of an energy"),
        (("--steps", "10"), "name a problem that has it with --problem"),
        ((), "particles: missing; an energy needs particles and v0"),
        (("--problem", "digist"), "did you mean digits"),
        ((*DIGITS, "--optimizer", "qn-kfac"), "needs the curvature 'unclipped-quasi-hessian'"),
        ((*DIGITS, "--optimizer", "kfac", "--protocol", "deck"), "only the energies of the study have protocols"),
        ((*DIGITS, "--walker-chunk", "8"), "walker_chunk = 8: digits has no walkers"),
        ((*DIGITS, "--pretrained", "figures"), "digits has no pretraining"),
        ((*DIGITS, "--units", "16;16"), "units = '16;16'"),
        ((*DIGITS, "--batch", "5000"), "batch = 5000: must be between 0 and 1437"),
        ((*DIGITS, "--optimizer", "sgd", "--momentum", "1"), "momentum = 1: must be at least 0 and below 1"),
    ],
)
def test_misplaced_options_end_in_one_line_and_nothing_is_written(tmp_path, called, arguments, message):
    out = tmp_path / "never"
    is_one_line(called("train", *arguments, "--out", str(out)).err, message)
    assert not out.exists()


def test_commands_for_energies_say_that_a_run_is_none(finished, called):
    told = called("observables", str(finished.run.path)).err
    is_one_line(told, "is a run of digits, and an energy is needed here")


def test_evaluate_on_the_command_line(finished, called):
    told = json.loads(called("evaluate", str(finished.run.path), "--json", code=0).out)
    assert told == {"evaluation": finished.result["evaluation"], "source": "sampled now"}


# Stored runs.


def test_runs_are_stored_by_problem_and_found_again(finished, root, tmp_path, capsys):
    config = tiny()
    assert find_run(root, config) == root / "digits" / config.run_name == root / place_of(config)
    assert {file.name for file in (root / place_of(config)).iterdir()} == {"config.json", "result.json", "curve.csv"}
    assert check_manifest(root) == []
    assert store_runs([finished.run.path], root).known == (place_of(config),)
    source = RunSource(root, tmp_path / "trained")
    read, made = source.get(config), source.get(tiny(steps=2))
    assert (read.computed, made.computed) == (False, True)
    assert source.available([config, tiny(steps=3)]) == [read]
    told = capsys.readouterr().out
    assert f"read digits/{config.run_name}: training loss " in told
    assert "COMPUTED" in told
    with pytest.raises(InputError, match="is a run of digits, and an energy"):
        load_run(read.path)


def test_a_sweep_takes_problems_of_a_grid(root, tmp_path):
    """One run is stored, another one is made, an energy stands beside them."""
    path = tmp_path / "grid.toml"
    path.write_text(
        f'[[runs]]\nproblem = "digits"\noptimizer = "adam"\nlearning_rate = 3e-3\nunits = "8"\nsteps = [{STEPS}, 2]\n'
        f"evaluation_interval = {INTERVAL}\n\n[[runs]]\nparticles = 2\nv0 = 1\n"
    )
    configs = read_grid(path)
    assert configs[:2] == [tiny(), tiny(steps=2)]
    assert isinstance(configs[2], RunConfig)
    jobs = sweep(configs[:2], tmp_path / "out", stored=[root])
    assert [job.state for job in jobs] == [STORED, DONE], jobs[1].told
    assert jobs[1].directory.read_any_config() == configs[1]
    for text, message in (
        ('problem = "digits"\nv0 = 1', "v0 = 1: is an option of energies"),
        ("particles = 2\nv0 = 1\nbatch = 3", "batch = 3: is no option of an energy"),
        ('problem = "digits"\nwlakers = 1', "unknown key 'wlakers'"),
    ):
        path.write_text(f"[[runs]]\n{text}\n")
        with pytest.raises(InputError, match=message):
            read_grid(path)


def checked(root: Path, seed: int | None = None) -> list[str]:
    """What a verification says of the runs of problems."""
    problems = check_manifest(root)
    verify._problem_runs(root, seed, problems, lambda line: None, None)
    return problems


def forged(root: Path, change) -> Path:
    """Changes a stored curve, with all checksums written anew."""
    run = RunDirectory(root / place_of(tiny()))
    curve, result = pd.read_csv(run.curve, dtype=str, keep_default_na=False), json.loads(run.result.read_text())
    change(curve, result)
    run.curve.write_text(curve.to_csv(index=False))
    result["curve_sha256"] = hashlib.sha256(run.curve.read_bytes()).hexdigest()
    run.write_json(run.result, result)
    write_manifest(root)
    return run.path


def by(column: str, step: int, factor: float):
    """A change of one number of a curve."""

    def change(curve, result):
        curve.loc[step - 1, column] = f"{float(curve.loc[step - 1, column]) * factor:.9g}"

    return change


def shorter(curve, result):
    curve.drop(index=curve.index[-1], inplace=True)


def other_name(curve, result):
    curve.rename(columns={"test_error": "test_wrong"}, inplace=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorter, "should have steps 1 to 30, each once; it has 29 rows"),
        (other_name, "the curve lacks test_error"),
        (by("test_error", 8, np.nan), "test_error of step 8|is not in the steps 1, 8"),
        (by("loss", 4, np.inf), "loss of step 4 is not a finite number"),
        (by("grad_norm", 4, -1.0), "grad_norm is negative"),
        (by("seconds", 4, 100.0), "training_seconds is not the sum"),
        (by("cpu_seconds", 4, 100.0), "training_cpu_seconds is not the sum"),
        (lambda curve, result: result["evaluation"].update(test_error="none"), r"damaged \(test_error = 'none'\)"),
        (lambda curve, result: result.update(evaluation={}), "damaged .evaluation = "),
    ],
)
def test_numbers_that_others_contradict(root, change, message):
    assert checked(root) == []
    forged(root, change)
    assert any(re.search(message, line) for line in checked(root)), checked(root)


def test_a_curve_altered_by_hand_is_caught(root):
    curve = root / place_of(tiny()) / "curve.csv"
    curve.write_text(curve.read_text().replace("1", "2", 1))
    told = checked(root)
    assert any("its checksum is not the one in the manifest" in line for line in told)
    assert any("was altered after the run" in line for line in told)
    write_manifest(root)
    (line,) = checked(root)
    assert "was altered after the run" in line


def test_a_folder_of_another_name_and_a_curve_used_twice_are_caught(root):
    path = root / place_of(tiny())
    path.rename(path.with_name("best"))
    write_manifest(root)
    assert any("should be named digits/adam-digits" in line for line in checked(root))
    run = load_problem_run(path.with_name("best"))
    other = replace(run, config=tiny(seed=1), path=path)
    longer = replace(run, config=tiny(steps=31), path=path)
    (told,) = problem_runs.shared_problem_curves([run, other, longer])[:1]
    assert "differs in seed" in told
    assert problem_runs.shared_problem_curves([run, longer]) == []


def test_an_audit_demands_every_digit_where_the_run_was_made_here(root, monkeypatch):
    monkeypatch.setenv("REPRO_REVISION", "0" * 40)
    assert checked(root, seed=3) == []
    forged(root, by("loss", 20, 1.0 + 1e-7))
    (told,) = checked(root, seed=3)
    assert "other digits come out (the first loss in step 20)" in told


def test_an_audit_elsewhere_compares_the_first_losses(root, monkeypatch):
    """By other code, later digits may be others; the first losses may not."""
    monkeypatch.setenv("REPRO_REVISION", "1" * 40)
    forged(root, by("loss", 20, 1.0 + 1e-6))
    assert checked(root, seed=3) == []
    forged(root, by("loss", 2, 1.01))
    (told,) = checked(root, seed=3)
    assert "its first losses are others: they differ by 1.0e-02" in told


def test_an_audit_sees_a_wrong_formula(root, monkeypatch):
    """Of code that is other than the run's: moments that decay a little faster."""
    monkeypatch.setenv("REPRO_REVISION", "1" * 40)
    monkeypatch.setattr(optax, "adam", partial(optax.adam, b1=0.88))
    (told,) = checked(root, seed=3)
    assert "its first losses are others" in told


def test_an_audit_sees_other_data(root, monkeypatch):
    monkeypatch.setenv("REPRO_REVISION", "1" * 40)
    forged(root, lambda curve, result: result.update(data_sha256="0" * 64))
    assert any("its data were others" in line for line in checked(root, seed=3))


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_builder_gives_what_it_promises(name):
    """The columns are those that an epoch and an evaluation fill; nothing is computed."""
    config = configure_problem(problem=name, optimizer="adam", steps=1)
    try:
        model = build_problem_model(config)
    except InputError as error:
        pytest.skip(str(error))  # its data are not here
    built, (phase,) = model.trainable, model.phases
    state = jax.eval_shape(model.initial_state)
    metrics = jax.eval_shape(phase.epoch, state, jax.random.key(0), model.coefficients)[1]
    found = jax.eval_shape(built.evaluate, state.params, model.coefficients, model.held_out)
    assert built.reported[0] == "loss"
    assert {*metrics, *found, "step", "seconds", "cpu_seconds"} == set(phase.columns)
    assert set(found) == set(built.evaluated)
    assert len(set(phase.columns)) == len(phase.columns)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}


@pytest.mark.parametrize("name", ["mackey-glass", "pinn"])
def test_stored_runs_of_small_problems_fit_their_configurations(name):
    """Their damping may be in units of the largest eigenvalue, or there may be none."""
    paths = sorted((ROOT / "paper_runs" / name).iterdir())
    assert paths
    for path in paths:
        assert problem_runs.problem_run_problems(store.load_any_run(path)) == [], path.name
