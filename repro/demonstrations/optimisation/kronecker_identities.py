"""The rules of the Kronecker product, and solves with A (x) S that never form it, damped and not.

vec stacks columns, as in the lecture. NumPy and JAX flatten row by row, and then vec_r(A X B) = (A (x) B^T) vec_r(X).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve

from repro.curvature.eigenbasis import Eigenbasis
from repro.curvature.kronecker import kronecker_factors, kronecker_solve, spectrum
from repro.parameters.linear_layers import LinearLayer

REPEATS = 20
"""Of each identity, with random matrices of random shapes."""
LARGEST_SIDE = 6


def vec(matrix: np.ndarray) -> np.ndarray:
    """The columns, one below the other."""
    return matrix.ravel(order="F")


def _product(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, x, b = _chain(rng)
    return vec(a @ x @ b), np.kron(b.T, a) @ vec(x)


def _product_from_left(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, x, _ = _chain(rng)
    return vec(a @ x), np.kron(np.eye(x.shape[1]), a) @ vec(x)


def _row_major(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, x, b = _chain(rng)
    return (a @ x @ b).ravel(), np.kron(a, b.T) @ x.ravel()


def _mixed(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    (a, c, _), (b, d, _) = _chain(rng), _chain(rng)
    return np.kron(a, b) @ np.kron(c, d), np.kron(a @ c, b @ d)


def _transpose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b, _ = _chain(rng)
    return np.kron(a, b).T, np.kron(a.T, b.T)


def _inverse(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b = _invertible(rng), _invertible(rng)
    return np.linalg.inv(np.kron(a, b)), np.kron(np.linalg.inv(a), np.linalg.inv(b))


def _outer(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    u, v = rng.standard_normal(_side(rng)), rng.standard_normal(_side(rng))
    return vec(np.outer(u, v)), np.kron(v, u)


def _orthogonal(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    product = np.kron(_rotation(rng), _rotation(rng))
    return product.T @ product, np.eye(len(product))


def _diagonal(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    product = np.kron(np.diag(rng.standard_normal(_side(rng))), np.diag(rng.standard_normal(_side(rng))))
    return product, np.diag(np.diag(product))


def _symmetric(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    product = np.kron(_symmetric_matrix(rng), _symmetric_matrix(rng))
    return product, product.T


def _spectral(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b = _symmetric_matrix(rng), _symmetric_matrix(rng)
    (values_a, vectors_a), (values_b, vectors_b) = np.linalg.eigh(a), np.linalg.eigh(b)
    middle = np.kron(np.diag(values_a), np.diag(values_b))
    return np.kron(a, b), np.kron(vectors_a, vectors_b) @ middle @ np.kron(vectors_a.T, vectors_b.T)


def _eigenvalues(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b = _symmetric_matrix(rng), _symmetric_matrix(rng)
    products = np.outer(np.linalg.eigvalsh(a), np.linalg.eigvalsh(b))
    return np.linalg.eigvalsh(np.kron(a, b)), np.sort(products, axis=None)


def _eigenvectors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    a, b = _symmetric_matrix(rng), _symmetric_matrix(rng)
    (values_a, vectors_a), (values_b, vectors_b) = np.linalg.eigh(a), np.linalg.eigh(b)
    joint = np.kron(vectors_a[:, 0], vectors_b[:, -1])
    return np.kron(a, b) @ joint, values_a[0] * values_b[-1] * joint


def _definite(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The negative part of the spectrum, over the largest eigenvalue, against nothing; both factors have rank one."""
    a, b = (np.outer(root, root) for root in (rng.standard_normal(_side(rng)), rng.standard_normal(_side(rng))))
    values = np.linalg.eigvalsh(np.kron(a, b))
    return np.minimum(values, 0.0) / values[-1] + 1.0, np.ones(len(values))


IDENTITIES: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "vec(AXB)": _product,
    "vec(AX)": _product_from_left,
    "product": _mixed,
    "transpose": _transpose,
    "inverse": _inverse,
    "outer product": _outer,
    "orthogonal": _orthogonal,
    "diagonal": _diagonal,
    "symmetric": _symmetric,
    "spectral decomposition": _spectral,
    "eigenvalues": _eigenvalues,
    "eigenvectors": _eigenvectors,
    "semi-definite": _definite,
    "rows first": _row_major,
}
"""Both sides of each identity at random matrices; the last one is for vectors that hold the rows one after another."""


def identity_errors(seed: int) -> dict[str, float]:
    """The largest difference of both sides over the largest entry, by name, over random matrices of random shapes."""
    found = {}
    for name, sides in IDENTITIES.items():
        rng = np.random.default_rng(seed)
        pairs = [sides(rng) for _ in range(REPEATS)]
        found[name] = max(float(np.max(np.abs(left - right)) / np.max(np.abs(right))) for left, right in pairs)
    return found


def representation_sizes(units: int, layers: int, bias: bool) -> dict[str, float]:
    """Numbers that are stored for layers of as many inputs as outputs: in full, by blocks, and by Kronecker factors."""
    inputs = units + 1 if bias else units
    weights = inputs * units
    return {
        "full": float((layers * weights) ** 2),
        "block-diagonal": float(layers * weights**2),
        "kronecker": float(layers * (inputs**2 + units**2)),
    }


def damped_solve_errors(layer: LinearLayer, dampings: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Errors of two solves with A (x) S + eta I against the dense one, relative in the Euclidean norm.

    "eigenbasis" divides by a_i s_j + eta in the eigenvectors of both factors, and is exact. "pi-split" is factored
    Tikhonov regularisation (J. Martens, R. Grosse, ICML 2015, section 6.3), (A + gamma pi I) (x) (S + gamma / pi I)
    with gamma^2 = eta, and is not.

    Args:
        layer: whose factors are taken.
        dampings: eta over the largest eigenvalue of A (x) S, shape ``(E,)``.
        seed: of the right-hand side.

    Returns:
        By name, shape ``(E,)`` each.
    """
    (factors,) = kronecker_factors((layer,), centred=False, scale=1.0)
    inputs, sensitivities = spectrum(factors.inputs), spectrum(factors.sensitivities)
    basis = Eigenbasis(inputs.vectors, sensitivities.vectors)
    products = inputs.values[:, None] * sensitivities.values
    block = jnp.asarray(np.random.default_rng(seed).standard_normal(products.shape))
    matrix = np.kron(factors.inputs, factors.sensitivities)
    found: dict[str, list[float]] = {"eigenbasis": [], "pi-split": []}
    for eta in dampings * float(products.max()):
        exact = solve(matrix + eta * np.eye(len(matrix)), np.ravel(block), assume_a="pos")
        solutions = {
            "eigenbasis": basis.back(basis.to(block) / (products + eta)),
            "pi-split": kronecker_solve(inputs, sensitivities, block, np.sqrt(eta)),
        }
        for name, solution in solutions.items():
            found[name].append(float(np.linalg.norm(np.ravel(solution) - exact) / np.linalg.norm(exact)))
    return {name: np.array(errors) for name, errors in found.items()}


def undamped_solve_error(layer: LinearLayer, seed: int) -> float:
    """Of vec(S^-1 V A^-1) against the dense solve of (A (x) S) v = vec(V), with V of shape (outputs, inputs).

    S alone is singular, as the errors of a softmax add up to zero: this is about the factors of a hidden layer.
    """
    (factors,) = kronecker_factors((layer,), centred=False, scale=1.0)
    a, s = np.asarray(factors.inputs), np.asarray(factors.sensitivities)
    v = np.random.default_rng(seed).standard_normal((len(s), len(a)))
    dense = solve(np.kron(a, s), vec(v))
    return float(np.linalg.norm(vec(solve(s, v) @ np.linalg.inv(a)) - dense) / np.linalg.norm(dense))


def _side(rng: np.random.Generator) -> int:
    return int(rng.integers(1, LARGEST_SIDE + 1))


def _chain(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three rectangular matrices that can be multiplied in this order."""
    sides = [_side(rng) for _ in range(4)]
    first, second, third = (rng.standard_normal(shape) for shape in pairwise(sides))
    return first, second, third


def _rotation(rng: np.random.Generator) -> np.ndarray:
    side = _side(rng)
    return np.linalg.qr(rng.standard_normal((side, side)))[0]


def _invertible(rng: np.random.Generator) -> np.ndarray:
    """Not symmetric, with singular values between 1 and 2."""
    left = _rotation(rng)
    right = np.linalg.qr(rng.standard_normal(left.shape))[0]
    return (left * rng.uniform(1.0, 2.0, len(left))) @ right


def _symmetric_matrix(rng: np.random.Generator) -> np.ndarray:
    side = _side(rng)
    matrix = rng.standard_normal((side, side))
    return matrix + matrix.T
