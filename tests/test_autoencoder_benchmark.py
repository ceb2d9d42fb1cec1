"""The autoencoder benchmark: which setting is chosen, when a target is reached, and what a missing run leaves open."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from repro.config import ProblemRunConfig
from repro.study.experiments import autoencoder_benchmark as module
from repro.study.runs.configurations import configured
from repro.study.runs.store import FinishedRun

TARGET = 14.0


def run(method, errors, seed=0, complete=True, **options):
    """A made-up run of two seconds a step whose training error was looked at in every other step."""
    config = configured({"problem": "autoencoder", "optimizer": method, "steps": 5, "seed": seed, **options})
    assert isinstance(config, ProblemRunConfig)
    seen = [value for error in errors for value in (error, math.nan)][:5]
    curve = pd.DataFrame({"step": range(1, 6), "cpu_seconds": [2.0] * 5, "training_error": seen, "test_error": seen})
    return FinishedRun(Path("x"), config, {"status": "complete" if complete else "diverged"}, curve, False)


def test_a_target_is_reached_when_it_is_first_seen():
    one = run("adam", [20.0, 14.0, 9.0])
    assert module.steps_to(one, TARGET) == 3.0
    assert module.seconds_to(one, TARGET) == 6.0
    assert module.steps_to(one, 8.0) == module.seconds_to(one, 8.0) == math.inf
    assert module.final_error(one) == 9.0
    assert module.final_error(replace(one, result={"status": "diverged"})) == math.inf


def test_the_setting_is_chosen_by_the_first_seed_alone():
    """First at the target wins; where none gets there, the lowest end. Its other seeds follow, no other's."""
    fast, slow = {"learning_rate": 1e-3}, {"learning_rate": 2e-3}
    runs = [
        run("adam", [20.0, 13.0, 9.0], **fast),
        run("adam", [20.0, 15.0, 3.0], **slow),
        run("adam", [9.0, 9.0, 9.0], seed=1, **slow),
        run("adam", [20.0, 20.0, 13.0], seed=2, **fast),
        run("sgd", [30.0, 29.0, 28.0], **fast),
        run("sgd", [30.0, 26.0, 27.0], **slow),
        run("sgd", [1.0, 1.0, 1.0], activation="logistic", first_weights="sparse", **slow),
    ]
    configs = [one.config for one in runs]
    sgd, adam, other = module.chosen_entries(runs, configs, TARGET)
    assert (adam.protocol, adam.method, adam.settings) == ("tanh", "adam", 2)
    assert [one.config.seed for one in adam.runs] == [0, 2]
    assert [one.config.optimizer.learning_rate for one in adam.runs] == [1e-3, 1e-3]
    assert [one.config.optimizer.learning_rate for one in sgd.runs] == [2e-3]
    assert (other.protocol, other.method) == ("logistic", "sgd")
    values = module._values([sgd, adam, other], 53.0, TARGET)
    assert values["iterations_to_pca_30"] == {"tanh, sgd": math.inf, "tanh, adam": 4.0, "logistic, sgd": 1.0}
    assert values["kfac_iterations"] == values["adam_over_kfac_iterations"] == {}
    # As long as a setting of the grid was not tried, nothing is said of a method.
    entries = module.chosen_entries([one for one in runs if one is not runs[4]], configs, TARGET)
    assert "tanh, sgd" not in module._values(entries, 53.0, TARGET)["iterations_to_pca_30"]


def test_ratios_of_two_misses_are_none():
    runs = [run("adam", [20.0, 20.0, 20.0]), run("kfac", [20.0, 10.0, 10.0]), run("sgd", [20.0, 20.0, 20.0])]
    configs = [one.config for one in runs]
    values = module._values(module.chosen_entries(runs, configs, TARGET), 53.0, TARGET)
    assert values["adam_over_kfac_iterations"] == {"tanh": math.inf}
    assert values["kfac_over_sgd_seconds"] == {}
    assert values["kfac_error_after_400_tanh"] == {"seed 0": math.inf}


def test_a_run_that_ended_too_early_decides_nothing():
    """Adam is there at step 3; SGD, which misses, has 5 steps or 2."""
    long = [run("adam", [20.0, 13.0, 9.0]), run("sgd", [20.0, 20.0, 20.0]), run("kfac", [20.0, 20.0, 13.0])]
    short = [one if one.config.optimizer.name == "kfac" else replace(one, curve=one.curve[:2]) for one in long]

    def ratios(runs):
        values = module._values(module.chosen_entries(runs, [one.config for one in runs], TARGET), 53.0, TARGET)
        return values["sgd_over_kfac_iterations"], values["adam_over_kfac_iterations"]

    assert ratios(long) == ({"tanh": math.inf}, {"tanh": 0.6})
    assert ratios(short) == ({}, {})


def test_every_run_of_the_grids_has_a_protocol_and_a_method():
    configs = module.grid_configs()
    assert {config.optimizer.name for config in configs} <= set(module.METHODS)
    assert {module.protocol_of(config) for config in configs} <= set(module.PROTOCOLS.values())
    with pytest.raises(module.InputError, match="logistic units with dense weights"):
        module.protocol_of(run("adam", [1.0, 1.0, 1.0], activation="logistic", first_weights="dense").config)


def test_a_fresh_benchmark_trains_the_chosen_settings_only(monkeypatch):
    """One run for each method and protocol, with the first seed: the whole grid would take hours."""
    trained = []

    def made_anew(source, config):
        trained.append(config)
        return FinishedRun(Path("x"), config, {"status": "complete"}, stored[config].curve, True)

    entries = module.benchmark().entries
    stored = {one.config: one for entry in entries for one in entry.runs}
    monkeypatch.setattr(module.RunSource, "get", made_anew)
    root = module.project_path(module.STORED_RUNS)
    fresh = module.benchmark(module.RunSource(root, root, fresh=True, quiet=True))
    assert trained == [entry.runs[0].config for entry in entries]
    assert {config.seed for config in trained} == {0}
    assert [one.computed for entry in fresh.entries for one in entry.runs] == [True] * len(trained)
    assert fresh.values["settings"] == module.benchmark().values["settings"]
    assert set(fresh.values["seeds"].values()) == {1.0}
