"""Metropolis against a known density, with autocorrelation-aware errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.training.statistics import estimate_energy
from repro.vmc.sampling import Chain, initial_chain, walk
from repro.vmc.sampling.metropolis import (
    LEFT_CORRELATION,
    LENGTH_BOUNDS,
    adapted_length,
    adapted_width,
    left_correlation,
    planned_sweeps,
    unrolled_sweeps,
)


def samples(log_density, particles, batches=150, walkers=64, sweeps=3, seed=0):
    chain = initial_chain(jax.random.key(seed), walkers, particles, "float32")
    step = jax.jit(lambda c, k: walk(log_density, c, k, sweeps))
    chain, _ = walk(log_density, chain, jax.random.key(seed + 1), 300)
    drawn = []
    for batch in range(batches):
        chain, acceptance = step(chain, jax.random.fold_in(jax.random.key(seed + 2), batch))
        drawn.append(np.asarray(chain.walkers))
    return np.stack(drawn), float(acceptance)


def test_moments_of_a_correlated_gaussian():
    precision = jnp.asarray([[2.0, 0.8], [0.8, 1.0]])
    covariance = np.linalg.inv(precision)
    drawn, acceptance = samples(lambda x: -0.5 * jnp.einsum("wi,ij,wj->w", x, precision, x), 2)
    assert 0.3 < acceptance < 0.7
    for values, expected in (
        (drawn[..., 0], 0.0),
        (drawn[..., 0] ** 2, covariance[0, 0]),
        (drawn[..., 0] * drawn[..., 1], covariance[0, 1]),
        (drawn[..., 1] ** 4, 3 * covariance[1, 1] ** 2),
    ):
        estimate = estimate_energy(values)
        assert abs(estimate.energy - expected) < 5 * estimate.error
        assert estimate.rhat < 1.1
        assert estimate.ess < values.size


def test_two_fermions_in_the_trap():
    """|psi|^2 = (x1 - x2)^2 exp(-x1^2 - x2^2): <x1^2> = 1 and <(x1 - x2)^2> = 3."""
    drawn, _ = samples(lambda x: 2 * jnp.log(jnp.abs(x[:, 0] - x[:, 1])) - jnp.sum(x**2, axis=1), 2, seed=5)
    for values, expected in ((drawn[..., 0] ** 2, 1.0), ((drawn[..., 0] - drawn[..., 1]) ** 2, 3.0)):
        estimate = estimate_energy(values)
        assert abs(estimate.energy - expected) < 5 * estimate.error


def test_a_wrong_density_is_noticed():
    """The same test with the density of another temperature fails: it can."""
    drawn, _ = samples(lambda x: -0.55 * jnp.sum(x**2, axis=1), 1, batches=400)
    estimate = estimate_energy(drawn[..., 0] ** 2)
    assert abs(estimate.energy - 1.0) > 5 * estimate.error


@pytest.mark.parametrize("unroll", [1, 3])
def test_scan_equals_the_plain_loop(x64, unroll):
    def log_density(x):
        return -0.5 * jnp.sum(x**2, axis=1)

    key = jax.random.key(3)
    chain = initial_chain(jax.random.key(2), 16, 2, "float64")
    x, width = chain.walkers, chain.width
    for sweep in range(7):
        move, accept = jax.random.split(jax.random.fold_in(key, sweep))
        y = x + width * jax.random.normal(move, x.shape, x.dtype)
        taken = jnp.log(jax.random.uniform(accept, (16,), x.dtype)) < log_density(y) - log_density(x)
        x = jnp.where(taken[:, None], y, x)
        width = adapted_width(width, taken.mean())
    found, _ = walk(log_density, chain, key, 7, unroll)
    np.testing.assert_allclose(found.walkers, x, rtol=1e-11)
    np.testing.assert_allclose(found.width, width, rtol=1e-12)


def test_few_particles_have_their_sweeps_written_out_on_a_gpu_only():
    assert [unrolled_sweeps(particles, "gpu") for particles in (1, 2, 3, 4, 5, 20)] == [25, 10, 2, 2, 1, 1]
    assert unrolled_sweeps(2, "cpu") == 1


def gaussian(stretch):
    """Two directions, one of them ``stretch`` times as wide as the other."""
    return lambda x: -0.5 * (x[:, 0] ** 2 + (x[:, 1] / stretch) ** 2)


def walks(log_density, chain, count, seed):
    """Chains after ``count`` walks of a length of their own choice, and the lengths."""
    step = jax.jit(lambda c, k: walk(log_density, c, k, "auto"))
    lengths = []
    for number in range(count):
        lengths.append(int(planned_sweeps(chain)))
        chain, _ = step(chain, jax.random.fold_in(jax.random.key(seed), number))
    return chain, lengths


@pytest.mark.usefixtures("optimized")  # it computes for longer than it compiles
@pytest.mark.parametrize("stretch", [3.0, 6.0])
def test_walks_find_the_length_that_leaves_a_tenth(stretch):
    """From too long and from too short; the correlation is then measured by walks of a fixed number of sweeps."""
    found = []
    for seed, length in ((0, LENGTH_BOUNDS[0]), (1, LENGTH_BOUNDS[1])):
        begin = initial_chain(jax.random.key(seed), 4096, 2, "float32", "auto")
        chain, lengths = walks(gaussian(stretch), begin._replace(length=jnp.asarray(length)), 60, seed)
        found.append(np.mean(lengths[-20:]))
    assert found[0] == pytest.approx(found[1], rel=0.15)
    sweeps = round(np.mean(found))
    left = []
    fixed, log_density = Chain(chain.walkers, chain.width), gaussian(stretch)
    step = jax.jit(lambda c, k: walk(log_density, c, k, sweeps)[0])
    for number in range(10):
        after = step(fixed, jax.random.key(100 + number))
        pair = [(one.walkers, log_density(one.walkers)) for one in (fixed, after)]
        left.append(float(left_correlation(*pair)))
        fixed = after
    # Lengths are whole strides: rounded up, they leave somewhat less than they aim at.
    assert LEFT_CORRELATION - 0.05 < np.mean(left) < LEFT_CORRELATION + 0.03


def test_a_wider_density_takes_longer_walks():
    ends = []
    for stretch in (1.0, 6.0):
        begin = initial_chain(jax.random.key(0), 1024, 2, "float32", "auto")
        ends.append(np.mean(walks(gaussian(stretch), begin, 40, 0)[1][-10:]))
    assert ends[1] > 4 * ends[0]


def test_a_walk_of_the_length_it_found_is_the_fixed_one():
    chain, _ = walks(gaussian(2.0), initial_chain(jax.random.key(0), 64, 2, "float32", "auto"), 10, 0)
    key = jax.random.key(9)
    found, acceptance = walk(gaussian(2.0), chain, key, "auto")
    fixed, expected = walk(gaussian(2.0), Chain(chain.walkers, chain.width), key, int(planned_sweeps(chain)))
    np.testing.assert_array_equal(found.walkers, fixed.walkers)
    np.testing.assert_array_equal(found.width, fixed.width)
    np.testing.assert_allclose(acceptance, expected, rtol=1e-5)


def test_walks_of_a_length_of_their_own_sample_the_same_density():
    begin = initial_chain(jax.random.key(3), 64, 2, "float32", "auto")
    chain, _ = walks(gaussian(3.0), begin, 20, 3)
    step = jax.jit(lambda c, k: walk(gaussian(3.0), c, k, "auto"))
    drawn = []
    for number in range(300):
        chain, _ = step(chain, jax.random.fold_in(jax.random.key(4), number))
        drawn.append(np.asarray(chain.walkers))
    drawn = np.stack(drawn)
    for values, expected in ((drawn[..., 0] ** 2, 1.0), (drawn[..., 1] ** 2, 9.0), (drawn[..., 1], 0.0)):
        estimate = estimate_energy(values)
        assert abs(estimate.energy - expected) < 5 * estimate.error
        assert estimate.ess > 0.4 * values.size  # nearly independent, which they are meant to be


@pytest.mark.parametrize(
    ("length", "sweeps", "correlation", "expected"),
    [
        (100.0, 100.0, 0.1, 100.0),
        (100.0, 100.0, np.sqrt(0.1), 100.0 * 2**0.2),
        (100.0, 100.0, 0.01, 100.0 * (np.log(0.1) / np.log(0.02)) ** 0.2),
        (10.0, 10.0, -0.3, 10.0),
        (990.0, 990.0, 0.99, 1000.0),
        (70.0, 70.0, np.nan, 70.0),
    ],
)
def test_length_rule(length, sweeps, correlation, expected):
    found = adapted_length(*(jnp.asarray(value) for value in (length, sweeps, correlation)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "acceptance", "expected"),
    [(1.0, 0.5, 1.0), (1.0, 0.25, 0.5), (1.0, 0.0, 0.1), (0.02, 0.0, 0.01), (9.0, 1.0, 10.0)],
)
def test_width_rule(width, acceptance, expected):
    np.testing.assert_allclose(adapted_width(jnp.asarray(width), jnp.asarray(acceptance)), expected, rtol=1e-6)


def test_proposals_that_are_no_number_are_rejected():
    chain = Chain(jnp.zeros((8, 1)), jnp.ones(()))
    found, acceptance = walk(lambda x: jnp.where(x[:, 0] == 0, 0.0, jnp.nan), chain, jax.random.key(0), 5)
    np.testing.assert_array_equal(found.walkers, chain.walkers)
    assert acceptance == 0


def test_error_of_correlated_samples():
    """For an AR(1) chain the error is that of sqrt((1 + r) / (1 - r) / N), not of 1 / sqrt(N)."""
    random = np.random.default_rng(0)
    r, chains, length = 0.8, 50, 400
    noise = random.normal(size=(length, chains)) * np.sqrt(1 - r**2)
    values = np.zeros((length, chains))
    values[0] = random.normal(size=chains)
    for t in range(1, length):
        values[t] = r * values[t - 1] + noise[t]
    estimate = estimate_energy(values)
    np.testing.assert_allclose(estimate.error, np.sqrt((1 + r) / (1 - r) / values.size), rtol=0.15)
    assert abs(estimate.energy) < 5 * estimate.error


def test_statistics_refuse_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        estimate_energy(np.full((8, 4), np.nan))


def test_statistics_of_an_eigenstate():
    estimate = estimate_energy(np.full((8, 4), 2.0))
    assert (estimate.energy, estimate.error) == (2.0, 0.0)
