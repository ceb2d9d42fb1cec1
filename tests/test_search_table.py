"""The table of searches: what is chosen, what values it gives, and the benchmark that makes it."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.errors import InputError, ReproError
from repro.study.benchmarks import search_comparison
from repro.study.benchmarks.search_peers import search_by_peer
from repro.study.experiments import search_table as module
from repro.study.verification.stored_searches import search_contradictions

PEERS = os.environ.get("REPRO_SEARCH_PYTHON", "")
"""Interpreter of an environment with cmaes and evosax."""


def rows(method, phase, samples, scale, evaluations, problem="plane"):
    seeds = range(100, 100 + len(evaluations)) if phase == module.TUNING else range(len(evaluations))
    constant = {"problem": problem, "method": method, "phase": phase, "samples": samples, "scale": scale}
    return pd.DataFrame({**constant, "seed": seeds, "evaluations": evaluations, "off_diagonal": math.nan})


NEVER = math.nan


def table(*parts):
    return module.read(pd.concat(parts, ignore_index=True))


def test_most_arrivals_are_chosen_then_the_least_median():
    made = table(
        rows("ranks", "tuning", 10, 1.0, [50, 50, NEVER]),
        rows("ranks", "tuning", 10, 3.0, [300, 200, 900]),
        rows("ranks", "tuning", 100, 1.0, [300, 290, 900]),
    )
    best = module.chosen(made, "plane", "ranks")
    assert (best.samples, best.scale, best.arrived, best.median) == (10, 3.0, 3, 300.0)  # of equals the first
    assert module.best_by_samples(made, "plane", "ranks") == {10: 50.0, 100: 300.0}


def test_intervals_of_paired_ratios():
    first = np.arange(1.0, 11.0)
    assert module.paired_interval(first, np.ones(10)) == (2.0, 9.0)
    assert module.paired_interval(np.full(5, math.inf), np.full(5, math.inf)) is None
    assert module.paired_interval(np.full(10, math.inf), np.ones(10)) == (math.inf, math.inf)
    assert module.paired_interval(first[:4], np.ones(4)) is None


def test_values_of_an_empty_table_decide_nothing():
    values = module.values_of(pd.DataFrame(columns=list(module.COLUMNS)))
    assert all(value == {} for value in values.values())


def test_values_of_a_table():
    parts = [
        part
        for method, evaluations in (("cmaes", 200.0), ("regression", 50.0), ("covariance", NEVER))
        for part in (
            rows(method, "tuning", 10, 1.0, [evaluations] * 2),
            rows(method, "tuning", 1000, 1.0, [3000.0] * 2),
            rows(method, "measuring", 10, 1.0, [evaluations] * 10),
        )
    ]
    values = module.values_of(table(*parts))
    assert values["evaluations"] == {"plane, cmaes": 200.0, "plane, regression": 50.0, "plane, covariance": math.inf}
    assert values["cmaes_over_regression"] == {}  # the other function of the span is missing
    assert values["arrived"]["plane, covariance"] == 0.0
    assert values["evaluations_with_1000_over_10"] == {"cmaes": 15.0, "regression": 60.0, "covariance": 0.0}


def test_the_benchmark_tunes_measures_and_goes_on(tmp_path):
    out, told = tmp_path / "search.csv", []
    grid = search_comparison.SearchGrid(samples=(10,), scales=(0.3, 1.0), tuning_seeds=(100,), seeds=2, budget=2000)

    def bench(methods, resume):
        python = tmp_path / "none"
        return search_comparison.bench_search(python, grid, ["line"], methods, out, resume, told.append)

    bench(["ranks"], False)
    made = bench(["ranks", "regression"], True)
    assert len(told) == 2
    assert "line, ranks: N = 10" in told[0]
    assert len(made) == 2 * (2 + 2)
    pd.testing.assert_frame_equal(pd.read_csv(out), made.reset_index(drop=True), check_dtype=False)
    with pytest.raises(InputError, match="is there already"):
        bench(["ranks"], False)
    with pytest.raises(InputError, match="none: not there; make an environment with requirements/peers-search"):
        bench(["cmaes"], True)
    with pytest.raises(InputError, match="method = 'sgd'"):
        bench(["sgd"], True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": (4,)}, "samples = 4: must be between 8 and 50000"),
        ({"scales": (-1.0,)}, r"scale = -1\.0: must be positive"),
        ({"scales": ()}, "must have at least one"),
        ({"seeds": 0}, "seeds = 0: must be between 1 and 100"),
        ({"budget": 10}, "budget = 10: must be at least 100"),
    ],
)
def test_bad_grids_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        search_comparison.SearchGrid(**change)


@pytest.mark.skipif(bool(PEERS), reason="cmaes and evosax are there")
def test_an_environment_without_the_peers_is_told_in_one_line():
    with pytest.raises(ReproError, match=r"^cmaes: ModuleNotFoundError: No module named 'cmaes'; make") as caught:
        search_by_peer(Path(sys.executable), "line", "cmaes", [10], [1.0], [0], 100)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not PEERS, reason="needs REPRO_SEARCH_PYTHON, an interpreter with cmaes and evosax")
@pytest.mark.parametrize("method", module.PEERS)
def test_peers_arrive(method):
    (found,) = search_by_peer(Path(PEERS), "line", method, [10], [1.0], [0, 1], 2000)
    assert max(found.evaluations) <= 2000


def test_a_table_that_was_altered_is_noticed():
    stored = pd.read_csv(module.project_path(module.STORED_RUNS) / module.TABLE)
    assert list(search_contradictions(stored)) == []
    case = (stored["problem"] == "plane") & (stored["method"] == "regression")
    measured = case & (stored["phase"] == module.MEASURING)

    def told(rows, column, value):
        changed = stored.copy()
        changed.loc[rows, column] = value
        return list(search_contradictions(changed))

    assert told(measured & (stored["seed"] == 3), "evaluations", 17)[0].startswith(
        "plane, regression: seed 3: stored are 17 evaluations, made again it takes"
    )
    assert "is not measured with N = 10 and scale 30" in told(measured, "scale", 10.0)[0]
    assert "is not tuned on the grid" in told(case & (stored["seed"] == 100), "seed", 7)[0]
    assert "whole numbers between 1 and 50000" in told(measured, "evaluations", 0.5)[0]
    (line,) = list(search_contradictions(stored[~measured]))
    assert "is not measured" in line
