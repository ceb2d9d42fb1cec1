"""What damping does to the inverse of a Hessian, direction by direction.

Where H has the eigenvalue nu, (H + eta)^-1 has 1 / (nu + eta), with the same eigenvector. (Second lecture, slide
"Minimizing Quadratic Approximations: Damping".)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import ortho_group

from repro.demonstrations.base import Values

FAR = 100.0
"""A curvature so many times larger or smaller than the damping is much larger or smaller."""
PLANE = np.array([[5.0, 1.2], [1.2, 0.5]])
"""The Hessian of the quadratic function in the plane that is drawn."""
POINT = np.array([-1.5, 2.0])
"""Where its steps start; the minimum is in the origin."""


@dataclass(frozen=True)
class Damping:
    """Spectra of damped inverses, and steps in a plane.

    Attributes:
        eigenvalues: nu of H, shape ``(D,)``, increasing, the first of them zero.
        dampings: eta, shape ``(M,)``.
        inverse: eigenvalues of (H + eta)^-1 along the eigenvectors of H, shape ``(M, D)``.
        plane_dampings: of the steps in the plane, increasing, shape ``(K,)``.
        plane_points: where the damped step of each leads, shape ``(K, 2)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    eigenvalues: np.ndarray
    dampings: np.ndarray
    inverse: np.ndarray
    plane_dampings: np.ndarray
    plane_points: np.ndarray
    values: Values


def damped_inverses(
    *, size: int = 25, dampings: tuple[float, ...] = (1e-3, 1e-1, 10.0), draws: int = 1000, seed: int = 0
) -> Damping:
    """Inverts a singular Hessian with damping, and looks at the inverse along the eigenvectors of the Hessian.

    Args:
        size: D, of the Hessian: one eigenvalue is zero, the others are spread evenly in logarithm from 1e-5 to 1e3.
        dampings: eta.
        draws: of gradients, from N(0, 1), whose damped steps must go downhill.
        seed: of the eigenvectors and the gradients.
    """
    rng = np.random.default_rng(seed)
    vectors = ortho_group.rvs(size, random_state=rng)
    nu = np.concatenate([[0.0], np.logspace(-5.0, 3.0, size - 1)])
    hessian = (vectors * nu) @ vectors.T
    gradients = rng.normal(size=(size, draws))
    inverses = [np.linalg.inv(hessian + eta * np.eye(size)) for eta in dampings]
    turned = np.array([vectors.T @ inverse @ vectors for inverse in inverses])
    along = np.diagonal(turned, axis1=1, axis2=2)
    eta = np.array(dampings)[:, None]
    off = turned - along[:, :, None] * np.eye(size)
    slopes = [np.sum(-gradients * (inverse @ gradients), axis=0) for inverse in inverses]
    steep, flat = nu >= FAR * eta, nu <= eta / FAR
    values: Values = {
        "eigenvalue_deviation": float(np.max(np.abs(along * (nu + eta) - 1.0))),
        "eigenvector_deviation": float(np.max(np.abs(off) * eta[:, :, None])),
        "largest_times_damping": float(np.max(np.array([np.linalg.norm(m, 2) for m in inverses]) * eta[:, 0])),
        "share_downhill": float(np.mean(np.array(slopes) < 0.0)),
        "steep_over_newton": float(np.min((along * nu)[steep])),
        "flat_over_gradient_descent": float(np.min((along * eta)[flat])),
    }
    plane = np.logspace(-3.0, 3.0, 121)
    points = [POINT - np.linalg.solve(PLANE + one * np.eye(2), PLANE @ POINT) for one in plane]
    return Damping(nu, np.array(dampings), along, plane, np.array(points), values)
