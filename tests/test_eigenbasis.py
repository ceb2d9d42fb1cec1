"""Kronecker-factored eigenbases against dense algebra."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import dense_metrics, situation

from repro.curvature.eigenbasis import eigenbases, from_eigenbases, to_eigenbases
from repro.vmc.derivatives import derivatives
from repro.vmc.eigenbasis import turned
from repro.vmc.metrics import decision_metric, fisher

WALKERS = 64
pytestmark = pytest.mark.usefixtures("x64")


METRICS = {"decision": decision_metric, "fisher": fisher}


@cache
def at_the_walkers():
    """Bases of the layers, and the diagonals of the metrics in them, by name and layer."""
    psi, params, x, *_ = situation(WALKERS)

    @jax.jit
    def evaluated(params, x):
        found = derivatives(psi, params, x, WALKERS, mixed=True)
        bases = eigenbases(found.layers)
        metrics = {name: metric(turned(found, bases)) for name, metric in METRICS.items()}
        return bases, {name: [metric.diagonal(n) for n in range(len(bases))] for name, metric in metrics.items()}

    return evaluated(params, x)


def test_there_and_back():
    """The coordinates are orthogonal: lengths stay, and so does what goes there and back."""
    bases, _ = at_the_walkers()
    psi, params, *_ = situation(WALKERS)
    blocks = psi.structure.split(params)
    there = to_eigenbases(bases, blocks)
    for block, moved, again in zip(blocks, there, from_eigenbases(bases, there), strict=True):
        assert moved.shape == block.shape
        assert jnp.linalg.norm(moved) == pytest.approx(float(jnp.linalg.norm(block)), rel=1e-12)
        np.testing.assert_allclose(again, block, atol=1e-12)
    assert max(float(jnp.abs(there[n] - blocks[n]).max()) for n in range(len(blocks))) > 0.1


@pytest.mark.parametrize("name", METRICS)
def test_diagonals_against_dense_algebra(name):
    """Those of Q^T M Q, with Q = U (x) V of each layer."""
    bases, diagonals = at_the_walkers()
    dense = getattr(dense_metrics(WALKERS), name)
    begin = 0
    for basis, diagonal in zip(bases, diagonals[name], strict=True):
        turn = np.kron(basis.inputs, basis.sensitivities)
        block = dense[begin : begin + len(turn), begin : begin + len(turn)]
        expected = np.diag(turn.T @ block @ turn)
        np.testing.assert_allclose(np.ravel(diagonal), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
        begin += len(turn)
    assert begin == len(dense)


def test_what_it_needs_is_said():
    psi, params, x, *_ = situation(WALKERS)
    with pytest.raises(ValueError, match="mixed=True"):
        jax.eval_shape(lambda x: turned(derivatives(psi, params, x, WALKERS, mixed=False), ()).layers, x)
