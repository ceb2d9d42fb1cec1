"""What the table of the comparison with kfac-jax says, on a table made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from repro.study.experiments.kfac_jax_table import (
    OWN,
    PEER,
    best_runs,
    chosen_damping,
    compared,
    iterations_to,
    seconds_per_step,
)

STEPS = (5, 10, 20, 40, 60)
TARGET = 10.0


def run(code: str, damping: float, seed: int, errors: tuple[float, ...], seconds: float) -> pd.DataFrame:
    """Compiling takes 50 s, before step 5, and is no part of a step."""
    rows = {"steps": STEPS, "cpu_seconds": [50.0 + seconds * step for step in STEPS], "training_error": errors}
    return pd.DataFrame({"protocol": "tanh", "damping": damping, "seed": seed, "code": code} | rows)


FAST, SLOW, NEVER = (30.0, 9.0, 8.0, 7.0, 6.0), (40.0, 30.0, 20.0, 10.0, 9.5), (50.0, 40.0, 30.0, 20.0, 11.0)
TABLE = pd.concat(
    [
        run(OWN, 50.0, 0, FAST, 0.06),
        run(PEER, 50.0, 0, NEVER, 0.1),
        run(OWN, 150.0, 0, SLOW, 0.09),
        run(PEER, 150.0, 0, SLOW, 0.1),
        run(OWN, 50.0, 1, SLOW, 0.5),
        run(PEER, 150.0, 1, SLOW, 0.1),  # no pair of the one above: other dampings
    ],
    ignore_index=True,
)


def test_steps_and_seconds_of_a_run():
    rows = run(OWN, 50.0, 0, SLOW, 0.06)
    assert iterations_to(rows, TARGET) == 40
    assert iterations_to(rows, 9.0) == math.inf
    assert seconds_per_step(rows) == pytest.approx(0.06, rel=1e-12)


def test_each_package_has_its_best_damping():
    assert chosen_damping(TABLE, "tanh", OWN, TARGET) == 50.0
    assert chosen_damping(TABLE, "tanh", PEER, TARGET) == 150.0


def test_what_is_drawn_is_without_the_time_to_compile():
    rows = best_runs(TABLE, PEER, TARGET)
    assert set(rows["damping"]) == {150.0}
    assert set(rows["seed"]) == {0, 1}
    np.testing.assert_allclose(rows["cpu_seconds"], 0.1 * rows["steps"], rtol=1e-12)


def test_pairs_give_the_seconds_and_seeds_the_iterations():
    found = compared(TABLE, TARGET)
    assert found["seconds_over_kfac_jax"] == {"tanh": pytest.approx(0.75, rel=1e-12)}  # of 0.6 and 0.9
    assert found["iterations"] == {"tanh": 25.0}  # of 10 and 40
    assert found["kfac_jax_iterations"] == {"tanh": 40.0}
