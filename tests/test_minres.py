"""MINRES against SciPy's and against dense algebra."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import minres as scipy_minres

from repro.solvers import minres

SIZE = 30
pytestmark = pytest.mark.usefixtures("x64")


def operator(kind: str, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with eigenvalues as ``kind`` says."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    values = {
        "definite": np.linspace(0.5, 5.0, SIZE),
        "indefinite": np.linspace(-4.0, 5.0, SIZE),
        "singular": np.concatenate([np.zeros(6), np.linspace(0.3, 3.0, SIZE - 6)]),
    }[kind]
    return (basis * values) @ basis.T


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SIZE)


@partial(jax.jit, static_argnames=("iterations", "shifted_start", "tolerance", "start", "precondition"))
def solve(
    matrix, b, x0, shift, diagonal, *, iterations, shifted_start=True, tolerance=1e-12, start=True, precondition=True
):
    return minres(
        lambda v: matrix @ v,
        b,
        x0=x0 if start else None,
        shift=shift,
        preconditioner=(lambda v: v / diagonal) if precondition else None,
        iterations=iterations,
        tolerance=tolerance,
        shifted_start=shifted_start,
    )


@pytest.mark.parametrize("kind", ["definite", "indefinite", "singular"])
@pytest.mark.parametrize("precondition", [False, True])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 20])
def test_iterates_are_scipys(kind, precondition, start, iterations):
    """Step by step, with the shift left out of the first residual, as SciPy has it."""
    matrix, b, x0, shift = operator(kind), vector(1), vector(2), 0.7
    diagonal = np.abs(vector(3)) + 0.5
    found = solve(
        matrix,
        b,
        x0,
        shift,
        diagonal,
        iterations=iterations,
        shifted_start=False,
        start=start,
        precondition=precondition,
    )
    expected, _ = scipy_minres(
        matrix,
        b,
        x0=x0.copy() if start else None,
        shift=-shift,
        rtol=1e-12,
        maxiter=iterations,
        M=np.diag(1.0 / diagonal) if precondition else None,
    )
    np.testing.assert_allclose(found.x, expected, rtol=1e-8, atol=1e-8)
    assert int(found.iterations) == iterations


@pytest.mark.parametrize("kind", ["definite", "indefinite"])
@pytest.mark.parametrize("precondition", [False, True])
def test_both_treatments_of_the_first_residual(kind, precondition):
    matrix, b, x0, shift = operator(kind), vector(1), vector(2), 0.35
    shifted = matrix + shift * np.eye(SIZE)
    diagonal = np.abs(vector(3)) + 0.5
    options = {"iterations": 400, "precondition": precondition, "tolerance": 1e-13}
    true = solve(matrix, b, x0, shift, diagonal, **options)
    np.testing.assert_allclose(true.x, np.linalg.solve(shifted, b), rtol=1e-8, atol=1e-8)
    left_out = solve(matrix, b, x0, shift, diagonal, shifted_start=False, **options)
    np.testing.assert_allclose(left_out.x, x0 + np.linalg.solve(shifted, b - matrix @ x0), rtol=1e-8, atol=1e-8)
    assert not np.allclose(true.x, left_out.x, rtol=1e-2)


def test_the_released_start_is_a_proximal_step():
    """1/2 x^T M x - b^T x + shift/2 |x - x0|^2 has its minimum where the released residual leads."""
    matrix, b, x0, shift = operator("definite"), vector(1), vector(2), 0.35
    x = np.asarray(solve(matrix, b, x0, shift, np.ones(SIZE), iterations=400, shifted_start=False, tolerance=1e-13).x)
    slope = matrix @ x - b + shift * (x - x0)
    np.testing.assert_allclose(slope, 0.0, atol=1e-9)


def test_singular_and_incompatible_systems_stop_at_a_least_residual():
    matrix, b = operator("singular"), vector(1)
    found = solve(matrix, b, b, 0.0, np.ones(SIZE), iterations=500, start=False, precondition=False, tolerance=1e-8)
    least = np.linalg.lstsq(matrix, b, rcond=1e-10)[0]
    residual = b - matrix @ np.asarray(found.x)
    np.testing.assert_allclose(residual, b - matrix @ least, atol=1e-7)
    assert int(found.iterations) < 2 * SIZE


def test_invariant_subspace_ends_the_iteration():
    """b in the span of two eigenvectors: two iterations suffice, and the third is not taken on rubble."""
    matrix = np.diag(np.arange(1.0, SIZE + 1))
    b = np.zeros(SIZE)
    b[[3, 10]] = 1.0, -2.0
    found = solve(matrix, b, b, 0.5, np.ones(SIZE), iterations=50, start=False, precondition=False)
    np.testing.assert_allclose(found.x, b / (np.arange(1.0, SIZE + 1) + 0.5), atol=1e-14)
    assert int(found.iterations) == 2
    assert float(found.residual) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_trivial_systems(dtype):
    zero = jnp.zeros(4, dtype)
    found = minres(lambda v: 2.0 * v, zero, iterations=5)
    np.testing.assert_array_equal(found.x, zero)
    assert int(found.iterations) == 0
    assert float(found.residual) == 0.0
    eigenvector = minres(lambda v: 2.0 * v, jnp.ones(4, dtype), iterations=5)
    np.testing.assert_allclose(eigenvector.x, 0.5)
    assert int(eigenvector.iterations) == 1


def test_single_precision_stays_finite_past_convergence():
    matrix = jnp.asarray(operator("definite"), jnp.float32)
    b = jnp.asarray(vector(1), jnp.float32)
    found = minres(lambda v: matrix @ v, b, iterations=300, tolerance=0.0)
    np.testing.assert_allclose(found.x, np.linalg.solve(operator("definite"), vector(1)), atol=2e-5)


def test_residual_is_the_true_one_and_falls():
    matrix, b = operator("indefinite"), vector(1)
    last = 1.0
    for iterations in (1, 3, 6, 12):
        found = solve(matrix, b, b, 0.0, np.ones(SIZE), iterations=iterations, start=False, precondition=False)
        true = np.linalg.norm(b - matrix @ np.asarray(found.x)) / np.linalg.norm(b)
        np.testing.assert_allclose(float(found.residual), true, rtol=1e-8)
        assert float(found.residual) <= last
        last = float(found.residual)


def test_a_reduction_of_the_residual_ends_the_iteration():
    """At the first iterate that reaches it, whatever the other tolerance says; that iterate is the one without it."""
    matrix, b = operator("definite"), vector(1)

    def solved(**options):
        return minres(lambda v: matrix @ v, b, tolerance=0.0, **options)

    found = solved(iterations=300, reduction=1e-3)
    count = int(found.iterations)
    assert 2 < count < 25
    assert float(found.residual) <= 1e-3 < float(solved(iterations=count - 1).residual)
    np.testing.assert_array_equal(found.x, solved(iterations=count).x)
    np.testing.assert_allclose(np.linalg.norm(b - matrix @ found.x) / np.linalg.norm(b), found.residual, rtol=1e-6)


def test_shapes_vmap_and_bad_input():
    """Any shape of vector; many systems at once stop each at its own time."""
    matrices = jnp.stack([jnp.asarray(operator("definite", seed)) for seed in range(3)])
    bs = jnp.stack([jnp.asarray(vector(seed)) for seed in range(3)]).at[1].set(0.0)

    def solve_one(matrix, b):
        return minres(lambda v: (matrix @ v.ravel()).reshape(v.shape), b.reshape(5, 6), iterations=200)

    found = jax.jit(jax.vmap(solve_one))(matrices, bs)
    assert found.x.shape == (3, 5, 6)
    assert list(found.iterations > 0) == [True, False, True]
    for matrix, b, x in zip(matrices, bs, found.x, strict=True):
        np.testing.assert_allclose(x.ravel(), jnp.linalg.solve(matrix, b), atol=1e-7)
    with pytest.raises(ValueError, match="iterations = 0"):
        minres(lambda v: v, jnp.ones(2), iterations=0)
