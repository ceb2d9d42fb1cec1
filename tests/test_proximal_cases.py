"""Proximal decisional gradient descent in all 25 cases, in the precision and with the programs of real runs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.physics.hamiltonian import System
from repro.study.cases import PARTICLES, STRENGTHS
from repro.study.profiles import configure
from repro.training.epoch import chunk_of_epochs
from repro.training.run import build_model


@pytest.mark.usefixtures("optimized")  # it computes for longer than it compiles
@pytest.mark.parametrize("particles", PARTICLES)
def test_no_step_is_lost_in_any_case(particles):
    """Twenty epochs of every coupling from the pretrained state, at the smoke profile and in its precision."""
    model = build_model(configure(particles=particles, v0=0, optimizer="proximal-dgd", profile="smoke"), 32)
    fit, descent = (
        jax.jit(chunk_of_epochs(phase.epoch, phase.stream, count))
        for phase, count in zip(model.phases, (model.phases[0].epochs, 20), strict=True)
    )
    state, _ = fit(model.initial_state(), model.seed, model.system, jnp.int32(model.phases[0].epochs))
    fresh = model.enter(model.phases[1], state)
    for v0 in STRENGTHS:
        system = System(jnp.float32(v0), jnp.float32(0.5))
        last, metrics = descent(fresh, model.seed, system, jnp.int32(20))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.params)), v0
        energies = np.asarray(metrics["energy"])
        assert np.isfinite(energies).all(), v0
        assert energies[-5:].mean() < energies[0] + 5 * float(metrics["energy_error"][0]), v0
