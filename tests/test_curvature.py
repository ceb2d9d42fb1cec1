"""The curvatures against dense matrices by brute-force differentiation, in double precision."""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_state, single_walker_derivatives
from jax.flatten_util import ravel_pytree

from repro.curvature.kronecker import KroneckerFactors, kronecker_factors, kronecker_solve, moving_average, spectrum
from repro.vmc.ansatz import slater_wavefunction, trial_state
from repro.vmc.derivatives import derivatives, partition_of
from repro.vmc.metrics import decision_metric, fisher
from repro.vmc.physics.hamiltonian import System
from repro.vmc.physics.local_energy import local_energy
from repro.vmc.quasi_hessian import quasi_hessian

WALKERS = 12
SYSTEM = System(-3.0, 0.5)
NAMES = ("fisher", "uncentred", "decision", "quasi-hessian")
pytestmark = pytest.mark.usefixtures("x64")


class Dense(NamedTuple):
    """What brute force gives; parameters flattened in the order of the state's blocks."""

    matrices: dict[str, np.ndarray]
    scores: np.ndarray
    mixed: np.ndarray
    energies: np.ndarray


@cache
def case(particles: int, determinants: int, layers: int = 2):
    psi, params = random_state(particles, determinants, hidden=4, layers=layers)
    x = jax.random.normal(jax.random.key(3), (WALKERS, particles))
    return psi, params, x


@cache
def dense(particles: int, determinants: int, layers: int = 2) -> Dense:
    """Every matrix from derivatives of single walkers' ln|psi| and local energies."""
    psi, params, x = case(particles, determinants, layers)
    flat = ravel_pytree(psi.structure.split(params))[0]
    found = single_walker_derivatives(psi, params, SYSTEM)(flat, x)
    scores, mixed, energies, slopes = (np.asarray(part) for part in found)
    centred, slopes = scores - scores.mean(0), slopes - slopes.mean(0)
    weighted = centred.T * (energies - energies.mean())
    cross = 2.0 * slopes.T @ centred
    matrices = {
        "fisher": 4.0 * centred.T @ centred / WALKERS,
        "uncentred": scores.T @ scores / WALKERS,
        "decision": np.einsum("wka,wkb->ab", mixed, mixed) / WALKERS,
        "quasi-hessian": (4.0 * weighted @ centred + 0.5 * (cross + cross.T)) / WALKERS,
    }
    return Dense(matrices, scores, mixed, energies)


def curvature(name, found, energies):
    return {
        "fisher": lambda: fisher(found),
        "uncentred": lambda: fisher(found, centred=False, scale=1.0),
        "decision": lambda: decision_metric(found),
        "quasi-hessian": lambda: quasi_hessian(found, energies),
    }[name]()


def sizes(blocks):
    return np.cumsum([0, *(np.size(block) for block in blocks)])


@pytest.mark.parametrize(
    ("particles", "determinants", "layers", "path"),
    [
        (2, 1, 2, "structured"),
        (2, 1, 1, "generic, chunks"),
        # The inputs of the first two layers have tangents of a form of their own, those of further layers have not.
        (3, 1, 1, "structured"),
        (3, 2, 3, "structured, chunks"),
    ],
)
def test_operators_against_dense_matrices(particles, determinants, layers, path):
    """Products, quadratic forms, layer blocks and diagonals, relative 1e-10."""
    psi, params, x = case(particles, determinants, layers)
    expected = dense(particles, determinants, layers)
    chunk = WALKERS // 3 if "chunks" in path else WALKERS
    state = psi if path.startswith("structured") else psi._replace(structure=None)
    reference = psi.structure
    # These take long to trace and to compile, and are the same code for all cases of a path.
    in_parts = {"fisher", "decision", *(("quasi-hessian",) if particles == 2 else ())}
    if path == "structured":
        in_parts.add("uncentred")

    @jax.jit
    def everything(params, x, v, w, places):
        found = derivatives(state, params, x, chunk, mixed=True)
        assert (found.layers is None) == (state.structure is None)
        mine, other, places = (found.parts.split(reference.join(blocks)) for blocks in (v, w, places))
        results = {}
        for name in NAMES:
            operator = curvature(name, found, jnp.asarray(expected.energies))
            results[name] = {"product": operator.matvec(mine), "gram": operator.gram((mine, other))}
            if name in in_parts:
                results[name]["diagonal"] = tuple(operator.diagonal(index) for index in range(len(mine)))
                results[name]["blocks"] = operator.block_diagonal(mine)
            if name in in_parts and name != "quasi-hessian":
                results[name]["matrices"] = [operator.block_matrix(index) for index in range(len(mine))]
        return results, places

    flat, unravel = ravel_pytree(reference.split(params))
    vectors = [np.asarray(jax.random.normal(jax.random.key(seed), flat.shape)) for seed in (1, 2)]
    numbers = np.arange(flat.size, dtype=float)
    results, places = everything(params, x, *(unravel(vector) for vector in (*vectors, numbers)))
    # The generic path has blocks of its own: what it calls the first parameters may be the last ones.
    order = np.asarray(ravel_pytree(places)[0]).astype(int)
    assert sorted(order) == list(range(flat.size))
    v, w = (vector[order] for vector in vectors)
    both, ends = np.stack([v, w]), sizes(places)
    parts = [slice(begin, end) for begin, end in pairwise(ends)]
    for name, found in results.items():
        matrix = expected.matrices[name][np.ix_(order, order)]
        close = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10 * np.abs(matrix).max(), err_msg=name)
        product = matrix @ v
        np.testing.assert_allclose(
            ravel_pytree(found["product"])[0], product, rtol=1e-10, atol=1e-10 * np.abs(product).max(), err_msg=name
        )
        close(found["gram"], both @ matrix @ both.T)
        if name not in in_parts:
            continue
        close(ravel_pytree(found["diagonal"])[0], np.diag(matrix))
        for index, part in enumerate(parts):
            close(np.ravel(found["blocks"][index]), matrix[part, part] @ v[part])
            if name != "quasi-hessian":
                close(found["matrices"][index], matrix[part, part])


def test_diagonals_of_wide_layers_are_cut(monkeypatch):
    """Into pieces of one, two and of four units, the last of them as wide as the layer."""
    psi, params, x = case(2, 1)

    def diagonals(params, x):
        found = derivatives(psi, params, x, WALKERS, mixed=True)
        metrics = fisher(found), decision_metric(found)
        return [ravel_pytree([metric.diagonal(index) for index in range(4)])[0] for metric in metrics]

    whole = jax.jit(diagonals)(params, x)
    for most in (1, 20, 36):
        monkeypatch.setattr("repro.vmc.structured.LARGEST_ROW", most)
        for one, other in zip(jax.jit(lambda *a: diagonals(*a))(params, x), whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13)


@pytest.mark.parametrize("name", ["fisher", "decision"])
def test_metrics_are_positive_semi_definite(name):
    matrix = dense(3, 2).matrices[name]
    values = np.linalg.eigvalsh(matrix)
    assert values.min() > -1e-12 * values.max()
    assert np.linalg.eigvalsh(dense(3, 2).matrices["quasi-hessian"]).min() < -1e-6


def test_single_precision_diagonals_stay_right_close_to_a_node():
    """Two particles at 1e-3: multiplied out, the terms of the diagonal were 1e12 times larger than their sum."""
    psi, params = random_state(2, hidden=8, dtype="float32")
    x = jnp.asarray([[0.3, 0.3 + distance] for distance in (1.0, 0.1, 1e-2, 1e-3)], jnp.float32)

    @jax.jit
    def diagonals(params, x):
        metric = decision_metric(derivatives(psi, params, x, x.shape[0], mixed=True))
        return ravel_pytree([metric.diagonal(index) for index in range(4)])[0]

    single = diagonals(params, x)
    double = slater_wavefunction(2, 2, 8, 1, "float64")

    @jax.jit
    def exact(params, x):
        metric = decision_metric(derivatives(double, params, x, x.shape[0], mixed=True))
        return ravel_pytree([metric.diagonal(index) for index in range(4)])[0]

    expected = exact(jax.tree.map(lambda p: p.astype(jnp.float64), params), x.astype(jnp.float64))
    assert bool(jnp.all(single >= 0))
    assert float(jnp.max(jnp.abs(single - expected)) / jnp.max(expected)) < 0.1


def test_decision_metric_is_the_hessian_of_its_divergence():
    """1/8 sum_k E[(d_k ln p - d_k ln p')^2], by second differences in the parameters of p'."""
    psi, params, x = case(2, 1)
    flat, unravel = ravel_pytree(psi.structure.split(params))

    @jax.jit
    def divergence(shift):
        def slopes(theta):
            return 2.0 * jax.grad(lambda y: jnp.sum(psi.log_psi(psi.structure.join(unravel(theta)), y)))(x)

        return jnp.sum((slopes(flat) - slopes(flat + shift)) ** 2) / 8.0 / WALKERS

    rng = np.random.default_rng(0)
    for _ in range(3):
        v = rng.normal(size=flat.shape)
        step = 1e-5 * v
        second = (divergence(step) - 2.0 * divergence(0.0 * step) + divergence(-step)) / 1e-10
        np.testing.assert_allclose(second, v @ dense(2, 1).matrices["decision"] @ v, rtol=1e-5)


# A state of two parameters on a grid: expectation values are sums, without any sampling.
GRID = np.linspace(-8.0, 8.0, 401)


def small_log_psi(params, x):
    """One particle: ln psi = -a x^2 / 2 + b tanh(x)."""
    return -0.5 * params[0] * x[0] ** 2 + params[1] * jnp.tanh(x[0])


def small_parts(params):
    """Weights of the quadrature, D, d_x D, E_L and dE_L / d theta on the grid."""
    x = jnp.asarray(GRID)[:, None]
    psi = trial_state(small_log_psi)

    def energies(p):
        return local_energy(psi.laplacian_ratio(p, x), x, System(0.0, 0.5))

    weights = jax.nn.softmax(2.0 * psi.log_psi(params, x))
    scores = jax.jacfwd(lambda p: psi.log_psi(p, x))(params)
    mixed = jax.jacfwd(lambda p: jax.grad(lambda y: jnp.sum(psi.log_psi(p, y)))(x)[:, 0])(params)
    return weights, scores, mixed, energies(params), jax.jacfwd(energies)(params)


def test_quasi_hessian_and_the_omitted_term_make_the_hessian():
    """On a grid in place of sampling: nothing is missing, and nothing is counted twice."""
    params = jnp.asarray([1.3, 0.4])

    def energy(p):
        weights, _, _, energies, _ = small_parts(p)
        return jnp.sum(weights * energies)

    weights, scores, _, energies, slopes = jax.jit(small_parts)(params)
    fluctuation = energies - jnp.sum(weights * energies)
    centred = scores - weights @ scores
    slopes = slopes - weights @ slopes
    cross = 2.0 * jnp.einsum("w,wa,wb->ab", weights, slopes, centred)
    quasi = 4.0 * jnp.einsum("w,wa,wb->ab", weights * fluctuation, centred, centred) + 0.5 * (cross + cross.T)
    second = jax.jit(jax.hessian(lambda p: jax.vmap(small_log_psi, (None, 0))(p, jnp.asarray(GRID)[:, None])))(params)
    omitted = 2.0 * jnp.einsum("w,wab->ab", weights * fluctuation, second)
    np.testing.assert_allclose(quasi + omitted, jax.jit(jax.hessian(energy))(params), rtol=1e-7, atol=1e-9)

    # The same expectation values from the package's operator, on walkers drawn by repeating grid points.
    counts = np.round(np.asarray(weights) * 4000).astype(int)
    x = jnp.asarray(np.repeat(GRID, counts))[:, None]
    psi = trial_state(small_log_psi)

    @jax.jit
    def product(x, v):
        energies = local_energy(psi.laplacian_ratio(params, x), x, System(0.0, 0.5))
        return quasi_hessian(derivatives(psi, params, x, x.shape[0], mixed=False), energies).matvec((v,))[0]

    found = np.stack([product(x, jnp.asarray(column)) for column in np.eye(2)])
    np.testing.assert_allclose(found, quasi, rtol=0.02, atol=0.02 * np.abs(quasi).max())


def test_decision_metric_is_the_second_term_of_the_quasi_hessian():
    """2 E[dE_L/d theta D^T] = G, by partial integration: exact on the grid, whatever the state."""
    weights, scores, mixed, _, slopes = small_parts(jnp.asarray([1.3, 0.4]))
    term = 2.0 * jnp.einsum("w,wa,wb->ab", weights, slopes, scores - weights @ scores)
    np.testing.assert_allclose(term, jnp.einsum("w,wa,wb->ab", weights, mixed, mixed), rtol=1e-8)


@pytest.mark.parametrize("centred", [False, True])
def test_kronecker_factors_against_the_explicit_sum(centred):
    psi, params, x = case(3, 2)
    layers = jax.jit(psi.structure.layers)(params, x)
    for layer, factors in zip(layers, kronecker_factors(layers, centred, 4.0), strict=True):
        own, shared, e = (np.asarray(part) for part in (layer.own, layer.shared, layer.sensitivity))
        a = np.concatenate([own, np.broadcast_to(shared, (own.shape[0], *shared.shape))], axis=-1)
        if centred:
            a, e = a - a.mean(1, keepdims=True), e - e.mean(1, keepdims=True)
        inputs = sum(np.outer(a[m, w], a[m, w]) for m in range(3) for w in range(WALKERS)) / WALKERS
        outputs = 4.0 * sum(np.outer(e[m, w], e[m, w]) for m in range(3) for w in range(WALKERS)) / WALKERS
        np.testing.assert_allclose(factors.inputs, inputs, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(factors.sensitivities, outputs, rtol=1e-10, atol=1e-12 * np.abs(outputs).max())
        if centred and shared.shape[1]:
            np.testing.assert_allclose(factors.inputs[-1], 0.0, atol=1e-14)


def test_factored_inverse_is_the_dense_one_for_one_particle_and_one_sample():
    """Then F = (a a^T) (x) (e e^T), and factored and dense damping agree where gamma^2 dominates neither."""
    rng = np.random.default_rng(0)
    a, e, block = rng.normal(size=4), rng.normal(size=3), rng.normal(size=(4, 3))
    gamma = 0.3
    inputs, outputs = np.outer(a, a), np.outer(e, e)
    pi = np.sqrt((np.trace(inputs) / 4) / (np.trace(outputs) / 3))
    dense_matrix = np.kron(inputs + gamma * pi * np.eye(4), outputs + gamma / pi * np.eye(3))
    expected = np.linalg.solve(dense_matrix, block.ravel()).reshape(4, 3)
    found = kronecker_solve(spectrum(jnp.asarray(inputs)), spectrum(jnp.asarray(outputs)), jnp.asarray(block), gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # Nearly undamped, along the one direction that was sampled: 1 / (|a|^2 |e|^2), the inverse of the Fisher itself.
    along = jnp.asarray(np.outer(a, e))
    nearly = kronecker_solve(spectrum(jnp.asarray(inputs)), spectrum(jnp.asarray(outputs)), along, 1e-4)
    np.testing.assert_allclose(nearly, along / (a @ a * (e @ e)), rtol=1e-3)


def test_kronecker_factors_are_the_fisher_for_one_particle():
    """A single particle and a single walker: A (x) S is the layer's block of E[D D^T]."""
    psi, params = random_state(1, hidden=4)
    x = jnp.asarray([[0.7]])
    layers = jax.jit(psi.structure.layers)(params, x)
    factors = kronecker_factors(layers, False, 1.0)
    scores = jax.jit(jax.grad(lambda p: psi.log_psi(p, x)[0]))(params)
    for block, (inputs, outputs) in zip(psi.structure.split(scores), factors, strict=True):
        np.testing.assert_allclose(
            np.kron(inputs, outputs), np.outer(block.ravel(), block.ravel()), rtol=1e-9, atol=1e-12
        )


def test_moving_average():
    """Weights on the past: 0, 1/2, 2/3, ... up to the memory."""
    ones = (KroneckerFactors(jnp.ones((1, 1)), jnp.ones((1, 1))),)
    zeros = (KroneckerFactors(jnp.zeros((1, 1)), jnp.zeros((1, 1))),)
    for epoch, weight in [(0, 0.0), (1, 1 / 2), (2, 2 / 3), (8, 8 / 9), (9, 0.9), (500, 0.9)]:
        mixed = moving_average(ones, zeros, jnp.asarray(epoch), 0.9)[0]
        np.testing.assert_allclose(mixed.inputs, weight, rtol=1e-12)
        np.testing.assert_allclose(mixed.sensitivities, weight, rtol=1e-12)


def test_blocks_of_states_that_are_not_ours():
    """Each child of the root makes a block, a Haiku module for instance; cutting and joining changes nothing."""
    network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 1])(x)))
    params = network.init(jax.random.key(0), jnp.ones(3))
    state = trial_state(lambda p, x: network.apply(p, x)[0])
    parts = partition_of(state, params)
    blocks = parts.split(params)
    assert [block.size for block in blocks] == [3 * 5 + 5, 5 + 1]
    jax.tree.map(np.testing.assert_array_equal, parts.join(blocks), params)
    plain = [jnp.ones(2), jnp.zeros((2, 2))]
    parts = partition_of(state, plain)
    assert [block.size for block in parts.split(plain)] == [2, 4]
    jax.tree.map(np.testing.assert_array_equal, parts.join(parts.split(plain)), plain)


def test_structured_blocks_are_cut_and_joined_without_a_trace():
    psi, params, _ = case(3, 2)
    blocks = psi.structure.split(params)
    assert [block.shape for block in blocks] == [(3, 4), (9, 4), (5, 3), (5, 3), (1, 6)]
    jax.tree.map(np.testing.assert_array_equal, psi.structure.join(blocks), params)


def test_the_decision_metric_needs_mixed_derivatives():
    psi, params, x = case(2, 1)
    with pytest.raises(ValueError, match="mixed=True"):
        jax.eval_shape(lambda x: decision_metric(derivatives(psi, params, x, WALKERS, mixed=False)).diagonal(0), x)


@partial(jax.jit, static_argnames="chunk")
def _laplacians(params, x, chunk):
    psi = case(2, 1)[0]
    return quasi_hessian(derivatives(psi, params, x, chunk, mixed=False), jnp.zeros(x.shape[0]))._energy_pushes(
        (psi.structure.split(params),)
    )


def test_derivatives_of_the_local_energy_by_differences():
    psi, params, x = case(2, 1)
    step = 1e-6

    def energies(scale):
        scaled = jax.tree.map(lambda p: scale * p, params)
        return local_energy(jax.jit(psi.laplacian_ratio)(scaled, x), x, SYSTEM)

    difference = (energies(1 + step) - energies(1 - step)) / (2 * step)
    np.testing.assert_allclose(_laplacians(params, x, 4)[0], difference - difference.mean(), rtol=1e-5, atol=1e-5)
