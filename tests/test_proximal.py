"""Proximal decisional gradient descent: its step against dense algebra, its judgement against brute force."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import dense_metrics, random_state, situation
from jax.flatten_util import ravel_pytree

from repro.config import PROXIMAL_PARTS, ProximalConfig, RunConfig, optimizer_config
from repro.errors import InputError
from repro.optimizers import build_optimizer, proximal_dgd
from repro.optimizers import proximal_step as module
from repro.optimizers.proximal_step import ATTEMPTS, CHANGE, FLOOR, MOMENTUM, REACH, Attempt, acceptable, first_accepted
from repro.problems.base import MeasuredChange
from repro.study.runs.profiles import configure
from repro.training.curve import CURVE_COLUMNS
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.reporting import Silent
from repro.training.run import train
from repro.training.state import TRAINING_STREAM, TrainState
from repro.vmc.energy_change import ROUNDING, End, paired_change
from repro.vmc.physics.hamiltonian import System
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.problem import MonteCarlo, energy_scale
from repro.vmc.sampling import initial_chain

WALKERS = 64
pytestmark = pytest.mark.usefixtures("x64")


def dense_problem(coupled=True):
    """Decision and Fisher metric, all of them or layer by layer, and the gradient."""
    psi, params, *_, grads = situation(WALKERS)
    decision, fisher = dense_metrics(WALKERS)
    if not coupled:
        blocks = psi.structure.split(params)
        owner = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
        decision, fisher = (np.where(owner[:, None] == owner, one, 0.0) for one in (decision, fisher))
    return decision, fisher, np.asarray(ravel_pytree(psi.structure.split(grads))[0])


def flat(updates):
    return np.asarray(ravel_pytree(situation(WALKERS)[0].structure.split(updates))[0])


@cache
def compiled(without, changes):
    """State -> (update, state), with the numbers of the module that were changed."""
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = build_optimizer(ProximalConfig(without=without), MonteCarlo(psi))
    fresh = optimizer.init(params)
    with ExitStack() as changed:
        for name, value in changes:
            changed.enter_context(mock.patch.object(module, name, value))
        traced = jax.jit(lambda state: optimizer.update(grads, state, params, walkers=x, local_energies=energies))
        return traced.lower(fresh).compile(), fresh


def step(state=None, without="", **changes):
    """One update; changes of the module's numbers by name."""
    update, fresh = compiled(without, tuple(changes.items()))
    return update(fresh if state is None else state)


EXACT = {"REDUCTION": 1e-14, "ITERATIONS": 2000}

IN_DENSE_ALGEBRA = ("coupling", "information", "kinetic", "momentum")
"""Parts whose absence is another equation."""


def spread_and_kinetic():
    """Of the local energies, clipped, and E[-1/2 lap psi / psi] per particle, clipped likewise."""
    psi, params, x, energies, _ = situation(WALKERS)
    kinetic = clip_local_energies(-0.5 * jax.jit(psi.laplacian_ratio)(params, x) / x.shape[1])
    return np.std(clip_local_energies(energies)), np.mean(kinetic)


@pytest.mark.parametrize("without", ["", *IN_DENSE_ALGEBRA])
def test_steps_against_dense_algebra(without):
    """(G + lambda (F + eta)) (d - x0) = -g - G x0, cut to the reach."""
    g_metric, fisher, g = dense_problem(coupled=without != "coupling")
    size = len(g)
    spread, kinetic = spread_and_kinetic()
    assert kinetic > 0.1
    damping = spread + (0.0 if without == "kinetic" else kinetic)
    held = damping * (FLOOR * np.eye(size) + (0.0 if without == "information" else fisher))
    # Whether such a step is made is another question.
    solved = EXACT | {"acceptable": always}
    updates, state = step(without=without, **solved)
    start = np.zeros(size)
    for _ in range(4):
        np.testing.assert_allclose(state.report["lambda"], damping, rtol=1e-10)
        expected = start + np.linalg.solve(g_metric + held, -g - g_metric @ start)
        length = expected @ fisher @ expected
        expected = expected * min(1.0, np.sqrt(REACH / length))
        assert int(state.report["attempts"]) == 1
        np.testing.assert_allclose(flat(updates), expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
        np.testing.assert_allclose(ravel_pytree(state.previous)[0], flat(updates), rtol=1e-12)
        # The same gradient again: only what the state carries changes.
        start = np.zeros(size) if without == "momentum" else MOMENTUM * flat(updates)
        updates, state = step(state, without, **solved)


def test_the_damping_of_an_eigenstate_without_kinetic_energy():
    """It stays above rounding: a kinetic energy that is negative, which is noise, does not count."""
    unit = np.finfo(float).eps
    energies, kinetic = jnp.full(64, -7.0), jnp.linspace(-2.0, 1.0, 64)
    np.testing.assert_allclose(energy_scale(energies, kinetic), 7.0 * unit, rtol=1e-9)
    np.testing.assert_allclose(energy_scale(energies, -kinetic), 0.5, rtol=1e-9)
    np.testing.assert_allclose(energy_scale(energies, jnp.zeros(64)), 7.0 * unit, rtol=1e-9)


def test_long_steps_are_cut_to_the_reach():
    fisher = dense_metrics(WALKERS).fisher
    short, _ = step(**EXACT, REACH=1e-4)
    long, _ = step(without="limit", **EXACT)
    np.testing.assert_allclose(flat(short) @ fisher @ flat(short), 1e-4, rtol=1e-8)
    assert flat(long) @ fisher @ flat(long) > 1e-3
    parallel = flat(short) @ flat(long) / np.linalg.norm(flat(short)) / np.linalg.norm(flat(long))
    assert parallel == pytest.approx(1.0, abs=1e-9)


def change_of(change, error=0.0, rounding=0.0, overlap=1.0):
    return MeasuredChange(*(jnp.asarray(float(value)) for value in (change, error, rounding, overlap)))


@pytest.mark.parametrize(
    ("change", "error", "overlap", "accepted"),
    [
        (-1.0, 0.1, 0.95, True),
        (-1.9, 0.1, 0.95, True),
        (-2.1, 0.1, 0.95, False),  # more than the model can explain
        (0.0, 0.0, 1.0, True),
        (0.19, 0.1, 0.95, True),  # uphill within two errors
        (0.21, 0.1, 0.95, False),
        (-1.0, 0.1, 0.4, False),  # too far to be judged by these walkers
        (np.nan, 0.1, 0.95, False),
        (-np.inf, 0.1, 0.95, False),
        (-1.0, 0.1, np.nan, False),
    ],
)
def test_which_steps_are_accepted(change, error, overlap, accepted):
    assert bool(acceptable(change_of(change, error, 0.0, overlap), jnp.asarray(-1.0))) == accepted


@pytest.mark.parametrize(
    ("good", "made", "damping", "start"),
    [
        (lambda damping, start: True, 1, 3.0, 1.0),
        (lambda damping, start: start == 0, 2, 3.0, 0.0),  # first the momentum goes
        (lambda damping, start: damping > 3.0, 3, 3.0 * CHANGE, 0.0),
        (lambda damping, start: damping > 3.0 * CHANGE, 4, 3.0 * CHANGE**2, 0.0),
        (lambda damping, start: False, ATTEMPTS, 3.0 * CHANGE ** (ATTEMPTS - 2), 0.0),
    ],
)
def test_rejected_steps_are_tried_anew(good, made, damping, start):
    def attempt(damping, start):
        zero, accepted = jnp.zeros(()), jnp.asarray(good(damping, start[0]), bool)
        return Attempt(jnp.stack([damping, start[0]]), zero, change_of(-1.0), accepted, zero, zero)

    found, number, tried = first_accepted(attempt, jnp.asarray(3.0), jnp.ones(2))
    assert (float(found), int(number)) == (damping, made)
    assert tried.update.tolist() == [damping, start]
    assert bool(tried.accepted) == (made < ATTEMPTS)


def never(*_):
    return jnp.zeros((), bool)


def always(*_):
    return jnp.ones((), bool)


def test_a_step_that_fails_throughout_is_not_made():
    """Parameters that no walker survives: no step, no momentum, and no NaN in what goes on."""
    _, state = step(**EXACT)
    updates, following = step(state, **EXACT, acceptable=never)
    assert not flat(updates).any()
    assert (float(following.report["overlap"]), float(following.report["minres_residual"])) == (0.0, 1.0)
    assert not ravel_pytree(following.previous)[0].any()
    # Two compilations may round the damping differently.
    raised = float(state.report["lambda"]) * CHANGE ** (ATTEMPTS - 2)
    assert float(following.report["lambda"]) == pytest.approx(raised, rel=1e-12)


BY_THEIR_EFFECT = {
    "rejection": EXACT | {"acceptable": never},
    "basis": {"ITERATIONS": 3},  # what is solved exactly does not depend on the preconditioner
}
"""Others, each with what makes it act; the limit has tests of its own."""


def test_every_part_is_tested():
    assert {*IN_DENSE_ALGEBRA, *BY_THEIR_EFFECT, "limit"} == set(PROXIMAL_PARTS)


@pytest.mark.parametrize("part", BY_THEIR_EFFECT)
def test_a_part_has_an_effect(part):
    """Left out, the first, second or third update is another one."""

    def updates(without):
        state, steps = None, []
        for _ in range(3):
            update, state = step(state, without, **BY_THEIR_EFFECT[part])
            steps.append(flat(update))
        return np.concatenate(steps)

    one, other = updates(""), updates(part)
    assert np.abs(one - other).max() > 1e-3 * np.abs(other).max()


def gaussian(width, step, x):
    """What is known of exp(-b x^2 / 2) in the oscillator, with E(b) = b/4 + 1/(4 b), along a step in b."""
    return End(-0.5 * width * x**2, -0.5 * step * x**2, 0.5 * width + 0.5 * (1 - width**2) * x**2)


def slope(width):
    """dE/db."""
    return 0.25 - 0.25 / width**2


def test_the_paired_change_by_brute_force():
    """Half the step times the sum of the slopes, each 2 Cov(E_L, D), the second one reweighted."""
    x = jax.random.normal(jax.random.key(2), (500,))
    before, after = gaussian(1.3, -0.4, x), gaussian(0.9, -0.4, x)
    # The logarithm is known but for a constant.
    found = paired_change(before, after._replace(log_psi=after.log_psi + 350.0))
    weights = np.exp(2 * np.asarray(after.log_psi - before.log_psi))
    covariances = [
        np.cov(np.asarray(end.energies), np.asarray(end.slopes), aweights=w, bias=True)[0, 1]
        for end, w in ((before, np.ones(500)), (after, weights))
    ]
    np.testing.assert_allclose(found.change, sum(covariances), rtol=1e-10)
    np.testing.assert_allclose(found.overlap, weights.sum() ** 2 / (weights**2).sum() / 500, rtol=1e-12)


def test_the_error_of_the_paired_change_is_that_of_the_jackknife():
    """Leaving out one walker at a time."""
    x = jax.random.normal(jax.random.key(1), (400,))
    before, after = gaussian(1.0, 0.3, x), gaussian(1.3, 0.3, x)
    energies = after.energies + 0.3 * x
    after = after._replace(energies=energies)

    def left_out(index):
        others = jnp.delete(jnp.arange(400), index, assume_unique_indices=True)
        return paired_change(*(End(*(part[others] for part in end)) for end in (before, after))).change

    changes = jax.lax.map(left_out, jnp.arange(400))
    jackknife = np.sqrt(399 * np.var(changes))
    np.testing.assert_allclose(paired_change(before, after).error, jackknife, rtol=0.03)


def test_the_paired_change_is_unbiased_and_its_error_honest():
    """That of the trapezoidal rule, which is off by the third order of the step."""
    b, c, count, walkers = 1.3, 1.2, 200, 4000
    x = jax.random.normal(jax.random.key(0), (count, walkers)) / jnp.sqrt(2 * b)
    found = jax.vmap(lambda x: paired_change(gaussian(b, c - b, x), gaussian(c, c - b, x)))(x)
    rule = 0.5 * (slope(b) + slope(c)) * (c - b)
    assert abs(rule - (c + 1 / c - b - 1 / b) / 4) < 0.1 * abs(c - b) ** 3
    pulls = (np.asarray(found.change) - rule) / np.asarray(found.error)
    assert abs(pulls.mean()) < 5 / np.sqrt(count)
    assert np.std(pulls) == pytest.approx(1.0, abs=5 / np.sqrt(2 * count))
    # Far less than the noise of two independent walks.
    assert float(found.error.mean()) < 0.3 * np.sqrt(2 * float(gaussian(b, 0.0, x).energies.var()) / walkers)


def test_the_overlap_measures_the_fisher_distance():
    """1 / overlap - 1 = d^T F d to leading order."""
    fisher = dense_metrics(WALKERS).fisher
    updates, state = step(**EXACT, REACH=1e-4)
    np.testing.assert_allclose(1 / state.report["overlap"] - 1, flat(updates) @ fisher @ flat(updates), rtol=0.05)


def test_nothing_changes_within_rounding():
    """Along what only scales psi, energies differ by rounding."""
    energies = jnp.linspace(-3.0, 5.0, 64)
    end = End(jnp.zeros(64), jnp.ones(64), energies)
    found = paired_change(end, end)
    assert abs(float(found.change)) <= float(found.rounding)
    assert float(found.overlap) == pytest.approx(1.0)
    assert float(found.rounding) == pytest.approx(ROUNDING * np.finfo(float).eps * 1.0, rel=1e-9)
    assert float(found.error) == pytest.approx(float(found.rounding), rel=1e-9)


def run_epochs(psi, epochs, particles=2, without=""):
    optimizer = build_optimizer(ProximalConfig(without=without), MonteCarlo(psi, 32))
    _, params = random_state(particles, layers=1, hidden=6)
    chain = initial_chain(jax.random.key(5), 32, particles, "float64")
    state = TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))
    chunk = jax.jit(chunk_of_epochs(training_epoch(MonteCarlo(psi, 32, 5), optimizer), TRAINING_STREAM, epochs))
    return chunk(state, jnp.uint32(0), System(jnp.asarray(-3.0), jnp.asarray(0.5)), jnp.int32(epochs))


def test_a_state_of_which_only_the_logarithm_is_known(monkeypatch):
    """The same trajectory without the linear maps, which a wavefunction of one's own does not have, nor their bases.

    Few MINRES iterations: once an eigenvector is found, further ones amplify rounding.
    """
    monkeypatch.setattr(module, "ITERATIONS", 6)
    psi, _ = random_state(2, layers=1, hidden=6)
    state, metrics = run_epochs(psi, 5, without="basis")
    other, found = run_epochs(psi._replace(structure=None), 5)
    for column in ("energy", "lambda", "rho", "overlap", "attempts", "step_norm"):
        np.testing.assert_allclose(found[column], metrics[column], rtol=1e-8, err_msg=column)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)  # of parameters of order one


def test_the_face_of_an_optimiser():
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = proximal_dgd(psi)
    state = optimizer.init(params)
    updates, following = step(**EXACT)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(following), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert float(ravel_pytree(updates)[0] @ ravel_pytree(grads)[0]) < 0
    assert set(optimizer.report(following)) == set(optimizer.report(state))
    assert set(optimizer.report(following)) <= {*CURVE_COLUMNS, *optimizer.further}
    with pytest.raises(InputError, match="needs the parameters"):
        optimizer.update(grads, state, walkers=x, local_energies=energies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": "limits"}, "must be parts in this order"),
        ({"without": "rejection,limit"}, "must be parts in this order"),
        ({"without": "limit,limit"}, "must be parts in this order"),
        ({"without": 3}, "must be a text"),
        ({"damping": 10.0}, "has no effect on proximal-dgd, which takes without"),
        ({"protocol": "deck"}, "has no effect on proximal-dgd"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        optimizer_config("proximal-dgd", **options)


def test_its_configuration_survives_the_file():
    config = configure(particles=2, v0=-10, optimizer="proximal-dgd", without="momentum,limit", profile="smoke")
    assert RunConfig.from_json(config.to_json(), "here") == config
    assert config.optimizer.left_out == {"momentum", "limit"}
    with pytest.raises(InputError, match=r"optimizer\.momentum"):
        RunConfig.from_dict({**config.to_dict(), "optimizer": {"name": "proximal-dgd", "without": "", "momentum": 1}})


class Impatient(Silent):
    """Stops the run after its second epoch."""

    def advance(self, done, values):
        if "energy" in values and done >= 2:
            raise KeyboardInterrupt


def test_a_run_from_end_to_end(tmp_path):
    """Interrupted or not, the same curve, which tells of attempts and overlap."""
    small = {"walkers": 32, "sweeps": 2, "layers": 1, "hidden": 4, "pretrain_epochs": 2, "evaluation_batches": 8}
    config = configure(particles=2, v0=-3, optimizer="proximal-dgd", profile="smoke", epochs=6, **small)
    outcome = train(config, tmp_path / "run")
    assert outcome.result["status"] == "complete"
    curve = pd.read_csv(tmp_path / "run" / "curve.csv")
    assert list(curve.columns) == [*CURVE_COLUMNS, "attempts", "overlap"]
    told = curve[["energy", "lambda", "rho", "attempts", "overlap", "minres_residual", "minres_iterations"]]
    assert np.isfinite(told).all(axis=None)
    assert (curve["attempts"] >= 1).all()
    assert ((curve["overlap"] > 0) & (curve["overlap"] <= 1)).all()

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "again", reporter=Impatient())
    assert 0 < len(pd.read_csv(tmp_path / "again" / "curve.csv")) < 6
    train(config, tmp_path / "again", resume=True)
    again = pd.read_csv(tmp_path / "again" / "curve.csv")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), curve.drop(columns="seconds"), check_exact=True)
