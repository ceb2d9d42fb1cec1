"""Losses that are not half a squared distance: natural gradient descent, and what momentum in function space gains.

With the error e = u - v the loss is 1/2 |f(u) - f(v)|_K^2, where f(v) = (1 + omega |v - q|^2) (v - q) + q and
q = R (u - v) + v for a rotation R by the angle phi. It follows that

    f(u) - f(v) = e + omega |e|^2 R e,

which is bent at large errors, and is e at small ones. (Talk, slide "Not L^2 loss".) The model is the quadratic one of
:mod:`repro.demonstrations.geometry.quadratic_model`. The updates in its parameters are, with the Gram matrix G = J^T J
of its Jacobian J and the gradient w of the loss in function space,

    natural gradient   -alpha G_k^-1 J_k^T w_k
    with G^H           -alpha (J_k^T H_k J_k)^-1 J_k^T w_k with the Hessian H of the loss in function space
    LM                 + beta G_k^-1 J_k^T J_(k-1) p_(k-1), the last update p
    FD                 + beta G_k^-1 J_k^T (v_k - v_(k-1))
    LG-, LG+           -+ beta G_k^-1 J_k^T w_(k-1)

and gradient descent is -alpha J_k^T w_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.function_plane import RATE, START, WEIGHT
from repro.demonstrations.geometry.quadratic_model import quadratic_plane, start_of

ANGLES = (0.0, 30.0, 60.0, 90.0, 120.0)
"""phi in degrees."""
STRENGTHS = (0.25, 0.5, 1.0)
"""omega."""
BETAS = (0.1, 0.3, 0.5, 0.7, 0.9)
RATES = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
"""alpha, of the fixed steps among which the best one is chosen."""
SEARCHED = tuple(2.0**-power for power in range(-2, 13))
"""Factors of a step that are tried in a search."""
LEVEL = 1e-9
MOMENTA = ("LM", "FD", "LG-", "LG+")
METHODS = ("GD", "NGD", "NHGD", *MOMENTA)
FIXED, TUNED, SEARCH, WHOLE = "fixed", "tuned", "search", "whole"
"""How alpha is chosen: 0.1; the best of :data:`RATES` for each method; in every step the best factor of the gradient's
part, the momentum staying as it is; and in every step the best factor of both together, alpha = 1."""
DIVERGED = 1e6
"""A loss above it will not come back."""


class Batch(NamedTuple):
    """Many losses at once, N of them.

    Attributes:
        phi: in radians, shape ``(N,)``.
        omega: shape ``(N,)``.
        weight: K, shape ``(2, 2)``.
    """

    phi: np.ndarray
    omega: np.ndarray
    weight: np.ndarray

    def rotated(self, e: np.ndarray) -> np.ndarray:
        """R e, of the shape of ``e``, ``(..., N, 2)``."""
        cosine, sine = np.cos(self.phi), np.sin(self.phi)
        return np.stack([cosine * e[..., 0] - sine * e[..., 1], sine * e[..., 0] + cosine * e[..., 1]], axis=-1)

    def loss(self, e: np.ndarray) -> np.ndarray:
        """Of errors u - v of shape ``(..., N, 2)``: ``(..., N)``."""
        bent = e + (self.omega * _dot(e, e))[..., None] * self.rotated(e)
        return 0.5 * _dot(bent @ self.weight, bent)

    def gradient(self, e: np.ndarray) -> np.ndarray:
        """In v, at errors u - v of shape ``(N, 2)``, of their shape."""
        slope, pulled, _ = self._parts(e)
        return -(pulled[:, None, :] @ slope)[:, 0]

    def hessian(self, e: np.ndarray) -> np.ndarray:
        """In v, at errors u - v of shape ``(N, 2)``: ``(N, 2, 2)``."""
        slope, pulled, matrix = self._parts(e)
        mixed = e[:, :, None] * (pulled[:, None, :] @ matrix)
        bending = _dot(pulled, self.rotated(e))[:, None, None] * np.eye(2) + mixed + np.swapaxes(mixed, 1, 2)
        return np.swapaxes(slope, 1, 2) @ self.weight @ slope + 2.0 * self.omega[:, None, None] * bending

    def _parts(self, e: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The derivative of f(u) - f(v) in e, K times this difference, and R."""
        turned, square = self.rotated(e), self.omega * _dot(e, e)
        cosine, sine = np.cos(self.phi), np.sin(self.phi)
        matrix = np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)
        outer = 2.0 * self.omega[:, None, None] * turned[:, :, None] * e[:, None, :]
        slope = np.eye(2) + square[:, None, None] * matrix + outer
        return slope, (e + square[:, None] * turned) @ self.weight, matrix


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=-1)


class Followed(NamedTuple):
    """What a method did.

    Attributes:
        coefficients: v from the start on, shape ``(T + 1, N, 2)``.
        losses: shape ``(T + 1, N)``; infinity from where it diverged on.
    """

    coefficients: np.ndarray
    losses: np.ndarray

    def one(self, number: int) -> Followed:
        """A single one of them, N = 1."""
        return Followed(self.coefficients[:, [number]], self.losses[:, [number]])

    def steps_to(self, level: float) -> np.ndarray:
        """Steps to a loss, shape ``(N,)``: infinity where it is never reached."""
        below = self.losses <= level
        return np.where(below.any(axis=0), below.argmax(axis=0), np.inf)


def follow(
    method: str,
    batch: Batch,
    beta: np.ndarray,
    rate: np.ndarray | None,
    *,
    steps: int,
    whole: bool = False,
) -> Followed:
    """Follows a method on every loss of a batch from the same first function, until all losses are below the level.

    Args:
        method: one of :data:`METHODS`.
        batch: the losses.
        beta: of the momentum, shape ``(N,)``.
        rate: alpha, shape ``(N,)``; None to search for it in every step among :data:`SEARCHED`.
        steps: at most so many.
        whole: whether a search is for a factor of the gradient and of the momentum together.
    """
    plane, theta = quadratic_plane(), np.tile(start_of(START), (len(beta), 1))
    values, jacobian = plane.values(theta), plane.jacobian(theta)
    path, losses, last = [values], [batch.loss(plane.target - values)], np.zeros_like(theta)
    before: tuple[np.ndarray, np.ndarray] | None = None
    before_jacobian, least = jacobian, losses[0]
    tried = (np.array(SEARCHED)[:, None] if rate is None else rate[None, :])[..., None]
    for _ in range(steps):
        gradient, carried = batch.gradient(plane.target - values), np.zeros_like(theta)
        metric = batch.hessian(plane.target - values) if method == "NHGD" else None
        direction = -_preconditioned(method, jacobian, gradient, metric)
        if before is not None and method in MOMENTA:
            functions = {"LM": _pushed(before_jacobian, last), "FD": values - before[0], "LG+": before[1]}
            carried = beta[:, None] * _natural(jacobian, functions.get(method, -before[1]))
        ahead = theta + (tried * (carried + direction) if whole else carried + tried * direction)
        with np.errstate(over="ignore", invalid="ignore"):
            reached = np.nan_to_num(batch.loss(plane.target - plane.values(ahead)), nan=np.inf)
        best, each = reached.argmin(axis=0), np.arange(len(theta))
        kept = reached[best, each] < DIVERGED  # one that has diverged stays where it is
        moved = np.where(kept[:, None], ahead[best, each], theta)
        before, before_jacobian, last, theta = (values, gradient), jacobian, moved - theta, moved
        values, jacobian = plane.values(theta), plane.jacobian(theta)
        path.append(values)
        losses.append(np.where(kept & np.isfinite(losses[-1]), reached[best, each], np.inf))
        least = np.minimum(least, losses[-1])
        if np.all((least <= LEVEL) | np.isinf(losses[-1])):
            break
    return Followed(np.array(path), np.array(losses))


def _pushed(jacobian: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return (jacobian @ theta[..., None])[..., 0]


def _natural(jacobian: np.ndarray, function: np.ndarray) -> np.ndarray:
    """G^-1 J^T of functions of shape ``(N, 2)``: their projections on the tangent spaces, in parameters."""
    transposed = np.swapaxes(jacobian, 1, 2)
    return np.linalg.solve(transposed @ jacobian, transposed @ function[..., None])[..., 0]


def _preconditioned(method: str, jacobian: np.ndarray, gradient: np.ndarray, metric: np.ndarray | None) -> np.ndarray:
    """The gradient in parameters, of shape ``(N, 2)``, as the method divides it."""
    if method not in ("GD", "NHGD"):
        return _natural(jacobian, gradient)
    transposed = np.swapaxes(jacobian, 1, 2)
    of_parameters = transposed @ gradient[..., None]
    if metric is not None:
        of_parameters = np.linalg.solve(transposed @ metric @ jacobian, of_parameters)
    return of_parameters[..., 0]


@dataclass(frozen=True)
class OtherLosses:
    """Steps of all methods, by the way in which alpha is chosen, and what is drawn.

    Attributes:
        steps: by protocol and method to a loss of 1e-9, shape ``(angles, strengths, betas)``; infinity for never.
        rates: alpha of each method where it is tuned.
        drawn: of one loss of the grid with one beta, by protocol and method.
        drawn_at: its phi in degrees, omega and beta.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    steps: dict[str, dict[str, np.ndarray]]
    rates: dict[str, float]
    drawn: dict[str, dict[str, Followed]]
    drawn_at: tuple[float, float, float]
    values: Values


@in_double_precision
def other_losses(
    *,
    rate: float = RATE,
    steps: int = 450,
    fewer_steps: int = 200,
    angles: tuple[float, ...] = ANGLES,
    strengths: tuple[float, ...] = STRENGTHS,
    betas: tuple[float, ...] = BETAS,
) -> OtherLosses:
    """Follows all methods on all losses of the grid, with alpha chosen in four ways.

    Args:
        rate: alpha of the protocol "fixed".
        steps: at most so many, with the protocol "fixed".
        fewer_steps: with the other protocols.
        angles: phi in degrees.
        strengths: omega.
        betas: of the momenta.
    """
    shape = (len(angles), len(strengths), len(betas))
    phi, omega, beta = (x.ravel() for x in np.meshgrid(np.deg2rad(angles), strengths, betas, indexing="ij"))
    batch = Batch(phi, omega, np.array(WEIGHT))
    needed: dict[str, dict[str, np.ndarray]] = {FIXED: {}, TUNED: {}, SEARCH: {}, WHOLE: {}}
    drawn: dict[str, dict[str, Followed]] = {FIXED: {}, SEARCH: {}}
    rates, pairs, shown = {}, {}, np.ravel_multi_index([size // 2 for size in shape], shape)
    for method in METHODS:
        # Without momentum beta makes no difference: one of them is enough.
        some = np.arange(len(beta)) if method in MOMENTA else np.arange(0, len(beta), len(betas))
        back = np.searchsorted(some, np.arange(len(beta)), side="right") - 1
        chosen, betas_of = Batch(phi[some], omega[some], batch.weight), beta[some]
        for protocol, alpha in ((FIXED, np.full(len(some), rate)), (SEARCH, None), (WHOLE, None)):
            count = steps if protocol == FIXED else fewer_steps
            found = follow(method, chosen, betas_of, alpha, steps=count, whole=protocol == WHOLE)
            needed[protocol][method] = found.steps_to(LEVEL)[back].reshape(shape)
            if protocol in drawn:
                drawn[protocol][method] = found.one(int(back[shown]))
        found = follow(
            method,
            Batch(np.tile(phi[some], len(RATES)), np.tile(omega[some], len(RATES)), batch.weight),
            np.tile(betas_of, len(RATES)),
            np.repeat(RATES, len(some)),
            steps=fewer_steps,
        )
        every = found.steps_to(LEVEL).reshape(len(RATES), -1)[:, back].reshape(len(RATES), *shape)
        best = int(np.argmin(np.median(every, axis=(1, 2, 3))))
        rates[method], needed[TUNED][method] = RATES[best], every[best]
        pairs[method] = float(np.median(every, axis=(1, 2)).min())
    middle = (angles[shape[0] // 2], strengths[shape[1] // 2], betas[shape[2] // 2])
    return OtherLosses(needed, rates, drawn, middle, _values(needed, rates, pairs, betas) | _of_the_loss(batch))


def _values(
    needed: dict[str, dict[str, np.ndarray]], rates: dict[str, float], pairs: dict[str, float], betas: tuple[float, ...]
) -> Values:
    """Medians over the losses, and over beta where nothing else is said; gains are steps of NGD over those of LM."""
    medians = {name: {method: float(np.median(all_)) for method, all_ in of.items()} for name, of in needed.items()}
    by_beta = {name: np.median(of["LM"], axis=(0, 1)) for name, of in needed.items()}
    values: Values = {f"median_steps_{name}": of for name, of in medians.items()}
    values |= {
        f"median_steps_of_LM_{name}": {f"{beta:g}": float(x) for beta, x in zip(betas, of, strict=True)}
        for name, of in by_beta.items()
    }
    values |= {f"gain_{name}": _ratio(of["NGD"], of["LM"]) for name, of in medians.items()}
    best = {name: _ratio(medians[name]["NGD"], float(of.min())) for name, of in by_beta.items() if name != TUNED}
    return values | {
        "gain_at_best_beta": best,
        "gain_with_rate_and_beta_tuned": _ratio(pairs["NGD"], pairs["LM"]),
        "tuned_rates": rates,
        "steps_with_rate_and_beta_tuned": pairs,
        "descent_over_natural": _ratio(medians[SEARCH]["GD"], medians[SEARCH]["NGD"]),
        "arrived": {method: float(np.mean(np.isfinite(all_))) for method, all_ in needed[FIXED].items()},
        "arrived_as_printed": float(np.mean(np.isfinite(needed[FIXED]["LG+"]))),
    }


def _ratio(one: float, other: float) -> float:
    """Of two numbers of steps; one if neither arrives."""
    return 1.0 if np.isinf(one) and np.isinf(other) else one / other


def _of_the_loss(batch: Batch) -> Values:
    """Whether the printed f gives the loss, and how far its natural gradients are from the direction of the target."""
    target, start = np.zeros(2), np.tile(START, (len(batch.phi), 1))
    e = target - start

    def f(v: np.ndarray) -> np.ndarray:
        q = batch.rotated(target - v) + v
        return (1.0 + batch.omega * _dot(v - q, v - q))[:, None] * (v - q) + q

    printed = f(np.broadcast_to(target, start.shape)) - f(start)
    simplified = e + (batch.omega * _dot(e, e))[:, None] * batch.rotated(e)

    def angle(weight: np.ndarray) -> np.ndarray:
        """In degrees, between e and the natural gradient with the Hessian of the loss 1/2 |u - v|_K^2."""
        step = -batch._replace(weight=weight).gradient(e) @ np.linalg.inv(weight)
        cross = step[:, 0] * e[:, 1] - step[:, 1] * e[:, 0]
        return np.rad2deg(np.abs(np.arctan2(cross, _dot(step, e))))

    return {
        "difference_from_simplified": float(np.max(np.abs(printed - simplified))),
        "least_angle": float(angle(batch.weight).min()),
        "largest_angle_where_isotropic": float(angle(np.eye(2)).max()),
    }
