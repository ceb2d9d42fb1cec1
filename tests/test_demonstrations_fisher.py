"""The three matrices called Fisher against sums over all targets, and the KL divergence against SciPy."""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import rel_entr, softmax

from repro.demonstrations.optimisation.fisher import by_definition, divergence, fisher_matrix, small_model
from repro.demonstrations.optimisation.fisher_kinds import FisherKind, dense, fisher
from repro.problems.supervised import Supervised

SAMPLES = 7
pytestmark = pytest.mark.usefixtures("x64")


def network(loss: str):
    made = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP((4, 3), activation=jnp.tanh)(x)))
    x = jax.random.normal(jax.random.key(0), (SAMPLES, 2))
    params = made.init(jax.random.key(1), x)
    classes = jnp.arange(SAMPLES) % 3
    targets = classes if loss == "softmax" else jax.nn.one_hot(classes, 3)
    return Supervised(made.apply, loss), params, (x, targets)


def minus_log(loss: str, z, y):
    if loss == "softmax":
        return jax.nn.logsumexp(z) - z[y]
    if loss == "bernoulli":
        return jnp.sum(jnp.logaddexp(0.0, z) - y * z)
    return 0.5 * jnp.sum((z - y) ** 2)


def outer_products(loss: str, problem, params, x, y, weights):
    """Sum over samples of weight times s s^T at the target y, by one gradient each."""
    theta, restore = ravel_pytree(params)

    def score(x, y):
        return jax.grad(lambda flat: minus_log(loss, problem.apply(restore(flat), x[None])[0], y))(theta)

    return sum(w * jnp.outer(s, s) for w, s in ((w, score(a, b)) for w, a, b in zip(weights, x, y, strict=True)))


def matrix(kind, problem, params, data, **options):
    return dense(fisher(kind, problem, params, data, **options), ravel_pytree(params)[0].size)


@pytest.mark.parametrize("loss", ["softmax", "bernoulli", "squared-error"])
def test_each_kind_is_the_sum_over_its_targets(loss):
    problem, params, (x, y) = network(loss)
    empirical = outer_products(loss, problem, params, x, y, np.full(SAMPLES, 1 / SAMPLES))
    np.testing.assert_allclose(matrix(FisherKind.EMPIRICAL, problem, params, (x, y)), empirical, atol=1e-14)

    z = problem.apply(params, x)
    if loss == "softmax":
        targets = [(jnp.full(SAMPLES, k), jax.nn.softmax(z)[:, k]) for k in range(3)]
    elif loss == "bernoulli":
        p = jax.nn.sigmoid(z)
        bits = [jnp.broadcast_to(jnp.array([a, b, c]), z.shape) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        targets = [(bit, jnp.prod(jnp.where(bit == 1, p, 1 - p), axis=1)) for bit in bits]
    else:  # the score is linear in y: six points have the covariance of the normal distribution
        shifts = np.sqrt(3.0) * np.concatenate([np.eye(3), -np.eye(3)])
        targets = [(z + shift, jnp.full(SAMPLES, 1 / 6)) for shift in shifts]
    exact = sum(outer_products(loss, problem, params, x, y, p / SAMPLES) for y, p in targets)
    np.testing.assert_allclose(matrix(FisherKind.EXACT, problem, params, (x, y)), exact, atol=1e-14)


@pytest.mark.parametrize("loss", ["softmax", "squared-error"])
def test_drawn_targets_are_the_models_and_not_the_datas(loss):
    problem, params, data = network(loss)
    of_key = jax.jit(lambda key: matrix(FisherKind.MC, problem, params, data, draws=20, key=key))
    drawn = np.stack([of_key(key) for key in jax.random.split(jax.random.key(2), 60)])
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn))
    exact, empirical = (matrix(kind, problem, params, data) for kind in (FisherKind.EXACT, FisherKind.EMPIRICAL))
    assert np.abs((drawn.mean(0) - exact) / error).max() < 5.0
    assert np.abs((drawn.mean(0) - empirical) / error).max() > 10.0


def test_every_kind_is_told_apart():
    assert len({kind.told for kind in FisherKind}) == 3
    assert "empirical" in FisherKind.EMPIRICAL.told


def test_the_divergence_is_the_mean_over_inputs():
    model = small_model(3, 5)
    theta, restore = ravel_pytree(model.params)
    moved = theta + 0.1
    p, q = (softmax(np.asarray(model.problem.apply(restore(at), model.data[0])), axis=1) for at in (theta, moved))
    assert float(divergence(model, moved)) == pytest.approx(rel_entr(p, q).sum(1).mean(), rel=1e-12)
    assert float(divergence(model, theta)) == 0.0


def test_the_fisher_matrix_is_the_curvature_of_the_divergence():
    model = small_model(1, 6)
    theta, _ = ravel_pytree(model.params)
    hessian = jax.hessian(lambda flat: divergence(model, flat))(theta)
    np.testing.assert_allclose(by_definition(model), hessian, atol=1e-13)


def test_what_the_claims_rest_on():
    found = fisher_matrix(seed=5, samples=12, repeats=100, draws=4, directions=4).values
    assert found["gauss_newton_difference"] < 1e-13
    assert found["remainder_slope"] == pytest.approx(3.0, abs=0.1)
    assert found["remainder_slope_empirical"] == pytest.approx(2.0, abs=0.1)
    assert min(found["smallest_eigenvalue"].values()) > -1e-13
    assert 0.8 < found["monte_carlo_deviation_rms"] < 1.3
