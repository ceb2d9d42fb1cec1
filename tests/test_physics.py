"""Hamiltonian, local energy, gradient: against brute force and exactly known states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_state

from repro.numerics.batching import map_in_batches, sum_in_batches
from repro.vmc.ansatz.determinant import sum_laplacian_ratio
from repro.vmc.ansatz.forward_laplacian import Jet, gaussian, position_jet
from repro.vmc.physics.hamiltonian import System, gaussian_interaction, potential_energy
from repro.vmc.physics.local_energy import clip_local_energies, local_energy
from repro.vmc.physics.oscillator import oscillator_orbitals
from repro.vmc.problem import density, energy_gradient, walker_energies
from repro.vmc.sampling import initial_chain, walk


def test_oscillator_orbitals_are_orthonormal_eigenfunctions():
    x = np.linspace(-14.0, 14.0, 2801)
    orbitals = oscillator_orbitals(x, 30)
    np.testing.assert_allclose(orbitals.T @ orbitals * (x[1] - x[0]), np.eye(30), atol=1e-12)
    n, h = 3, x[1] - x[0]
    second = (orbitals[2:, n] - 2 * orbitals[1:-1, n] + orbitals[:-2, n]) / h**2
    inner = slice(1000, 1800)
    left = (-0.5 * second + 0.5 * x[1:-1] ** 2 * orbitals[1:-1, n])[inner]
    np.testing.assert_allclose(left, (n + 0.5) * orbitals[1:-1, n][inner], atol=1e-4)


def test_oscillator_orbitals_need_one():
    with pytest.raises(ValueError, match="at least one"):
        oscillator_orbitals(np.zeros(3), 0)


def test_interaction_is_a_normalised_gaussian():
    r = np.linspace(-8, 8, 4001)
    values = gaussian_interaction(r, 3.0, 0.5)
    np.testing.assert_allclose(values.sum() * (r[1] - r[0]), 3.0, rtol=1e-12)
    np.testing.assert_allclose(np.sqrt((values * r**2).sum() / values.sum()), 0.5, rtol=1e-10)


def test_potential_against_the_double_sum(x64):
    x = np.random.default_rng(0).normal(size=(4, 5))
    v0, sigma0 = -7.0, 0.4
    expected = [
        0.5 * sum(y**2)
        + sum(
            v0 / np.sqrt(2 * np.pi) / sigma0 * np.exp(-((y[i] - y[j]) ** 2) / (2 * sigma0**2))
            for i in range(5)
            for j in range(i)
        )
        for y in x
    ]
    np.testing.assert_allclose(potential_energy(jnp.asarray(x), System(v0, sigma0)), expected, rtol=1e-13)


def slater_jets(x):
    """Jets of the oscillator orbitals (x)^j exp(-x^2/2), j < A, which span the first A eigenfunctions."""
    particles = x.shape[1]
    position = position_jet(x.T[:, :, None])
    envelope = gaussian(position * jnp.sqrt(0.5))
    columns, power = [], envelope
    for _ in range(particles):
        columns.append(power)
        power = power * position

    def matrices(part):
        stacked = jnp.concatenate([getattr(column, part) for column in columns], axis=-1)
        return jnp.moveaxis(stacked[..., None], (-3, -2, -1), (-1, -3, -2))

    return Jet(*(matrices(part) for part in ("value", "jacobian", "laplacian")))


@pytest.mark.parametrize("particles", [1, 2, 3, 4, 5, 6])
def test_no_variance_on_the_exact_noninteracting_state(x64, particles):
    x = jnp.asarray(np.random.default_rng(particles).normal(size=(200, particles)))
    jet = slater_jets(x)
    ratio = sum_laplacian_ratio(jet.value, jet.jacobian, jet.laplacian)
    energies = local_energy(ratio, x, System(0.0, 0.5))
    # Close pairs amplify rounding by 1 / distance: compare where the state is not within 1e-3 of a node.
    gaps = np.min(np.abs(np.diff(np.sort(x, axis=1), axis=1)), axis=1, initial=np.inf)
    np.testing.assert_allclose(energies[gaps > 1e-2], particles**2 / 2, rtol=1e-9)
    assert (gaps > 1e-2).sum() > 100


@pytest.mark.parametrize("chunk", [1, 4, 8])
def test_chunks_of_walkers_change_nothing(x64, chunk):
    wavefunction, params = random_state(3)
    x = jax.random.normal(jax.random.key(0), (8, 3))
    system = System(5.0, 0.5)
    whole = walker_energies(wavefunction, params, x, system, 8)
    np.testing.assert_allclose(walker_energies(wavefunction, params, x, system, chunk), whole, rtol=1e-11)
    grads = energy_gradient(wavefunction, params, x, whole, 8)
    parts = energy_gradient(wavefunction, params, x, whole, chunk)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def test_chunking_bounds_the_memory():
    """XLA's own account of temporary memory falls with the chunk."""
    wavefunction, params = random_state(4, hidden=64, dtype="float32")
    x = jnp.zeros((2048, 4), jnp.float32)
    system = System(jnp.float32(1.0), jnp.float32(0.5))

    def memory(chunk):
        program = jax.jit(lambda p, y: walker_energies(wavefunction, p, y, system, chunk)).lower(params, x).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(256) < 0.3 * memory(2048)


def test_chunks_keep_the_order_and_the_sum():
    x = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(map_in_batches(lambda y: y.sum(axis=1), x, 2), x.sum(axis=1))
    # Walkers on the last axis but one, as the features of a layer hold them.
    np.testing.assert_array_equal(map_in_batches(lambda y: jnp.stack([y, 2 * y]), x, 3, axis=-2), jnp.stack([x, 2 * x]))
    np.testing.assert_array_equal(sum_in_batches(lambda y, z: y.T @ z, 2, x, x**2), x.T @ x**2)
    stacked = jnp.stack([x, 2 * x])
    np.testing.assert_array_equal(sum_in_batches(lambda y: y.sum(axis=1), 3, stacked, axis=-2), stacked.sum(axis=1))


def test_clipping_by_hand():
    energies = jnp.asarray([1.0, 2.0, 3.0, 4.0, 100.0])
    spread = 5 * np.mean([2.0, 1.0, 0.0, 1.0, 97.0])
    np.testing.assert_allclose(clip_local_energies(energies), [1, 2, 3, 4, min(100.0, 3 + spread)])
    far = jnp.asarray([0.0] * 99 + [1000.0])
    np.testing.assert_allclose(clip_local_energies(far)[-1], 50.0)


def quadrature(points, extent=6.0):
    x = np.linspace(-extent, extent, points)
    return jnp.asarray(np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2))


def exact_energy(wavefunction, system):
    """The energy of a state of two particles as a function of its parameters, by quadrature of |psi|^2."""
    x = quadrature(181)

    def energy(params):
        weights = jax.nn.softmax(2 * wavefunction.log_psi(params, x))
        return jnp.sum(weights * local_energy(wavefunction.laplacian_ratio(params, x), x, system))

    return jax.jit(energy)


def finite_difference(function, params, direction, step=1e-5):
    up, down = (jax.tree.map(lambda a, d, s=s: a + s * step * d, params, direction) for s in (1, -1))
    return (function(up) - function(down)) / (2 * step)


def inner(one, other):
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), one, other)))


def test_gradient_is_that_of_the_energy_by_quadrature(x64):
    """With the sample replaced by an exact quadrature of |psi|^2, the estimator equals the derivative of E."""
    wavefunction, params = random_state(2, hidden=4)
    system = System(-3.0, 0.5)
    x = quadrature(181)

    @jax.jit
    def estimated(params):
        weights = jax.nn.softmax(2 * wavefunction.log_psi(params, x))
        energies = local_energy(wavefunction.laplacian_ratio(params, x), x, system)
        centred = 2 * weights * (energies - jnp.sum(weights * energies))
        return jax.grad(lambda p: jnp.sum(centred * wavefunction.log_psi(p, x)))(params)

    estimator = estimated(params)
    random = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), params)
    expected = finite_difference(exact_energy(wavefunction, system), params, direction)
    np.testing.assert_allclose(inner(estimator, direction), expected, rtol=1e-5)


def test_sampled_gradient_against_finite_differences(x64):
    """Walk and gradient as a training epoch has them, against the exact energy's difference, within error."""
    wavefunction, params = random_state(2, hidden=4, seed=3)
    system = System(-3.0, 0.5)
    expected_energy = exact_energy(wavefunction, system)
    direction = jax.grad(expected_energy)(params)
    expected = finite_difference(expected_energy, params, direction)

    @jax.jit
    def sample(chain, key):
        chain, _ = walk(density(wavefunction, params), chain, key, 40)
        energies = walker_energies(wavefunction, params, chain.walkers, system, 2048)
        grads = energy_gradient(wavefunction, params, chain.walkers, energies, 2048)
        return chain, jnp.mean(energies), inner(grads, direction)

    chain = initial_chain(jax.random.key(0), 2048, 2, "float64")
    rows = []
    for batch in range(44):
        chain, energy, slope = sample(chain, jax.random.key(100 + batch))
        rows.append((energy, slope))
    for values, value in zip(np.array(rows[4:]).T, (expected_energy(params), expected), strict=True):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - value) < 5 * error
        assert error < 0.1 * abs(value)
