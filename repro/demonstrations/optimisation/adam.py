"""Adam as it is printed, and its epsilon as the damping of a trust region.

With g_t the gradient at step t (D. P. Kingma and J. Ba, 2015, algorithm 1; lecture, slide "Algorithm"):

    m_t = beta_1 m_(t-1) + (1 - beta_1) g_t,        mh_t = m_t / (1 - beta_1^t),
    v_t = beta_2 v_(t-1) + (1 - beta_2) g_t^2,      vh_t = v_t / (1 - beta_2^t),
    theta_t = theta_(t-1) - alpha mh_t / (sqrt(vh_t) + epsilon).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from scipy.optimize import minimize_scalar

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.gradient_descent import CURVATURES, VALLEY_START
from repro.demonstrations.optimisation.paths import iterates, quadratic

BETA_1, BETA_2 = 0.9, 0.999
"""Printed: of the mean of the gradients, and of the mean of their squares."""
EPSILON = 1e-8
"""Printed."""
NOISES = (0.0, 0.3, 1.0, 3.0, 10.0)
"""Standard deviations of a gradient whose mean is 1."""
SIZES = (0.1, -1.0, 10.0, -1000.0)
"""Of a first gradient, in four parameters."""
EPSILONS = (1e-8, 1e-6, 1e-4, 1e-2, 1.0, 10.0, 100.0)


class AdamPath(NamedTuple):
    """What Adam's recursion goes through.

    Attributes:
        points: theta_0 ... theta_T, shape ``(T + 1, n)``.
        means: m_1 ... m_T, not corrected, shape ``(T, n)``.
        squares: v_1 ... v_T, not corrected, shape ``(T, n)``.
        gradients: g_1 ... g_T, shape ``(T, n)``.
    """

    points: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    gradients: np.ndarray


@dataclass(frozen=True)
class AdamSteps:
    """The parts of Adam, each shown alone.

    Attributes:
        paths: in the narrow valley, by method, each of shape ``(T + 1, 2)``.
        constant: lengths over alpha of the steps under a constant gradient, with and without the correction of the
            bias, shape ``(2, K)``.
        noises: r, standard deviations of a gradient of mean 1, shape ``(R,)``.
        mean_steps: over alpha, shape ``(R,)``.
        mean_step_errors: their standard errors, shape ``(R,)``.
        printed: the path of the printed recursion with noisy gradients, shape ``(T + 1, 2)``.
        optax: that of optax, of the same shape.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    paths: dict[str, np.ndarray]
    constant: np.ndarray
    noises: np.ndarray
    mean_steps: np.ndarray
    mean_step_errors: np.ndarray
    printed: np.ndarray
    optax: np.ndarray
    values: Values


@dataclass(frozen=True)
class TrustRegion:
    """Adam in the narrow valley with several epsilon.

    Attributes:
        epsilons: shape ``(E,)``.
        paths: at one alpha, shape ``(E, T + 1, 2)``.
        longest: the longest step of each, shape ``(E,)``.
        bounds: on that: alpha times the largest corrected mean over epsilon, shape ``(E,)``.
        ratios: epsilon over the largest gradient, where alpha / epsilon is kept, shape ``(R,)``.
        from_momentum: the path's relative distance from that of momentum there, shape ``(R,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    epsilons: np.ndarray
    paths: np.ndarray
    longest: np.ndarray
    bounds: np.ndarray
    ratios: np.ndarray
    from_momentum: np.ndarray
    values: Values


def printed_adam(
    gradient: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    noise: np.ndarray,
    *,
    alpha: float,
    epsilon: float = EPSILON,
    corrected: bool = True,
) -> AdamPath:
    """Adam's algorithm line by line as printed, with NumPy.

    Args:
        gradient: of a point of shape ``(n,)``.
        start: theta_0, shape ``(n,)``.
        noise: added to the gradient of each step, shape ``(T, n)``.
        alpha: step size.
        epsilon: added to the square root.
        corrected: whether the bias of the two means is corrected.
    """
    theta, m, v = np.array(start, float), np.zeros(len(start)), np.zeros(len(start))
    points, means, squares, gradients = [theta], [m], [v], [theta]
    for t, error in enumerate(noise, start=1):
        g = gradient(theta) + error
        m = BETA_1 * m + (1.0 - BETA_1) * g
        v = BETA_2 * v + (1.0 - BETA_2) * g**2
        m_hat = m / (1.0 - BETA_1**t) if corrected else m
        v_hat = v / (1.0 - BETA_2**t) if corrected else v
        theta = theta - alpha * m_hat / (np.sqrt(v_hat) + epsilon)
        for series, part in ((points, theta), (means, m), (squares, v), (gradients, g)):
            series.append(part)
    return AdamPath(np.array(points), *(np.array(series[1:]) for series in (means, squares, gradients)))


@in_double_precision
def printed_recursion(*, alpha: float = 1e-3, steps: int = 1000, noise: float = 1.0, seed: int = 0) -> AdamSteps:
    """The printed recursion beside optax, its first steps, and what a growing variance does to a step.

    Args:
        alpha: step size of the comparison with optax.
        steps: T of that comparison.
        noise: standard deviation of what is added to each gradient there.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    slopes = np.array(CURVATURES)
    errors = noise * rng.normal(size=(steps, 2))
    start = np.array(VALLEY_START)
    ours = printed_adam(lambda w: slopes * w, start, errors, alpha=alpha)
    theirs = iterates(optax.adam(alpha, BETA_1, BETA_2, EPSILON), quadratic(CURVATURES), start, steps, errors)
    scaled = printed_adam(lambda w: 1000.0 * slopes * w, start, 1000.0 * errors, alpha=alpha)
    sizes = np.array(SIZES)
    first = printed_adam(lambda _: sizes, np.zeros(len(sizes)), np.zeros((1, len(sizes))), alpha=alpha)
    constant = np.stack([_under_constant_gradient(corrected) for corrected in (True, False)])
    means, mean_errors = _mean_steps(rng)
    at_noise = [f"{r:g}" for r in NOISES]
    expected = 1.0 / np.sqrt(1.0 + np.array(NOISES) ** 2)
    values: Values = {
        "largest_difference": float(np.max(np.abs(ours.points - theirs))),
        "first_step_difference": float(np.max(np.abs(first.points[1] / alpha + np.sign(sizes)))),
        "first_step_without_correction": float(constant[1, 0]),
        "longest_step_without_correction": float(constant[1].max()),
        "difference_from_momentum": _from_buffer(ours),
        "difference_when_scaled": float(np.max(np.abs(scaled.points - ours.points))),
        "mean_step_over_expected": dict(zip(at_noise, (means / expected).tolist(), strict=True)),
        "mean_step_over_expected_error": dict(zip(at_noise, (mean_errors / expected).tolist(), strict=True)),
    }
    return AdamSteps(_valley_paths(), constant, np.array(NOISES), means, mean_errors, ours.points, theirs, values)


def _from_buffer(path: AdamPath) -> float:
    """Largest relative difference of m_t from (1 - beta_1) V_t, V the buffer of momentum, from optax."""
    trace = optax.trace(BETA_1)

    def step(state: optax.TraceState, g: Array) -> tuple[optax.TraceState, Array]:
        buffer, state = trace.update(g, state)
        return state, buffer

    gradients = jnp.asarray(path.gradients)
    _, buffers = jax.lax.scan(step, trace.init(gradients[0]), gradients)
    differences = np.abs((1.0 - BETA_1) * np.asarray(buffers) - path.means)
    return float(differences.max() / np.abs(path.means).max())


def _under_constant_gradient(corrected: bool, steps: int = 10_000) -> np.ndarray:
    """Lengths of Adam's steps over alpha where the gradient is 1 all the time, shape ``(steps,)``."""
    path = printed_adam(lambda _: np.ones(1), np.zeros(1), np.zeros((steps, 1)), alpha=1.0, corrected=corrected)
    return np.abs(np.diff(path.points[:, 0]))


def _mean_steps(rng: np.random.Generator, steps: int = 10_000, pairs: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The mean of Adam's steps over alpha where gradients are N(1, r^2), over the second half, with standard errors.

    Runs come in pairs with opposite noise, so that most of it cancels.
    """
    means, errors = [], []
    for r in NOISES:
        noise = r * rng.normal(size=(steps, pairs))
        both = np.hstack([noise, -noise])
        path = printed_adam(lambda _: np.ones(2 * pairs), np.zeros(2 * pairs), both, alpha=1.0)
        each = (path.points[steps // 2] - path.points[steps]) / (steps - steps // 2)
        each = each.reshape(2, pairs).mean(axis=0)
        means.append(each.mean())
        errors.append(each.std(ddof=1) / np.sqrt(pairs))
    return np.array(means), np.array(errors)


def _valley_paths(steps: int = 60) -> dict[str, np.ndarray]:
    methods = {
        "gradient-descent": optax.sgd(0.1),
        "momentum": optax.sgd(0.1, momentum=0.5),
        "adam": optax.adam(0.5, BETA_1, BETA_2, EPSILON),
    }
    cost, start = quadratic(CURVATURES), jnp.array(VALLEY_START)
    return {name: iterates(optimizer, cost, start, steps) for name, optimizer in methods.items()}


@in_double_precision
def epsilon_sweep(
    *, alpha: float = 0.5, steps: int = 200, rate: float = 0.1, epsilons: tuple[float, ...] = EPSILONS
) -> TrustRegion:
    """Adam in the valley at one alpha and several epsilon, and the limit of a large epsilon at one alpha / epsilon.

    Args:
        alpha: step size.
        steps: T.
        rate: alpha / epsilon, in the limit.
        epsilons: increasing.
    """
    slopes, start, quiet = np.array(CURVATURES), np.array(VALLEY_START), np.zeros((steps, 2))

    def run(alpha: float, epsilon: float) -> AdamPath:
        return printed_adam(lambda w: slopes * w, start, quiet, alpha=alpha, epsilon=epsilon)

    runs = [run(alpha, epsilon) for epsilon in epsilons]
    lengths = np.array([np.linalg.norm(np.diff(one.points, axis=0), axis=1) for one in runs])
    corrections = 1.0 - BETA_1 ** np.arange(1, steps + 1)
    limits = np.array(
        [
            alpha * np.linalg.norm(one.means, axis=1) / corrections / epsilon
            for one, epsilon in zip(runs, epsilons, strict=True)
        ]
    )
    steepest = float(np.max(np.abs(slopes * start)))
    ratios = np.logspace(-2.0, 4.0, 7)
    cost, momentum = quadratic(CURVATURES), optax.chain(optax.ema(BETA_1, debias=True), optax.scale(-rate))
    reference = iterates(momentum, cost, start, steps)
    distances = [_relative(run(rate * ratio * steepest, ratio * steepest).points, reference) for ratio in ratios]
    biased = iterates(optax.sgd((1.0 - BETA_1) * rate, momentum=BETA_1), cost, start, steps)
    names, longest = [f"{epsilon:g}" for epsilon in epsilons], lengths.max(axis=1)
    angles = [_angle_from_trust_region(one, alpha) for one in runs]
    values: Values = {
        "step_over_bound": dict(zip(names, (lengths / limits).max(axis=1).tolist(), strict=True)),
        "longest_step_over_alpha": dict(zip(names, (longest / alpha).tolist(), strict=True)),
        "longest_step_over_that_before": (longest[1:] / longest[:-1]).tolist(),
        "angle_from_trust_region": dict(zip(names, angles, strict=True)),
        "distance_from_momentum": float(distances[-1]),
        "distance_without_correction": _relative(biased, reference),
        "slope_of_distance": float(np.polyfit(np.log(ratios[-3:]), np.log(distances[-3:]), 1)[0]),
    }
    paths = np.stack([one.points for one in runs])
    return TrustRegion(np.array(epsilons), paths, longest, limits.max(axis=1), ratios, np.array(distances), values)


def _relative(path: np.ndarray, reference: np.ndarray) -> float:
    """The largest distance between two paths at a time, over the largest distance from the origin."""
    return float(np.max(np.linalg.norm(path - reference, axis=1)) / np.max(np.linalg.norm(reference, axis=1)))


def _angle_from_trust_region(path: AdamPath, alpha: float, at: int = 5) -> float:
    """The angle, in radians, between a step of Adam and the best point of a ball that has the step's length as radius.

    Best is what makes mh . d + d . (sqrt(vh) d) / (2 alpha) least: Adam's model of the cost, without epsilon. The edge
    of the ball is searched through.
    """
    t = at + 1
    m, root = path.means[at] / (1.0 - BETA_1**t), np.sqrt(path.squares[at] / (1.0 - BETA_2**t))
    step = path.points[t] - path.points[at]
    radius, direction = float(np.linalg.norm(step)), float(np.arctan2(step[1], step[0]))

    def model(angle: float) -> float:
        d = radius * np.array([np.cos(angle), np.sin(angle)])
        return float((m @ d + d @ (root * d) / (2.0 * alpha)) / (np.linalg.norm(m) * radius))

    coarse = np.linspace(-np.pi, np.pi, 721)
    near = coarse[np.argmin([model(angle) for angle in coarse])]
    width = coarse[1] - coarse[0]
    best = minimize_scalar(model, bounds=(near - width, near + width), method="bounded", options={"xatol": 1e-12}).x
    apart = abs(best - direction) % (2.0 * np.pi)
    return float(min(apart, 2.0 * np.pi - apart))
