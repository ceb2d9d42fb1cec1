"""Configurations: complete, validated, hashed."""

from __future__ import annotations

import dataclasses
import json
import math

import jax
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repro.config import RunConfig, differences
from repro.errors import InputError
from repro.study.runs.profiles import PROFILES, configure
from repro.training import size
from repro.training.walker_chunk import resolve_walker_chunk
from repro.vmc.ansatz import slater_wavefunction


def test_profiles_are_the_promised_ones():
    sizes = {name: (p.walkers, p.sweeps, p.epochs) for name, p in PROFILES.items()}
    assert sizes["smoke"][:2] == (256, 10)
    assert sizes["laptop"] == (1024, 40, 1000)
    assert sizes["paper"] == (4096, 400, 1000)
    assert PROFILES["paper"].pretrain_epochs == 1000


def test_options_override_the_profile():
    config = configure(particles=3, v0=1, profile="paper", walkers=8, epochs=7, pretrain_epochs=0)
    assert (config.sampling.walkers, config.sampling.sweeps, config.epochs) == (8, 400, 7)
    assert config.pretraining.epochs == 0


@example(particles=1, v0=2.0**-126, sigma0=1.0, seed=0, walkers=2)  # the least that single precision holds
@given(
    particles=st.integers(1, 60),
    v0=st.floats(-100, 100, width=32, allow_subnormal=False),
    sigma0=st.floats(0.01, 10),
    seed=st.integers(0, 2**32 - 1),
    walkers=st.integers(2, 10**6),
)
def test_round_trip_and_hash(particles, v0, sigma0, seed, walkers):
    config = configure(particles=particles, v0=v0, sigma0=sigma0, seed=seed, walkers=walkers)
    again = RunConfig.from_json(config.to_json(), "test")
    assert again == config
    assert again.content_hash == config.content_hash
    other = dataclasses.replace(config, seed=(seed + 1) % 2**32)
    assert other.content_hash != config.content_hash
    assert differences(config, other) == [f"seed: {seed} -> {other.seed}"]


def test_whole_numbers_and_floats_are_one_configuration():
    assert configure(particles=2, v0=-10).content_hash == configure(particles=2, v0=-10.0).content_hash


def test_the_hash_never_changes_by_accident():
    """Stored runs are found by it."""
    assert configure(particles=2, v0=-10.0, epochs=10000).content_hash == "5cf0b0e49a09b87f"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 0}, "particles = 0: must be at least 1"),
        ({"particles": 2.0}, "whole number"),
        ({"particles": True}, "whole number"),
        ({"particles": 65}, "raise --hidden"),
        ({"v0": math.nan}, "finite"),
        ({"v0": math.inf}, "finite"),
        ({"v0": "1"}, "must be a number"),
        ({"sigma0": 0.0}, "positive"),
        ({"hidden": 0}, "hidden = 0: must be at least 1"),
        ({"hidden": -3}, "at least 1"),
        ({"layers": 0}, "between 1 and 100"),
        ({"determinants": 0}, "at least 1"),
        ({"optimizer": "lion"}, "choose one of adam"),
        ({"profile": "huge"}, "choose one of smoke, laptop, paper"),
        ({"walkers": 1}, "at least 2"),
        ({"sweeps": 0}, "at least 1"),
        ({"sweeps": "many"}, "'many': must be a whole number, or 'auto'"),
        ({"epochs": 0}, "at least 1"),
        ({"pretrain_epochs": -1}, "at least 0"),
        ({"learning_rate": -1e-4}, "positive"),
        ({"seed": -1}, "between"),
        ({"seed": 2**32}, "between"),
        ({"dtype": "float16"}, "float32, float64"),
        ({"evaluation_batches": 3}, "at least 8"),
        # What single precision or a counter of 32 bits does not hold, and what Python itself chokes on.
        ({"sweeps": 10**12}, "sweeps = 1000000000000: must be between 1 and 2147483647"),
        ({"walkers": 10**5000}, "walkers = .int, too long to print."),
        ({"learning_rate": 1e-60}, "learning_rate = 1e-60: must be at least 1.2e-38 in modulus"),
        ({"learning_rate": 10**400}, "at most 3.4e[+]38"),
        ({"v0": -1e-300}, "must be 0, or at least 1.2e-38"),
        ({"v0": 1e7}, "v0 = 1e[+]07: must be at most 1e[+]06 in modulus"),
        ({"sigma0": 1e-12}, "sigma0 = 1e-12: must be between 1e-05 and 100000"),
        ({"optimizer": "spring", "damping": 1e300}, "damping = 1e[+]300: must be at most"),
        # Words of another type, as a grid or a configuration can hold them, and words nearly right.
        ({"profile": ["smoke"]}, r"profile = \['smoke'\]: unknown"),
        ({"optimizer": {"name": "dgd"}}, "unknown; choose one of adam"),
        ({"optimizer": "dgd", "protocol": 3}, "protocol = 3: must be a text"),
        ({"optimizer": "promixal-dgd"}, "did you mean proximal-dgd"),
        ({"optimizer": "DGD"}, "did you mean dgd"),
        ({"profile": "labtop"}, "did you mean laptop"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(InputError, match=message):
        configure(**({"particles": 2, "v0": 1.0} | options))


def edited(change):
    document = json.loads(configure(particles=2, v0=1.0).to_json())
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["config"].update(colour="red"), "unknown key colour"),
        (lambda d: d["config"]["system"].update(mass=1.0), "unknown key system.mass"),
        (lambda d: d["config"].pop("seed"), "missing key seed"),
        (lambda d: d["config"].update(system=3), "must be an object"),
        (lambda d: d["config"].update(seed=7), "altered"),
        (lambda d: d.update(schema=99), "schema 99"),
        (lambda d: d.pop("config"), "not a run configuration"),
    ],
)
def test_files_that_were_tampered_with(change, message):
    with pytest.raises(InputError, match=message):
        RunConfig.from_json(edited(change), "config.json")


def test_text_that_is_no_configuration():
    with pytest.raises(InputError, match="not a run configuration"):
        RunConfig.from_json('{"schema": 1', "config.json")


@given(particles=st.integers(1, 30), walkers=st.integers(2, 9000))
def test_chosen_walker_chunk_divides_and_bounds(particles, walkers):
    config = configure(particles=particles, v0=1.0, walkers=walkers)
    chunk = resolve_walker_chunk(config)
    assert walkers % chunk == 0
    assert chunk == 1 or chunk * (particles + 2) * particles * 64 <= 2**23
    assert resolve_walker_chunk(config, walkers) == walkers
    assert resolve_walker_chunk(config, platform="gpu") >= chunk


def test_a_gpu_differentiates_all_walkers_of_the_study_at_once():
    config = configure(particles=6, v0=1.0, profile="paper")
    assert resolve_walker_chunk(config, platform="gpu") == 4096 > resolve_walker_chunk(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walkers": 10**7}, "^walkers = 10000000, particles = 2, hidden = 64: the run needs 4"),
        (
            {"walkers": 10**9},
            "^walkers = 1000000000, particles = 2, hidden = 64: the run needs .* GB of memory",
        ),
        ({"hidden": 10**6}, "^hidden = 1000000, layers = 2, determinants = 1: the run needs 32,"),
        ({"optimizer": "minsr", "walkers": 10**6}, "^walkers = 1000000, hidden = 64, layers = 2: the run needs 4,"),
        ({"determinants": 10**9}, "^hidden = 64, layers = 2, determinants = 1000000000: "),
        ({"epochs": 2**31 - 1}, "^epochs = 2147483647, pretrain_epochs = 100: the run needs"),
        ({"sweeps": 2**31 - 1, "epochs": 10**5}, r"sweeps = 2147483647.*years of this machine .* lower one of them"),
    ],
)
def test_sizes_that_the_machine_has_not_are_refused(monkeypatch, options, message):
    monkeypatch.setattr(size, "memory_bytes", lambda: 16 * 10**9)
    config = configure(**({"particles": 2, "v0": 1.0, "profile": "smoke"} | options))
    with pytest.raises(InputError, match=message):
        size.refuse_size(config, 1)


def test_the_sizes_of_the_study_are_not_refused(monkeypatch):
    """On a small laptop; the estimate is a lower bound, of a run as it is."""
    monkeypatch.setattr(size, "memory_bytes", lambda: 4 * 10**9)
    for particles in (2, 6, 20):
        config = configure(particles=particles, v0=1.0, profile="paper")
        size.refuse_size(config, resolve_walker_chunk(config))
    params = slater_wavefunction(3, layers=3, hidden=8, determinants=2).init(jax.random.key(0))
    counted = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert counted == size.parameters(configure(particles=3, v0=1.0, layers=3, hidden=8, determinants=2))


def test_walker_chunk_must_divide():
    with pytest.raises(InputError, match="must divide the number of walkers, 10"):
        resolve_walker_chunk(configure(particles=2, v0=1.0, walkers=10), 3)
