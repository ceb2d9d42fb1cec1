"""Momentum in the narrow valley: how much of it helps at a fixed step, and what it does to the path.

The update is V <- beta V + grad, theta <- theta - eta V (lecture, slide "Momentum is a method to damp out
oscillations"). On a quadratic, a component with curvature c follows the recursion whose companion matrix is

    [[1 + beta - eta c, -beta], [1, 0]],

and it shrinks in the long run by that matrix's spectral radius per step (B. T. Polyak, 1964).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.gradient_descent import CURVATURES, VALLEY_START, sign_changes
from repro.demonstrations.optimisation.paths import iterates, quadratic

BETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Momentum:
    """The valley with several strengths of momentum.

    Attributes:
        betas: shape ``(B,)``.
        paths: the points visited, shape ``(B, T + 1, 2)``.
        costs: at these points, shape ``(B, T + 1)``.
        lengths: of the paths, the sum of all steps' lengths, shape ``(B,)``.
        radii: the spectral radius per step by beta and component, shape ``(B, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    betas: np.ndarray
    paths: np.ndarray
    costs: np.ndarray
    lengths: np.ndarray
    radii: np.ndarray
    values: Values


def spectral_radius(beta: float, eta: float, curvature: float) -> float:
    """By how much a component shrinks per step in the long run, from the companion matrix."""
    matrix = np.array([[1.0 + beta - eta * curvature, -beta], [1.0, 0.0]])
    return float(np.max(np.abs(np.linalg.eigvals(matrix))))


def best_in_the_long_run(eta: float, curvature: float) -> float:
    """(1 - sqrt(eta c))^2: the beta with the least spectral radius where eta c is at most 1."""
    return float((1.0 - np.sqrt(eta * curvature)) ** 2)


@in_double_precision
def strengths(*, eta: float = 0.1, steps: int = 25, betas: tuple[float, ...] = BETAS) -> Momentum:
    """Momentum with one step and several beta, from the start of the zig-zag.

    Args:
        eta: the step.
        steps: T.
        betas: increasing; the first is zero.
    """
    cost, start = quadratic(CURVATURES), jnp.array(VALLEY_START)
    paths = np.stack([iterates(optax.sgd(eta, momentum=beta), cost, start, steps) for beta in betas])
    costs = np.asarray(cost(jnp.asarray(paths)))
    plain = iterates(optax.sgd(eta), cost, start, steps)
    moves = np.diff(paths, axis=1)
    lengths = np.linalg.norm(moves, axis=-1).sum(axis=1)
    across = np.abs(moves[..., 1]).sum(axis=1)
    radii = np.array([[spectral_radius(beta, eta, c) for c in CURVATURES] for beta in betas])
    best, names = int(np.argmin(costs[:, -1])), [f"{beta:g}" for beta in betas]

    def by_beta(series: np.ndarray, first: int = 0) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names[first:], series[first:], strict=True)}

    values: Values = {
        "difference_without_momentum": float(np.max(np.abs(paths[0] - plain))),
        f"cost_after_{steps}": by_beta(costs[:, -1]),
        "best_beta": betas[best],
        "best_over_none": float(costs[best, -1] / costs[0, -1]),
        "largest_over_best": float(costs[-1, -1] / costs[best, -1]),
        "path_length": by_beta(lengths),
        "length_over_none": by_beta(lengths / lengths[0], 1),
        "length_over_none_at_best": float(lengths[best] / lengths[0]),
        "variation_across_over_none": by_beta(across / across[0], 1),
        "sign_changes": {name: float(sign_changes(path[:, 1])) for name, path in zip(names, paths, strict=True)},
        "best_beta_in_the_long_run": best_in_the_long_run(eta, CURVATURES[0]),
        "radius": by_beta(radii.max(axis=1)),
        "radius_at_its_best_over_others": float(
            max(spectral_radius(best_in_the_long_run(eta, CURVATURES[0]), eta, c) for c in CURVATURES)
            / radii.max(axis=1).min()
        ),
    }
    return Momentum(np.array(betas), paths, costs, lengths, radii, values)
