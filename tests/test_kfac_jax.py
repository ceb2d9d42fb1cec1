"""The peer kfac-jax: what is sent to its environment, and what is said where that fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from repro.datasets import load_images
from repro.errors import InputError, ReproError
from repro.problems.autoencoder import Autoencoder
from repro.study.benchmarks.kfac_jax import train_with_kfac_jax
from repro.study.benchmarks.kfac_jax_program import logits

SMALL = Autoencoder(64, hidden=(12,), code=3, activation="logistic")
PEER = os.environ.get("REPRO_KFAC_PYTHON", "")
"""Interpreter of an environment with kfac-jax."""


def images():
    return load_images("digits").training[:100]


def test_the_program_has_the_same_network():
    params = jax.jit(SMALL.init)(jax.random.key(1))
    layers = [params[name] for name in ("linear", "linear_1", "linear_2", "linear_3")]
    np.testing.assert_allclose(
        logits(layers, images(), "logistic"), SMALL.apply(params, images()), rtol=1e-5, atol=1e-5
    )


def test_an_interpreter_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"python: not there; make an environment with requirements/peers-kfac\.lock"):
        train_with_kfac_jax(tmp_path / "python", SMALL, images(), steps=1, batch_size=50)
    with pytest.raises(InputError, match="batch_size = 500"):
        train_with_kfac_jax(Path(sys.executable), SMALL, images(), steps=1)


@pytest.mark.skipif(bool(PEER), reason="kfac-jax is there")
def test_an_environment_without_kfac_jax_is_told_in_one_line():
    with pytest.raises(ReproError, match=r"^kfac-jax: ModuleNotFoundError: No module named 'kfac_jax'; make") as caught:
        train_with_kfac_jax(Path(sys.executable), SMALL, images(), steps=1, batch_size=50)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not PEER, reason="needs REPRO_KFAC_PYTHON, an interpreter with kfac-jax")
def test_it_trains():
    found = train_with_kfac_jax(Path(PEER), SMALL, images(), steps=6, batch_size=50, interval=3)
    assert len(found["losses"]) == len(found["cpu_seconds"]) == 6
    assert [step for step, _ in found["errors"]] == [3, 6]
    assert found["losses"][-1] < found["losses"][0]
    start = SMALL.init(jax.random.key(0))
    assert found["errors"][-1][1] < SMALL.error(start, images())
