"""The five second-order optimisers: one common battery, and every step against dense algebra."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SITUATION, random_state, single_walker_derivatives, situation
from jax.flatten_util import ravel_pytree

from repro.config import deck_points, optimizer_config, options_of
from repro.errors import InputError
from repro.optimizers import build_optimizer, dgd, kfac, ngd, qn_kfac, qn_mr_kfac
from repro.parameters.partition import Partition
from repro.training.curve import CURVE_COLUMNS
from repro.training.epoch import chunk_of_epochs, training_epoch
from repro.training.state import TRAINING_STREAM, TrainState
from repro.vmc.ansatz import trial_state
from repro.vmc.physics.hamiltonian import System
from repro.vmc.physics.local_energy import clip_local_energies
from repro.vmc.problem import MonteCarlo, density, energy_gradient, walker_energies
from repro.vmc.sampling import initial_chain, walk

PRESETS = {"kfac": kfac, "qn-kfac": qn_kfac, "qn-mr-kfac": qn_mr_kfac, "ngd": ngd, "dgd": dgd}
WALKERS = 16
pytestmark = pytest.mark.usefixtures("x64")


@cache
def derivative_rows():
    psi, params, *_ = situation(WALKERS)
    return single_walker_derivatives(psi, params, SITUATION)


class DenseStep:
    """The optimisers' algebra with explicit matrices: no operator, no MINRES, no moving parts of the package."""

    def __init__(self, name, protocol, start="anti-aligned", damping=1e3, zeta=0.95):
        self.name, self.deck, self.damping, self.zeta = name, deck_points(protocol), damping, zeta
        self.sign = 1.0 if start == "anti-aligned" else -1.0
        self.gamma, self.previous, self.factors, self.epoch = np.sqrt(damping), None, None, 0

    def __call__(self, psi, params, x, energies, grads):
        structure = psi.structure
        blocks = structure.split(params)
        flat = ravel_pytree(blocks)[0]
        g = np.asarray(ravel_pytree(structure.split(grads))[0])
        previous = np.zeros_like(g) if self.previous is None else self.previous
        ends = np.cumsum([0, *(block.size for block in blocks)])

        d, mixed, _, slopes = (np.asarray(part) for part in derivative_rows()(flat, x))
        count = len(d)
        centred, energies = d - d.mean(0), np.asarray(energies)
        exact_fisher = 4 * centred.T @ centred / count
        decision = np.einsum("wka,wkb->ab", mixed, mixed) / count
        cross = 2 * (slopes - slopes.mean(0)).T @ centred
        if "clipping" not in self.deck:
            energies = np.asarray(clip_local_energies(energies))
        quasi = (4 * (centred.T * (energies - energies.mean())) @ centred + (cross + cross.T) / 2) / count
        model_fisher = exact_fisher if "fisher" in self.deck else d.T @ d / count
        model = {"kfac": model_fisher, "ngd": model_fisher, "dgd": decision}.get(self.name, quasi)
        metric = decision if self.name == "dgd" else exact_fisher

        def solve(start):
            parts = []
            for begin, end in pairwise(ends):
                block, s = metric[begin:end, begin:end], start[begin:end]
                damped = block + self.damping * np.eye(end - begin)
                right = g[begin:end] - (damped @ s if "residual" in self.deck else block @ s)
                parts.append(s + np.linalg.solve(damped, right))
            return np.concatenate(parts)

        def step(delta):
            plane = np.stack([delta, previous]) if previous.any() else delta[None]
            q = plane @ model @ plane.T + self.damping * plane @ plane.T
            weights = -np.linalg.solve(q, plane @ g)
            value = 0.5 * weights @ q @ weights + weights @ plane @ g
            return value, weights @ plane, weights

        if self.name in ("ngd", "dgd"):
            value, update, weights = step(solve(self.sign * self.zeta * previous))
        else:
            self.update_factors(structure, params, x)
            change = 0.95 ** (5 / 2)
            candidates = [self.gamma * change, self.gamma, self.gamma / change] if self.epoch % 5 == 0 else [self.gamma]
            options = []
            for gamma in candidates:
                delta = self.kronecker(g, ends, blocks, gamma)
                options.append((*step(solve(delta) if self.name == "qn-mr-kfac" else delta), gamma))
            value, update, weights, self.gamma = min(options, key=lambda option: option[0])
        self.predicted = value
        if "ratio" not in self.deck:
            self.predicted = -abs(0.5 * update @ model @ update + self.damping * update @ update)
        self.previous, self.epoch = update, self.epoch + 1
        return update, weights

    def update_factors(self, structure, params, x):
        now = []
        for layer in structure.layers(params, x):
            own, shared, e = layer.own, layer.shared, layer.sensitivity
            a = np.concatenate([own, np.broadcast_to(shared, (own.shape[0], *shared.shape))], axis=-1)
            e = np.asarray(e)
            if "factors" not in self.deck:
                a, e = a - a.mean(1, keepdims=True), e - e.mean(1, keepdims=True)
            scale = 4.0 if "factors" in self.deck else 1.0
            count = a.shape[1]
            now.append([np.einsum("mwi,mwj->ij", a, a) / count, scale * np.einsum("mwi,mwj->ij", e, e) / count])
        weight = min(1 - 1 / (self.epoch + 1), 0.9)
        old = self.factors or now
        self.factors = [
            [weight * past + (1 - weight) * new for past, new in zip(o, n, strict=True)]
            for o, n in zip(old, now, strict=True)
        ]

    def kronecker(self, g, ends, blocks, gamma):
        parts = []
        for begin, end, block, (a, s) in zip(ends, ends[1:], blocks, self.factors, strict=False):
            pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
            dense = np.kron(a + gamma * pi * np.eye(len(a)), s + gamma / pi * np.eye(len(s)))
            assert block.size == len(dense)
            parts.append(np.linalg.solve(dense, g[begin:end]))
        return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "protocol", "damping"),
    [
        *((name, *setting) for setting in (("released", 1.0), ("deck", 1.0), ("aligned", 1.0)) for name in PRESETS),
        ("kfac", "released", 1e3),
        # Single points of the protocol, each with an optimiser that it concerns.
        ("ngd", "released/fisher,residual", 1.0),
        ("qn-kfac", "released/factors,clipping", 1.0),
        ("dgd", "released/ratio", 1.0),
    ],
)
def test_steps_against_dense_algebra(name, protocol, damping):
    """Seven updates, previous update, moving averages, greedy gamma and predicted change included.

    Dampings at which the systems are conditioned well enough for MINRES, run to its end, to solve them to 1e-6.
    """
    options = {"damping": damping, "protocol": "released" if protocol == "aligned" else protocol}
    if name in ("ngd", "dgd"):
        options |= {"start": "aligned" if protocol == "aligned" else "anti-aligned"}
    elif protocol == "aligned":
        pytest.skip("starts from the factors' direction")
    if "minres_iterations" in options_of(name):
        options |= {"minres_iterations": 300, "minres_tolerance": 1e-13}
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = PRESETS[name](psi, **options)
    dense = DenseStep(name, options["protocol"], options.get("start", "anti-aligned"), damping)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for epoch in range(7):
        y = x + 0.1 * epoch
        updates, state = update(grads, state, params, walkers=y, local_energies=energies)
        expected, weights = dense(psi, params, y, energies, grads)
        found = np.asarray(ravel_pytree(psi.structure.split(updates))[0])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max(), err_msg=str(epoch))
        np.testing.assert_allclose(state.predicted, dense.predicted, rtol=1e-6)
        np.testing.assert_allclose(state.report["alpha"], weights[0], rtol=1e-5)
        if epoch > 0:
            np.testing.assert_allclose(state.report["mu"], weights[1], rtol=1e-4, atol=1e-7)
        # MINRES run to its end from the printed residual forgets where it started: then all gammas are as good.
        if "gamma" in state.report and not (name == "qn-mr-kfac" and "residual" in dense.deck):
            np.testing.assert_allclose(state.report["gamma"], dense.gamma, rtol=1e-12)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_battery(name):
    """Optax's face: structures, types, the first step downhill, reports that the curve has columns for."""
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = build_optimizer(optimizer_config(name), MonteCarlo(psi))
    chained = optax.chain(optimizer)
    state = chained.init(params)
    updates, following = jax.jit(chained.update)(grads, state, params, walkers=x, local_energies=energies)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert jax.tree.structure(following) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(following), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
    assert np.isfinite(ravel_pytree(optax.apply_updates(params, updates))[0]).all()
    assert float(ravel_pytree(updates)[0] @ ravel_pytree(grads)[0]) < 0
    following, state = following[0], state[0]  # of the only link of the chain
    report = optimizer.report(following)
    assert set(report) <= set(CURVE_COLUMNS)
    assert set(report) == set(optimizer.report(state))
    assert float(report["alpha"]) < 0  # Delta points uphill
    assert float(report["mu"]) == 0.0
    assert int(following.epoch) == 1
    with pytest.raises(InputError, match="needs the parameters"):
        optimizer.update(grads, state, walkers=x, local_energies=energies)


@pytest.mark.parametrize("protocol", ["released", "deck", "released/energies", "released/ratio"])
def test_which_energies_the_step_is_judged_by(protocol):
    """Released: clipped before, unclipped after. Printed: both as they are."""
    psi, params, x, energies, grads = situation(WALKERS)
    optimizer = dgd(psi, protocol=protocol)
    _, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params, walkers=x, local_energies=energies)
    before = jnp.zeros(WALKERS).at[0].set(1000.0)
    after = jnp.zeros(WALKERS).at[0].set(-1600.0)
    old = float(jnp.mean(before if "energies" in deck_points(protocol) else clip_local_energies(before)))
    _, ratio = optimizer.judge.judge(state, before, after)
    np.testing.assert_allclose(ratio, (-100.0 - old) / state.predicted, rtol=1e-12)


def run_epochs(psi, optimizer, params, epochs, particles=2, sweeps=5):
    chain = initial_chain(jax.random.key(5), 32, particles, "float64")
    state = TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))
    chunk = jax.jit(chunk_of_epochs(training_epoch(MonteCarlo(psi, 32, sweeps), optimizer), TRAINING_STREAM, epochs))
    return chunk(state, jnp.uint32(0), System(jnp.asarray(-3.0), jnp.asarray(0.5)), jnp.int32(epochs))


@pytest.mark.parametrize("name", ["ngd", "dgd"])
def test_structured_and_generic_paths_give_the_same_trajectory(name):
    """Twenty epochs with walks, trials and damping, to 1e-8.

    Few MINRES iterations: many, on a system they cannot solve, amplify rounding, as Lanczos vectors lose orthogonality.
    """
    options = {"damping": 100.0, "minres_iterations": 8}
    psi, params = random_state(2, layers=1, hidden=6)
    generic = psi._replace(structure=None)
    state, metrics = run_epochs(psi, PRESETS[name](psi, **options), params, 20)
    # By itself the generic path cuts by Haiku module, which holds the envelope with the orbitals.
    cut = Partition(psi.structure.split, psi.structure.join)
    with mock.patch("repro.vmc.derivatives.partition", return_value=cut):
        other, found = run_epochs(generic, PRESETS[name](generic, **options), params, 20)
    for column in ("energy", "lambda", "alpha", "mu", "step_norm"):
        np.testing.assert_allclose(found[column], metrics[column], rtol=1e-8, err_msg=column)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_damping_follows_the_rule_along_a_run():
    """Judged in epochs 0, 5, 10, ...; rho empty in the others; lambda changes by the factor, in the epoch after."""
    psi, params = random_state(2, hidden=6)
    _, metrics = run_epochs(psi, dgd(psi, damping=10.0), params, 12)
    judged = np.flatnonzero(np.isfinite(metrics["rho"]))
    np.testing.assert_array_equal(judged, [0, 5, 10])
    ratios = np.asarray(metrics["lambda"][1:] / metrics["lambda"][:-1])
    assert set(np.flatnonzero(ratios != 1.0)) <= {0, 5, 10}
    assert {round(float(r), 9) for r in ratios} <= {1.0, round(0.95**5, 9), round(0.95**-5, 9)}
    assert len({round(float(r), 9) for r in ratios}) > 1


def jastrow(params, x):
    """Two parameters, two particles: ln|(x1 - x2) exp(-a (x1^2 + x2^2) / 2 - b (x1 - x2)^2)|."""
    a, b = params
    return jnp.log(jnp.abs(x[0] - x[1])) - 0.5 * a * jnp.sum(x**2) - b * (x[0] - x[1]) ** 2


@pytest.mark.parametrize("name", ["ngd", "dgd"])
@pytest.mark.parametrize("protocol", ["released", "deck"])
def test_undamped_steps_do_not_depend_on_the_parametrisation(name, protocol):
    """With the damping at its floor, a linear change of parameters changes the parameters' values, not the state."""
    change = np.array([[2.0, 0.7], [-0.4, 0.5]])
    inverse = jnp.asarray(np.linalg.inv(change))
    x = jax.random.normal(jax.random.key(0), (64, 2))

    def steps(log_psi, params):
        psi = trial_state(log_psi)
        optimizer = PRESETS[name](psi, damping=1e-7, protocol=protocol, minres_tolerance=1e-14)
        state, trajectory = optimizer.init(params), []
        for epoch in range(3):
            walkers = x + 0.1 * epoch
            energies = walker_energies(psi, params, walkers, SITUATION, 64)
            grads = energy_gradient(psi, params, walkers, energies, 64)
            updates, state = optimizer.update(grads, state, params, walkers=walkers, local_energies=energies)
            params = optax.apply_updates(params, updates)
            trajectory.append(params)
        return np.stack(trajectory)

    start = jnp.asarray([1.3, 0.2])
    plain = steps(jastrow, start)
    changed = steps(lambda q, y: jastrow(inverse @ q, y), jnp.asarray(change) @ start)
    np.testing.assert_allclose(changed, plain @ change.T, rtol=1e-4)
    assert np.abs(plain[-1] - np.asarray(start)).max() > 0.05


def test_factors_need_the_linear_maps():
    with pytest.raises(InputError, match="linear maps"):
        kfac(trial_state(jastrow))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("dgd", {"protocol": "published"}, "released, deck"),
        ("dgd", {"protocol": "released/"}, "after released/ come points"),
        ("dgd", {"protocol": "released/ratio,fisher"}, "in this order"),
        ("dgd", {"protocol": "deck/ratio"}, "after released/ come points"),
        ("dgd", {"damping": -1.0}, "damping = -1: must be positive"),
        ("dgd", {"minres_iterations": 0}, "minres_iterations = 0: must be at least 1"),
        ("dgd", {"start": "uphill"}, "anti-aligned, aligned"),
        ("dgd", {"gamma": 1.0}, "gamma = 1: has no effect on dgd"),
        ("kfac", {"minres_iterations": 10}, "has no effect on kfac"),
        ("adam", {"damping": 1.0}, "has no effect on adam"),
        ("kfac", {"learning_rate": 1.0}, "has no effect on kfac"),
        ("ngd", {"start_decay": 1.5}, "between 0 and 1"),
        ("ngd", {"damping_factor": 1.0}, "below 1"),
        ("ngd", {"damping": 1e-9}, "between damping_min, 1e-07"),
        ("ngd", {"ratio_low": 0.8}, "below ratio_high"),
        ("kfac", {"factor_memory": 1.0}, "below 1"),
        ("kfac", {"gamma_interval": 100_000}, "gamma_interval = 100000: must be at most 3405 with gamma_factor = 0.97"),
        ("ngd", {"damping_interval": 10_000}, "damping_interval = 10000: must be at most 1702"),
        ("newton", {}, "adam, sgd, kfac, qn-kfac, qn-mr-kfac, ngd, dgd"),
    ],
)
def test_bad_options_get_one_clear_line(name, options, told):
    with pytest.raises(InputError) as caught:
        optimizer_config(name, **options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_judged_step_is_walked_on_its_new_parameters_and_the_chains_go_on_from_there():
    """Epoch 0 is judged, epoch 1 is not: two walks and one."""
    psi, params = random_state(2, hidden=4)
    optimizer = ngd(psi)
    chain = initial_chain(jax.random.key(5), 32, 2, "float64")
    state = TrainState(params, optimizer.init(params), chain, jnp.zeros((), jnp.int32))
    epoch = jax.jit(training_epoch(MonteCarlo(psi, 32, 4), optimizer))
    for number in range(2):
        key = jax.random.key(number)
        following, _ = epoch(state, key, SITUATION)
        expected = walk(density(psi, state.params), state.data, key, 4)[0]
        if number == 0:
            expected = walk(density(psi, following.params), expected, jax.random.fold_in(key, 4), 4)[0]
        np.testing.assert_allclose(following.data.walkers, expected.walkers, rtol=1e-9)
        np.testing.assert_allclose(following.data.width, expected.width, rtol=1e-9)
        state = following
