"""Three ways to one step: Newton's method solves a linearised equation, and it minimises a quadratic model.

With C positive definite in place of the Hessian, -C^-1 g goes downhill. With an indefinite Hessian it may go uphill.
(Second lecture, slides "Minimizing Quadratic Approximations".)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import solve

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.optimisation.stepping import Function, Step, newton
from repro.solvers import conjugate_gradients, minres


@dataclass(frozen=True)
class OneDimension:
    """A step of Newton's method on a function J of one variable.

    Attributes:
        grid: of x, shape ``(N,)``.
        cost: J on the grid.
        model: the quadratic approximation on the grid.
        slope: J' on the grid.
        tangent: the linearisation of J' on the grid.
        start: x_0, J, and J' there.
        end: x, the model's value, and zero there: where the tangent has its root.
    """

    grid: np.ndarray
    cost: np.ndarray
    model: np.ndarray
    slope: np.ndarray
    tangent: np.ndarray
    start: tuple[float, float, float]
    end: tuple[float, float, float]


@dataclass(frozen=True)
class NewtonStep:
    """A step in one dimension to look at, and directions in many.

    Attributes:
        one: the step in one dimension.
        cosines: between the gradient and -C^-1 g of all draws, for C "definite" and "indefinite".
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    one: OneDimension
    cosines: dict[str, np.ndarray]
    values: Values


def hills(shape: Array, offsets: Array) -> Function:
    """Sum of ln cosh over the rows of A w - b, plus |w|^2 / 20: strictly convex, and not quadratic."""
    return lambda w: jnp.sum(jnp.log(jnp.cosh(shape @ w - offsets))) + 0.05 * jnp.sum(w**2)


@in_double_precision
def step_three_ways(*, size: int = 8, draws: int = 1000, start: float = -0.5, seed: int = 0) -> NewtonStep:
    """Compares the three steps in ``size`` dimensions, and counts the directions that go downhill.

    Args:
        size: of the vectors.
        draws: of matrices and gradients.
        start: of the step in one dimension, which is drawn.
        seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    function = hills(jnp.asarray(rng.normal(size=(2 * size, size))), jnp.asarray(rng.normal(size=2 * size)))
    point = jnp.asarray(0.5 * rng.normal(size=size))
    ways: dict[str, Step] = {"formula": newton(function), "root": partial(root_of_linearised_gradient, function)}
    ways["minimum"] = partial(minimum_of_model, function)
    ends = {name: jax.jit(way)(point) for name, way in ways.items()}
    scale = float(jnp.linalg.norm(ends["formula"] - point))
    apart = {name: float(jnp.linalg.norm(end - ends["formula"])) / scale for name, end in ends.items()}
    cosines = {kind: directions(rng, size, draws, definite=kind == "definite") for kind in ("definite", "indefinite")}
    values: Values = {
        "root_apart": apart["root"],
        "minimum_apart": apart["minimum"],
        "share_downhill": float(np.mean(cosines["definite"] < 0.0)),
        "share_uphill_indefinite": float(np.mean(cosines["indefinite"] > 0.0)),
        "counterexample_slope": counterexample(),
    }
    return NewtonStep(in_one_dimension(start), cosines, values)


def root_of_linearised_gradient(function: Function, point: Array) -> Array:
    """The w with grad J(w_0) + H (w - w_0) = 0, by MINRES, which sees only the linearisation."""
    gradient, push = jax.linearize(jax.grad(function), point)
    return point + minres(push, -gradient, iterations=4 * point.size, tolerance=1e-15).x


def minimum_of_model(function: Function, point: Array) -> Array:
    """The minimiser of the second-order Taylor polynomial of J, by conjugate gradients on the polynomial itself.

    The polynomial is made of derivatives along a line, not of the gradient's linearisation; of it CG sees gradients.
    """

    def model(move: Array) -> Array:
        def along(where: Array) -> Array:
            return jax.jvp(function, (where,), (move,))[1]

        first, second = jax.jvp(along, (point,), (move,))
        return first + 0.5 * second

    slope = jax.grad(model)
    at_zero = slope(jnp.zeros_like(point))
    found = conjugate_gradients(lambda v: slope(v) - at_zero, -at_zero, iterations=4 * point.size, progress=0.0)
    return point + found.x


def directions(rng: np.random.Generator, size: int, draws: int, *, definite: bool) -> np.ndarray:
    """Cosines between the gradient and -C^-1 g, shape ``(draws,)``.

    Args:
        rng: of gradients with entries from N(0, 1), and of the matrices.
        size: of the matrices.
        draws: how many.
        definite: C = B B^T + 1e-3 with entries of B from N(0, 1); else the symmetric part of B, which has eigenvalues
            of both signs unless by a rare chance.
    """
    cosines = np.empty(draws)
    for draw in range(draws):
        factor, gradient = rng.normal(size=(size, size)), rng.normal(size=size)
        matrix = factor @ factor.T + 1e-3 * np.eye(size) if definite else 0.5 * (factor + factor.T)
        step = -solve(matrix, gradient, assume_a="pos" if definite else "sym")
        cosines[draw] = gradient @ step / (np.linalg.norm(gradient) * np.linalg.norm(step))
    return cosines


def counterexample() -> float:
    """g^T d > 0 of Newton's direction d = -H^-1 g for H = diag(2, -1) and g = (1, 1): it goes uphill."""
    gradient = np.array([1.0, 1.0])
    return float(gradient @ -np.linalg.solve(np.diag([2.0, -1.0]), gradient))


def in_one_dimension(start: float) -> OneDimension:
    """J(x) = ln cosh 2x + x^2 / 20 - x / 2, and the step from a start."""

    def function(x: Array) -> Array:
        return jnp.log(jnp.cosh(2.0 * x)) + 0.05 * x**2 - 0.5 * x

    grid = np.linspace(-2.0, 2.5, 301)
    first = jax.grad(function)
    derivatives = [jax.jit(jax.vmap(each)) for each in (function, first, jax.grad(first))]
    value, slope, curvature = (float(each(np.array([start]))[0]) for each in derivatives)
    move = grid - start
    return OneDimension(
        grid=grid,
        cost=np.asarray(derivatives[0](grid)),
        model=value + slope * move + 0.5 * curvature * move**2,
        slope=np.asarray(derivatives[1](grid)),
        tangent=slope + curvature * move,
        start=(start, value, slope),
        end=(start - slope / curvature, value - 0.5 * slope**2 / curvature, 0.0),
    )
