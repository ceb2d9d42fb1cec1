"""Which entries of the printed Fisher matrices of the normal distributions are right: by autodiff and by samples."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry import printed_fisher as printed
from repro.problems.gaussians import (
    expectation_parameters,
    fisher_expectation,
    fisher_mean_covariance,
    fisher_natural,
    log_partition,
    mean_and_covariance,
    natural_parameters,
    negative_entropy,
    pairs,
    split,
)

MEAN = (0.7, -0.4, 1.1)
COVARIANCE = ((1.3, 0.4, -0.3), (0.4, 0.9, 0.25), (-0.3, 0.25, 1.6))
LABELS = ("1", "2", "3", "11", "22", "33", "12", "13", "23")
"""Of the entries of T, as printed."""
SPINS = np.array([[a, b, a * b] for a in (1.0, -1.0) for b in (1.0, -1.0)])
"""T = (x_1, x_2, x_1 x_2) of two signs: all distributions on four points, none of them normal."""


@dataclass(frozen=True)
class PrintedFisher:
    """The printed matrices beside the right ones.

    Attributes:
        printed: by the parameterisation ("eta" is the vector of expectations, the others are matrices); not a number
            where a printed product does not exist.
        right: closed formulas of :mod:`repro.problems.gaussians`, of the same names.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    printed: dict[str, np.ndarray]
    right: dict[str, np.ndarray]
    values: Values

    @property
    def ratios(self) -> dict[str, np.ndarray]:
        """Printed over right; not a number where both are zero or nothing can be said."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: self.printed[name] / self.right[name] for name in self.right}


@jax.jit
def _derivatives(mu: Array, covariance: Array) -> dict[str, Array]:
    """What autodiff says: eta, and the Fisher matrices as Hessians, in theta also at the mean zero."""
    theta, eta = natural_parameters(mu, covariance), expectation_parameters(mu, covariance)

    def cross_entropy(xi: Array) -> Array:
        mean, matrix = split(xi)
        second = covariance + jnp.outer(mu - mean, mu - mean)
        return 0.5 * (jnp.linalg.slogdet(matrix)[1] + jnp.trace(jnp.linalg.solve(matrix, second)))

    at_zero = theta.at[: len(mu)].set(0.0)
    both = jax.vmap(jax.hessian(log_partition))(jnp.stack([theta, at_zero]))
    return {
        "eta": jax.grad(log_partition)(theta),
        "mean and covariance": jax.hessian(cross_entropy)(mean_and_covariance(mu, covariance)),
        "natural": both[0],
        "natural, mean zero": both[1],
        "expectation": jax.hessian(negative_entropy)(eta),
    }


def relative(found: np.ndarray, right: np.ndarray) -> float:
    """The largest difference of two arrays, in units of the largest entry of the second."""
    return float(np.max(np.abs(found - right)) / np.max(np.abs(right)))


def scores(x: np.ndarray, mu: np.ndarray, covariance: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients of ln p at points ``(N, n)`` by parameterisation, shape ``(N, m)``: not from the potentials."""
    row, column = pairs(len(mu))
    precision = np.linalg.inv(covariance)
    first = (x - mu) @ precision
    second = 0.5 * (first[:, :, None] * first[:, None, :] - precision)  # the gradient in a free matrix S
    entries = second[:, row, column]
    twice = np.where(row == column, 1.0, 2.0)
    statistic = np.concatenate([x, twice * x[:, row] * x[:, column]], axis=1)
    eta = np.concatenate([mu, twice * (covariance + np.outer(mu, mu))[row, column]])
    return {
        "mean and covariance": np.concatenate([first, twice * entries], axis=1),
        "natural": statistic - eta,
        "expectation": np.concatenate([first - 2.0 * second @ mu, entries], axis=1),
    }


@dataclass(frozen=True)
class Case:
    """One printed formula.

    Attributes:
        printed: its value; None if it does not exist.
        right: of the same shape, by autodiff.
        closed: by the closed formula of :mod:`repro.problems.gaussians`.
    """

    printed: np.ndarray | None
    right: np.ndarray
    closed: np.ndarray

    @property
    def worst(self) -> tuple[int, ...]:
        """The place of the entry that is off most; the first if nothing can be compared."""
        if self.printed is None:
            return (0,) * self.right.ndim
        return tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(self.printed - self.right)), self.right.shape))


def _cases(mu: np.ndarray, covariance: np.ndarray, exact: dict[str, np.ndarray]) -> dict[str, Case]:
    """The five printed formulas that are wrong."""
    n, precision, R = len(mu), np.linalg.inv(covariance), -2.0 * covariance
    t = precision @ mu
    closed, at_zero = fisher_natural(mu, covariance), fisher_natural(0.0 * mu, covariance)
    row, column = pairs(n)
    closed_eta = np.concatenate([mu, np.where(row == column, 1, 2) * (covariance + np.outer(mu, mu))[row, column]])
    return {
        "expectation": Case(printed.expectation(mu, covariance), exact["eta"], closed_eta),
        "alpha": Case(
            printed.alpha(precision),
            exact["mean and covariance"][n:, n:],
            fisher_mean_covariance(mu, covariance)[n:, n:],
        ),
        "small_lambda": Case(printed.small_lambda(R), 2.0 * exact["natural, mean zero"][n:, n:], 2.0 * at_zero[n:, n:]),
        "large_lambda": Case(
            printed.large_lambda(R, t),
            -2.0 * (exact["natural"] - exact["natural, mean zero"])[n:, n:],
            -2.0 * (closed - at_zero)[n:, n:],
        ),
        "gamma": Case(
            printed.gamma(precision, mu), exact["expectation"][:n, :n], fisher_expectation(mu, covariance)[:n, :n]
        ),
    }


def sampled(
    mu: np.ndarray, covariance: np.ndarray, places: dict[str, tuple[int, ...]], z: np.ndarray
) -> dict[str, dict[str, float]]:
    """Means over samples of what each formula is the expectation of, at one entry, and their standard errors.

    Args:
        mu: shape ``(n,)``.
        covariance: shape ``(n, n)``.
        places: of the entry, by formula.
        z: standard normal numbers, shape ``(N, n)``.
    """
    n, turned = len(mu), z @ np.linalg.cholesky(covariance).T
    found, centred = scores(mu + turned, mu, covariance), scores(turned, 0.0 * mu, covariance)

    def product(of: np.ndarray, place: tuple[int, ...], first: int) -> np.ndarray:
        return of[:, first + place[0]] * of[:, first + place[1]]

    natural = {name: product(found["natural"], place, n) for name, place in places.items() if len(place) == 2}
    at_zero = product(centred["natural"], places["small_lambda"], n)
    other = product(centred["natural"], places["large_lambda"], n)
    eta = np.asarray(expectation_parameters(mu, covariance))[places["expectation"]]
    numbers = {
        "expectation": found["natural"][:, places["expectation"][0]] + eta,
        "alpha": product(found["mean and covariance"], places["alpha"], n),
        "small_lambda": 2.0 * at_zero,
        "large_lambda": -2.0 * (natural["large_lambda"] - other),
        "gamma": product(found["expectation"], places["gamma"], 0),
    }
    errors = {name: float(np.std(one) / np.sqrt(len(one))) for name, one in numbers.items()}
    return {"mean": {name: float(np.mean(one)) for name, one in numbers.items()}, "error": errors}


@jax.jit
def _signs(theta: Array, f: Array) -> tuple[Array, Array]:
    """Both sides of "the natural gradient in theta is I_eta Cov(f, T)" for two signs.

    Args:
        theta: shape ``(3,)``.
        f: at the four points, shape ``(4,)``.
    """
    features = jnp.asarray(SPINS)

    def partition(at: Array) -> Array:
        return jax.nn.logsumexp(features @ at)

    def entropy(eta: Array) -> Array:
        p = 0.25 * (1.0 + features @ eta)
        return jnp.sum(p * jnp.log(p))

    def relaxed(at: Array) -> Array:
        return jax.nn.softmax(features @ at) @ f

    p = jax.nn.softmax(features @ theta)
    eta = p @ features
    covariance = (p * f) @ (features - eta)
    natural = jnp.linalg.solve(jax.hessian(partition)(theta), jax.grad(relaxed)(theta))
    return natural, jax.hessian(entropy)(eta) @ covariance


def _away_from_two(case: Case, dimension: int) -> float:
    """How far printed over right is from 2 where k = l, m = n and k is not m, at most."""
    assert case.printed is not None
    other = ~np.eye(dimension, dtype=bool)
    ratios = (case.printed[:dimension, :dimension] / case.right[:dimension, :dimension])[other]
    return float(np.max(np.abs(ratios - 2.0)))


def _right_as_printed(mu: np.ndarray, covariance: np.ndarray, exact: dict[str, np.ndarray]) -> dict[str, float]:
    """How far the printed blocks that are right are from autodiff."""
    n, precision, R = len(mu), np.linalg.inv(covariance), -2.0 * covariance
    found = printed.natural(R, precision @ mu)
    expectation = exact["expectation"]
    return {
        "mean in (mu, S)": relative(precision, exact["mean and covariance"][:n, :n]),
        "mean in theta": relative(found[:n, :n], exact["natural"][:n, :n]),
        "Lambda_kl theta": relative(found[:n, n:], exact["natural"][:n, n:]),
        "K_kl eta": relative(printed.cross_of_expectation(precision, mu), expectation[:n, n:]),
        "kappa": relative(printed.kappa(precision), expectation[n:, n:]),
    }


def _pictures(
    mu: np.ndarray, covariance: np.ndarray, cases: dict[str, Case]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The printed matrices and the right ones."""
    n, precision = len(mu), np.linalg.inv(covariance)
    right = {
        "eta": cases["expectation"].closed,
        "mean and covariance": fisher_mean_covariance(mu, covariance),
        "natural": fisher_natural(mu, covariance),
        "expectation": fisher_expectation(mu, covariance),
    }
    first, zeros = cases["gamma"].printed, np.zeros((n, len(pairs(n)[0])))
    first = np.full((n, n), np.nan) if first is None else first
    cross = printed.cross_of_expectation(precision, mu)
    shown = {
        "eta": printed.expectation(mu, covariance),
        "mean and covariance": np.block([[precision, zeros], [zeros.T, printed.alpha(precision)]]),
        "natural": printed.natural(-2.0 * covariance, precision @ mu),
        "expectation": np.block([[first, cross], [cross.T, printed.kappa(precision)]]),
    }
    return shown, right


@in_double_precision
def printed_and_right(
    *,
    mu: tuple[float, ...] = MEAN,
    covariance: tuple[tuple[float, ...], ...] = COVARIANCE,
    samples: int = 400_000,
    seed: int = 0,
) -> PrintedFisher:
    """Compares every printed block with autodiff, and the wrong ones with samples.

    Args:
        mu: shape ``(n,)``.
        covariance: shape ``(n, n)``.
        samples: N.
        seed: of the samples.
    """
    mean, matrix = np.array(mu), np.array(covariance)
    exact = {name: np.asarray(one) for name, one in _derivatives(mean, matrix).items()}
    cases = _cases(mean, matrix, exact)
    z = np.random.default_rng(seed).normal(size=(samples, len(mean)))
    drawn = sampled(mean, matrix, {name: case.worst for name, case in cases.items()}, z)
    means, errors = drawn["mean"], drawn["error"]
    exists = {name: case.printed for name, case in cases.items() if case.printed is not None}
    apart = {name: float((means[name] - case.closed[case.worst]) / errors[name]) for name, case in cases.items()}
    away = {name: float((means[name] - one[cases[name].worst]) / errors[name]) for name, one in exists.items()}
    natural, by_covariance = (np.asarray(one) for one in _signs(np.array([0.3, -0.2, 0.5]), np.array([6.0, -4, -2, 0])))
    values: Values = {
        **{f"printed_{name}": relative(one, cases[name].right) for name, one in exists.items()},
        "products_that_do_not_fit_in_gamma": float(cases["gamma"].printed is None),
        **{f"right_{name}": relative(case.closed, case.right) for name, case in cases.items()},
        "factor_of_alpha_less_two": _away_from_two(cases["alpha"], len(mean)),
        "factor_of_small_lambda_less_two": _away_from_two(cases["small_lambda"], len(mean)),
        "asymmetry_of_large_lambda": relative(exists["large_lambda"].T, exists["large_lambda"]),
        "right_as_printed": _right_as_printed(mean, matrix, exact),
        "standard_errors_from_right": apart,
        "standard_errors_from_printed": away,
        "without_normality": relative(by_covariance, natural),
    }
    shown, right = _pictures(mean, matrix, cases)
    return PrintedFisher(shown, right, values)
