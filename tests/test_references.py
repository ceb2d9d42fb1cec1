"""Reference energies against values and methods that do not share their code."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys

import numpy as np
import pytest
from conftest import repro
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from scipy.optimize import minimize

from repro.config import SystemConfig
from repro.errors import InputError, ReproError
from repro.references import catalogue, known_energy, reference
from repro.references.configuration_interaction import ci_energy, pair_interaction
from repro.references.hartree_fock import hartree_fock_energy
from repro.references.quadrature import gauss_hermite
from repro.references.stored import STORED, command_of, read_references
from repro.references.two_body import two_body_energy
from repro.study.experiments.reference_table import fill_table
from repro.study.runs.cases import CASES, HELD_OUT
from repro.vmc.physics.hamiltonian import gaussian_interaction
from repro.vmc.physics.oscillator import oscillator_orbitals

METHODS = ("exact", "ci", "hf")


@pytest.mark.parametrize(
    ("v0", "published"), [(-20, -2.47175586), (-10, 0.59590593), (10, 2.42561902), (20, 2.60563945)]
)
def test_two_body_energies(v0, published):
    energy, error = two_body_energy(v0, 0.5)
    assert abs(energy - published) < 1e-8
    assert error < 3e-12


def test_two_body_against_finite_differences():
    """Second-order finite differences, extrapolated: an independent discretisation."""

    def energy(points):
        q = np.linspace(0, 8, points + 1)[1:-1]
        h = q[1] - q[0]
        diagonal = 1 / h**2 + 0.5 * q**2 + gaussian_interaction(np.sqrt(2) * q, -10.0, 0.5)
        matrix = np.diag(diagonal) - 0.5 / h**2 * (np.eye(len(q), k=1) + np.eye(len(q), k=-1))
        return 0.5 + eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0]

    extrapolated = (4 * energy(1600) - energy(800)) / 3
    assert abs(two_body_energy(-10.0, 0.5)[0] - extrapolated) < 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("particles", [1, 2, 3])
def test_without_interaction(method, particles):
    found = reference(method, SystemConfig(particles, 0.0))
    assert abs(found.energy - particles**2 / 2) < 1e-9


@pytest.mark.parametrize(
    ("particles", "v0", "expected"),
    [(2, -10.0, 0.599016), (3, 20.0, 6.515256), (2, -20.0, -2.4258), (4, -20.0, -12.2125), (5, -20.0, -17.3720)],
)
def test_ci_in_twenty_modes(particles, v0, expected):
    energy, error = ci_energy(particles, 20, v0, 0.5)
    decimals = len(str(expected).split(".")[1])
    assert round(energy, decimals) == expected
    assert error < 1e-9


def brute_force_ci(particles, modes, v0, sigma0):
    """Slater-Condon rules written out over determinants, matrix elements on a plain grid."""
    x = np.linspace(-9, 9, 361)
    h = x[1] - x[0]
    phi = oscillator_orbitals(x, modes)
    interaction = gaussian_interaction(np.subtract.outer(x, x), v0, sigma0) * h * h
    integrals = np.einsum("xi,xk,xy,yj,yl->ijkl", phi, phi, interaction, phi, phi, optimize=True)
    determinants = list(itertools.combinations(range(modes), particles))
    matrix = np.zeros((len(determinants),) * 2)
    for a, bra in enumerate(determinants):
        for b, ket in enumerate(determinants):
            if a == b:
                matrix[a, b] += sum(n + 0.5 for n in bra)
            # <bra| 1/2 sum V_ijkl a+_i a+_j a_l a_k |ket>, by applying the operators one by one.
            for k, m in itertools.permutations(ket, 2):
                rest, sign = _annihilate(_annihilate((ket, 1), k), m)
                missing = [orbital for orbital in bra if orbital not in rest]
                if len(missing) != 2 or not set(rest) <= set(bra):
                    continue
                for i, j in itertools.permutations(missing):
                    rest_bra, sign_bra = _annihilate(_annihilate((bra, 1), i), j)
                    if rest_bra == rest:
                        matrix[a, b] += 0.5 * sign * sign_bra * integrals[i, j, k, m]
    return np.linalg.eigvalsh(matrix)[0]


def _annihilate(state, orbital):
    orbitals, sign = state
    position = orbitals.index(orbital)
    return tuple(o for o in orbitals if o != orbital), sign * (-1) ** position


@pytest.mark.parametrize(("particles", "modes"), [(2, 4), (3, 5), (4, 6)])
@pytest.mark.parametrize("v0", [-6.0, 9.0])
def test_ci_against_operators_one_by_one(particles, modes, v0):
    energy, _ = ci_energy(particles, modes, v0, 0.7)
    assert abs(energy - brute_force_ci(particles, modes, v0, 0.7)) < 1e-9


def test_ci_converges_to_the_exact_energy_from_above():
    exact = two_body_energy(-10.0, 0.5)[0]
    energies = [ci_energy(2, modes, -10.0, 0.5)[0] for modes in (2, 4, 8, 12, 20, 30, 40, 60)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(energies))
    assert exact < energies[-1] < exact + 1e-4


@given(v0=st.floats(-15, 15), sigma0=st.floats(0.3, 2.0), modes=st.integers(3, 10), particles=st.integers(2, 4))
@settings(max_examples=15, deadline=None)
def test_variational_order(v0, sigma0, modes, particles):
    """CI never rises with more modes; one determinant in the modes is never below it; both are above exact."""
    modes = max(modes, particles)
    low, high = (ci_energy(particles, m, v0, sigma0)[0] for m in (modes + 2, modes))
    one = ci_energy(particles, particles, v0, sigma0)[0]
    assert low <= high + 1e-10
    assert high <= one + 1e-10
    if particles == 2:
        assert two_body_energy(v0, sigma0)[0] <= low + 1e-10


@pytest.mark.parametrize("v0", [-0.01, 0.01])
def test_first_order_perturbation_theory(v0):
    """E = A^2/2 + <V> + O(V0^2), with <V> the trace over the lowest pairs."""
    for particles in (2, 3):
        first = pair_interaction(particles, v0, 0.5).trace()
        energy, _ = ci_energy(particles, 20, v0, 0.5)
        second = energy - particles**2 / 2 - first
        assert -1e-4 < second < 0


@pytest.mark.parametrize(("particles", "v0"), [(2, -10.0), (2, 20.0), (3, -8.0)])
def test_hartree_fock_against_direct_minimisation(particles, v0):
    """The best single determinant in oscillator modes, found by BFGS from several starts, approaches it from above."""
    modes = 16
    pairs = pair_interaction(modes, v0, 0.5)
    i, j = np.triu_indices(modes, k=1)
    one_body = np.diag(np.arange(modes) + 0.5)

    def energy(flat):
        q, _ = np.linalg.qr(flat.reshape(modes, particles))
        two = 0.0
        for a, b in itertools.combinations(range(particles), 2):
            minor = q[i, a] * q[j, b] - q[j, a] * q[i, b]
            two += minor @ pairs @ minor
        return np.trace(q.T @ one_body @ q) + two

    random = np.random.default_rng(0)
    starts = [np.eye(modes, particles) + 0.3 * random.normal(size=(modes, particles)) for _ in range(4)]
    best = min(minimize(energy, start.ravel(), method="BFGS").fun for start in starts)
    found, error, _ = hartree_fock_energy(particles, v0, 0.5)
    assert error < 1e-8
    assert found - 1e-9 <= best < found + 0.02 * max(1.0, abs(found))


def test_hartree_fock_lies_above_exact_and_matches_a_published_value():
    assert abs(hartree_fock_energy(4, -20.0, 0.5)[0] + 12.8128) < 5e-5
    for v0 in (-10.0, 10.0):
        assert hartree_fock_energy(2, v0, 0.5)[0] > two_body_energy(v0, 0.5)[0]


def test_quadrature_is_exact_for_polynomials():
    nodes, weights = gauss_hermite(200)
    for power, moment in ((0, 1.0), (2, 0.5), (4, 0.75), (6, 1.875)):
        integral = np.sum(weights * nodes**power * np.exp(-(nodes**2)))
        np.testing.assert_allclose(integral, moment * np.sqrt(np.pi), rtol=1e-12)


def test_known_energy():
    assert known_energy(SystemConfig(5, 0.0)) == 12.5
    assert known_energy(SystemConfig(1, 3.0)) == 0.5
    assert known_energy(SystemConfig(3, 1.0)) is None
    assert known_energy(SystemConfig(2, -20.0, 0.001)) is None
    assert known_energy(SystemConfig(3, -10.0, 0.4)) is None
    stored_for = {width: known_energy(SystemConfig(3, -10.0, width)) for width in (0.3, 0.5, 1.0)}
    assert stored_for == pytest.approx({0.3: 2.53791373, 0.5: 0.71479673, 1.0: -0.42237981}, abs=1e-8)


@pytest.mark.parametrize("v0", [-5.0, 5.0])
def test_ten_particles_are_known_by_dmrg(v0):
    """Below the upper bounds, and on the side of A^2/2 where the interaction pushes."""
    system = SystemConfig(10, v0)
    energy = known_energy(system)
    assert energy <= reference("ci", system, 14).energy
    assert energy <= reference("hf", system).energy
    assert (energy - 50.0) * v0 > 0.0


def test_dmrg_without_its_library_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyblock2.driver.core", None)
    with pytest.raises(InputError, match="LOCK=dmrg"):
        reference("dmrg", SystemConfig(3, 1.0))


def stored(method):
    rows = [row for row in read_references() if row.reference.method == method]
    table = {row.reference.system: row for row in rows}
    assert len(table) == len(rows)
    return table


@pytest.mark.parametrize("method", ["exact", "ci", "hf"])
def test_the_stored_references_are_complete(method):
    table = stored(method)
    assert set(table) == {*CASES, *HELD_OUT}
    for system, row in table.items():
        found = row.reference
        assert found.error <= {"exact": 1e-6 if system.particles <= 4 else 1e-5, "ci": 1e-8, "hf": 1e-8}[method], row
        assert row.command == command_of(method, system, found.modes)


def test_the_stored_references_are_ordered_as_they_must_be():
    """Exact below every upper bound; DMRG, where it was run, the same as exact within the errors of both."""
    exact, truncated, mean_field, check = (stored(method) for method in ("exact", "ci", "hf", "dmrg"))
    for case, row in exact.items():
        slack = row.reference.error + 1e-9
        assert row.reference.energy <= truncated[case].reference.energy + slack, case
        assert row.reference.energy <= mean_field[case].reference.energy + slack, case
    both = exact.keys() & check.keys()
    assert len(both) >= 20
    assert all(row.reference.error < 2e-5 for row in check.values())
    for case in both:
        apart = abs(check[case].reference.energy - exact[case].reference.energy)
        assert apart <= check[case].reference.error + exact[case].reference.error, case
    assert {system for system in HELD_OUT if system.sigma0 != SystemConfig.sigma0} <= both
    for (particles, v0), published in {(2, -20.0): -2.4718, (4, -20.0): -13.6694, (5, -20.0): -20.3500}.items():
        assert abs(exact[SystemConfig(particles, v0)].reference.energy - published) < 6e-5


def test_a_random_stored_reference_comes_out_again():
    quick = [row for row in read_references() if row.seconds < 15 and row.reference.method != "dmrg"]
    assert len(quick) > 50
    row = random.SystemRandom().choice(quick)
    told = row.reference
    again = reference(told.method, SystemConfig(told.particles, told.v0, told.sigma0), told.modes)
    assert abs(again.energy - told.energy) <= told.error + again.error + 1e-9 * max(1.0, abs(told.energy)), row


def test_the_table_grows_case_by_case_and_is_not_computed_twice(tmp_path):
    path, notes = tmp_path / "table" / "energies.csv", []
    cases = [SystemConfig(2, -5.0), SystemConfig(2, -5.0, 1.0)]
    fill_table(path, ["exact", "hf"], cases, notes.append)
    first = path.read_text()
    assert len(read_references(path)) == 4
    assert any("left" in note for note in notes)
    notes.clear()
    rows = fill_table(path, ["exact", "hf"], [SystemConfig(2, -5.0, 0.3), *cases], notes.append)
    assert len(rows) == 6
    assert sum("A = 2, V0 = -5, sigma0 = 0.3: E = " in note for note in notes) == 2
    assert set(first.splitlines()) < set(path.read_text().splitlines())
    path.write_text(path.read_text().replace("exact,2", "exact,two", 1))
    with pytest.raises(InputError, match="not a stored reference"):
        fill_table(path, ["exact"], cases, notes.append)
    with pytest.raises(InputError, match="unknown"):
        fill_table(tmp_path / "other.csv", ["fci"], cases, notes.append)
    assert not (tmp_path / "other.csv").exists()


def test_the_stored_table_is_whole_by_its_own_command_and_other_ranges_can_be_added(tmp_path):
    path = tmp_path / "energies.csv"
    path.write_bytes(STORED.read_bytes())
    done = repro("references", "--out", str(path))
    assert f"{3 * 47} of {3 * 47} cases are there" in done.stderr
    assert path.read_bytes() == STORED.read_bytes()
    case = ("--method", "hf", "--particles", "2", "--v0", "-5", "--sigma0", "0.3", "--sigma0", "0.5")
    done = repro("references", *case, "--out", str(path))
    assert "1 of 2 cases are there" in done.stderr
    added = set(path.read_text().splitlines()) - set(STORED.read_text().splitlines())
    assert [line.split(",")[-1] for line in added] == ["repro reference --method hf --particles 2 --v0 -5 --sigma0 0.3"]


@pytest.mark.parametrize(
    ("method", "system", "modes", "message"),
    [
        ("fci", SystemConfig(2, 1.0), None, "unknown"),
        ("exact", SystemConfig(9, 1.0), None, "2 to 8"),
        ("dmrg", SystemConfig(11, 1.0), None, "2 to 10"),
        ("ci", SystemConfig(4, 1.0), 3, "at least the number of particles"),
        ("ci", SystemConfig(12, 1.0), 40, "modes are possible"),
        ("ci", SystemConfig(2, 1.0), 500, "at most"),
        ("hf", SystemConfig(2, 1.0), 20, "leave --modes out"),
        ("hf", SystemConfig(30, 1.0), None, "at most"),
    ],
)
def test_bad_input(method, system, modes, message):
    with pytest.raises(InputError, match=message):
        reference(method, system, modes)


@pytest.mark.parametrize(
    ("method", "system", "message"),
    [
        # Attractive: with 1e6 it is the rounding that decides whether the last digit converges.
        ("exact", SystemConfig(2, -1e6), "beyond this basis: lower"),
        ("exact", SystemConfig(2, -20.0, 1e-5), "7,200,000 points would be needed"),
        ("hf", SystemConfig(2, 1e6, 1e-5), "must be at least 0.05 for Hartree-Fock"),
        ("dmrg", SystemConfig(2, 1.0, 0.05), "dmrg takes 0.1 and more"),
    ],
)
def test_couplings_that_a_method_cannot_do_end_in_one_line(method, system, message):
    """And a run goes on without a reference."""
    with pytest.raises(ReproError, match=message):
        reference(method, system)
    assert method != "exact" or known_energy(system) is None


@pytest.mark.parametrize("failed", [np.linalg.LinAlgError("no"), MemoryError(), (math.nan, 0.0, "a basis")])
def test_a_solver_that_fails_is_told_in_one_line(monkeypatch, failed):
    def computed(*_):
        if isinstance(failed, tuple):
            return failed
        raise failed

    monkeypatch.setattr(catalogue, "_computed", computed)
    with pytest.raises(ReproError, match=r"^exact, particles = 3, v0 = 1, sigma0 = 0.5: .*; lower"):
        reference("exact", SystemConfig(3, 1.0))


def test_command_line_prints_json():
    done = repro("reference", "--method", "ci", "--particles", "2", "--v0", "-10", "--modes", "20", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert set(found) == {"energy", "error", "method", "particles", "v0", "sigma0", "modes", "basis"}
    assert round(found["energy"], 6) == 0.599016
    plain = repro("reference", "--method", "exact", "--particles", "2", "--v0", "-10")
    assert "0.595905934591" in plain.stdout
