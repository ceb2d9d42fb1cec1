"""minSR and SPRING: their steps against the regression that defines them, in parameter space."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SITUATION, single_walker_derivatives, situation
from jax.flatten_util import ravel_pytree

from repro.config import RunConfig, SpringConfig, optimizer_config
from repro.errors import InputError
from repro.optimizers import build_optimizer, spring
from repro.solvers.sample_space import damped_solve
from repro.study.runs.profiles import configure
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.problem import MonteCarlo

WALKERS = 64
pytestmark = pytest.mark.usefixtures("x64")


def dense():
    """O and e of the definition."""
    psi, params, x, energies, _ = situation(WALKERS)
    theta = ravel_pytree(psi.structure.split(params))[0]
    scores = np.asarray(single_walker_derivatives(psi, params, SITUATION)(theta, x)[0])
    clipped = np.asarray(clip_local_energies(energies))
    return (scores - scores.mean(0)) / np.sqrt(WALKERS), (clipped - clipped.mean()) / np.sqrt(WALKERS)


def steps(config, count, **changes):
    """Updates on the same walkers, as vectors in the order of the layer blocks."""
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = build_optimizer(config, MonteCarlo(psi, **changes))
    update = jax.jit(lambda state: optimizer.update(grads, state, params, walkers=x, local_energies=energies))
    state = optimizer.init(params)
    for _ in range(count):
        updates, state = update(state)
        yield np.asarray(ravel_pytree(psi.structure.split(updates))[0])


@pytest.mark.parametrize(("name", "momentum"), [("minsr", 0.0), ("spring", 0.99), ("spring", 0.5)])
@pytest.mark.parametrize("damping", [1e-3, 10.0])
def test_steps_against_the_regression_they_solve(name, momentum, damping):
    """phi = argmin |O p - e|^2 + lambda |p - mu phi_prev|^2, by its normal equations."""
    scores, energies = dense()
    config = SpringConfig(name, learning_rate=0.03, damping=damping, momentum=momentum, step_limit=1e10)
    matrix = scores.T @ scores + damping * np.eye(scores.shape[1])
    phi = np.zeros(scores.shape[1])
    for found in steps(config, 3):
        phi = np.linalg.solve(matrix, scores.T @ energies + damping * momentum * phi)
        np.testing.assert_allclose(found, -0.03 * phi, rtol=1e-7, atol=1e-9 * np.abs(phi).max())


@pytest.mark.parametrize("seed", range(4))
def test_a_kernel_that_rounding_makes_indefinite(seed):
    """In single precision Cholesky fails; what the regression explains, it explains all the same."""
    rng, damping = np.random.default_rng(seed), 1e-3
    left, right = (np.linalg.qr(rng.normal(size=(count, 64)))[0] for count in (64, 200))
    scores = left @ np.diag(np.geomspace(300.0, 1e-3, 64)) @ right.T
    energies = left @ (rng.normal(size=64) * np.geomspace(1.0, 1e-2, 64))
    single, target = jnp.asarray(scores, "float32"), jnp.asarray(energies, "float32")
    assert not np.isfinite(jnp.linalg.cholesky(single @ single.T + damping * jnp.eye(64, dtype="float32"))).all()
    found = scores.T @ np.asarray(damped_solve(single, damping, target), "float64")
    exact = scores.T @ np.linalg.solve(scores @ scores.T + damping * np.eye(64), energies)

    def objective(phi):
        return np.sum((scores @ phi - energies) ** 2) + damping * phi @ phi

    assert objective(exact) < 0.01 * energies @ energies
    assert objective(exact) <= objective(found) < 0.02 * energies @ energies
    assert not np.isfinite(damped_solve(single.at[2, 1].set(jnp.nan), damping, target)).any()


def test_long_steps_are_cut_and_the_direction_is_kept_whole():
    short = list(steps(SpringConfig(learning_rate=0.1, step_limit=1e-6), 2))
    long = list(steps(SpringConfig(learning_rate=0.1, step_limit=1e10), 2))
    for cut, whole in zip(short, long, strict=True):
        assert cut @ cut == pytest.approx(1e-6, rel=1e-9)
        np.testing.assert_allclose(cut / np.linalg.norm(cut), whole / np.linalg.norm(whole), atol=1e-12)


def test_chunks_of_walkers_change_nothing():
    whole, parts = (next(steps(SpringConfig(), 1, walker_chunk=chunk)) for chunk in (None, 16))
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12 * np.abs(whole).max())


def test_states_without_structure():
    """Nothing but ln|psi| is needed."""
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = spring(lambda theta, one: psi.log_psi(theta, one[None])[0])
    updates, _ = optimizer.update(grads, optimizer.init(params), params, walkers=x, local_energies=energies)
    expected = next(steps(SpringConfig(), 1))
    np.testing.assert_allclose(ravel_pytree(psi.structure.split(updates))[0], expected, rtol=1e-7, atol=1e-10)


def test_downhill():
    """The gradient descends along a step that is not cut."""
    psi, _, _, _, grads = situation(WALKERS)
    gradient = np.asarray(ravel_pytree(psi.structure.split(grads))[0])
    for name in ("minsr", "spring"):
        assert gradient @ next(steps(optimizer_config(name), 1)) < 0


def test_needs_parameters():
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = spring(psi)
    with pytest.raises(InputError, match="needs the parameters"):
        optimizer.update(grads, optimizer.init(params), walkers=x, local_energies=energies)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("minsr", {"momentum": 0.9}, "momentum = 0.9: has no effect on minsr, which takes learning_rate, damping"),
        ("spring", {"momentum": 1.0}, "momentum = 1: must be below 1"),
        ("spring", {"learning_rate": 0.0}, "learning_rate = 0: must be positive"),
        ("spring", {"damping": -1.0}, "damping = -1: must be positive"),
        ("spring", {"step_limit": jnp.inf}, "step_limit = inf: must be finite"),
        ("minsr", {"without": "momentum"}, "has no effect on minsr"),
        ("adam", {"momentum": 0.9}, "has no effect on adam"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(InputError) as caught:
        optimizer_config(name, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("config", [{"name": "minsr", "momentum": 0.9}, {"name": "spring", "momentum": 0.0}])
def test_a_momentum_belongs_to_spring_alone(config):
    with pytest.raises(InputError, match="momentum = 0"):
        SpringConfig(**config)


@pytest.mark.parametrize("name", ["minsr", "spring"])
def test_configurations_come_back_from_their_text(name):
    config = configure(particles=2, v0=-10, optimizer=name, profile="smoke", damping=0.01)
    assert RunConfig.from_json(config.to_json(), "here") == config
