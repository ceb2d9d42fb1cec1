"""The eigenvalues of the Hessian of a small classifier along its training: all of them, and by stochastic Lanczos.

A random vector v with entries +-1 has E[v^T f(H) v] = tr f(H). After m steps, Lanczos' method from v gives a
tridiagonal matrix with eigenvalues theta_i and first components tau_i of its eigenvectors, and

    v^T f(H) v ~ |v|^2 sum_i tau_i^2 f(theta_i),

exact for polynomials up to the degree 2 m - 1 (G. Golub, J. Welsch, Math. Comput. 23, 221 (1969); for networks
B. Ghorbani, S. Krishnan, Y. Xiao, ICML 2019; Z. Yao et al., arXiv:1912.07145). So the weights tau_i^2 at theta_i are a
spectral density, of which no matrix is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from matfree import decomp

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.digit_networks import Classifier, classifier, trained
from repro.demonstrations.optimisation.digits import digits

BULK = 0.01
"""Eigenvalues below this fraction of the largest, in modulus, are the bulk."""
TOP = 10
"""Largest eigenvalues that are compared."""
COLUMNS = 57
"""Columns of the Hessian that are computed together."""

Product = Callable[[Array], Array]


@dataclass(frozen=True)
class Lanczos:
    """The spectral density as points with weights, one set for each random vector.

    Attributes:
        points: theta, shape ``(probes, m)``, ascending.
        weights: tau^2, shape ``(probes, m)``; each row sums to 1.
        size: the number of eigenvalues that the weights stand for.
    """

    points: np.ndarray
    weights: np.ndarray
    size: int

    @property
    def traces(self) -> np.ndarray:
        """v^T H v of each probe, an unbiased estimate of the trace each."""
        return self.size * np.sum(self.weights * self.points, axis=1)

    def share_below(self, at: np.ndarray) -> np.ndarray:
        """The estimated share of eigenvalues that are at most ``at``, of the shape of ``at``."""
        order = np.argsort(self.points, axis=None)
        points, weights = self.points.ravel()[order], self.weights.ravel()[order]
        total = np.concatenate([[0.0], np.cumsum(weights)]) / len(self.points)
        return total[np.searchsorted(points, at, side="right")]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues at one moment of the training.

    Attributes:
        step: of Adam.
        loss: in nats.
        eigenvalues: all of them, ascending.
        lanczos: the estimate.
        trace_variance: of v^T H v over the random vectors, from the dense Hessian: 2 sum_{i != j} H_ij^2.
    """

    step: int
    loss: float
    eigenvalues: np.ndarray
    lanczos: Lanczos
    trace_variance: float

    @property
    def edge(self) -> float:
        """The modulus that divides the bulk from the eigenvalues that stand out."""
        return BULK * float(np.abs(self.eigenvalues).max())

    @property
    def bulk_share(self) -> float:
        """The share of eigenvalues in the bulk."""
        return float(np.mean(np.abs(self.eigenvalues) < self.edge))

    @property
    def top_share_of_trace(self) -> float:
        """The sum of the largest ten eigenvalues over the trace."""
        return float(self.eigenvalues[-TOP:].sum() / self.eigenvalues.sum())

    @property
    def top_difference(self) -> float:
        """The largest relative difference of the ten largest eigenvalues, dense against the best of all probes."""
        exact = self.eigenvalues[-TOP:]
        found = np.max(np.sort(self.lanczos.points, axis=1)[:, -TOP:], axis=0)
        return float(np.max(np.abs(found - exact) / exact))

    def distribution_difference(self, outside: bool) -> float:
        """The largest difference of the two distribution functions, outside of the bulk or everywhere.

        Midway between neighbouring eigenvalues, so that a jump at the same place on both sides does not count.
        """
        at = 0.5 * (self.eigenvalues[1:] + self.eigenvalues[:-1])
        exact = np.arange(1, len(self.eigenvalues)) / len(self.eigenvalues)
        kept = np.abs(at) >= self.edge if outside else np.ones(len(at), bool)
        return float(np.max(np.abs(self.lanczos.share_below(at) - exact)[kept]))

    def values(self) -> dict[str, float]:
        """The numbers of this moment, by name."""
        traces = self.lanczos.traces
        return {
            "largest": float(self.eigenvalues[-1]),
            "smallest": float(self.eigenvalues[0]),
            "bulk_share": self.bulk_share,
            "top_share_of_trace": self.top_share_of_trace,
            "top_difference": self.top_difference,
            "distribution_difference": self.distribution_difference(outside=True),
            "distribution_difference_everywhere": self.distribution_difference(outside=False),
            "trace": float(self.eigenvalues.sum()),
            "trace_lanczos": float(traces.mean()),
            "trace_lanczos_error": float(traces.std(ddof=1) / np.sqrt(len(traces))),
            "trace_deviation": float(
                abs(traces.mean() - self.eigenvalues.sum()) / np.sqrt(self.trace_variance / len(traces))
            ),
        }


@dataclass(frozen=True)
class SpectraAlongTraining:
    """What is drawn.

    Attributes:
        spectra: in the order of the steps.
    """

    spectra: tuple[Spectrum, ...]

    @property
    def values(self) -> Values:
        """Of each name the numbers by step, such as "step 1500", and those after training under the plain name.

        The standard error of the trace by Lanczos is ``trace_lanczos_error``.
        """
        found = {f"step {spectrum.step}": spectrum.values() for spectrum in self.spectra}
        last = self.spectra[-1].values()
        by_step = {name: {step: of[name] for step, of in found.items()} for name in last if not name.endswith("_error")}
        return {**last, **{f"{name}_by_step": numbers for name, numbers in by_step.items()}}


def hessian_product(loss: Callable[[Any], Array], params: Any) -> tuple[Product, Array]:
    """V -> H v for the Hessian of a loss, and the flat parameters ``(P,)``: a forward derivative of the gradient."""
    flat, restore = ravel_pytree(params)
    gradient = jax.grad(lambda theta: loss(restore(theta)))
    return lambda v: jax.jvp(gradient, (flat,), (v,))[1], flat


def dense_hessian(product: Product, size: int) -> np.ndarray:
    """The matrix of a product, shape ``(size, size)``, made symmetric: rounding makes it unsymmetric."""
    columns = jax.jit(lambda: jax.lax.map(product, jnp.eye(size), batch_size=COLUMNS))()
    return 0.5 * (np.asarray(columns) + np.asarray(columns).T)


def stochastic_lanczos(product: Product, size: int, depth: int, probes: int, seed: int) -> Lanczos:
    """Lanczos' method with full reorthogonalisation from random vectors of +-1.

    Args:
        product: v -> H v, for vectors of shape ``(size,)``.
        size: P.
        depth: m, the products for each vector, at most P.
        probes: random vectors.
        seed: of the vectors.
    """
    starts = jax.random.rademacher(jax.random.key(seed), (probes, size), jnp.zeros(()).dtype)
    decompose = decomp.tridiag_sym(depth, reortho="full", custom_vjp=False)
    tridiagonal = jax.jit(lambda v: jax.lax.map(lambda one: decompose(product, one).J_small, v))(starts)
    points, vectors = np.linalg.eigh(np.asarray(tridiagonal))
    return Lanczos(points, vectors[:, 0, :] ** 2, size)


def smoothed(points: np.ndarray, weights: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    """A density of Gaussians of one width around weighted points, at a grid.

    Args:
        points: of any shape.
        weights: of the same shape, with sum 1.
        grid: shape ``(G,)``.
        width: standard deviation, positive.
    """
    distance = (grid[:, None] - points.ravel()) / width
    return np.exp(-0.5 * distance**2) @ weights.ravel() / (width * np.sqrt(2.0 * np.pi))


def spectrum_at(model: Classifier, params: Any, step: int, depth: int, probes: int, seed: int) -> Spectrum:
    """Both spectra at some parameters; the arguments are those of :func:`stochastic_lanczos`."""
    product, flat = hessian_product(model.loss, params)
    dense = dense_hessian(product, flat.size)
    lanczos = stochastic_lanczos(product, flat.size, depth, probes, seed)
    variance = 2.0 * float(np.sum(dense**2) - np.sum(np.diag(dense) ** 2))
    return Spectrum(step, float(model.loss(params)), np.linalg.eigvalsh(dense), lanczos, variance)


@in_double_precision
def along_training(
    *,
    hidden: tuple[int, ...] = (16, 16),
    steps: tuple[int, ...] = (0, 100, 500, 1500),
    depth: int = 80,
    probes: int = 10,
    seed: int = 0,
) -> SpectraAlongTraining:
    """The spectra of a tanh network on the 1797 digits while Adam (learning rate 3e-3) trains it on all of them.

    Args:
        hidden: units of each hidden layer.
        steps: at which spectra are computed, in rising order.
        depth: steps of Lanczos' method.
        probes: random vectors of it.
        seed: of the weights and the vectors.
    """
    model = classifier(*digits(), hidden, seed=seed)
    moments = zip(steps, trained(model, steps), strict=True)
    return SpectraAlongTraining(
        tuple(spectrum_at(model, params, step, depth, probes, seed) for step, params in moments)
    )
