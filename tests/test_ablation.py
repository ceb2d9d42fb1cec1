"""The worth of proximal DGD's parts, from runs made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.config import PROXIMAL_PARTS
from repro.study.experiments.ablation import (
    CASES,
    EPOCHS,
    NOTHING,
    ablation_configs,
    ablation_run,
    ablation_table,
    losses,
)
from repro.study.runs.store import Run

EXACT = dict.fromkeys(CASES, -2.0)


def run(part, system, one_percent=50, tenth=60, epochs=EPOCHS, status="complete"):
    """Errors of 2 %, of 0.5 %, of none, so that the median of 40 epochs passes the levels at these epochs."""
    epoch = np.arange(1, epochs + 1)
    errors = np.select([epoch <= one_percent - 21, epoch <= tenth - 21], [0.02, 0.005], 0.0)
    curve = pd.DataFrame({"epoch": epoch, "energy": -2.0 * (1 - errors), "seconds": 1.0})
    return Run(Path(f"{part}-{system.particles}"), ablation_run(part, system), {"status": status}, curve, False)


def whole(**others):
    return [run(NOTHING, system, epochs=500, **others) for system in CASES]


def test_the_runs():
    """One with every part, which is the study's, and one without each, in each case."""
    configs = ablation_configs()
    assert len({config.content_hash for config in configs}) == len(configs) == len(CASES) * (1 + len(PROXIMAL_PARTS))
    assert [config.epochs for config in configs[: len(CASES)]] == [500] * len(CASES)
    assert {config.epochs for config in configs[len(CASES) :]} == {EPOCHS}
    assert {config.optimizer.without for config in configs} == {NOTHING, *PROXIMAL_PARTS}


def test_the_table_by_hand():
    """Only the first epochs count."""
    system = CASES[0]
    table = ablation_table([run(NOTHING, system, 70, 90, 500), run("basis", system, 100, 230, 500)], EXACT)
    assert table["epochs_to_1_percent"].tolist() == [70.0, 100.0]
    assert table["epochs_to_0.1_percent"].tolist() == [90.0, math.inf]
    assert table["error"].tolist() == [pytest.approx(0.0), pytest.approx(0.005)]
    assert table["without"].tolist() == [NOTHING, "basis"]
    assert ablation_table([run("limit", system, epochs=150, status="diverged")], EXACT)["error"].tolist() == [math.inf]
    assert ablation_table([], EXACT).empty


def test_losses_by_hand():
    """The worst of cases and levels; what is not complete is not told."""
    slower = [run("basis", system, 50, 60 if system != CASES[1] else 180) for system in CASES]
    never = [run("limit", system, 50, 60 if system != CASES[2] else 300) for system in CASES]
    faster = [run("momentum", system, 45, 50) for system in CASES]
    partly = [run("rejection", system) for system in CASES[:2]]
    found = losses(ablation_table([*whole(), *slower, *never, *faster, *partly], EXACT))
    assert {part: ratio for part, (ratio, _) in found.items()} == {
        "momentum": pytest.approx(45 / 50),
        "limit": math.inf,
        "basis": 3.0,
    }
    assert found["basis"][1] == ("basis-2", "basis-3", "basis-4", "-2", "-3", "-4")


def test_a_level_that_no_run_reached_says_nothing():
    runs = [*whole(tenth=600), *(run("basis", system, 150, 600) for system in CASES)]
    assert losses(ablation_table(runs, EXACT))["basis"][0] == 3.0
    lost = [*whole(one_percent=600, tenth=600), *(run("basis", system, 60, 600) for system in CASES)]
    assert losses(ablation_table(lost, EXACT))["basis"][0] == 1.0
