"""Seeded runs against stored references: golden curves (tier A), energies (tier C), bands over seeds (tier D).

The references in tests/golden were written by

    python tests/test_regression.py golden
    python tests/test_regression.py bands FOLDER

and the gates are shown to hold by breaking the code.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.config import OPTIMIZERS, PARTS_OF, RunConfig, SystemConfig, optimizer_config
from repro.curvature.output_metrics import Euclidean
from repro.optimizers import second_order
from repro.references import known_energy
from repro.study.runs.convergence import converged
from repro.study.runs.grid import read_grid
from repro.study.runs.profiles import configure
from repro.study.runs.store import find_run, load_run, project_path
from repro.study.runs.sweep import DONE, summary, sweep
from repro.training.run import train
from repro.vmc import problem
from repro.vmc.metrics import decision_metric

FOLDER = Path(__file__).parent / "golden"
BANDS = FOLDER / "smoke-bands.csv"
SMOKE_RUNS = FOLDER / "smoke.toml"
FRESH_SEED = 100
BLOCK = 10
LEAST_WIDTH = 0.01
"""Of a band: where all seeds take the same decision about the damping, another one is allowed to differ by a tenth."""

SIGMAS = 6.0
"""Of a normal distribution whose width eight seeds tell: an honest block is beyond once in about 5000."""


AS_USERS_HAVE_THEM = pytest.mark.usefixtures("optimized")
"""Of programs, as those of the references are: the others compile in half the time, and keep to the same curves."""


def golden_config(optimizer: str, seed: int = 0) -> RunConfig:
    """A short run in double precision that does not amplify rounding, so that 1e-8 holds however sums are ordered.

    Fifty steps of MINRES that have not converged do: Lanczos vectors lose their orthogonality, and one update changes
    by 1e-6 of itself; six steps do not. Nor do quasi-Hessian models with a damping that keeps them positive.
    """
    options: dict[str, float] = {"damping": 1000.0 if optimizer.startswith("qn") else 100.0}
    if optimizer == "adam":
        options = {"learning_rate": 1e-3}
    elif "minres" in PARTS_OF[optimizer]:
        options["minres_iterations"] = 6
    return configure(
        particles=2,
        v0=-10.0,
        optimizer=optimizer,
        profile="smoke",
        pretrain_epochs=20,
        epochs=30 if optimizer == "adam" else 21,
        dtype="float64",
        seed=seed,
        **options,
    )


def golden(optimizer: str) -> Path:
    """The stored curve."""
    return FOLDER / f"{optimizer}-float64.csv"


TOLERANCE = 1e-8
STORED = sorted(path.parent for path in project_path("paper_runs").glob("*/result.json"))


def read(path: Path) -> dict[str, np.ndarray]:
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0] if name != "seconds"}


def follows_golden(optimizer: str, folder: Path, seed: int = 0) -> None:
    """Asserts that every column of every epoch is the stored one (nine digits are stored)."""
    outcome = train(golden_config(optimizer, seed), folder / "run")
    assert outcome.result["rounding"] is None  # nothing more precise to compare with
    found = read(outcome.run.curve)
    expected = read(golden(optimizer))
    assert set(found) == set(expected)
    for name, values in expected.items():
        scale = np.nanmax(np.abs(values)) if np.any(np.isfinite(values)) else 0.0
        np.testing.assert_allclose(
            found[name], values, rtol=TOLERANCE, atol=1e-3 * TOLERANCE * scale, err_msg=f"tier A, column {name}"
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tier_a_golden_curve(tmp_path, optimizer):
    """Double precision: every column of every epoch, to 1e-8."""
    follows_golden(optimizer, tmp_path)


@AS_USERS_HAVE_THEM
def test_tier_a_of_optimised_programs(tmp_path):
    follows_golden("dgd", tmp_path)


def test_tier_a_notices_another_seed(tmp_path):
    with pytest.raises(AssertionError, match="tier A"):
        follows_golden("adam", tmp_path, seed=1)


def test_tier_a_notices_a_wrong_damping_rule(tmp_path, monkeypatch):
    right = second_order.adapted_damping_released
    monkeypatch.setattr(second_order, "adapted_damping_released", lambda damping, *rest: 1.001 * right(damping, *rest))
    with pytest.raises(AssertionError, match="tier A"):
        follows_golden("dgd", tmp_path)


def test_tier_a_notices_a_wrong_metric(tmp_path, monkeypatch):
    monkeypatch.setattr(
        problem, "decision_metric", lambda found: replace(decision_metric(found), output=Euclidean(1.001))
    )
    with pytest.raises(AssertionError, match="tier A"):
        follows_golden("dgd", tmp_path)


def block_medians(curve: pd.DataFrame) -> dict[str, np.ndarray]:
    """Medians of every ten epochs, of energy and logarithm of the damping: single wild epochs do not widen the band."""
    columns = {"energy": curve["energy"], "log damping": np.log(curve["lambda"])}
    blocks = {name: values.to_numpy().reshape(-1, BLOCK) for name, values in columns.items() if not values.isna().all()}
    return {name: np.median(values, axis=1) for name, values in blocks.items()}


def smoke_config(optimizer: str) -> RunConfig:
    """The run of a seed that is not among those of the bands."""
    (first, *_) = (config for config in read_grid(SMOKE_RUNS) if config.optimizer.name == optimizer)
    return replace(first, seed=FRESH_SEED)


def stays_in_band(optimizer: str, folder: Path) -> None:
    """Asserts that a run of a fresh seed stays within the band of the stored seeds."""
    curve = pd.read_csv(train(smoke_config(optimizer), folder / "run").run.curve)
    bands = pd.read_csv(BANDS)
    for name, medians in block_medians(curve).items():
        band = bands[(bands["optimizer"] == optimizer) & (bands["quantity"] == name)]
        width = np.maximum(band["deviation"].to_numpy(), LEAST_WIDTH) * np.sqrt(1.0 + 1.0 / band["seeds"].iloc[0])
        distance = np.abs(medians - band["mean"].to_numpy()) / width
        told = f"tier D, {optimizer}, {name}: block {int(distance.argmax())}, {distance.max():.1f} sigma"
        assert distance.max() < SIGMAS, told


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tier_d_smoke_curves(tmp_path, optimizer):
    """Single precision, smoke profile: block medians within the band that eight other seeds span."""
    stays_in_band(optimizer, tmp_path)


def test_tier_d_notices_a_wrong_metric(tmp_path, monkeypatch):
    """A sum over the walkers in place of their mean. The finer differences between metrics are tier A's to notice."""
    right = problem.decision_metric
    monkeypatch.setattr(
        problem, "decision_metric", lambda found: replace(right(found), output=Euclidean(found.x.shape[0]))
    )
    with pytest.raises(AssertionError, match="tier D"):
        stays_in_band("dgd", tmp_path)


def test_tier_d_notices_a_wrong_damping_rule(tmp_path, monkeypatch):
    """Damping that grows where it should shrink."""
    right = second_order.adapted_damping_released
    monkeypatch.setattr(
        second_order, "adapted_damping_released", lambda damping, *rest: damping**2 / right(damping, *rest)
    )
    with pytest.raises(AssertionError, match="tier D"):
        stays_in_band("kfac", tmp_path)


@AS_USERS_HAVE_THEM
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


LAPTOP = configure(particles=2, v0=-10.0).sampling
ROUNDED = {"proximal-dgd-A6-V0-seed2-ab1ba88f", "spring-A10-V0-seed0-52a02868"}
"""Runs that end below the exact energy: orbitals dependent to single precision (docs/proximal-results.md)."""


@pytest.mark.parametrize("path", STORED, ids=[path.name for path in STORED])
def test_tier_c_stored_runs(path):
    """Every stored run verifies, is named after its configuration, and obeys the variational principle but for two."""
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
    least = exact - 5 * result["energy_error"] - (result.get("rounding") or 0.0)
    assert (result["energy"] > least) == (path.name not in ROUNDED)
    if path.name in ROUNDED:  # they say so; the older one, which has no number for it, by chains that disagree
        rounding = result.get("rounding")
        assert result["rhat"] > 1.05 if rounding is None else rounding > result["energy_error"]
    # With two particles Adam arrives, without interaction with any number; else not always, which T02 shows.
    arrives = run.config.system.v0 == 0 or (run.config.system.particles == 2 and abs(run.config.system.v0) <= 10)
    if run.config.optimizer.name == "adam" and run.config.epochs >= 10000 and arrives:
        assert result["energy"] < exact + 5 * result["energy_error"] + 0.005 * abs(exact)
    # Of the study's DGD, whose variants in the ledger may fare worse, at the laptop's size, whose five seeds arrive by
    # then. At the study's size the start decides: seeds 0 to 2 arrive at epochs 243, 356 and 384, as the page says.
    if run.config.optimizer == optimizer_config("dgd") and run.config.system == SystemConfig(2, -10.0):
        assert converged(run, exact)
        if run.config.sampling != LAPTOP:
            return
        medians = run.curve["energy"].rolling(40).median()
        assert (medians / exact - 1.0).abs().iloc[:350].min() < 0.01


def test_dgd_reaches_one_percent_by_epoch_350_in_three_seeds_of_three():
    """A = 2, V0 = -10, laptop profile: the runs are there, and each passes the test above."""
    configs = [configure(particles=2, v0=-10.0, optimizer="dgd", seed=seed) for seed in range(3)]
    assert all(find_run(project_path("paper_runs"), config) for config in configs)


def write_golden() -> None:
    """Runs every optimiser and stores its curve."""
    import tempfile

    for optimizer in OPTIMIZERS:
        with tempfile.TemporaryDirectory() as folder:
            golden(optimizer).write_bytes(train(golden_config(optimizer), Path(folder) / "run").run.curve.read_bytes())


def write_bands(folder: str) -> None:
    """Runs what SMOKE_RUNS names, in ``folder``, and stores mean and deviation of its blocks over the seeds."""
    jobs = sweep(read_grid(SMOKE_RUNS), folder)
    assert all(job.state == DONE for job in jobs), summary(jobs)
    rows = []
    for optimizer in OPTIMIZERS:
        curves = [pd.read_csv(job.directory.curve) for job in jobs if job.config.optimizer.name == optimizer]
        medians = [block_medians(curve) for curve in curves]
        for name in medians[0]:
            for number, block in enumerate(np.stack([found[name] for found in medians]).T):
                rows.append((optimizer, name, number, len(curves), block.mean(), block.std(ddof=1)))
    table = pd.DataFrame(rows, columns=["optimizer", "quantity", "block", "seeds", "mean", "deviation"])
    table.to_csv(BANDS, index=False, float_format="%.6g")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["golden"]:
            write_golden()
        case ["bands", folder]:
            write_bands(folder)
        case _:
            sys.exit("usage: python tests/test_regression.py golden | bands FOLDER")
