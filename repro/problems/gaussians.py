"""The normal distributions on R^n as an exponential family, for stochastic relaxation: E[f] in place of f.

    p(x; theta) = exp(<theta, T(x)> - psi(theta)),   T = ((x_i), (x_i^2), (2 x_i x_j) for i < j)

Three parameterisations have their m = 2 n + n (n - 1) / 2 numbers in the order of T, pairs row by row: (1, 2), (1, 3),
..., (2, 3), ... They are

- (mu, S): the mean and the covariance, ``((mu_i), (S_ii), (S_ij))``;
- natural, theta: ``((P mu)_i, (-P_ii / 2), (-P_ij / 2))``, with the precision P = S^-1;
- expectation, eta = E[T]: ``((mu_i), (S_ii + mu_i^2), (2 S_ij + 2 mu_i mu_j))``.

The gradient of psi takes theta to eta. The gradient of phi, the negative entropy, takes eta to theta (S.-I. Amari, H.
Nagaoka, Methods of Information Geometry, 2000). The Hessians of both are Fisher matrices, and the inverses of each
other. Where mu and S are functions of xi, the Fisher matrix is (d_i mu)^T P (d_j mu) + 1/2 tr(P d_i S P d_j S) (K. S.
Miller, 1974).

Maps and potentials are of JAX, to be differentiated. Fisher matrices are closed formulas in NumPy, in float64 whatever
the precision of JAX is.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from repro.errors import InputError

LN_2PI = math.log(2.0 * math.pi)


def family_size(dimension: int) -> int:
    """m, the number of parameters of the normal distributions on R^n."""
    return 2 * dimension + dimension * (dimension - 1) // 2


def pairs(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """The k and the l of every entry of the second part of T: first k = l, then k < l row by row; from zero."""
    diagonal, above = np.arange(dimension), np.triu_indices(dimension, 1)
    return np.concatenate([diagonal, above[0]]), np.concatenate([diagonal, above[1]])


def dimension_of(parameters: ArrayLike) -> int:
    """The n that m numbers belong to.

    Args:
        parameters: shape ``(..., m)``.

    Raises:
        InputError: if m is not 2, 5, 9, 14, ...
    """
    m = np.shape(parameters)[-1]
    n = (math.isqrt(9 + 8 * m) - 3) // 2
    if n < 1 or family_size(n) != m:
        raise InputError(f"parameters of shape {np.shape(parameters)}: their number must be 2, 5, 9, 14, ...")
    return n


def statistics(x: ArrayLike) -> Array:
    """T of points of shape ``(..., n)``: shape ``(..., m)``."""
    points = jnp.asarray(x)
    n = points.shape[-1]
    row, column = pairs(n)
    return jnp.concatenate(
        [points, np.where(row == column, 1.0, 2.0) * points[..., row] * points[..., column]], axis=-1
    )


def coefficients(linear: ArrayLike, quadratic: ArrayLike) -> Array:
    """The c of b^T x + x^T A x = <c, T(x)>, shape ``(m,)``.

    Args:
        linear: b, shape ``(n,)``.
        quadratic: A, symmetric, shape ``(n, n)``.
    """
    return jnp.concatenate([jnp.asarray(linear), jnp.asarray(quadratic)[pairs(np.shape(linear)[0])]])


def mean_and_covariance(mu: ArrayLike, covariance: ArrayLike) -> Array:
    """The first parameterisation, shape ``(m,)``, of a mean of shape ``(n,)`` and a covariance ``(n, n)``."""
    return coefficients(mu, covariance)


def split(parameters: ArrayLike, scale: float = 1.0) -> tuple[Array, Array]:
    """The vector and the symmetric matrix of parameters, shapes ``(n,)`` and ``(n, n)``.

    Args:
        parameters: shape ``(m,)``.
        scale: of what stands off the diagonal: 1 for (mu, S) and theta, 1/2 for eta.
    """
    values = jnp.asarray(parameters)
    n = dimension_of(values)
    row, column = pairs(n)
    second = np.where(row == column, 1.0, scale) * values[n:]
    return values[:n], jnp.zeros((n, n), values.dtype).at[row, column].set(second).at[column, row].set(second)


def natural_parameters(mu: ArrayLike, covariance: ArrayLike) -> Array:
    """Theta, shape ``(m,)``, of a mean of shape ``(n,)`` and a covariance ``(n, n)``."""
    precision = jnp.linalg.inv(jnp.asarray(covariance))
    return coefficients(precision @ jnp.asarray(mu), -0.5 * precision)


def expectation_parameters(mu: ArrayLike, covariance: ArrayLike) -> Array:
    """Eta = E[T], shape ``(m,)``, of a mean of shape ``(n,)`` and a covariance ``(n, n)``."""
    mean = jnp.asarray(mu)
    row, column = pairs(len(mean))
    second = (jnp.asarray(covariance) + jnp.outer(mean, mean))[row, column]
    return jnp.concatenate([mean, np.where(row == column, 1.0, 2.0) * second])


def moments_of_natural(theta: ArrayLike) -> tuple[Array, Array]:
    """The mean and the covariance, shapes ``(n,)`` and ``(n, n)``, of theta."""
    vector, matrix = split(theta)
    covariance = -0.5 * jnp.linalg.inv(matrix)
    return covariance @ vector, covariance


def moments_of_expectation(eta: ArrayLike) -> tuple[Array, Array]:
    """The mean and the covariance, shapes ``(n,)`` and ``(n, n)``, of eta."""
    mean, second = split(eta, 0.5)
    return mean, second - jnp.outer(mean, mean)


def log_partition(theta: ArrayLike) -> Array:
    """The potential psi = n/2 ln 2 pi - 1/4 t^T Theta^-1 t - 1/2 ln |-2 Theta|; t, Theta are the parts of theta."""
    vector, matrix = split(theta)
    logdet = jnp.linalg.slogdet(-2.0 * matrix)[1]
    return 0.5 * len(vector) * LN_2PI - 0.25 * vector @ jnp.linalg.solve(matrix, vector) - 0.5 * logdet


def negative_entropy(eta: ArrayLike) -> Array:
    """The potential phi = -n/2 (ln 2 pi + 1) - 1/2 ln |E - mu mu^T|, with the second moments E of eta; in nats."""
    mean, covariance = moments_of_expectation(eta)
    return -0.5 * len(mean) * (LN_2PI + 1.0) - 0.5 * jnp.linalg.slogdet(covariance)[1]


def log_density(x: ArrayLike, mu: ArrayLike, covariance: ArrayLike) -> Array:
    """The logarithm of p at a point of shape ``(n,)``."""
    apart = jnp.asarray(x) - jnp.asarray(mu)
    matrix = jnp.asarray(covariance)
    square = apart @ jnp.linalg.solve(matrix, apart)
    return -0.5 * (len(apart) * LN_2PI + jnp.linalg.slogdet(matrix)[1] + square)


def fisher_mean_covariance(mu: ArrayLike, covariance: ArrayLike) -> np.ndarray:
    """The Fisher matrix in (mu, S), shape ``(m, m)``: blocks P and 1/2 tr(P E_kl P E_mn), and zeros beside them.

    E_kl = e_k e_l^T + e_l e_k^T for k < l and e_k e_k^T for k = l.

    Args:
        mu: shape ``(n,)``; nothing depends on it.
        covariance: S, positive definite, shape ``(n, n)``.

    Raises:
        InputError: if the shapes do not fit, or S is not symmetric and positive definite.
    """
    _, matrix = _checked(mu, covariance)
    precision = np.linalg.inv(matrix)
    return _blocks(precision, np.zeros((len(matrix), len(pairs(len(matrix))[0]))), 0.5 * _traces(precision, 1.0))


def fisher_natural(mu: ArrayLike, covariance: ArrayLike) -> np.ndarray:
    """The Fisher matrix in theta, shape ``(m, m)``: the covariance of T, which is the Hessian of psi.

    Blocks S, 2 S E_kl mu and 2 tr(S E_kl S E_mn) + 4 mu^T E_kl S E_mn mu; arguments and errors as for
    :func:`fisher_mean_covariance`.
    """
    mean, matrix = _checked(mu, covariance)
    turned = _directions(len(mean), 1.0) @ mean
    quadratic = 2.0 * _traces(matrix, 1.0) + 4.0 * turned @ matrix @ turned.T
    return _blocks(matrix, 2.0 * matrix @ turned.T, quadratic)


def fisher_expectation(mu: ArrayLike, covariance: ArrayLike) -> np.ndarray:
    """The Fisher matrix in eta, shape ``(m, m)``: the Hessian of phi, the inverse of :func:`fisher_natural`.

    Blocks (1 + mu^T P mu) P + P mu mu^T P, -P D_kl P mu and 1/2 tr(P D_kl P D_mn), where D_kl = E_kl / 2 for k < l and
    D_kk = E_kk; arguments and errors as for :func:`fisher_mean_covariance`.
    """
    mean, matrix = _checked(mu, covariance)
    precision = np.linalg.inv(matrix)
    turned = precision @ mean
    first = (1.0 + mean @ turned) * precision + np.outer(turned, turned)
    cross = -precision @ (_directions(len(mean), 0.5) @ turned).T
    return _blocks(first, cross, 0.5 * _traces(precision, 0.5))


def _checked(mu: ArrayLike, covariance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    mean, matrix = np.asarray(mu, np.float64), np.asarray(covariance, np.float64)
    if mean.ndim != 1 or matrix.shape != mean.shape * 2:
        raise InputError(f"mu of shape {mean.shape}, covariance of shape {matrix.shape}: must be (n,) and (n, n)")
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0.0) or np.linalg.eigvalsh(matrix).min() <= 0.0:
        raise InputError("covariance: must be symmetric and positive definite")
    return mean, matrix


def _directions(dimension: int, scale: float) -> np.ndarray:
    """E_kl of all pairs, shape ``(pairs, n, n)``; ``scale`` is that of the entries off the diagonal."""
    row, column = pairs(dimension)
    found, place = np.zeros((len(row), dimension, dimension)), np.arange(len(row))
    found[place, row, column] = found[place, column, row] = np.where(row == column, 1.0, scale)
    return found


def _traces(matrix: np.ndarray, scale: float) -> np.ndarray:
    """tr(M E_kl M E_mn) of all pairs of pairs, ``scale`` as in :func:`_directions`."""
    turned = matrix @ _directions(len(matrix), scale)
    return np.einsum("aij,bji->ab", turned, turned)


def _blocks(first: np.ndarray, cross: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.block([[first, cross], [cross.T, second]])
