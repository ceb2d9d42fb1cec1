"""Losses that are no squared distance: derivatives by JAX, updates by the package's own momentum and by hand."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.demonstrations.geometry import other_losses as losses
from repro.demonstrations.geometry.function_plane import WEIGHT
from repro.demonstrations.geometry.quadratic_model import quadratic_plane, start_of
from repro.optimizers import natural_momentum
from repro.problems.base import SampleSpace

pytestmark = pytest.mark.usefixtures("x64")

PHI, OMEGA, BETA, RATE = np.deg2rad([70.0, 30.0]), np.array([0.4, 0.9]), 0.15, 0.1
BATCH = losses.Batch(PHI, OMEGA, np.array(WEIGHT))


def loss(v, phi, omega):
    """As it is printed, with u = 0."""
    turn = jnp.array([[jnp.cos(phi), -jnp.sin(phi)], [jnp.sin(phi), jnp.cos(phi)]])

    def f(of):
        q = turn @ (0.0 - of) + of
        return (1.0 + omega * jnp.sum((of - q) ** 2)) * (of - q) + q

    apart = f(jnp.zeros(2)) - f(v)
    return 0.5 * apart @ jnp.array(WEIGHT) @ apart


def test_derivatives_are_those_of_the_printed_loss():
    v = np.array([[0.8, 0.6], [-0.3, 0.9]])
    of = jax.jit(jax.vmap(lambda *args: (loss(*args), jax.grad(loss)(*args), jax.hessian(loss)(*args))))
    value, gradient, hessian = of(v, PHI, OMEGA)
    np.testing.assert_allclose(BATCH.loss(-v), value, rtol=1e-12)
    np.testing.assert_allclose(BATCH.gradient(-v), gradient, rtol=1e-11)
    np.testing.assert_allclose(BATCH.hessian(-v), hessian, rtol=1e-11)


@pytest.mark.parametrize(("method", "kind"), [("LM", "transported"), ("LG-", "last-gradient")])
def test_updates_are_those_of_the_package(method, kind):
    """Its rows are the derivatives of the model; in place of residuals it gets the gradient in function space."""
    plane = quadratic_plane()

    def geometry(theta, wanted, batch):
        rows = jax.jacfwd(plane.coefficients)(theta)
        gradient = jax.grad(loss)(plane.coefficients(theta), PHI[1], OMEGA[1])
        return SimpleNamespace(sample_space=lambda: SampleSpace(rows, gradient))

    problem = SimpleNamespace(geometry=geometry, residuals_follow_outputs=True)
    optimizer = natural_momentum(problem, learning_rate=RATE, damping=1e-15, momentum=BETA, kind=kind)
    theta = jnp.asarray(start_of((0.8, 0.6)))
    state, update = optimizer.init(theta), jax.jit(optimizer.update)
    found = losses.follow(method, BATCH, np.full(2, BETA), np.full(2, RATE), steps=6)
    for values in found.coefficients[:, 1]:
        np.testing.assert_allclose(values, plane.values(theta), rtol=1e-9)
        step, state = update(theta, state, theta)
        theta += step


def test_the_others_are_plain_loops():
    plane = quadratic_plane()
    for method in ("GD", "NGD", "NHGD", "FD", "LG+"):
        theta, before = start_of((0.8, 0.6)), None
        found = losses.follow(method, BATCH, np.full(2, BETA), np.full(2, RATE), steps=6)
        for values in found.coefficients[:, 0]:
            v, jacobian = plane.values(theta), plane.jacobian(theta)
            np.testing.assert_allclose(values, v, rtol=1e-9)
            single = losses.Batch(PHI[:1], OMEGA[:1], np.array(WEIGHT))
            gradient, hessian = single.gradient(-v[None])[0], single.hessian(-v[None])[0]
            # As many parameters as dimensions: projections are no loss.
            inverse = np.linalg.inv(jacobian)
            metric = {"GD": jacobian @ jacobian.T, "NHGD": np.linalg.inv(hessian)}.get(method, np.eye(2))
            theta = theta - RATE * inverse @ metric @ gradient
            if before is not None and method in losses.MOMENTA:
                theta = theta + BETA * inverse @ (v - before[0] if method == "FD" else before[1])
            before = (v, gradient)


def test_a_search_never_climbs_and_counts_of_steps_are_those_of_the_losses():
    beta = np.full(2, BETA)
    found = losses.follow("NGD", BATCH, beta, None, steps=60)
    assert np.all(np.diff(found.losses, axis=0) <= 0.0)
    steps = found.steps_to(1e-9)
    assert np.all(steps < 60)
    for number, step in enumerate(steps.astype(int)):
        assert found.losses[step, number] <= 1e-9 < found.losses[step - 1, number]
    # Far too long a step diverges; this is told by infinity, and nothing else.
    lost = losses.follow("NGD", BATCH, beta, np.array([RATE, 50.0]), steps=40)
    assert np.isfinite(lost.losses[-1, 0])
    assert np.isinf(lost.losses[-1, 1])
    assert lost.steps_to(1e-9)[1] == np.inf
