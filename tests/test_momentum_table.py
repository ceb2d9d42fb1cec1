"""The table of M10 to M14: its runs are those of the package's own loop, its settings those of the tuning seeds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import repro
from repro.config import optimizer_config
from repro.demonstrations.base import in_double_precision
from repro.errors import InputError
from repro.optimizers import build_optimizer
from repro.problems.regression import mackey_glass_problem, mackey_glass_samples, series_network
from repro.study.benchmarks import momentum as module
from repro.study.benchmarks.momentum import GRIDS, STOCHASTIC_GRIDS, Numbers, Unit, bench_momentum, measured_unit, units
from repro.study.experiments import momentum_values
from repro.study.experiments.momentum_table import (
    LEVELS,
    MOST_SETTINGS,
    NUMBERS,
    SEEDS,
    SERIES,
    STOCHASTIC,
    TABLE_COLUMNS,
    TUNING_SEEDS,
    best_setting,
    chosen,
)

SETTINGS = {
    "LM": ("natural-momentum", {"kind": "transported", "damping": 1e-4, "momentum": 0.6}),
    "NGD, search": ("natural-momentum", {"momentum": 0.0, "damping": 1e-4, "search": "halving"}),
    "SPRING": ("spring", {"learning_rate": 1.0, "damping": 1e-4, "momentum": 0.6, "step_limit": 1e30}),
    "proximal": ("proximal", {}),
}


@in_double_precision
def losses_by_minimise(method: str, steps: int, seed: int) -> np.ndarray:
    """Of all samples, before each of the steps."""
    name, options = SETTINGS[method]
    training, network = jnp.asarray(mackey_glass_samples()[0]), series_network("10")
    problem = mackey_glass_problem("10")
    params = network.init(jax.random.key(seed), jnp.zeros((1, 4)))
    optimizer = build_optimizer(optimizer_config(name, **options), problem)
    return repro.minimise(problem, optimizer, params, epochs=steps, coefficients=training).curve["loss"]


@pytest.mark.parametrize("method", SETTINGS)
def test_runs_are_those_of_the_packages_own_loop(method):
    setting = Numbers(1.0, 1e-4, 0.6 if method in ("LM", "SPRING") else 0.0)
    row = measured_unit(Unit(SERIES, method, 0, (setting,), 6, seeds=(3,))).iloc[0]
    losses = losses_by_minimise(method, 7, 3)
    assert row["loss"] == pytest.approx(losses[6], rel=1e-5)
    assert math.isnan(row["steps"])
    assert losses[6] > LEVELS[SERIES]


def table_of(rows):
    """(method, damping, tuning, seed, steps) of made-up runs."""
    filled = [
        (SERIES, method, 0, 0.0, 1.0, damping, 0.0, *rest, 1e-4, math.nan, math.nan) for method, damping, *rest in rows
    ]
    return pd.DataFrame(filled, columns=list(TABLE_COLUMNS))


def test_a_setting_is_chosen_by_the_tuning_seeds_alone():
    table = table_of(
        [
            *(("NGD", 1e-4, 1, seed, 30.0) for seed in TUNING_SEEDS),
            *(("NGD", 1e-6, 1, seed, steps) for seed, steps in zip(TUNING_SEEDS, (20.0, 25.0, math.nan), strict=True)),
            *(
                ("NGD", 1e-8, 1, seed, steps)
                for seed, steps in zip(TUNING_SEEDS, (5.0, math.nan, math.nan), strict=True)
            ),
            *(("NGD", 1e-6, 0, seed, 40.0 + seed) for seed in SEEDS),
        ]
    )
    found = chosen(table, SERIES, "NGD")
    assert (found.damping, found.settings, len(found.rows)) == (1e-6, 3, 10)
    assert found.steps == 44.5
    never = table_of([("NGD", 1e-6, 0, seed, math.nan if seed < 6 else 10.0) for seed in SEEDS])
    assert chosen(never, SERIES, "NGD").steps == math.inf
    assert best_setting(table[table["tuning"] == 1]) == (1.0, 1e-6, 0.0)


def test_every_method_has_the_same_budget_and_the_untuned_have_one():
    for grid in (GRIDS, STOCHASTIC_GRIDS):
        assert {len(settings) for settings in grid.values()} == {MOST_SETTINGS}
        for settings in grid.values():
            assert len(set(settings)) == MOST_SETTINGS
    assert not set(SEEDS) & set(TUNING_SEEDS)
    places = [(unit.part, unit.method, unit.batch) for unit in units()]
    assert len(set(places)) == len(places)


def test_the_table_is_gone_on_with(tmp_path):
    out, told = tmp_path / "table.csv", []
    few = [Unit(STOCHASTIC, name, 5, (Numbers(0.3, 1e-4, 0.5),), 2, seeds=(0, 1)) for name in ("SPRING", "NGD")]
    bench_momentum(out, False, told.append, few[:1])
    with pytest.raises(InputError, match=r"table\.csv"):
        bench_momentum(out, False, told.append, few)
    table = bench_momentum(out, True, told.append, few)
    assert list(table["method"]) == ["SPRING", "SPRING", "NGD", "NGD"]
    assert [line.split(",")[0] for line in told] == ["1/1 series", "1/1 series"]
    written = pd.read_csv(out)
    assert list(written.columns) == list(TABLE_COLUMNS)


def test_the_stored_table_holds_what_its_units_ask_for():
    table = momentum_values.stored_table()
    for unit in units():
        rows = table[(table["part"] == unit.part) & (table["method"] == unit.method) & (table["batch"] == unit.batch)]
        assert len(rows) == unit.runs, unit.told
        assert set(rows["eps"]) == set(unit.layers or (0.0,))
        for eps, own in rows.groupby("eps"):
            tuning = own[own["tuning"] == 1]
            if len(tuning):
                medians = tuning.groupby(list(NUMBERS))["steps"].agg(lambda steps: np.median(steps.fillna(math.inf)))
                measured = chosen(table, unit.part, unit.method, unit.batch, eps)[:3]
                assert medians[measured] == medians.min(), (unit.told, eps)


def test_stored_runs_can_be_made_again():
    """The settings that are stored, with two of the seeds: steps differ by rounding at most."""
    table = momentum_values.stored_table()
    for method in ("LM", "proximal"):
        found = chosen(table, SERIES, method)
        setting = Numbers(found.learning_rate, found.damping, found.momentum)
        again = measured_unit(Unit(SERIES, method, 0, (setting,), 60, seeds=(0, 4)))
        stored = found.rows[found.rows["seed"].isin([0, 4])]
        for steps, known in zip(again["steps"], stored["steps"], strict=True):
            if known <= 60:
                assert abs(steps - known) <= 2
            else:
                assert math.isnan(steps)
    assert set(NUMBERS) <= set(table.columns)
    assert set(module.METHODS) >= set(table["method"])
