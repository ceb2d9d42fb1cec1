"""Taylor's approximation: a hidden function from four printed numbers, a tangent plane, and what is left out.

The expansion about a (lecture, slides "Taylor approximation") is

    T1(x) = f(a) + f'(a) (x - a),        T2(x) = T1(x) + 1/2 f''(a) (x - a)^2.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from repro.demonstrations.base import Values, in_double_precision

PRINTED_AT = 6.0
"""The point of the expansion on the slide "Taylor approximation in Jax"."""
PRINTED = ((6.01, 1, 33.421864), (6.01, 2, 33.422104), (6.5, 1, 44.0067), (6.5, 2, 44.60597))
"""Where, of which order, and what is printed there."""
PRINTED_LINE = "1./2. * grad(grad(f))(theta_0) * (theta - a)**2"
"""The second-order term on the slide, with its Greek letters spelt out."""
PRINTED_NAMES = {"grad", "f", "theta", "theta_0"}
"""What the printed code defines."""
PLANE_AT = (2.0, -1.0)
"""Where the plane touches its surface: an example in the manner of a textbook (OpenStax, Calculus, volume 3)."""

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Expansion:
    """A function of one variable with its tangent and its parabola.

    Attributes:
        x: shape ``(N,)``.
        function: f(x), shape ``(N,)``.
        first: T1(x), shape ``(N,)``.
        second: T2(x), shape ``(N,)``.
        printed: a row each of :data:`PRINTED`, with our number in place of the printed one, shape ``(4, 3)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    x: np.ndarray
    function: np.ndarray
    first: np.ndarray
    second: np.ndarray
    printed: np.ndarray
    values: Values


@dataclass(frozen=True)
class TangentPlane:
    """A surface and the plane that touches it.

    Attributes:
        x: of a grid, shape ``(N,)``.
        y: of a grid, shape ``(N,)``.
        surface: f(x, y), shape ``(N, N)``; rows are y.
        plane: of the same shape.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    x: np.ndarray
    y: np.ndarray
    surface: np.ndarray
    plane: np.ndarray
    values: Values


@dataclass(frozen=True)
class Remainders:
    """What Taylor's approximation leaves out, against the distance.

    Attributes:
        distances: d, shape ``(K,)``, decreasing.
        first: |f(a + d) - T1(a + d)|, shape ``(K,)``.
        second: |f(a + d) - T2(a + d)|, shape ``(K,)``.
        next_terms: |f''| d^2 / 2 and |f'''| d^3 / 6 at a, shape ``(2, K)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    distances: np.ndarray
    first: np.ndarray
    second: np.ndarray
    next_terms: np.ndarray
    values: Values


def hidden_function(x: ArrayLike) -> Array:
    """x^2 + 10 sin x: what the slide calls f, as :func:`coefficients` finds it. Any shape."""
    return jnp.square(x) + 10.0 * jnp.sin(x)


def surface(point: Array) -> Array:
    """2 x^2 - 3 x y + 8 y^2 + 2 x - 4 y + 4 of a point of shape ``(2,)``."""
    x, y = point
    return 2.0 * x**2 - 3.0 * x * y + 8.0 * y**2 + 2.0 * x - 4.0 * y + 4.0


def derivatives(function: Function, point: float, order: int) -> list[Array]:
    """A function and its derivatives up to an order, at a point."""
    found = []
    for _ in range(order + 1):
        found.append(function(jnp.asarray(point, jnp.float64)))
        function = jax.grad(function)
    return found


def taylor(function: Function, point: float, order: int) -> Function:
    """Taylor's polynomial of an order about a point, as a function of arrays of any shape."""
    terms = derivatives(function, point, order)

    def approximation(x: Array) -> Array:
        powers = (term * (x - point) ** k / float(np.prod(range(1, k + 1))) for k, term in enumerate(terms))
        return sum(powers, jnp.zeros_like(x))

    return approximation


def recovered() -> np.ndarray:
    """f(6), f'(6) and f''(6) from the four printed numbers, by least squares; shape ``(3,)``."""
    d = np.array([[x - PRINTED_AT] for x, _, _ in PRINTED])
    curved = np.array([[0.5 * (order == 2)] for _, order, _ in PRINTED])
    design = np.hstack([np.ones_like(d), d, curved * d**2])
    return np.linalg.lstsq(design, np.array([number for *_, number in PRINTED]), rcond=None)[0]


def coefficients() -> np.ndarray:
    """c0 and c1 of c0 x^2 + c1 sin x from the three recovered derivatives, by least squares; shape ``(2,)``.

    The four numbers alone do not fix a function. But three numbers that two coefficients match, and both of them whole,
    leave little doubt.
    """
    a = PRINTED_AT
    design = np.array([[a**2, np.sin(a)], [2.0 * a, np.cos(a)], [2.0, -np.sin(a)]])
    return np.linalg.lstsq(design, recovered(), rcond=None)[0]


def undefined_names(expression: str, defined: set[str]) -> set[str]:
    """The names in an expression of Python that nobody has defined."""
    return {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)} - defined


@in_double_precision
def expansion(*, point: float = PRINTED_AT, extent: float = 10.0, points: int = 1001) -> Expansion:
    """The hidden function of the slide with its approximations about a point, and the printed numbers again.

    Args:
        point: of the expansion that is drawn. The printed numbers are always those about 6.
        extent: x goes from minus to plus this.
        points: of the grid.
    """
    x = jnp.linspace(-extent, extent, points)
    ours = [float(taylor(hidden_function, PRINTED_AT, order)(jnp.asarray(at))) for at, order, _ in PRINTED]
    differences = [abs(mine - number) for mine, (*_, number) in zip(ours, PRINTED, strict=True)]
    exact = derivatives(hidden_function, PRINTED_AT, 2)
    rounded = [_in_single_precision(at, order) for at, order, _ in PRINTED]
    values: Values = {
        "f_at_6": float(exact[0]),
        "slope_at_6": float(exact[1]),
        "curvature_at_6": float(exact[2]),
        "recovered_from_printed": [float(part) for part in recovered()],
        "coefficients": [float(part) for part in coefficients()],
        "distance_from_whole_numbers": [float(abs(part - round(part))) for part in coefficients()],
        "largest_difference": max(differences),
        "printed_texts_in_float32": float(
            sum(text == f"{number}" for text, (*_, number) in zip(rounded, PRINTED, strict=True))
        ),
        "undefined_names": float(len(undefined_names(PRINTED_LINE, PRINTED_NAMES))),
    }
    printed = np.array([(at, order, mine) for mine, (at, order, _) in zip(ours, PRINTED, strict=True)])
    first, second = (np.asarray(taylor(hidden_function, point, order)(x)) for order in (1, 2))
    return Expansion(np.asarray(x), np.asarray(hidden_function(x)), first, second, printed, values)


def _in_single_precision(at: float, order: int) -> str:
    """What the slide's code prints: JAX's default is float32, and the distance is one of Python's numbers."""
    with jax.enable_x64(False):
        slope = jax.grad(hidden_function)
        first = hidden_function(PRINTED_AT) + slope(PRINTED_AT) * (at - PRINTED_AT)
        second = first + 0.5 * jax.grad(slope)(PRINTED_AT) * (at - PRINTED_AT) ** 2
        return str(first if order == 1 else second)


@in_double_precision
def tangent_plane(*, extent: float = 1.0, steps: int = 32) -> TangentPlane:
    """The plane that touches the surface at (2, -1); it should be z = 13 x - 26 y - 18.

    The grid's distances from the point are sums of powers of two where ``extent / steps`` is one: then nothing is
    rounded.

    Args:
        extent: of the grid, to either side of the point.
        steps: of the grid, to either side.
    """
    point = jnp.array(PLANE_AT)
    height, slope = jax.value_and_grad(surface)(point)
    plane = np.array([slope[0], slope[1], height - slope @ point])
    offsets = extent / steps * np.arange(-steps, steps + 1)
    x, y = PLANE_AT[0] + offsets, PLANE_AT[1] + offsets
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    heights = np.asarray(jax.vmap(jax.vmap(surface))(jnp.asarray(grid)))
    flat = grid @ plane[:2] + plane[2]
    gaps = heights - flat
    away = np.hypot(*np.meshgrid(offsets, offsets)) > 0.0
    values: Values = {
        "plane": [float(part) for part in plane],
        "largest_difference": float(np.max(np.abs(plane - np.array([13.0, -26.0, -18.0])))),
        "gap_at_the_point": float(gaps[steps, steps]),
        "least_gap_elsewhere": float(gaps[away].min()),
        "gap_at_half_the_distance": float(gaps[steps, steps + steps // 2] / gaps[steps, 2 * steps]),
    }
    return TangentPlane(x, y, heights, flat, values)


@in_double_precision
def remainders(*, point: float = PRINTED_AT, largest: float = 0.1, halvings: int = 6) -> Remainders:
    """How fast the two approximations of the hidden function become exact as the point comes near.

    Args:
        point: of the expansion.
        largest: distance from it.
        halvings: of the distance.
    """
    d = largest / 2.0 ** np.arange(halvings + 1)
    x = jnp.asarray(point + d)
    first, second = (
        np.abs(np.asarray(hidden_function(x) - taylor(hidden_function, point, order)(x))) for order in (1, 2)
    )
    terms = [abs(float(term)) for term in derivatives(hidden_function, point, 3)]
    following = np.array([terms[2] / 2.0 * d**2, terms[3] / 6.0 * d**3])
    slopes = [float(np.polyfit(np.log(d), np.log(part), 1)[0]) for part in (first, second)]
    values: Values = {
        "slope_first_order": slopes[0],
        "slope_second_order": slopes[1],
        "over_next_term": [float(part[-1] / term[-1]) for part, term in zip((first, second), following, strict=True)],
    }
    return Remainders(d, first, second, following, values)
