"""Proximal decisional gradient descent at every coupling of the 25 cases, in the precision of real runs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repro.study.runs.cases import PARTICLES, STRENGTHS
from repro.study.runs.profiles import configure
from repro.training.epoch import chunk_of_epochs
from repro.training.model import build_model
from repro.vmc.physics.hamiltonian import System

WALKERS = 64


def compiled(phase, model, state, count):
    """Couplings -> (state, metrics) after so many epochs from a state."""
    chunk = jax.jit(chunk_of_epochs(phase.epoch, phase.stream, count))
    program = chunk.lower(state, model.seed, model.system, jnp.int32(count)).compile()
    return lambda system: program(state, model.seed, system, jnp.int32(count))


@pytest.mark.parametrize("particles", PARTICLES[::2])  # each is a program of its own to compile
def test_no_step_is_lost_in_any_case(particles):
    """Twenty epochs of every coupling from the pretrained state, in the precision of the profiles.

    With so few walkers a step is harder to judge, and as much time goes into compiling as into computing.
    """
    model = build_model(
        configure(particles=particles, v0=0, optimizer="proximal-dgd", profile="smoke", walkers=WALKERS), WALKERS
    )
    pretraining, training = model.phases
    state, _ = compiled(pretraining, model, model.initial_state(), pretraining.epochs)(model.system)
    fresh = model.enter(training, state)
    descent = compiled(training, model, fresh, 20)
    for v0 in STRENGTHS:
        system = System(jnp.float32(v0), jnp.float32(0.5))
        last, metrics = descent(system)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.params)), v0
        energies = np.asarray(metrics["energy"])
        assert np.isfinite(energies).all(), v0
        assert energies[-5:].mean() < energies[0] + 5 * float(metrics["energy_error"][0]), v0
