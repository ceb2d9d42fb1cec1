"""Large systems: what is said of their runs, by runs made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.study.claims import measurements as evidence
from repro.study.claims.measurements import gather
from repro.study.claims.statements import load_claims
from repro.study.experiments.many_particles import (
    EPOCHS,
    FREE,
    OPTIMIZERS,
    OWN,
    PARTICLES,
    STUDIED,
    SYSTEMS,
    density_distance,
    excess_left,
    free_density,
    large_run,
    large_runs,
    study_pretrained,
)
from repro.study.runs.cases import exact_energy
from repro.study.runs.grid import read_grid
from repro.study.runs.store import Run, project_path


def run(name, system, left=0.1, first=0.4, final=0.003, status="complete"):
    """``first`` too high at first, and at the end ``left`` of that; the final energy ``final`` too high."""
    exact = exact_energy(system)
    errors = np.where(np.arange(1, EPOCHS + 1) <= EPOCHS - 5, first, left * first)
    curve = pd.DataFrame({"epoch": np.arange(1, EPOCHS + 1), "energy": exact + errors * abs(exact)})
    result = {"status": status, "energy": exact + final * abs(exact), "energy_error": 1e-6}
    return Run(Path(f"{name}-{system.particles}-{system.v0:g}"), large_run(name, system), result, curve, False)


def test_the_runs_are_those_of_the_grid():
    configs = large_runs(OPTIMIZERS)
    grid = read_grid(project_path("paper_runs/grids/large.toml"))
    assert {one.content_hash for one in grid} == {one.content_hash for one in (*configs, study_pretrained())}
    assert len(configs) == len(OPTIMIZERS) * len(SYSTEMS) == 20
    assert [one.pretraining.learning_rate for one in large_runs([OWN])] == [1e-4, 1e-3, 1e-3, 1e-4, 1e-4]
    assert study_pretrained().pretraining.learning_rate == 1e-4


def test_the_exact_energies_are_known():
    assert [exact_energy(system) for system in FREE] == [count**2 / 2 for count in PARTICLES]
    attracted, free, repelled = (exact_energy(next(s for s in SYSTEMS if s.v0 == v0)) for v0 in (-5.0, 0.0, 5.0))
    assert attracted < free < repelled


@pytest.mark.parametrize("left", [0.0, 0.5, 1.5])
def test_the_excess_left_by_hand(left):
    exact = exact_energy(FREE[0])
    assert excess_left(run("dgd", FREE[0], left), exact) == pytest.approx(left)
    assert excess_left(run("dgd", FREE[0], left, status="diverged"), exact) == math.inf


@pytest.mark.parametrize("count", [1, 2, 20])
def test_the_free_density(count):
    """Normalised to the particles; of one the Gaussian, of two by hand; the trap's energy is half of A^2/2."""
    x = np.linspace(-12.0, 12.0, 4001)
    density, width = free_density(count, x), x[1] - x[0]
    assert density.sum() * width == pytest.approx(count)
    assert (0.5 * x**2 * density).sum() * width == pytest.approx(count**2 / 4)
    by_hand = {1: 1.0, 2: 1.0 + 2.0 * x**2}
    if count in by_hand:
        np.testing.assert_allclose(density, by_hand[count] * np.exp(-(x**2)) / math.sqrt(math.pi), atol=1e-12)


def test_misplaced_particles_by_hand():
    x = np.linspace(-20.0, 20.0, 2001)
    exact = free_density(2, x)
    assert density_distance(pd.DataFrame({"x": x, "n": exact}), 2) == 0.0
    assert density_distance(pd.DataFrame({"x": x, "n": np.roll(exact, 1000)}), 2) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("quantity", "names", "worst"), [("excess_left", STUDIED, {"left": 0.7}), ("large_error", [OWN], {"final": 0.02})]
)
def test_the_claims_take_the_worst_of_all_systems(quantity, names, worst):
    (claim,) = (claim for claim in load_claims() if claim.quantity == quantity)
    made = [run(name, system) for name in names for system in SYSTEMS]

    class Source:
        def available(self, configs):
            there = {one.config.content_hash: one for one in made}
            return [there[config.content_hash] for config in configs if config.content_hash in there]

    fine = gather(claim, Source())
    assert len(fine.items) == fine.wanted == len(made)
    assert max(item.value for item in fine.items) <= claim.at_most
    made[3] = run(names[0], SYSTEMS[3], **worst)
    assert sum(item.value > claim.at_most for item in gather(claim, Source()).items) == 1
    made.pop()
    assert len(gather(claim, Source()).missing) == 1
    assert evidence.configs_of(claim) == large_runs(names)
