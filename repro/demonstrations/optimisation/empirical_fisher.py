"""What the empirical Fisher matrix does to a gradient, and how far it is from the Fisher matrix at the minimum.

After figures 1 and 2 and the appendix of F. Kunstner, L. Balles, P. Hennig, NeurIPS 2019 (arXiv:1905.12558), with the
data sets of the authors' published code. Their code adds a weak prior of the weights to the linear models; here as in
the paper's text there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.fisher_kinds import FisherKind, dense, fisher
from repro.problems.supervised import Minibatch, Supervised

Data = tuple[np.ndarray, np.ndarray]
"""Inputs with their constant column, shape ``(S, 2)``, and targets ``(S, 1)``."""
STARTS = ((2.0, 4.5), (1.0, 0.0), (4.5, 3.0), (-0.5, 3.0))
"""Of the flows, (intercept, slope): those of the figure's code."""
GAINS = {"gradient-descent": 1.0 / 3.0, "natural-gradient": 1.0, "empirical-fisher": 3.0}
"""By which the authors multiply the vector of each method."""
NEAR, FAR = 1.0, 4.0
"""Distances from the minimum, in (intercept, slope), at which steps are compared: the largest are about at 1."""


def linear_model(loss: str) -> Supervised:
    """The model z = x . theta with one output; theta of shape ``(2,)``."""
    return Supervised(lambda theta, x: (x @ theta)[:, None], loss)


def gradient(problem: Supervised, theta: Array, data: tuple[Array, Array]) -> Array:
    """Of the mean loss, shape ``(2,)``."""
    return problem.evaluate(theta, Minibatch(None, jax.random.key(0)), data).gradient


def minimum(problem: Supervised, data: tuple[Array, Array], steps: int = 12) -> np.ndarray:
    """Where the mean loss is smallest, by natural gradients, which are Newton steps for these models.

    Args:
        problem: of :func:`linear_model`.
        data: inputs and targets.
        steps: at most; each step is halved until the loss does not rise.
    """

    def loss(theta: Array) -> Array:
        return jnp.mean(problem.evaluate(theta, Minibatch(None, jax.random.key(0)), data).values)

    def advance(theta: Array, _: None) -> tuple[Array, None]:
        matrix = dense(fisher(FisherKind.EXACT, problem, theta, data), 2)
        step = -jnp.linalg.solve(matrix, gradient(problem, theta, data))
        lengths = 0.5 ** jnp.arange(10)
        losses = jax.vmap(lambda length: loss(theta + length * step))(lengths)
        return theta + lengths[jnp.argmin(losses)] * step, None

    return np.asarray(jax.jit(lambda start: jax.lax.scan(advance, start, None, length=steps)[0])(jnp.zeros(2)))


@dataclass(frozen=True)
class VectorFields:
    """What is drawn of the fields.

    Attributes:
        inputs: x, shape ``(S,)``.
        targets: y, shape ``(S,)``.
        minimum: (intercept, slope) of least squares.
        grid: values of each weight, shape ``(G,)``.
        fields: by method, shape ``(G, G, 2)``, the first axis for the intercept; without the gains.
        flows: by method one path for each of :data:`STARTS`, shape ``(T, 2)``; with the gains.
        losses: mean loss on the grid, shape ``(G, G)``.
        radii: distances from the minimum, shape ``(R,)``; the first two are :data:`NEAR` and :data:`FAR`.
        rays: the fields there by method, in a number of directions, shape ``(R, D, 2)``; without the gains.
    """

    inputs: np.ndarray
    targets: np.ndarray
    minimum: np.ndarray
    grid: np.ndarray
    fields: dict[str, np.ndarray]
    flows: dict[str, list[np.ndarray]]
    losses: np.ndarray
    radii: np.ndarray
    rays: dict[str, np.ndarray]

    @property
    def points(self) -> np.ndarray:
        """Of the grid, shape ``(G, G, 2)``."""
        return np.stack(np.meshgrid(self.grid, self.grid, indexing="ij"), axis=-1)

    def lengths(self, method: str) -> np.ndarray:
        """Of a method's steps at each distance and in each direction, with the gain, shape ``(R, D)``."""
        return GAINS[method] * np.linalg.norm(self.rays[method], axis=-1)

    @property
    def values(self) -> Values:
        """The numbers that claims rest on."""
        exact, empirical = self.fields["natural-gradient"], self.fields["empirical-fisher"]
        between = cosines(empirical, exact)
        around = cosines(self.rays["empirical-fisher"], self.rays["natural-gradient"])
        near, far = self.lengths("empirical-fisher")[:2]
        return {
            "theta_star": [float(one) for one in self.minimum],
            "natural_gradient_cosine_min": float(cosines(exact, self.minimum - self.points).min()),
            "cosine_min": float(between.min()),
            "cosine_median": float(np.median(between)),
            "fraction_below_half": float(np.mean(between < 0.5)),
            "cosine_near_min": float(around[np.argmin(self.radii)].min()),
            "length_far_over_near_max": float(np.max(far / near)),
            "length_far_over_near_median": float(np.median(far / near)),
        }


def cosines(field: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between the vectors of two fields, of shapes ``(..., 2)``; shape ``(...)``."""
    return np.sum(field * other, -1) / np.linalg.norm(field, axis=-1) / np.linalg.norm(other, axis=-1)


def lognormal_line(count: int) -> Data:
    """Y = 2 + 2 x + N(0, 1) with x lognormal(0, 0.75), from NumPy's old generator with seed 0: x first, then noise."""
    drawn = np.random.RandomState(0)
    x = drawn.lognormal(0.0, 0.75, (count, 1))
    return np.hstack([np.ones((count, 1)), x]), 2.0 + 2.0 * x + drawn.standard_normal((count, 1))


def directions(problem: Supervised, data: tuple[Array, Array], damping: float) -> dict[str, Callable[[Array], Array]]:
    """By method the direction at theta: -g, -F^-1 g and -(empirical F)^-1 g, each matrix with the damping added."""

    def solved(kind: FisherKind, theta: Array) -> Array:
        matrix = dense(fisher(kind, problem, theta, data), 2) + damping * jnp.eye(2)
        return -jnp.linalg.solve(matrix, gradient(problem, theta, data))

    return {
        "gradient-descent": lambda theta: -gradient(problem, theta, data),
        "natural-gradient": lambda theta: solved(FisherKind.EXACT, theta),
        "empirical-fisher": lambda theta: solved(FisherKind.EMPIRICAL, theta),
    }


@in_double_precision
def vector_fields(
    *, samples: int = 1000, points: int = 15, damping: float = 1e-8, step: float = 0.001, steps: int = 6000
) -> VectorFields:
    """The directions of three methods in a linear regression with two weights, and their flows.

    Args:
        samples: of the data.
        points: of the grid along each weight, on [-1, 5].
        damping: added to both matrices.
        step: of the flows.
        steps: of the flows; the authors make 50,000.
    """
    inputs, targets = lognormal_line(samples)
    data = jnp.asarray(inputs), jnp.asarray(targets)
    problem = linear_model("squared-error")
    methods = directions(problem, data, damping)
    best, grid = minimum(problem, data), np.linspace(-1.0, 5.0, points)
    nodes = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    radii = np.concatenate([[NEAR, FAR], np.geomspace(0.05, 10.0, 40)])
    angles = np.arange(24) * np.pi / 12.0
    rays = best + radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    at_nodes, at_rays = ({name: _field(of, points) for name, of in methods.items()} for points in (nodes, rays))
    return VectorFields(
        inputs[:, 1],
        targets[:, 0],
        best,
        grid,
        at_nodes,
        {name: _flow(of, step * GAINS[name], steps) for name, of in methods.items()},
        0.5 * np.mean((targets[:, 0] - nodes @ inputs.T) ** 2, axis=-1),
        radii,
        at_rays,
    )


def _field(direction: Callable[[Array], Array], points: np.ndarray) -> np.ndarray:
    """A direction at many points, shape ``(..., 2)``."""
    return np.asarray(jax.jit(jax.vmap(direction))(jnp.asarray(points.reshape(-1, 2)))).reshape(points.shape)


def _flow(direction: Callable[[Array], Array], step: float, steps: int) -> list[np.ndarray]:
    """Paths of so many steps from :data:`STARTS`, shape ``(steps + 1, 2)`` each."""

    def advance(theta: Array, _: None) -> tuple[Array, Array]:
        found = theta + step * jax.vmap(direction)(theta)
        return found, found

    paths = np.asarray(jax.jit(lambda start: jax.lax.scan(advance, start, None, length=steps)[1])(jnp.array(STARTS)))
    return [np.concatenate([[start], paths[:, index]]) for index, start in enumerate(STARTS)]


class Case(NamedTuple):
    """A data set and the model that is fitted to it.

    Attributes:
        loss: of :data:`repro.problems.losses.LOSSES`.
        correct: whether some weights of the model give the distribution of the data.
        make: of the number of samples and a generator, the data.
    """

    loss: str
    correct: bool
    make: Callable[[int, np.random.RandomState], Data]


def _two_classes(first: np.ndarray, second: np.ndarray, mean: float) -> Callable[[int, np.random.RandomState], Data]:
    """Half of the samples around (mean, mean), labelled 0, and half around its negative, labelled 1.

    Args:
        first: by which standard normal numbers of the first class are multiplied, shape ``(2, 2)``.
        second: of the second class.
        mean: of either coordinate of the first class.
    """

    def make(count: int, drawn: np.random.RandomState) -> Data:
        half = count // 2
        rows = [mean + drawn.standard_normal((half, 2)) @ first, -mean + drawn.standard_normal((half, 2)) @ second]
        return np.vstack(rows), np.repeat([[0.0], [1.0]], half, axis=0)

    return make


def _line(noise: float, square: float) -> Callable[[int, np.random.RandomState], Data]:
    """Y = 1 + x + square x^2 + noise N(0, 1) with x from N(0, 1)."""

    def make(count: int, drawn: np.random.RandomState) -> Data:
        x = drawn.standard_normal((count, 1))
        y = 1.0 + x + square * x**2 + noise * drawn.standard_normal((count, 1))
        return np.hstack([x, np.ones((count, 1))]), y

    return make


SHEAR = np.array([[1.0, -0.6], [-0.6, 1.0]])
CASES = {
    "logistic, correct": Case("bernoulli", True, _two_classes(2.0 * np.eye(2), 2.0 * np.eye(2), 1.0)),
    "logistic, unequal covariances": Case("bernoulli", False, _two_classes(3.0 * np.eye(2), np.eye(2), 1.5)),
    "logistic, sheared": Case("bernoulli", False, _two_classes(1.5 * SHEAR, 1.5 * np.abs(SHEAR), 1.0)),
    "linear, correct": Case("squared-error", True, _line(1.0, 0.0)),
    "linear, noise 2": Case("squared-error", False, _line(2.0, 0.0)),
    "linear, x^2/2": Case("squared-error", False, _line(1.0, 0.5)),
}
"""The data sets of the authors' code. Logistic models have no intercept."""


class Comparison(NamedTuple):
    """Both matrices at the minimum.

    Attributes:
        data: inputs ``(S, 2)`` and targets ``(S, 1)``.
        minimum: theta, shape ``(2,)``.
        exact: the Fisher matrix, shape ``(2, 2)``.
        empirical: the empirical one.
    """

    data: Data
    minimum: np.ndarray
    exact: np.ndarray
    empirical: np.ndarray

    @property
    def eigenvalues(self) -> np.ndarray:
        """Of F^-1 (empirical F), ascending, shape ``(2,)``: all 1 where both agree."""
        return np.sort(np.linalg.eigvals(np.linalg.solve(self.exact, self.empirical)).real)


@dataclass(frozen=True)
class Misspecification:
    """What is drawn of the matrices at the minimum.

    Attributes:
        comparisons: by data set and number of samples.
    """

    comparisons: dict[tuple[str, int], Comparison]

    @property
    def values(self) -> Values:
        """The numbers that claims rest on; a data set and N are told as "linear, noise 2, N = 1000"."""
        found = {f"{name}, N = {count}": one.eigenvalues for (name, count), one in self.comparisons.items()}
        off = {name: np.abs(of - 1.0).max() for name, of in found.items()}
        wrong = {name: float(off[name]) for name in off if not _case_of(name).correct}
        correct = {
            f"correct_off_{count}": {
                f"{name}, N = {count}": float(off[f"{name}, N = {count}"])
                for name, of in self.comparisons
                if of == count and CASES[name].correct
            }
            for count in sorted({count for _, count in self.comparisons})
        }
        eigenvalues = {f"{name}, [{index}]": float(one) for name, of in found.items() for index, one in enumerate(of)}
        return {"eigenvalues": eigenvalues, **correct, "misspecified_off": wrong}


def _case_of(told: str) -> Case:
    return CASES[told.rsplit(", N = ", 1)[0]]


def compared(case: Case, count: int, seed: int) -> Comparison:
    """Both matrices of a data set at the minimum of the mean loss."""
    inputs, targets = case.make(count, np.random.RandomState(seed))
    data, problem = (jnp.asarray(inputs), jnp.asarray(targets)), linear_model(case.loss)
    best = minimum(problem, data)

    def matrix(kind: FisherKind) -> np.ndarray:
        at_best = jax.jit(lambda theta: dense(fisher(kind, problem, theta, data), 2))
        return np.asarray(at_best(jnp.asarray(best)))

    return Comparison((inputs, targets), best, matrix(FisherKind.EXACT), matrix(FisherKind.EMPIRICAL))


@in_double_precision
def at_the_minimum(*, counts: tuple[int, ...] = (1000, 100_000), seed: int = 0) -> Misspecification:
    """The Fisher and the empirical Fisher matrix at the minimum, for models that can and cannot give the data.

    Args:
        counts: numbers of samples, even.
        seed: of NumPy's old generator, anew for each data set.
    """
    return Misspecification({(name, count): compared(CASES[name], count, seed) for name in CASES for count in counts})
