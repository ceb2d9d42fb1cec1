"""The mean of a function under two independent variables of -1 and +1, in three charts, with the Fisher matrix.

A function f on {-1, +1}^2 is to be minimised. Its stochastic relaxation is F(p) = E_p[f] over the distributions
p(x) = p_1(x_1) p_2(x_2). Three charts are in use (S. Amari and H. Nagaoka, Methods of Information Geometry, 2000):

* ``mu``, the probabilities P(x_i = +1), in [0, 1];
* ``theta``, the natural parameters 1/2 ln(mu_i / (1 - mu_i)), any number: p is proportional to exp(theta . x);
* ``eta``, the expectations E[x_i] = 2 mu_i - 1, in [-1, 1].

All Fisher matrices are diagonal, as the variables are independent. With x1 x2 among the sufficient statistics the
family is that of all distributions on the four states, see :func:`full_family_fisher`.

All functions take arrays of points of shape ``(..., 2)`` and work along the last axis, in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STATES = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""The four states (x_1, x_2), in the order of every table."""


class Chart(NamedTuple):
    """Coordinates of the two independent variables.

    Attributes:
        from_theta: natural parameters to coordinates.
        to_theta: the inverse; infinite where a probability is 0 or 1.
        slope: d mu_i / d coordinate_i at coordinates.
        fisher: the diagonal of the Fisher matrix at coordinates.
    """

    from_theta: Callable[[np.ndarray], np.ndarray]
    to_theta: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    fisher: Callable[[np.ndarray], np.ndarray]


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _theta_of_mu(mu: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 0.5 * (np.log(mu) - np.log1p(-mu))


def _theta_of_eta(eta: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.arctanh(eta)


def variance(theta: np.ndarray) -> np.ndarray:
    """Variances 4 mu_i (1 - mu_i) of x_i, from natural parameters, without cancellation, of the shape of ``theta``."""
    return 4.0 * _logistic(2.0 * theta) * _logistic(-2.0 * theta)


CHARTS = {
    "mu": Chart(
        lambda theta: _logistic(2.0 * theta),
        _theta_of_mu,
        np.ones_like,
        lambda mu: 1.0 / (mu * (1.0 - mu)),
    ),
    "theta": Chart(
        lambda theta: theta,
        lambda theta: theta,
        lambda theta: 0.5 * variance(theta),
        variance,
    ),
    "eta": Chart(
        np.tanh,
        _theta_of_eta,
        lambda eta: np.full_like(eta, 0.5),
        lambda eta: 1.0 / ((1.0 - eta) * (1.0 + eta)),
    ),
}
"""The three charts, by name."""


def convert(points: np.ndarray, source: str, target: str) -> np.ndarray:
    """Coordinates in another chart.

    Args:
        points: shape ``(..., 2)``.
        source: the chart that they are of, one of :data:`CHARTS`.
        target: the chart wanted.
    """
    if {source, target} == {"mu", "eta"}:  # exact at the edges, too
        return 2.0 * points - 1.0 if source == "mu" else 0.5 * (1.0 + points)
    return CHARTS[target].from_theta(CHARTS[source].to_theta(points))


def fisher_matrix(points: np.ndarray, chart: str) -> np.ndarray:
    """Fisher matrices of the independence model, shape ``(..., 2, 2)``.

    Args:
        points: in the open domain of the chart, shape ``(..., 2)``.
        chart: one of :data:`CHARTS`.
    """
    return CHARTS[chart].fisher(points)[..., None] * np.eye(2)


def probabilities(mu: np.ndarray) -> np.ndarray:
    """Those of the four states, in the order of :data:`STATES`, shape ``(..., 4)``."""
    one, two = mu[..., 0], mu[..., 1]
    return np.stack([one * two, one * (1.0 - two), (1.0 - one) * two, (1.0 - one) * (1.0 - two)], axis=-1)


def expectation(table: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """The mean of a function of the two variables, summed over the states, shape ``(...)``.

    Args:
        table: of the function, in the order of :data:`STATES`, shape ``(4,)``.
        mu: shape ``(..., 2)``.
    """
    return probabilities(mu) @ table


@dataclass(frozen=True)
class TwoSpins:
    """The relaxation of f(x) = first x1 + second x2 + product x1 x2.

    The lecture's function is that of the defaults (L. Malago, An Introduction to Natural Gradient, 2023, slide "A Toy
    Example from Stochastic Relaxation").

    Attributes:
        first: coefficient of x1.
        second: of x2.
        product: of x1 x2.
    """

    first: float = 1.0
    second: float = 2.0
    product: float = 3.0

    @property
    def table(self) -> np.ndarray:
        """The function of the four states, in the order of :data:`STATES`, shape ``(4,)``."""
        x = np.array(STATES, float)
        return self.first * x[:, 0] + self.second * x[:, 1] + self.product * x[:, 0] * x[:, 1]

    @property
    def saddle(self) -> np.ndarray:
        """The probabilities mu at which both derivatives of F vanish, shape ``(2,)``. ``product`` must not be 0."""
        return 0.5 * (1.0 - np.array([self.second, self.first]) / self.product)

    def mean(self, mu: np.ndarray) -> np.ndarray:
        """F(mu), shape ``(...)``."""
        one, two = np.moveaxis(2.0 * np.asarray(mu) - 1.0, -1, 0)
        return self.first * one + self.second * two + self.product * one * two

    def mean_of_theta(self, theta: np.ndarray) -> np.ndarray:
        """F(theta) as a sum of exponentials over the partition function Z, shape ``(...)``."""
        states = np.array(STATES, float)
        exponents = theta @ states.T
        weights = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
        return weights @ self.table / weights.sum(axis=-1)

    def slopes(self, mu: np.ndarray) -> np.ndarray:
        """The gradient of F in mu, shape ``(..., 2)``."""
        eta = 2.0 * np.asarray(mu) - 1.0
        return 2.0 * np.stack(
            [self.first + self.product * eta[..., 1], self.second + self.product * eta[..., 0]], axis=-1
        )

    def gradient(self, points: np.ndarray, chart: str) -> np.ndarray:
        """The vanilla gradient: the derivatives of F in the coordinates of a chart, shape ``(..., 2)``."""
        return self.slopes(convert(points, chart, "mu")) * CHARTS[chart].slope(points)

    def natural_gradient(self, points: np.ndarray, chart: str) -> np.ndarray:
        """The natural gradient I^-1 grad F in the coordinates of a chart, shape ``(..., 2)``.

        It is formed without a division: in ``theta`` it is bounded where the Fisher matrix becomes singular.
        """
        slopes = self.slopes(convert(points, chart, "mu"))
        if chart == "theta":
            return 0.5 * slopes
        if chart == "mu":
            return points * (1.0 - points) * slopes
        return 0.5 * (1.0 - points) * (1.0 + points) * slopes


def full_statistics() -> np.ndarray:
    """The sufficient statistics (x1, x2, x1 x2) of the four states, shape ``(4, 3)``."""
    x = np.array(STATES, float)
    return np.column_stack([x, x[:, 0] * x[:, 1]])


def full_family_probabilities(theta: np.ndarray) -> np.ndarray:
    """Of the four states, where x1 x2 is a sufficient statistic, too.

    Args:
        theta: natural parameters of x1, x2 and x1 x2, shape ``(..., 3)``.

    Returns:
        In the order of :data:`STATES`, shape ``(..., 4)``.
    """
    exponents = theta @ full_statistics().T
    weights = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def full_family_fisher(theta: np.ndarray) -> np.ndarray:
    """The Fisher matrix in those natural parameters: the covariance of the statistics, shape ``(..., 3, 3)``."""
    p, t = full_family_probabilities(theta), full_statistics()
    centred = t - (p @ t)[..., None, :]
    return np.einsum("...s,...si,...sj->...ij", p, centred, centred)


def full_family_gradient(theta: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The gradient of E[f] in those natural parameters, Cov(f, T), shape ``(..., 3)``.

    Args:
        theta: shape ``(..., 3)``.
        table: of f, in the order of :data:`STATES`, shape ``(4,)``.
    """
    p, t = full_family_probabilities(theta), full_statistics()
    centred = t - (p @ t)[..., None, :]
    return np.einsum("...s,...si->...i", p * (table - (p @ table)[..., None]), centred)
