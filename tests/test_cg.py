"""Conjugate gradients against dense algebra, and the stopping rule against its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.solvers.cg import LEAST_WINDOW, conjugate_gradients

pytestmark = pytest.mark.usefixtures("x64")
SIZE, SHIFT = 40, 0.1


def system(seed: int = 0, decades: float = 3.0):
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    matrix = vectors @ np.diag(np.logspace(0, -decades, SIZE)) @ vectors.T
    return matrix, rng.normal(size=SIZE), rng.normal(size=SIZE)


def by_definition(matrix, b, x, scale, iterations, progress):
    """The textbook's loop, with every value of the model evaluated from its definition."""

    def phi(x):
        return 0.5 * x @ matrix @ x - b @ x

    r = b - matrix @ x
    z = r / scale
    p, values = z, [phi(x)]
    for i in range(1, iterations + 1):
        alpha = (r @ z) / (p @ matrix @ p)
        before = r @ z
        x, r = x + alpha * p, r - alpha * matrix @ p
        z = r / scale
        p = z + (r @ z) / before * p
        values.append(phi(x))
        k = max(LEAST_WINDOW, i // 10)
        if i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * progress:
            break
    return x, values[-1], i


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_solution(start, preconditioned):
    matrix, b, x0 = system(decades=1.0)
    damped = matrix + SHIFT * np.eye(SIZE)
    scale = np.diagonal(damped) if preconditioned else np.ones(SIZE)
    found = jax.jit(
        lambda b, x0: conjugate_gradients(
            lambda v: jnp.asarray(matrix) @ v,
            b,
            x0=x0 if start else None,
            shift=SHIFT,
            preconditioner=lambda v: v / scale,
            iterations=200,
            progress=0.0,
        )
    )(jnp.asarray(b), jnp.asarray(x0))
    exact = np.linalg.solve(damped, b)
    np.testing.assert_allclose(found.x, exact, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.value, -0.5 * b @ exact, rtol=1e-12)
    assert bool(found.positive)


@pytest.mark.parametrize("progress", [5e-4, 1e-2])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_ends_by_martens_rule(seed, progress):
    matrix, b, x0 = system(seed, decades=1.5)
    damped, scale = matrix + 0.02 * np.eye(SIZE), 1.0 + np.arange(SIZE) / SIZE
    found = conjugate_gradients(
        lambda v: jnp.asarray(matrix) @ v,
        jnp.asarray(b),
        x0=jnp.asarray(x0),
        shift=0.02,
        preconditioner=lambda v: v / scale,
        iterations=100,
        progress=progress,
    )
    x, value, iterations = by_definition(damped, b, x0, scale, 100, progress)
    assert int(found.iterations) == iterations < 100
    np.testing.assert_allclose(found.x, x, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.value, value, rtol=1e-9)
    np.testing.assert_allclose(found.residual, np.sqrt((b - damped @ x) ** 2 @ (1 / scale)), rtol=1e-5)


def test_breakdowns_are_told():
    """An operator that is not positive ends with the iterate before; a zero right-hand side with zero."""
    found = conjugate_gradients(lambda v: -v, jnp.ones(3), iterations=5)
    assert not bool(found.positive)
    np.testing.assert_array_equal(found.x, 0.0)
    nothing = conjugate_gradients(lambda v: v, jnp.zeros(3), iterations=5)
    assert int(nothing.iterations) == 0
    np.testing.assert_array_equal(nothing.x, 0.0)
    with pytest.raises(ValueError, match="iterations = 0"):
        conjugate_gradients(lambda v: v, jnp.zeros(3), iterations=0)
    with pytest.raises(ValueError, match="progress = -1"):
        conjugate_gradients(lambda v: v, jnp.zeros(3), iterations=1, progress=-1.0)
