"""The wavefunction: symmetry, determinants, size, nodes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_state
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.vmc.ansatz import slater_wavefunction
from repro.vmc.ansatz.determinant import WRITTEN_OUT, inverse, log_sum_determinants, slogdet, sum_laplacian_ratio
from repro.vmc.ansatz.forward_laplacian import position_jet
from repro.vmc.ansatz.layers import EquivariantLayer
from repro.vmc.physics.local_energy import log_laplacian_ratio

SIZES = [(2, 1), (2, 3), (3, 1), (4, 3), (5, 1), (6, 3)]
"""Numbers of particles and of determinants; both numbers of determinants where it is cheapest."""


def parity(permutation: tuple[int, ...]) -> int:
    inversions = sum(a > b for i, a in enumerate(permutation) for b in permutation[i + 1 :])
    return -1 if inversions % 2 else 1


@pytest.mark.parametrize(("particles", "determinants"), SIZES)
def test_orbitals_are_equivariant_and_psi_antisymmetric(x64, particles, determinants):
    wavefunction, params = random_state(particles, determinants)
    random = np.random.default_rng(particles)
    x = jnp.asarray(random.normal(size=(5, particles)))
    sign_log_psi, orbitals_of = jax.jit(wavefunction.sign_log_psi), jax.jit(wavefunction.orbitals)
    sign, log = sign_log_psi(params, x)
    orbitals = orbitals_of(params, x)
    for _ in range(6):
        order = random.permutation(particles)
        swapped_sign, swapped_log = sign_log_psi(params, x[:, order])
        np.testing.assert_allclose(orbitals_of(params, x[:, order]), orbitals[order], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(swapped_log, log, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(swapped_sign, parity(tuple(order)) * sign)


def test_one_hidden_layer_is_equivariant(x64):
    import haiku as hk

    layer = hk.without_apply_rng(
        hk.transform(lambda h: EquivariantLayer(8, skip=False, dtype=jnp.float64, name="layer")(h, 3, 4))
    )
    h = jax.random.normal(jax.random.key(0), (4, 6, 3))
    params = layer.init(jax.random.key(1), h)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(layer.apply(params, h[order]), layer.apply(params, h)[order], rtol=1e-13, atol=1e-15)
    w, b = params["layer"]["w"], params["layer"]["b"]
    by_hand = np.tanh(np.concatenate([h, np.broadcast_to(h.mean(0), h.shape)], axis=-1) @ w + b)
    np.testing.assert_allclose(layer.apply(params, h), by_hand, rtol=1e-12)


@pytest.mark.parametrize(("particles", "expected"), [(2, 8580), (6, 8844)])
def test_default_size_is_the_studys(particles, expected):
    params = slater_wavefunction(particles).init(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_initial_parameters_are_uniform_in_their_bounds():
    params = slater_wavefunction(3, hidden=256).init(jax.random.key(0))
    fan_in = {"ansatz/equivariant_1": 2, "ansatz/equivariant_2": 512, "ansatz/orbitals": 256}
    assert set(params) == set(fan_in)
    for module, size in fan_in.items():
        bound = 1.0 / math.sqrt(size)
        for name in ("w", "b"):
            assert np.abs(params[module][name]).max() <= bound
    wide = np.asarray(params["ansatz/equivariant_2"]["w"]) * math.sqrt(512)
    np.testing.assert_allclose(wide.std(), 1 / math.sqrt(3), rtol=0.01)
    np.testing.assert_allclose(params["ansatz/orbitals"]["envelope"], math.sqrt(0.5), rtol=1e-6)


@given(
    # Written out, the largest that is, and not written out: each shape is compiled.
    size=st.sampled_from([1, 2, 3, 5, WRITTEN_OUT, 11]),
    determinants=st.sampled_from([1, 3]),
    scale=st.floats(-20, 20),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=40, deadline=None)
def test_sum_of_determinants_against_numpy(size, determinants, scale, seed):
    with jax.enable_x64(True):
        matrices = np.random.default_rng(seed).normal(size=(5, determinants, size, size))
        matrices[:, 0] *= 10.0 ** (scale / size)
        expected = np.linalg.det(matrices).sum(axis=1)
        sign, log = jax.jit(log_sum_determinants)(jnp.asarray(np.moveaxis(matrices, (0, 1), (3, 2))))
        largest = np.abs(np.linalg.det(matrices)).max(axis=1)
        np.testing.assert_allclose(np.asarray(sign) * np.exp(log), expected, rtol=1e-8, atol=1e-9 * largest.max())


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_inverse_and_derivatives_of_determinants(x64, size):
    random = np.random.default_rng(size)
    matrix, direction = (jnp.asarray(random.normal(size=(size, size, 3))) for _ in range(2))
    by_numpy = np.moveaxis(np.linalg.inv(np.moveaxis(matrix, -1, 0)), 0, -1)
    np.testing.assert_allclose(jax.jit(inverse)(matrix), by_numpy, rtol=1e-9, atol=1e-11)

    def log(t):
        return slogdet(matrix + t * direction)[1]

    def by_numpy_log(t):
        return np.linalg.slogdet(np.moveaxis(np.asarray(matrix + t * direction), -1, 0))[1]

    along = jax.jit(lambda t: jax.jvp(log, (t,), (1.0,))[1])
    slope, bend = jax.jvp(along, (0.0,), (1.0,))
    step = 1e-4
    left, middle, right = by_numpy_log(-step), by_numpy_log(0.0), by_numpy_log(step)
    np.testing.assert_allclose(slope, (right - left) / (2 * step), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bend, (right - 2 * middle + left) / step**2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_large_matrices_are_treated_as_small_ones(x64, monkeypatch, size):
    """What is written out for few particles and what is not for many give the same determinant."""
    matrices = jnp.asarray(np.random.default_rng(size).normal(size=(size, size, 2, 4)))
    small = jax.jit(slogdet)(matrices)
    monkeypatch.setattr("repro.vmc.ansatz.determinant.WRITTEN_OUT", 0)
    for one, other in zip(small, jax.jit(lambda m: slogdet(m))(matrices), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def plain_laplacian_ratio(matrices, jacobian, laplacian):
    """By its definition, from inverses and determinants of LAPACK; ``(D, n, n)`` and ``(K, D, n, n)`` of one walker."""
    inverses = jnp.linalg.inv(matrices)
    ratios = jnp.trace(inverses @ laplacian, axis1=-2, axis2=-1)
    for along in jacobian:
        b = inverses @ along
        ratios += jnp.trace(b, axis1=-2, axis2=-1) ** 2 - jnp.trace(b @ b, axis1=-2, axis2=-1)
    weights = jnp.linalg.det(matrices)
    return jnp.sum(weights * ratios) / jnp.sum(weights)


@pytest.mark.parametrize(("size", "determinants"), [(1, 1), (2, 1), (3, 2), (5, 3), (9, 1)])
def test_laplacian_of_determinants_and_its_derivatives(x64, size, determinants):
    """The ratio, its change along a tangent, and its gradient, against automatic differentiation of the definition."""
    random = np.random.default_rng(size)
    shapes = (size, size, determinants, 3), (4, size, size, determinants, 3), (size, size, determinants, 3)
    here, along = ([jnp.asarray(random.normal(size=shape)) for shape in shapes] for _ in range(2))

    def plain(*arguments):
        """Walkers in front, rows and columns last."""
        moved = [jnp.moveaxis(argument, (-1, -2), (0, -3)) for argument in arguments]
        return jax.vmap(plain_laplacian_ratio)(*moved)

    def derivatives(function):
        def both(here, along, weights):
            return (*jax.jvp(function, here, along), *jax.vjp(function, *here)[1](weights))

        return jax.jit(both)(tuple(here), tuple(along), weights)

    weights = jnp.asarray(random.normal(size=3))
    for one, other in zip(derivatives(sum_laplacian_ratio), derivatives(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())


@pytest.mark.parametrize("size", [2, 4, 9])
def test_single_precision_of_a_laplacian_s_derivative_near_nodes(size):
    """At a distance d to the node it grows as 1/d^2, and so, and no faster, does its error."""
    random = np.random.default_rng(size)
    distances = 10.0 ** -np.arange(1, 6)
    alike = np.ones(len(distances))
    matrix, d_matrix, laplacian, d_laplacian = random.normal(size=(4, size, size, 1, 1)) * alike
    jacobian, d_jacobian = random.normal(size=(2, 3, size, size, 1, 1)) * alike
    matrix[-1] = matrix[0] + distances * random.normal(size=(size, 1, 1))  # two particles meet
    here, along = (matrix, jacobian, laplacian), (d_matrix, d_jacobian, d_laplacian)
    single = [tuple(jnp.asarray(part, jnp.float32) for part in parts) for parts in (here, along)]
    tangent = jax.jit(lambda here, along: jax.jvp(sum_laplacian_ratio, here, along)[1])
    found = np.asarray(tangent(*single), float)
    with jax.enable_x64(True):
        double = [tuple(jnp.asarray(np.asarray(part), jnp.float64) for part in parts) for parts in single]
        expected = np.asarray(tangent(*double))
    # Entries are rounded relative to one, the node is known to eps: eps/d of 1/d^2.
    error = np.abs(found - expected) * distances**3
    assert np.all(error < 300.0 * np.finfo(np.float32).eps * np.abs(expected[0] * distances[0] ** 2 + 1.0))


def brute_force_ratios(wavefunction, params, x):
    def psi(y):
        sign, log = wavefunction.sign_log_psi(params, y[None])
        return sign[0] * jnp.exp(log[0])

    ratio = jax.jit(lambda y: jnp.trace(jax.hessian(psi)(y)) / psi(y))
    return jnp.stack([ratio(y) for y in x])


def spread_walkers(particles, count):
    """Walkers without close pairs, where orbital matrices are well conditioned; nodes have a test of their own."""
    random = np.random.default_rng(7)
    lattice = 0.9 * (np.arange(particles) - 0.5 * (particles - 1))
    walkers = [random.permutation(lattice) + random.uniform(-0.2, 0.2, particles) for _ in range(count)]
    return jnp.asarray(np.stack(walkers))


@pytest.mark.parametrize(("particles", "determinants"), [(1, 1), (1, 2), *SIZES])
def test_laplacian_against_brute_force_hessian(x64, particles, determinants):
    wavefunction, params = random_state(particles, determinants)
    x = spread_walkers(particles, 4)
    ratio = jax.jit(wavefunction.laplacian_ratio)(params, x)
    expected = brute_force_ratios(wavefunction, params, x)
    np.testing.assert_allclose(ratio, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    one = jax.jit(lambda y: log_laplacian_ratio(lambda z: wavefunction.log_psi(params, z[None])[0], y))
    generic = jnp.stack([one(y) for y in x])
    np.testing.assert_allclose(generic, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize(("layers", "hidden"), [(1, 5), (3, 12), (4, 8)])
def test_laplacian_for_other_networks(x64, layers, hidden):
    wavefunction, params = random_state(3, 2, layers, hidden)
    x = spread_walkers(3, 4)
    expected = brute_force_ratios(wavefunction, params, x)
    np.testing.assert_allclose(jax.jit(wavefunction.laplacian_ratio)(params, x), expected, rtol=1e-10)


@pytest.mark.parametrize("determinants", [1, 3])
@pytest.mark.parametrize("particles", [2, 4])
def test_single_precision_near_nodes(particles, determinants):
    """The error grows as eps / distance to the node, not as eps / distance^2, and on the node nothing is NaN."""
    distances = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    start = np.linspace(-1.0, 1.3, particles)
    walkers = np.stack([np.concatenate([start[:-1], [start[-2] + d]]) for d in distances])
    single = walkers.astype(np.float32)
    with jax.enable_x64(True):
        wavefunction, params = random_state(particles, determinants)
        expected = np.asarray(jax.jit(wavefunction.laplacian_ratio)(params, jnp.asarray(single.astype(np.float64))))
        params = jax.tree.map(np.asarray, params)
    wavefunction = slater_wavefunction(particles, 2, 16, determinants, "float32")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    ratio = np.asarray(jax.jit(wavefunction.laplacian_ratio)(params, jnp.asarray(single)))
    error = np.abs(ratio - expected)
    scale = 300.0 * np.finfo(np.float32).eps * (1.0 + np.abs(expected[0]))
    for distance, found in zip(distances, error, strict=True):
        assert found < scale / distance
    on_node = jnp.asarray(np.concatenate([start[:-1], start[-2:-1]])[None], jnp.float32)
    assert np.isfinite(jax.jit(wavefunction.log_psi)(params, on_node)).all()
    assert np.isfinite(jax.jit(wavefunction.laplacian_ratio)(params, on_node)).all()
    grads = jax.jit(jax.grad(lambda p: wavefunction.log_psi(p, on_node)[0]))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_position_jet_has_the_identity_as_jacobian(x64):
    jet = position_jet(jnp.asarray([[[0.3], [1.0]], [[-0.2], [2.0]]]))
    np.testing.assert_array_equal(jet.jacobian[:, :, 0, 0], np.eye(2))
    assert not np.any(jet.laplacian)
