"""The Fisher matrix by its definition, by drawn targets and as a Gauss-Newton matrix; and as the curvature of the KL.

F = E_x E_{y ~ p(y | x)}[s s^T], s = d ln p(y | x) / d theta (lecture, slide "Fisher Information Matrix"), and
KL(p_theta || p_{theta + d}) = 1/2 d^T F d + O(|d|^3) (slide "The second-order Taylor approximation to the KL
divergence"; J. Martens, J. Mach. Learn. Res. 21, 146 (2020)). The network here is small enough to add up all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.fisher_kinds import FisherKind, dense, fisher
from repro.problems.supervised import Supervised

SIZES = (5, 6, 4)
"""Inputs, hidden units and classes."""
ZERO = 1e-12
"""Smaller eigenvalues, relative to the largest, are zero up to rounding."""


class Model(NamedTuple):
    """A softmax classifier at some weights, with inputs ``(S, 5)`` and labels ``(S,)`` drawn at random."""

    problem: Supervised
    params: Any
    data: tuple[Array, Array]


@dataclass(frozen=True)
class FisherMatrix:
    """What is drawn.

    Attributes:
        matrices: by kind, shape ``(P, P)``.
        by_definition: the sum over all classes, shape ``(P, P)``.
        deviations: of the entries of the Monte Carlo estimate, in standard errors, for one triangle and the diagonal.
        sizes: |d|, shape ``(D,)``.
        divergences: mean KL over directions, shape ``(D,)``.
        remainders: of KL less 1/2 d^T M d, by kind of M: root mean square over the directions, shape ``(D,)``.
    """

    matrices: dict[FisherKind, np.ndarray]
    by_definition: np.ndarray
    deviations: np.ndarray
    sizes: np.ndarray
    divergences: np.ndarray
    remainders: dict[FisherKind, np.ndarray]

    @property
    def eigenvalues(self) -> dict[FisherKind, np.ndarray]:
        """Of each matrix, the largest first, shape ``(P,)``."""
        return {kind: np.linalg.eigvalsh(matrix)[::-1] for kind, matrix in self.matrices.items()}

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        exact, empirical = self.matrices[FisherKind.EXACT], self.matrices[FisherKind.EMPIRICAL]
        slopes = {kind: np.polyfit(np.log(self.sizes), np.log(of), 1)[0] for kind, of in self.remainders.items()}
        spectra = self.eigenvalues
        positive = spectra[FisherKind.EXACT] > ZERO * spectra[FisherKind.EXACT][0]
        return {
            "gauss_newton_difference": float(np.abs(exact - self.by_definition).max() / np.abs(exact).max()),
            "monte_carlo_deviation": float(np.abs(self.deviations).max()),
            "monte_carlo_deviation_rms": float(np.sqrt(np.mean(self.deviations**2))),
            "smallest_eigenvalue": {kind.value: float(of[-1] / of[0]) for kind, of in spectra.items()},
            "zero_eigenvalues": float(np.sum(~positive)),
            "remainder_slope": float(slopes[FisherKind.EXACT]),
            "remainder_slope_empirical": float(slopes[FisherKind.EMPIRICAL]),
            "empirical_distance": float(np.linalg.norm(empirical - exact) / np.linalg.norm(exact)),
        }


def small_model(seed: int, samples: int) -> Model:
    """A tanh network of the sizes 5-6-4, at weights and biases well away from zero."""
    keys = jax.random.split(jax.random.key(seed), 3)
    inputs = jax.random.normal(keys[0], (samples, SIZES[0]))
    network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(SIZES[1:], activation=jnp.tanh)(x)))
    flat, restore = ravel_pytree(network.init(keys[1], inputs))
    params = restore(flat + 0.3 * jax.random.normal(keys[2], flat.shape))
    labels = jax.random.randint(jax.random.key(seed + 1), (samples,), 0, SIZES[-1])
    return Model(Supervised(network.apply, "softmax"), params, (inputs, labels))


def by_definition(model: Model) -> np.ndarray:
    """E_x sum_y p(y | x) s s^T, with the score s of every class from ``jax.grad``; shape ``(P, P)``."""
    theta, restore = ravel_pytree(model.params)

    def log_probabilities(flat: Array, x: Array) -> Array:
        return jax.nn.log_softmax(model.problem.apply(restore(flat), x[None])[0])

    def of_sample(x: Array) -> Array:
        scores = jax.jacrev(log_probabilities)(theta, x)
        return scores.T @ (jnp.exp(log_probabilities(theta, x))[:, None] * scores)

    return np.asarray(jnp.mean(jax.vmap(of_sample)(model.data[0]), axis=0))


def divergence(model: Model, flat: Array) -> Array:
    """E_x KL(p_theta || p_flat) in nats, from the weights of the model to others, shape ``(P,)``."""
    theta, restore = ravel_pytree(model.params)
    here, there = (jax.nn.log_softmax(model.problem.apply(restore(at), model.data[0])) for at in (theta, flat))
    return jnp.mean(jnp.sum(jnp.exp(here) * (here - there), axis=1))


def drawn_matrices(model: Model, repeats: int, draws: int, seed: int) -> np.ndarray:
    """Independent Monte Carlo estimates, shape ``(repeats, P, P)``, each of so many targets for every input."""
    weights = ravel_pytree(model.params)[0].size

    def estimate(key: Array) -> Array:
        drawn = fisher(FisherKind.MC, model.problem, model.params, model.data, draws=draws, key=key)
        return dense(drawn, weights)

    return np.asarray(
        jax.jit(lambda keys: jax.lax.map(estimate, keys))(jax.random.split(jax.random.key(seed), repeats))
    )


@in_double_precision
def fisher_matrix(
    *, seed: int = 0, samples: int = 40, repeats: int = 200, draws: int = 5, directions: int = 20
) -> FisherMatrix:
    """The matrices of a 5-6-4 softmax network with 64 weights, and the KL divergence along random directions.

    Args:
        seed: of weights, inputs, labels and everything drawn.
        samples: inputs, N(0, 1).
        repeats: independent Monte Carlo estimates; their scatter gives the standard errors.
        draws: targets of each input in each of them.
        directions: uniform on the sphere.
    """
    model = small_model(seed, samples)
    theta = ravel_pytree(model.params)[0]
    drawn = drawn_matrices(model, repeats, draws, seed + 2)
    matrices = {
        kind: np.asarray(dense(fisher(kind, model.problem, model.params, model.data), theta.size))
        for kind in (FisherKind.EXACT, FisherKind.EMPIRICAL)
    }
    matrices[FisherKind.MC] = drawn.mean(0)
    triangle = np.tril_indices(drawn.shape[1])
    errors = drawn.std(0, ddof=1)[triangle] / np.sqrt(repeats)
    deviations = (matrices[FisherKind.MC] - matrices[FisherKind.EXACT])[triangle] / errors
    sizes = 0.2 / 2.0 ** np.arange(7)
    along = np.random.default_rng(seed).normal(size=(directions, theta.size))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    steps = sizes[:, None, None] * along
    of_step = jax.jit(jax.vmap(lambda step: divergence(model, theta + step)))
    exact = np.asarray(of_step(jnp.asarray(steps.reshape(-1, theta.size)))).reshape(steps.shape[:2])
    remainders = {
        kind: np.sqrt(np.mean((exact - 0.5 * np.einsum("sdp,pq,sdq->sd", steps, of, steps)) ** 2, axis=1))
        for kind, of in matrices.items()
    }
    return FisherMatrix(matrices, by_definition(model), deviations, sizes, exact.mean(1), remainders)
