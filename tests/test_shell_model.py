"""The no-core shell model against separation, perturbation theory, other methods and sum rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from repro.config import SystemConfig
from repro.errors import InputError
from repro.references.configuration_interaction import ci_energy, pair_interaction
from repro.references.densities import ground_state_densities
from repro.references.hartree_fock import hartree_fock_energy
from repro.references.shell_model import (
    Space,
    brackets,
    count_determinants,
    determinants,
    full_hamiltonian,
    intrinsic_hamiltonian,
    lowest_state,
    pairs,
    shell_model_energy,
)
from repro.references.two_body import two_body_energy
from repro.vmc.physics.hamiltonian import gaussian_interaction
from repro.vmc.physics.oscillator import oscillator_orbitals


def test_brackets_are_the_overlaps_of_products():
    """<N n | a b> by quadrature over the plane."""
    x = np.linspace(-9, 9, 181)
    step = x[1] - x[0]
    phi = oscillator_orbitals(x, 8)
    first, second = np.meshgrid(x, x, indexing="ij")
    centre = oscillator_orbitals((first + second) / np.sqrt(2), 8)
    relative = oscillator_orbitals((first - second) / np.sqrt(2), 8)
    for quanta in range(8):
        table = brackets(quanta)
        np.testing.assert_allclose(table @ table.T, np.eye(quanta + 1), atol=1e-12)
        for number, a in itertools.product(range(quanta + 1), repeat=2):
            product = np.multiply.outer(phi[:, a], phi[:, quanta - a])
            overlap = step**2 * np.sum(centre[..., number] * relative[..., quanta - number] * product)
            assert abs(table[number, a] - overlap) < 1e-10


def test_determinants_are_all_and_only_those_within_the_quanta():
    for particles, quanta in ((2, 6), (3, 8), (4, 6)):
        least = particles * (particles - 1) // 2
        everything = itertools.combinations(range(least + quanta + 1), particles)
        wanted = {s for s in everything if sum(s) <= least + quanta and (sum(s) - least) % 2 == 0}
        found = determinants(particles, quanta)
        assert {tuple(map(int, string)) for string in found} == wanted
        assert len(found) == len(wanted) == count_determinants(particles, quanta)


def test_pair_matrix_elements_against_quadrature():
    """The interaction between antisymmetrised pairs, by brackets here and by Gauss-Hermite nodes there."""
    space = Space(2, 10)
    modes = space.modes
    theirs = pair_interaction(modes, -3.0, 0.5)
    i, j = np.triu_indices(modes, k=1)
    place = {pair: number for number, pair in enumerate(zip(i.tolist(), j.tolist(), strict=True))}
    with_interaction, without = (full_hamiltonian(space, v0, 0.5, 1.0) for v0 in (-3.0, 0.0))
    for parity in (0, 1):
        those = pairs(modes - 1, parity)
        chosen = [place[pair] for pair in zip(those.first.tolist(), those.second.tolist(), strict=True)]
        np.testing.assert_allclose(
            with_interaction[parity] - without[parity], theirs[np.ix_(chosen, chosen)], atol=1e-11
        )


@pytest.mark.parametrize(("v0", "sigma0"), [(-20.0, 0.5), (-10.0, 0.3), (10.0, 1.0), (20.0, 0.5)])
def test_two_particles_against_separation(v0, sigma0):
    energy, error, _ = shell_model_energy(2, v0, sigma0, tolerance=1e-11)
    exact, _ = two_body_energy(v0, sigma0)
    assert abs(energy - exact) < 1e-10
    # The stated error holds where it is asked to be larger, too.
    for tolerance in (1e-4, 1e-6):
        rough, stated, _ = shell_model_energy(2, v0, sigma0, tolerance=tolerance)
        assert abs(rough - exact) <= stated <= tolerance + 1e-10 * abs(exact)
    assert error < 1e-9


@pytest.mark.parametrize("length", [0.7, 1.0])
def test_the_centre_of_mass_is_in_its_ground_state(length):
    """Lawson's term costs nothing: without it, the lowest intrinsic energy is the same."""
    space = Space(3, 12)
    lowest = lowest_state(space, intrinsic_hamiltonian(space, -4.0, 0.5, length))
    assert lowest.residual < 1e-9
    if length == 1.0:
        # With the trap's own length the whole Hamiltonian separates in the same space.
        whole = lowest_state(space, full_hamiltonian(space, -4.0, 0.5, length))
        assert abs(whole.energy - lowest.energy - 0.5) < 1e-9


@pytest.mark.parametrize("particles", [3, 4, 5])
def test_without_interaction(particles):
    energy, _, _ = shell_model_energy(particles, 0.0, 0.5)
    assert abs(energy - 0.5 * particles**2) < 1e-9


def perturbation_series(particles, sigma0, modes=40):
    """First and second order of the energy for V0 = 1, from the quadrature's matrix elements."""
    i, j = np.triu_indices(modes, k=1)
    interaction = np.zeros((modes,) * 4)
    matrix = pair_interaction(modes, 1.0, sigma0)
    for (a, b), (c, d) in itertools.product(((i, j), (j, i)), repeat=2):
        sign = (1.0 if a is i else -1.0) * (1.0 if c is i else -1.0)
        interaction[a[:, None], b[:, None], c[None], d[None]] = sign * matrix
    occupied, empty = range(particles), range(particles, modes)
    first = sum(interaction[a, b, a, b] for a, b in itertools.combinations(occupied, 2))
    second = 0.0
    for a, c in itertools.product(occupied, empty):
        second -= sum(interaction[a, b, c, b] for b in occupied) ** 2 / (c - a)
    for (a, b), (c, d) in itertools.product(itertools.combinations(occupied, 2), itertools.combinations(empty, 2)):
        second -= interaction[a, b, c, d] ** 2 / (c + d - a - b)
    return first, second


@pytest.mark.parametrize("particles", [2, 3, 4])
def test_weak_interactions_against_perturbation_theory(particles):
    first, second = perturbation_series(particles, 0.5)
    weak = 0.01
    above, below = (shell_model_energy(particles, v0, 0.5, tolerance=1e-11)[0] for v0 in (weak, -weak))
    # Odd and even parts, so that the next order is left out of each.
    assert abs((above - below) / (2 * weak) - first) < 1e-6
    assert abs((above + below - particles**2) / (2 * weak**2) - second) < 1e-5


@pytest.mark.parametrize(("particles", "v0"), [(3, -20.0), (3, 20.0), (4, -10.0)])
def test_variational_ordering(particles, v0):
    """Exact below every truncation, truncations falling with the modes, exact below Hartree-Fock."""
    exact, error, steps = shell_model_energy(particles, v0, 0.5, tolerance=1e-7)
    truncated = [ci_energy(particles, modes, v0, 0.5)[0] for modes in (8, 12, 16, 20)]
    assert all(later <= earlier + 1e-10 for earlier, later in itertools.pairwise(truncated))
    assert exact <= truncated[-1] + error
    assert exact <= hartree_fock_energy(particles, v0, 0.5)[0] + error
    assert all(later.energy <= earlier.energy + 1e-10 for earlier, later in itertools.pairwise(steps))


def test_too_many_particles_are_refused_at_once():
    with pytest.raises(InputError, match="particles = 30"):
        shell_model_energy(30, 1.0, 0.5)
    with pytest.raises(InputError, match="2 to 6"):
        ground_state_densities(SystemConfig(7, 1.0), np.linspace(-3, 3, 5))


@pytest.mark.parametrize(("particles", "v0"), [(2, -20.0), (3, 0.0), (3, 20.0), (4, -10.0)])
def test_sum_rules_and_virial_of_exact_densities(particles, v0):
    x = np.linspace(-7, 7, 281)
    step = x[1] - x[0]
    system = SystemConfig(particles, v0)
    found = ground_state_densities(system, x)
    assert abs(step * found.one_body.sum() - particles) < 1e-7
    assert abs(found.occupations.sum() - particles) < 1e-9
    assert found.occupations.max() < 1 + 1e-9
    np.testing.assert_allclose(step * found.pair.sum(axis=1), (particles - 1) * found.one_body, atol=1e-7)
    np.testing.assert_allclose(np.diagonal(found.pair), 0.0, atol=1e-9)
    trap = 0.5 * step * np.sum(x**2 * found.one_body)
    distance = np.subtract.outer(x, x)
    potential = gaussian_interaction(distance, v0, 0.5)
    interaction = 0.5 * step**2 * np.sum(found.pair * potential)
    force = 0.5 * step**2 * np.sum(found.pair * potential * (distance / 0.5) ** 2)
    kinetic = found.energy - trap - interaction
    assert abs(2 * kinetic - 2 * trap + force) < 2e-4 * kinetic
    if v0 == 0.0:
        orbitals = oscillator_orbitals(x, particles)
        np.testing.assert_allclose(found.one_body, np.sum(orbitals**2, axis=1), atol=1e-9)
        np.testing.assert_allclose(found.occupations[:particles], 1.0, atol=1e-9)


def test_two_body_density_against_the_separated_state():
    """n(0) from the relative wavefunction on a fine grid: another basis altogether."""
    from repro.references.sinc import sinc_kinetic

    v0, q = -10.0, np.linspace(-8, 8, 321)
    h = q[1] - q[0]
    matrix = sinc_kinetic(len(q), h) + np.diag(0.5 * q**2 + gaussian_interaction(np.sqrt(2) * q, v0, 0.5))
    values, vectors = np.linalg.eigh(matrix)
    odd = next(k for k in range(4) if abs(vectors[:, k] + vectors[::-1, k]).max() < 1e-8)
    wave = vectors[:, odd] / np.sqrt(h)
    assert abs(values[odd] + 0.5 - two_body_energy(v0, 0.5)[0]) < 1e-8

    def pair(x, y):
        centre = np.exp(-((x + y) ** 2) / 2) / np.sqrt(np.pi)
        return 2.0 * centre * np.interp((x - y) / np.sqrt(2), q, wave**2)

    x = np.array([0.0, 0.4, 1.1])
    found = ground_state_densities(SystemConfig(2, v0), x)
    for k, point in enumerate(x):
        density = 0.002 * np.sum(pair(point, np.arange(-8, 8, 0.002)))
        assert abs(found.one_body[k] - density) < 1e-3
    assert abs(found.pair[0, 2] - pair(0.0, 1.1)) < 1e-3
