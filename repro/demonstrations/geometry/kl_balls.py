"""Balls of the Kullback-Leibler divergence around normal distributions, and the ellipses of the Fisher matrix.

The ball around p_0 = N(mu_0, s^2) holds the p_1 = N(mu, sigma^2) with KL(p_0 || p_1) <= epsilon. To second order it is
the ellipse 1/2 d^T I d <= epsilon with the Fisher matrix I = diag(1, 2) / s^2 of (mu, sigma): half-axes s sqrt(2
epsilon) and s sqrt(epsilon). The ball itself reaches further up than down, and it is widest at sigma = s exp(epsilon),
by s sqrt(exp(2 epsilon) - 1) (L. Malago, An Introduction to Natural Gradient, 2023, slide "Example: The Gaussian
Distribution").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq, fsolve

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.normal_family import kl_divergence

EPSILON = 0.02
"""Printed."""
WIDTHS = (0.5, 1.0, 2.0)
"""s of the centres."""


def divergence_by_quadrature(p: tuple[float, float], q: tuple[float, float]) -> float:
    """KL(N(p) || N(q)) in nats, of (mu, sigma) each, as the integral of p ln(p / q)."""
    (mu, sigma), (other, width) = p, q

    def integrand(x: float) -> float:
        a, b = (x - mu) / sigma, (x - other) / width
        return float(
            np.exp(-0.5 * a**2) / (sigma * np.sqrt(2.0 * np.pi)) * (0.5 * b**2 - 0.5 * a**2 + np.log(width / sigma))
        )

    return float(quad(integrand, mu - 12.0 * sigma, mu + 12.0 * sigma, epsabs=1e-13, epsrel=1e-13, limit=200)[0])


def extent(width: float, epsilon: float) -> tuple[float, float]:
    """The lowest and highest sigma of the ball around N(0, s^2) at mu = 0, by root finding, s being ``width``."""

    def excess(sigma: float) -> float:
        return kl_divergence(np.array([0.0, width]), np.array([0.0, sigma])) - epsilon

    far = 1.0 + 10.0 * np.sqrt(epsilon)
    ends = (
        brentq(excess, low, high, xtol=1e-15, rtol=1e-14) for low, high in ((width / far, width), (width, width * far))
    )
    low, high = ends
    return float(low), float(high)


def widest(width: float, epsilon: float) -> tuple[float, float]:
    """The largest shift of mu in the ball, and the sigma where it is reached, by root finding.

    On the rim d KL / d sigma = 0 there: both equations are solved for mu and sigma.
    """

    def equations(unknown: np.ndarray) -> list[float]:
        mu, sigma = unknown
        change = 1.0 / sigma - (width**2 + mu**2) / sigma**3
        return [kl_divergence(np.array([0.0, width]), unknown) - epsilon, width * change]

    mu, sigma = fsolve(equations, [width * np.sqrt(2.0 * epsilon), width * (1.0 + epsilon)], xtol=1e-10)
    return float(mu), float(sigma)


def rim(width: float, epsilon: float, points: int = 401) -> np.ndarray:
    """Points of the ball's rim, shape ``(points, 2)`` as (mu, sigma), from its lowest round to its lowest."""
    low, high = extent(width, epsilon)
    half = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.linspace(0.0, np.pi, points // 2 + 1))
    square = 2.0 * half**2 * (epsilon + 0.5 - np.log(half / width)) - width**2
    right = np.column_stack([np.sqrt(np.maximum(square, 0.0)), half])
    return np.concatenate([right, (right * np.array([-1.0, 1.0]))[::-1][1:]])


def ellipse(width: float, epsilon: float, points: int = 401) -> np.ndarray:
    """Points of the Fisher ellipse around N(0, s^2), shape ``(points, 2)`` as (mu, sigma)."""
    angles = np.linspace(0.0, 2.0 * np.pi, points)
    axes = width * np.sqrt(epsilon) * np.array([np.sqrt(2.0), 1.0])
    return np.array([0.0, width]) + axes * np.column_stack([np.sin(angles), -np.cos(angles)])


@dataclass(frozen=True)
class Balls:
    """Balls and ellipses.

    Attributes:
        rims: of the balls, by s, each of shape ``(P, 2)`` as (mu, sigma).
        ellipses: likewise.
        epsilons: shape ``(E,)``.
        errors: of the ellipse's half-axes over those of the ball: up, down and sideways, shape ``(3, E)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    rims: dict[float, np.ndarray]
    ellipses: dict[float, np.ndarray]
    epsilons: np.ndarray
    errors: np.ndarray
    values: Values


@in_double_precision
def balls(*, epsilon: float = EPSILON) -> Balls:
    """Measures the balls by root finding and compares them with the closed forms and with the ellipses.

    Args:
        epsilon: in nats.
    """
    names = {width: f"{width:g}" for width in WIDTHS}
    extents = {width: extent(width, epsilon) for width in WIDTHS}
    tops = {width: widest(width, epsilon) for width in WIDTHS}
    pairs = [((0.0, 1.0), (0.3, 1.4)), ((-1.0, 0.5), (1.0, 2.0)), ((2.0, 2.0), (1.5, 0.9))]
    apart = [abs(kl_divergence(np.array(p), np.array(q)) - divergence_by_quadrature(p, q)) for p, q in pairs]
    shift, place = np.sqrt(np.expm1(2.0 * epsilon)), np.exp(epsilon)
    epsilons = np.geomspace(1e-6, 0.2, 17)
    errors = np.array([_errors(e) for e in epsilons]).T
    small = epsilons < 1e-3
    rims, rounds = {w: rim(w, epsilon) for w in WIDTHS}, {w: ellipse(w, epsilon) for w in WIDTHS}
    scaled = [np.max(np.abs(rims[w] / w - rims[1.0])) for w in WIDTHS] + [
        np.max(np.abs(rounds[w] / w - rounds[1.0])) for w in WIDTHS
    ]
    values: Values = {
        "divergence_difference": float(max(apart)),
        "sigma_low": extents[1.0][0],
        "sigma_high": extents[1.0][1],
        "widest_shift": tops[1.0][0],
        "widest_sigma": tops[1.0][1],
        "widest_shift_difference": {names[w]: abs(mu - w * shift) for w, (mu, _) in tops.items()},
        "widest_sigma_difference": {names[w]: abs(sigma - w * place) for w, (_, sigma) in tops.items()},
        "ellipse_half_axes": [float(np.sqrt(2.0 * epsilon)), float(np.sqrt(epsilon))],
        "half_axes_difference": _fisher_axes(epsilon),
        "scaling_difference": float(max(scaled)),
        "up_over_down": (extents[1.0][1] - 1.0) / (1.0 - extents[1.0][0]),
        "ellipse_over_ball": {
            way: 1.0 + e for way, e in zip(("up", "down", "sideways"), _errors(epsilon), strict=True)
        },
        "printed_hessian_over_fisher": {
            way: float(minus_hessian(1.0, sigma)[1, 1] / minus_hessian(1.0, 1.0)[1, 1])
            for way, sigma in zip(("down", "up"), extents[1.0], strict=True)
        },
        "hessian_less_fisher": max(
            float(np.max(np.abs(minus_hessian(w, w) - np.diag([1.0, 2.0]) / w**2))) for w in WIDTHS
        ),
        "slope_up": float(np.polyfit(np.log(epsilons[small]), np.log(np.abs(errors[0, small])), 1)[0]),
        "slope_sideways": float(np.polyfit(np.log(epsilons[small]), np.log(np.abs(errors[2, small])), 1)[0]),
    }
    return Balls(rims, rounds, epsilons, errors, values)


def minus_hessian(width: float, sigma: float) -> np.ndarray:
    """-E[Hess ln p] over N(0, width^2), shape ``(2, 2)``, with the p of (0, sigma) and the Hessian in (mu, sigma).

    With sigma = width it is the Fisher matrix.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(20)
    x = width * z
    entries = [1.0 / sigma**2 + 0.0 * x, 2.0 * x / sigma**3, 3.0 * x**2 / sigma**4 - 1.0 / sigma**2]
    first, cross, second = (float(weights @ entry / weights.sum()) for entry in entries)
    return np.array([[first, cross], [cross, second]])


def _errors(epsilon: float) -> tuple[float, float, float]:
    """Half-axes of the ellipse over those of the ball around N(0, 1), less 1: up, down and sideways."""
    low, high = extent(1.0, epsilon)
    up, down, sideways = high - 1.0, 1.0 - low, widest(1.0, epsilon)[0]
    axis = np.sqrt(epsilon)
    return float(axis / up - 1.0), float(axis / down - 1.0), float(np.sqrt(2.0) * axis / sideways - 1.0)


def _fisher_axes(epsilon: float) -> float:
    """How far the half-axes of the ellipse with the Fisher matrix by quadrature are from s sqrt(2 eps), s sqrt(eps)."""
    worst = 0.0
    for width in WIDTHS:
        x, w = np.polynomial.hermite_e.hermegauss(40)
        score = np.stack([x / width, (x**2 - 1.0) / width])
        fisher = (score * w) @ score.T / w.sum()
        eigenvalues, vectors = np.linalg.eigh(fisher)
        axes = np.sqrt(2.0 * epsilon / eigenvalues)  # rising eigenvalues: mu first
        expected = width * np.sqrt(epsilon) * np.array([np.sqrt(2.0), 1.0])
        turned = 1.0 - np.abs(np.diag(vectors)).min()
        worst = max(worst, float(np.max(np.abs(axes - expected))), float(turned))
    return worst
