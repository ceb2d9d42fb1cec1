"""Full configuration interaction in the lowest modes of the oscillator, for any number of particles.

The two-body part of the Hamiltonian is applied without its matrix. With T taking an A-particle vector to all (pair,
rest) it contains,

    (T c)[ij, R] = <R| a_j a_i |c>,    H_2 = T^t (V x 1) T,

where V is the antisymmetrised interaction between pairs i < j and k < l: one product with a small dense matrix.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from repro.errors import InputError
from repro.references.quadrature import Reals, gauss_hermite
from repro.vmc.physics.oscillator import oscillator_orbitals

MAX_DETERMINANTS = 3_000_000
MAX_MODES = 80
_SEED = 20240301


def pair_interaction(modes: int, v0: float, sigma0: float) -> Reals:
    """<ij|V|kl> - <ij|V|lk> for pairs i < j and k < l of oscillator modes, in lexicographic order.

    In the coordinates u, v = (x1 +- x2)/sqrt(2) every integrand is a polynomial of degree at most 4 (modes - 1) times
    Gaussians in u and in v: Gauss-Hermite quadrature with 2 modes - 1 nodes each is exact.
    """
    nodes, weights = gauss_hermite(2 * modes - 1)
    scale = np.sqrt(1.0 + 1.0 / sigma0**2)
    u, v = (grid.ravel() for grid in np.meshgrid(nodes, nodes / scale, indexing="ij"))
    strength = v0 / (math.sqrt(2.0 * math.pi) * sigma0) * np.exp(-((v / sigma0) ** 2))
    weight = np.outer(weights, weights / scale).ravel() * strength
    first = oscillator_orbitals((u + v) / math.sqrt(2.0), modes)
    second = oscillator_orbitals((u - v) / math.sqrt(2.0), modes)
    # Products phi_i phi_k of one coordinate are symmetric in (i, k).
    low, high = np.triu_indices(modes)
    left, right = first[:, low] * first[:, high], second[:, low] * second[:, high]
    products = left.T @ (weight[:, None] * right)
    index = np.zeros((modes, modes), np.int64)
    index[low, high] = index[high, low] = np.arange(len(low))
    i, j = np.triu_indices(modes, k=1)
    direct = products[index[i[:, None], i], index[j[:, None], j]]
    exchange = products[index[i[:, None], j], index[j[:, None], i]]
    return np.asarray(direct - exchange)


def _rank(strings: NDArray[np.int64], modes: int) -> NDArray[np.int64]:
    """Position of increasing index tuples in colexicographic order, sum_k C(c_k, k + 1)."""
    rank = np.zeros(strings.shape[:-1], np.int64)
    for k in range(strings.shape[-1]):
        table = np.array([math.comb(c, k + 1) for c in range(modes)], np.int64)
        rank += table[strings[..., k]]
    return rank


def ci_energy(particles: int, modes: int, v0: float, sigma0: float) -> tuple[float, float]:
    """Ground-state energy in all determinants of the lowest oscillator modes.

    Args:
        particles: A >= 1.
        modes: M >= A.
        v0: interaction strength.
        sigma0: interaction range.

    Returns:
        Energy and the residual norm |H c - E c| of its vector, which bounds the eigensolver's error; what the
        truncation to M modes costs is not part of it.

    Raises:
        InputError: if M < A or the determinants are too many for the memory of a laptop.
    """
    if modes < particles:
        raise InputError(f"modes = {modes}: must be at least the number of particles, {particles}")
    if modes > MAX_MODES:
        raise InputError(f"modes = {modes}: must be at most {MAX_MODES}")
    determinants = math.comb(modes, particles)
    if determinants > MAX_DETERMINANTS:
        possible = max(m for m in range(particles, modes) if math.comb(m, particles) <= MAX_DETERMINANTS)
        raise InputError(
            f"modes = {modes}: {determinants:,} determinants of {particles} particles exceed {MAX_DETERMINANTS:,}; "
            f"at most {possible} modes are possible"
        )
    strings = np.array(list(combinations(range(modes), particles)), np.int64)
    one_body = np.sum(strings + 0.5, axis=1)
    if particles == 1 or determinants == 1:
        # One particle feels no interaction; one determinant is its own expectation value.
        pairs = pair_interaction(modes, v0, sigma0).diagonal().sum() if particles > 1 else 0.0
        return float(one_body.min() + pairs), 0.0
    interaction = pair_interaction(modes, v0, sigma0)
    rests = math.comb(modes, particles - 2)
    i, j = np.triu_indices(modes, k=1)
    pair_index = np.zeros((modes, modes), np.int64)
    pair_index[i, j] = np.arange(len(i))
    targets, signs = [], []
    for p, q in combinations(range(particles), 2):
        rest = np.delete(strings, (p, q), axis=1)
        targets.append(pair_index[strings[:, p], strings[:, q]] * rests + _rank(rest, modes))
        signs.append((-1.0) ** (p + q + 1))
    target, sign = np.stack(targets), np.array(signs)[:, None]

    def apply(vector: Reals) -> Reals:
        vector = vector.ravel()
        contained = np.zeros((len(i), rests))
        contained.ravel()[target] = sign * vector
        scattered = (interaction @ contained).ravel()
        return one_body * vector + np.sum(sign * scattered[target], axis=0)

    # The ground state has the parity of the lowest determinant; so does this start.
    excitation = one_body - one_body.min()
    noise = np.random.default_rng(_SEED).uniform(0.5, 1.5, determinants)
    start = np.where(excitation % 2 == 0, noise / (1.0 + excitation) ** 2, 0.0)
    operator: Any = LinearOperator((determinants, determinants), matvec=apply, dtype=np.float64)  # type: ignore
    if determinants <= 3:
        dense = np.stack([apply(column) for column in np.eye(determinants)], axis=1)
        values, vectors = np.linalg.eigh(dense)
    else:
        values, vectors = eigsh(operator, k=1, which="SA", v0=start, tol=1e-13)
    energy, vector = float(values[0]), vectors[:, 0]
    return energy, float(np.linalg.norm(apply(vector) - energy * vector))
