"""A seeded run against its stored reference (tier A), and converged energies against exact ones (tier C).

The reference in tests/golden was written by: python tests/test_regression.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from repro.config import SystemConfig
from repro.references import known_energy
from repro.study.convergence import converged
from repro.study.profiles import configure
from repro.study.store import find_run, load_run, project_path
from repro.training.run import train

GOLDEN = Path(__file__).parent / "golden" / "adam-float64.csv"
CONFIG = configure(
    particles=2, v0=-10.0, profile="smoke", pretrain_epochs=20, epochs=30, dtype="float64", learning_rate=1e-3
)
TOLERANCE = 1e-8
STORED = sorted(path.parent for path in project_path("paper_runs").glob("*/result.json"))


def read(path: Path) -> dict[str, np.ndarray]:
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0] if name != "seconds"}


def test_tier_a_golden_curve(tmp_path):
    """Double precision: every column of every epoch, to 1e-8 (nine digits are stored)."""
    found, expected = read(train(CONFIG, tmp_path / "run").run.curve), read(GOLDEN)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, err_msg=f"tier A, column {name}")


def test_tier_a_notices_another_seed(tmp_path):
    other = configure(
        particles=2,
        v0=-10.0,
        profile="smoke",
        pretrain_epochs=20,
        epochs=30,
        dtype="float64",
        learning_rate=1e-3,
        seed=1,
    )
    found = read(train(other, tmp_path / "run").run.curve)
    assert not np.allclose(found["energy"], read(GOLDEN)["energy"], rtol=1e-4)


@pytest.mark.parametrize(("particles", "v0"), [(2, 10.0), (3, 0.0)])
def test_tier_c_energy_of_a_short_run(tmp_path, particles, v0):
    """Within 5 sigma of the exact energy plus 2 % for a short optimisation, and never 5 sigma below it."""
    config = configure(particles=particles, v0=v0, profile="smoke", pretrain_epochs=500, epochs=700, learning_rate=1e-3)
    result = train(config, tmp_path / "run").result
    exact = known_energy(config.system)
    difference = result["energy"] - exact
    assert -5 * result["energy_error"] < difference < 5 * result["energy_error"] + 0.02 * exact
    assert result["rhat"] < 1.05


def test_there_are_stored_runs():
    assert len(STORED) >= 5


@pytest.mark.parametrize("path", STORED, ids=[path.name for path in STORED])
def test_tier_c_stored_runs(path):
    """Every stored run verifies, is named after its configuration, and obeys the variational principle."""
    run = load_run(path)
    assert path.name == run.config.run_name
    if not run.complete:
        assert len(run.curve) == run.result["epoch"] - 1 < run.config.epochs
        return
    assert len(run.curve) == run.config.epochs
    exact = known_energy(run.config.system)
    if exact is None:
        return
    result = run.result
    assert result["energy"] > exact - 5 * result["energy_error"]
    if run.config.optimizer.name == "adam" and run.config.epochs >= 10000 and abs(run.config.system.v0) <= 10:
        assert result["energy"] < exact + 5 * result["energy_error"] + 0.005 * abs(exact)
    if run.config.optimizer.name == "dgd" and run.config.system == SystemConfig(2, -10.0):
        assert converged(run, exact)
        medians = run.curve["energy"].rolling(40).median()
        assert (medians / exact - 1.0).abs().iloc[:350].min() < 0.01


def test_dgd_reaches_one_percent_by_epoch_350_in_three_seeds_of_three():
    """A = 2, V0 = -10, laptop profile: the runs are there, and each passes the test above."""
    configs = [configure(particles=2, v0=-10.0, optimizer="dgd", seed=seed) for seed in range(3)]
    assert all(find_run(project_path("paper_runs"), config) for config in configs)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        outcome = train(CONFIG, Path(folder) / "run")
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_bytes(outcome.run.curve.read_bytes())
