"""Plain damped Gauss-Newton: every step is dense algebra, the damping follows its rule."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import dense_metrics, repro, situation
from jax.flatten_util import ravel_pytree

from repro.config import RunConfig, optimizer_config
from repro.errors import InputError
from repro.optimizers import gauss_newton
from repro.optimizers.gauss_newton import MOST_PARAMETERS
from repro.study.runs.profiles import configure
from repro.training.run import train
from repro.training.rundir import RunDirectory

WALKERS = 16
pytestmark = pytest.mark.usefixtures("x64")


def one_step(**options):
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = gauss_newton(psi, **options)
    updates, state = jax.jit(optimizer.update)(
        grads, optimizer.init(params), params, walkers=x, local_energies=energies
    )
    step, g = (np.asarray(ravel_pytree(psi.structure.split(tree))[0]) for tree in (updates, grads))
    return optimizer, state, step, g


@pytest.mark.parametrize("damping", [1e-2, 1.0, 1e3])
def test_a_step_is_the_minimum_of_the_damped_model(damping):
    _, state, step, g = one_step(damping=damping)
    damped = dense_metrics(WALKERS).decision + damping * np.eye(len(g))
    np.testing.assert_allclose(step, -np.linalg.solve(damped, g), rtol=1e-10, atol=1e-10 * np.abs(step).max())
    np.testing.assert_allclose(state.predicted, 0.5 * g @ step, rtol=1e-10)
    assert float(state.predicted) < 0


@pytest.mark.parametrize(
    ("ratio", "factor"), [(0.9, 0.8**3), (0.5, 1.0), (0.1, 0.8**-3), (-1.0, 0.8**-3), (np.nan, 1.0)]
)
def test_the_damping_follows_the_rule(ratio, factor):
    options = {"damping": 2.0, "damping_factor": 0.8, "damping_interval": 3}
    optimizer, state, *_ = one_step(**options)
    assert bool(optimizer.judge.due(state))
    after = jnp.full(WALKERS, ratio * state.predicted)
    judged, found = optimizer.judge.judge(state, jnp.zeros(WALKERS), after)
    np.testing.assert_allclose(found, ratio, rtol=1e-12)
    np.testing.assert_allclose(judged.damping, 2.0 * factor, rtol=1e-12)
    due = [bool(optimizer.judge.due(state._replace(epoch=jnp.int32(epoch)))) for epoch in range(1, 8)]
    assert due == [True, False, False, True, False, False, True]


def test_the_damping_stays_between_its_clamps():
    optimizer, state, *_ = one_step(damping=2.0, damping_min=1.9, damping_max=2.1)
    for ratio, damping in ((0.9, 1.9), (0.1, 2.1)):
        judged, _ = optimizer.judge.judge(state, jnp.zeros(WALKERS), jnp.full(WALKERS, ratio * state.predicted))
        np.testing.assert_allclose(judged.damping, damping, rtol=1e-12)


def test_too_many_parameters_are_refused_in_one_line():
    optimizer = gauss_newton(lambda params, x: jnp.sum(params["w"]) * jnp.sum(x))
    optimizer.init({"w": jnp.zeros(MOST_PARAMETERS)})
    with pytest.raises(InputError, match=r"^gauss-newton: 5,001 parameters, .* take fewer parameters, or .*dgd$"):
        optimizer.init({"w": jnp.zeros(MOST_PARAMETERS + 1)})


def test_its_configuration_survives_the_file():
    config = configure(particles=2, v0=-10, optimizer="gauss-newton", damping=3, damping_interval=2)
    assert RunConfig.from_json(config.to_json(), "here") == config
    assert config.optimizer == optimizer_config("gauss-newton", damping=3.0, damping_interval=2)
    for damping in (None, 3.0):
        with pytest.raises(InputError, match=r"optimizer\.damping"):
            RunConfig.from_dict({**config.to_dict(), "optimizer": {"name": "gauss-newton", "damping": damping}})


def test_a_network_too_large_for_it_is_refused_before_the_pretraining(tmp_path):
    config = configure(particles=2, v0=-1, optimizer="gauss-newton", profile="smoke")
    with pytest.raises(InputError, match=r"gauss-newton: 8,580 parameters"):
        train(config, tmp_path / "large")
    assert not (tmp_path / "large" / "config.json").exists()


def test_it_trains_from_the_command_line(tmp_path):
    sizes = "--particles 2 --v0 -1 --walkers 16 --sweeps 2 --pretrain-epochs 0 --epochs 2 --evaluation-batches 8"
    options = (*sizes.split(), "--hidden", "4", "--damping", "5")
    done = repro("train", "--optimizer", "gauss-newton", *options, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert RunDirectory(tmp_path).read_config().optimizer == optimizer_config("gauss-newton", damping=5.0)
