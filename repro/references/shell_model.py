"""Exact ground states of a few trapped fermions, by the no-core shell model.

The basis is every determinant of oscillator functions of length b with at most N quanta above the lowest one. Being
complete in the total number of quanta, it lets the centre of mass separate exactly, whatever b. The Hamiltonian without
its centre of mass is a sum over pairs,

    H_int = sum_{i<j} [ (p_i - p_j)^2 / 2A + (x_i - x_j)^2 / 2A + V(x_i - x_j) ],      E = E_int + 1/2,

and a multiple of the number of the centre of mass' quanta, itself a sum over pairs, lifts all but its ground state
(D. H. Gloeckner, R. D. Lawson, Phys. Lett. B 53, 313 (1974)). With T taking an A-particle vector to all (pair, rest) it
contains, H = T^t (h x 1) T is one product with a small dense matrix for each number of quanta of the rest, and the
density matrix of pairs is a product of T c with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, eigsh

from repro.errors import InputError
from repro.references.progress import Progress
from repro.references.quadrature import Reals
from repro.references.two_body import relative_interaction, relative_oscillator

Integers = NDArray[np.int64]

LAWSON = 2.0
"""What a quantum of the centre of mass costs; any positive number gives the same ground state."""
LENGTHS = tuple(0.88**k for k in range(-2, 14))
"""Among which the best is looked for, downhill from neighbour to neighbour."""
FIRST_QUANTA, STEP = 16, 8
MAX_PARTICLES = 8
MAX_PARTS = 24_000_000
"""Determinants times pairs in each, which bounds the memory to a few gigabytes."""
THOROUGH_DETERMINANTS = 50_000
"""Beyond, only shorter lengths than the last best are tried: with more quanta it does not grow."""
ROUNDING = 1e-11
"""Relative; of the sums over determinants."""
_SEED = 20240301


@cache
def brackets(quanta: int) -> Reals:
    """<N n | a b>, oscillators of (x1 + x2)/sqrt(2) and (x1 - x2)/sqrt(2), for all pairs with a + b = N + n = quanta.

    The states |N n> are the eigenvectors of the operator that moves a quantum from one particle to the other, whose
    eigenvalues N - n are two apart; c^t |N - 1, n> = sqrt(N) |N n> with c^t = (a^t + b^t)/sqrt(2), and d^t = (a^t -
    b^t)/sqrt(2) likewise, give their signs.

    Returns:
        Shape ``(quanta + 1, quanta + 1)``, indices N and a.
    """
    if quanta == 0:
        return np.ones((1, 1))
    a = np.arange(quanta + 1)
    states = eigh_tridiagonal(np.zeros(quanta + 1), np.sqrt(a[1:] * (quanta + 1.0 - a[1:])))[1].T
    previous = brackets(quanta - 1)
    for number, state in enumerate(states):
        lower, sign = (previous[number - 1], 1.0) if number else (previous[0], -1.0)
        raised = np.zeros(quanta + 1)
        raised[1:] += np.sqrt(a[1:]) * lower
        raised[:-1] += sign * np.sqrt(quanta - a[:-1]) * lower
        state *= np.sign(raised @ state)
    states.setflags(write=False)
    return np.asarray(states)


@dataclass(frozen=True)
class Pairs:
    """Antisymmetrised pairs |a b>, a < b, of one parity, ordered by their quanta.

    Attributes:
        first: a, shape ``(P,)``.
        second: b.
    """

    first: Integers
    second: Integers

    @property
    def quanta(self) -> Integers:
        """Of each pair."""
        return self.first + self.second

    def product(self, f: Reals, g: Reals) -> Reals:
        """<a b| f x g + g x f |c d> for two matrices over single particles, shape ``(P, P)``."""

        def element(m: Reals, bra: Integers, ket: Integers) -> Reals:
            return m[bra[:, None], ket]

        a, b = self.first, self.second
        direct = element(f, a, a) * element(g, b, b) + element(g, a, a) * element(f, b, b)
        exchange = element(f, a, b) * element(g, b, a) + element(g, a, b) * element(f, b, a)
        return np.asarray(direct - exchange)

    def relative(self, matrix: Reals) -> Reals:
        """<a b| h |c d> for an operator h of the relative motion, given between its odd functions 1, 3, ..."""
        quanta = self.quanta
        total = np.zeros((len(quanta), len(quanta)))
        for centre in range(int(quanta.max(initial=0))):
            # Pairs that contain |N n> with this N and some odd n.
            chosen = np.flatnonzero((quanta - centre > 0) & ((quanta - centre) % 2 == 1))
            if not len(chosen):
                continue
            n = quanta[chosen] - centre
            amplitude = np.sqrt(2.0) * np.array(
                [brackets(int(q))[centre, a] for q, a in zip(quanta[chosen], self.first[chosen], strict=True)]
            )
            element = matrix[np.ix_((n - 1) // 2, (n - 1) // 2)]
            total[np.ix_(chosen, chosen)] += amplitude[:, None] * element * amplitude
        return total


def pairs(quanta: int, parity: int) -> Pairs:
    """All pairs with at most ``quanta`` quanta, a + b even (0) or odd (1)."""
    found = [(a, q - a) for q in range(1, quanta + 1) if q % 2 == parity for a in range((q + 1) // 2)]
    table = np.array(found, np.int64).reshape(-1, 2)
    return Pairs(table[:, 0], table[:, 1])


def determinants(particles: int, quanta: int) -> Integers:
    """Increasing orbital indices with at most ``quanta`` above the least sum, an even number; shape ``(dim, A)``.

    Odd numbers have the other parity: in the order x_1 < ... < x_A the ground state has no nodes, and so the parity of
    the lowest determinant.
    """

    def extended(prefix: tuple[int, ...], lowest: int, left: int) -> Iterator[tuple[int, ...]]:
        missing = particles - len(prefix)
        if not missing:
            if (quanta - left) % 2 == 0:
                yield prefix
            return
        # Raising this orbital by one raises all that follow.
        for raised in range(left // missing + 1):
            yield from extended((*prefix, lowest + raised), lowest + raised + 1, left - missing * raised)

    return np.array(list(extended((), 0, quanta)), np.int64).reshape(-1, particles)


@cache
def count_determinants(particles: int, quanta: int) -> int:
    """How many :func:`determinants` there are: even numbers up to ``quanta``, in at most A parts."""
    ways = np.zeros(quanta + 1, dtype=object)
    ways[0] = 1
    for part in range(1, particles + 1):
        for total in range(part, quanta + 1):
            ways[total] += ways[total - part]
    return int(sum(ways[::2]))


class Space:
    """The determinants of A particles within a number of quanta, and how they are made of a pair and the rest."""

    def __init__(self, particles: int, quanta: int) -> None:
        self.particles, self.quanta = particles, quanta
        self.strings = determinants(particles, quanta)
        self.dimension = len(self.strings)
        least = particles * (particles - 1) // 2
        most = least + quanta
        widest = most - (particles - 2) * (particles - 3) // 2
        self.pairs = tuple(pairs(widest, parity) for parity in (0, 1))
        self.modes = widest + 1
        position = np.full((self.modes, self.modes), -1)
        for those in self.pairs:
            position[those.first, those.second] = np.arange(len(those.first))
        keys, pair_positions, signs = [], [], []
        for p, q in combinations(range(particles), 2):
            rest = np.delete(self.strings, (p, q), axis=1)
            # Quanta first: rests of equal quanta are neighbours, and share a product.
            key = rest.sum(axis=1)
            for column in rest.T:
                key = key * (most + 1) + column
            keys.append(key)
            pair_positions.append(position[self.strings[:, p], self.strings[:, q]])
            signs.append((-1.0) ** (p + q + 1))
        rests, which = np.unique(np.stack(keys), return_inverse=True)
        rest_quanta = rests // (most + 1) ** (particles - 2)
        offsets, widths, columns = (np.zeros(len(rests), np.int64) for _ in range(3))
        self.groups: list[tuple[int, slice, tuple[int, int]]] = []
        begin = 0
        for quanta_left in np.unique(rest_quanta):
            members = np.flatnonzero(rest_quanta == quanta_left)
            parity = int(least - quanta_left) % 2
            shape = int(np.sum(self.pairs[parity].quanta <= most - quanta_left)), len(members)
            offsets[members], widths[members], columns[members] = begin, len(members), np.arange(len(members))
            self.groups.append((parity, slice(begin, begin + shape[0] * shape[1]), shape))
            begin += shape[0] * shape[1]
        which = which.reshape(len(keys), -1)
        self._size = begin
        self._target = offsets[which] + np.stack(pair_positions) * widths[which] + columns[which]
        self._sign = np.array(signs)[:, None]

    def contained(self, vector: Reals) -> Reals:
        """T c, all groups one after the other."""
        found = np.zeros(self._size)
        found[self._target] = self._sign * vector
        return found

    def apply(self, matrices: tuple[Reals, Reals], vector: Reals) -> Reals:
        """H c for a Hamiltonian given between pairs of even and of odd quanta."""
        found = self.contained(vector)
        for parity, part, (count, width) in self.groups:
            found[part] = (matrices[parity][:count, :count] @ found[part].reshape(count, width)).ravel()
        return np.asarray(np.sum(self._sign * found[self._target], axis=0))

    def pair_densities(self, vector: Reals) -> tuple[Reals, Reals]:
        """<c| P_ab^t P_cd |c> between pairs of even and of odd quanta; their traces sum to A(A - 1)/2."""
        found = self.contained(vector)
        densities = tuple(np.zeros((len(those.first),) * 2) for those in self.pairs)
        for parity, part, (count, width) in self.groups:
            block = found[part].reshape(count, width)
            densities[parity][:count, :count] += block @ block.T
        return densities[0], densities[1]


def _ladder(modes: int) -> Reals:
    """The raising operator, <n + 1| a^t |n> = sqrt(n + 1)."""
    return np.diag(np.sqrt(np.arange(1.0, modes)), -1)


def intrinsic_hamiltonian(space: Space, v0: float, sigma0: float, length: float) -> tuple[Reals, Reals]:
    """H_int with Lawson's term, between the pairs of either parity."""
    particles, functions = space.particles, space.modes // 2
    relative = (2.0 / particles) * relative_oscillator(functions, length)
    relative += relative_interaction(v0, sigma0, functions, length)
    raising, one = _ladder(space.modes), np.eye(space.modes)
    number = raising @ raising.T

    def matrix(those: Pairs) -> Reals:
        centre = those.product(number, one) / (particles - 1.0) + those.product(raising, raising.T)
        return those.relative(relative) + LAWSON / particles * centre

    return matrix(space.pairs[0]), matrix(space.pairs[1])


def full_hamiltonian(space: Space, v0: float, sigma0: float, length: float) -> tuple[Reals, Reals]:
    """The whole Hamiltonian, centre of mass in the trap, between the pairs of either parity."""
    raising, one = _ladder(space.modes + 1), np.eye(space.modes)
    position = length * (raising + raising.T) / np.sqrt(2.0)
    slope = (raising.T - raising) / (np.sqrt(2.0) * length)
    # One mode more than wanted, so that the squares are those of the infinite matrices.
    oscillator = 0.5 * (position @ position - slope @ slope)[:-1, :-1]
    interaction = relative_interaction(v0, sigma0, space.modes // 2, length)

    def matrix(those: Pairs) -> Reals:
        return those.product(oscillator, one) / (space.particles - 1.0) + those.relative(interaction)

    return matrix(space.pairs[0]), matrix(space.pairs[1])


@dataclass(frozen=True)
class GroundState:
    """A ground state in a :class:`Space`.

    Attributes:
        energy: lowest eigenvalue.
        residual: norm of H c - E c.
        vector: c, normalised.
    """

    energy: float
    residual: float
    vector: Reals


def lowest_state(space: Space, matrices: tuple[Reals, Reals], guess: Reals | None = None) -> GroundState:
    """The lowest eigenvector, by Lanczos iteration.

    Args:
        space: where.
        matrices: the Hamiltonian between pairs, as :func:`intrinsic_hamiltonian` gives it.
        guess: a vector to start from.
    """
    if guess is None:
        excitation = space.strings.sum(axis=1)
        excitation = excitation - excitation.min()
        noise = np.random.default_rng(_SEED).uniform(0.5, 1.5, space.dimension)
        guess = noise / (1.0 + excitation) ** 2
    if space.dimension <= 40:
        dense = np.stack([space.apply(matrices, column) for column in np.eye(space.dimension)], axis=1)
        values, vectors = np.linalg.eigh(dense)
    else:
        operator: Any = LinearOperator(  # type: ignore[call-overload]
            (space.dimension,) * 2, matvec=lambda v: space.apply(matrices, v.ravel()), dtype=np.float64
        )
        values, vectors = eigsh(operator, k=1, which="SA", v0=guess, tol=1e-12, ncv=24)
    energy, vector = float(values[0]), vectors[:, 0]
    return GroundState(energy, float(np.linalg.norm(space.apply(matrices, vector) - energy * vector)), vector)


@dataclass(frozen=True)
class Step:
    """One entry of a convergence table: the best length for a number of quanta."""

    quanta: int
    length: float
    determinants: int
    energy: float

    @property
    def basis(self) -> str:
        """In words."""
        return f"{self.quanta} quanta, length {self.length:.3f}, {self.determinants} determinants"


def _error(energies: list[float]) -> float:
    """What is left to gain, were the last two gains the first terms of a geometric series; at least the last gain."""
    if len(energies) < 3:
        return np.inf
    before, last = energies[-3] - energies[-2], energies[-2] - energies[-1]
    ratio = last / before if before > 0 else 1.0
    return last * max(1.0, ratio / (1.0 - ratio)) if ratio < 1 else np.inf


def shell_model_energy(
    particles: int,
    v0: float,
    sigma0: float,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> tuple[float, float, list[Step]]:
    """Ground-state energy, with more and more quanta until it stands still.

    The energy is an upper bound for every length and falls with every quantum; each number of quanta starts its
    search for the best length from the last one's.

    Args:
        particles: A, 2 to 8.
        v0: interaction strength.
        sigma0: interaction range.
        tolerance: error at which to stop, 1e-8 up to four particles and 1e-6 beyond when left out; the memory of a
            laptop may stop it before.
        progress: told of every step.

    Returns:
        Energy, error, and the convergence table.

    Raises:
        InputError: for a number of particles out of these bounds.
    """
    if not 2 <= particles <= MAX_PARTICLES:
        raise InputError(
            f"particles = {particles}: exact energies are computed for 2 to {MAX_PARTICLES}, or for any number at "
            "v0 = 0; --method hf takes more"
        )
    wanted = (1e-8 if particles <= 4 else 1e-6) if tolerance is None else tolerance
    steps: list[Step] = []
    place, quanta = LENGTHS.index(1.0), FIRST_QUANTA
    while count_determinants(particles, quanta) * particles * (particles - 1) // 2 <= MAX_PARTS:
        space = Space(particles, quanta)
        found: dict[int, GroundState] = {}

        def energy(index: int, space: Space = space, found: dict[int, GroundState] = found) -> float:
            if not 0 <= index < len(LENGTHS):
                return np.inf
            if index not in found:
                guess = next(reversed(found.values())).vector if found else None
                found[index] = lowest_state(space, intrinsic_hamiltonian(space, v0, sigma0, LENGTHS[index]), guess)
            return found[index].energy

        tried = (0, 1, -1) if space.dimension <= THOROUGH_DETERMINANTS else (0, 1)
        while (best := min((place + change for change in tried), key=energy)) != place:
            place = best
        steps.append(Step(quanta, LENGTHS[place], space.dimension, 0.5 + found[place].energy))
        if progress is not None:
            progress(f"{steps[-1].basis}: E = {steps[-1].energy:.9f}")
        if (error := _error([step.energy for step in steps])) <= wanted:
            break
        quanta += STEP
    return steps[-1].energy, error + found[place].residual ** 2 + ROUNDING * max(1.0, abs(steps[-1].energy)), steps
