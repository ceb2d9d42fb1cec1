"""One step from the slide's point: the gradient, and the gradient times the inverse of the Hessian.

The slides print the Hessian diag(5, 2), the point (0.5, 0.5), the gradient (2.5, 1), and both steps. They print
f = 5/2 theta_1 + 2/2 theta_2, without squares: a function without any curvature. With squares all the rest fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.conditioning import PRINTED
from repro.demonstrations.optimisation.paths import quadratic
from repro.demonstrations.optimisation.stepping import descending, newton

EIGENVALUES = (5.0, 2.0)
POINT = (0.5, 0.5)
PRINTED_GRADIENT = (2.5, 1.0)
PRINTED_PLAIN = (-2.0, -0.5)
"""theta - gradient."""
PRINTED_PRECONDITIONED = (0.0, 0.0)
"""What stands behind "-H^-1 grad f(theta) ="."""


@dataclass(frozen=True)
class PreconditionedStep:
    """Where both steps lead, for every pair of eigenvalues.

    Attributes:
        pairs: eigenvalues of the Hessian, shape ``(K, 2)``.
        start: the point, shape ``(2,)``.
        plain: theta - gradient, shape ``(K, 2)``.
        preconditioned: theta - H^-1 gradient, shape ``(K, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    pairs: np.ndarray
    start: np.ndarray
    plain: np.ndarray
    preconditioned: np.ndarray
    values: Values


def without_squares(point: Array) -> Array:
    """5/2 theta_1 + 2/2 theta_2, as printed, of points of shape ``(2,)``."""
    return 0.5 * jnp.sum(jnp.asarray(EIGENVALUES) * point)


@in_double_precision
def one_step(*, pairs: tuple[tuple[float, float], ...] = PRINTED) -> PreconditionedStep:
    """Makes both steps of the slide, and again for each pair of eigenvalues of the slides.

    Args:
        pairs: eigenvalues of the Hessian.
    """
    point = np.array(POINT)
    plain, preconditioned, ratios = (np.asarray(each) for each in _both_steps(np.array(pairs), point))
    there_plain, there, slides_ratio = (np.asarray(each)[0] for each in _both_steps(np.array([EIGENVALUES]), point))
    gradient = np.asarray(jax.jit(jax.grad(quadratic(EIGENVALUES)))(point))
    hessian = np.diag(EIGENVALUES)
    values: Values = {
        "gradient": gradient.tolist(),
        "gradient_apart": _apart(gradient, PRINTED_GRADIENT),
        "plain_point": there_plain.tolist(),
        "plain_apart": _apart(there_plain, PRINTED_PLAIN),
        "preconditioned_point": there.tolist(),
        "preconditioned_apart": _apart(there, PRINTED_PRECONDITIONED),
        "preconditioned_step": (there - point).tolist(),
        "step_apart_from_print": _apart(there - point, PRINTED_PRECONDITIONED),
        "hessian_apart_with_squares": _apart(jax.jit(jax.hessian(quadratic(EIGENVALUES)))(point), hessian),
        "hessian_apart_as_printed": _apart(jax.jit(jax.hessian(without_squares))(point), hessian),
        "cost_ratio_of_slides_step": float(slides_ratio),
        "largest_distance_in_sweep": float(np.linalg.norm(preconditioned, axis=1).max()),
        "cost_ratio_of_plain_step": {
            f"{most / least:.2f} ({most:g}, {least:g})": float(ratio)
            for (most, least), ratio in zip(pairs, ratios, strict=True)
        },
    }
    return PreconditionedStep(np.array(pairs), point, plain, preconditioned, values)


@jax.jit
def _both_steps(pairs: Array, point: Array) -> tuple[Array, Array, Array]:
    """For each pair the points theta - gradient and theta - H^-1 gradient, and the factor of the cost in the first."""

    def steps(pair: Array) -> tuple[Array, Array, Array]:
        cost = quadratic(pair)
        plain = descending(cost, 1.0)(point)
        return plain, newton(cost)(point), cost(plain) / cost(point)

    return jax.vmap(steps)(pairs)


def _apart(found: object, printed: object) -> float:
    """The largest difference of two arrays."""
    return float(np.max(np.abs(np.asarray(found) - np.asarray(printed))))
