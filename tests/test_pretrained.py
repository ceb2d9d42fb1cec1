"""Taking the pretraining from another run."""

from __future__ import annotations

import csv
import json

import pytest

from repro.errors import InputError
from repro.study.runs.profiles import configure
from repro.training.run import train

SMALL = {"particles": 2, "profile": "smoke", "pretrain_epochs": 6, "epochs": 4, "hidden": 8, "evaluation_batches": 8}


def rows(path):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(path.read_text().splitlines())]


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    path = tmp_path_factory.mktemp("donor") / "run"
    train(configure(v0=-10.0, **SMALL), path)
    return path


def test_a_run_from_anothers_pretraining_is_the_run_itself(donor, tmp_path):
    """Other coupling, other optimiser: the same curve as with a pretraining of its own, to the last digit."""
    config = configure(v0=5.0, optimizer="ngd", **SMALL)
    whole = train(config, tmp_path / "whole").run
    short = train(config, tmp_path / "short", pretrained=donor).run
    assert rows(whole.curve) == rows(short.curve)
    assert rows(whole.pretraining) == rows(short.pretraining)
    energies = [json.loads(run.result.read_text())["energy"] for run in (whole, short)]
    assert energies[0] == energies[1]


@pytest.mark.parametrize(
    ("change", "told"), [({"seed": 1}, "seed"), ({"hidden": 9}, "hidden"), ({"walkers": 64}, "64")]
)
def test_another_pretraining_is_refused_before_anything_is_written(donor, tmp_path, change, told):
    config = configure(v0=-10.0, **(SMALL | change))
    with pytest.raises(InputError, match=told):
        train(config, tmp_path / "run", pretrained=donor)
    assert not (tmp_path / "run").exists()


def test_a_directory_without_a_pretrained_state_is_refused(donor, tmp_path):
    config = configure(v0=-10.0, **SMALL)
    with pytest.raises(InputError, match="not a run directory"):
        train(config, tmp_path / "run", pretrained=tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text((donor / "config.json").read_text())
    with pytest.raises(InputError, match="has not ended"):
        train(config, tmp_path / "run", pretrained=tmp_path / "begun")
