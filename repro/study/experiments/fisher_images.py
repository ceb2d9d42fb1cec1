"""The Fisher metric of a small state as a matrix, and its approximation by Kronecker factors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import RunConfig
from repro.curvature.kronecker import KroneckerFactors, kronecker_factors
from repro.study.runs.profiles import configure
from repro.training.epoch import Chunk, chunk_of_epochs
from repro.training.model import build_model, numerics
from repro.vmc.ansatz.trial import Params
from repro.vmc.derivatives import derivatives
from repro.vmc.metrics import fisher
from repro.vmc.physics.hamiltonian import System
from repro.vmc.problem import energy_gradient, walker_energies

HIDDEN, WALKERS, PRETRAIN_EPOCHS, EPOCHS = 8, 1024, 500, 300
DAMPING = 1e-3


def small_run(seed: int = 0, particles: int = 2, v0: float = -10.0) -> RunConfig:
    """A network of the study's build so small that its whole metric can be seen.

    Trained by Adam in double precision: second-order steps at small damping amplify rounding, so that another machine,
    or another order of summation, would make another state, and judge that.
    """
    return configure(
        particles=particles,
        v0=v0,
        optimizer="adam",
        dtype="float64",
        hidden=HIDDEN,
        walkers=WALKERS,
        seed=seed,
        pretrain_epochs=PRETRAIN_EPOCHS,
        epochs=EPOCHS,
    )


@dataclass(frozen=True)
class FisherMatrices:
    """Matrices over all P parameters, ordered by layer.

    Attributes:
        exact: 4 Cov(D, D), shape ``(P, P)``.
        blocked: its diagonal blocks, one a layer.
        kronecker: the Kronecker products of the factors, neither centred nor damped, factor 4.
        inverses: of the three, damped by :data:`DAMPING` of the largest diagonal entry.
        gradient: of the energy, shape ``(P,)``.
        ends: where the layers begin and end.
        energy: mean local energy in the last epoch.
    """

    exact: np.ndarray
    blocked: np.ndarray
    kronecker: np.ndarray
    inverses: tuple[np.ndarray, np.ndarray, np.ndarray]
    gradient: np.ndarray
    ends: np.ndarray
    energy: float

    @property
    def distance(self) -> float:
        """Relative Frobenius distance of the Kronecker product from the blocks, at the best common factor.

        The factor is left to the scaling of the step.
        """
        return math.sqrt(max(0.0, 1.0 - cosine(self.kronecker, self.blocked) ** 2))

    @property
    def gain(self) -> float:
        """Cosine between KFAC's direction and the natural gradient, over that between the gradient and the latter."""
        natural, direction = self.inverses[0] @ self.gradient, self.inverses[2] @ self.gradient
        return cosine(direction, natural) / cosine(self.gradient, natural)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two arrays: 1 means the same up to a factor, 0 nothing in common."""
    return float(np.sum(one * other) / np.linalg.norm(one) / np.linalg.norm(other))


class _Programs(NamedTuple):
    """What is compiled once for all seeds: the two phases of training, and the matrices of a state."""

    chunks: tuple[Chunk, ...]
    matrices: Callable[[Params, Array, System], tuple[Array, tuple[KroneckerFactors, ...], Array]]


@cache
def _programs(config: RunConfig) -> _Programs:
    model = build_model(config, config.sampling.walkers)
    psi = model.wavefunction

    def matrices(params: Params, x: Array, system: System) -> tuple[Array, tuple[KroneckerFactors, ...], Array]:
        flat, unravel = ravel_pytree(psi.structure.split(params))
        found = derivatives(psi, params, x, x.shape[0], mixed=False)
        metric = fisher(found)
        energies = walker_energies(psi, params, x, system, x.shape[0])
        gradient = energy_gradient(psi, params, x, energies, x.shape[0])
        assert found.layers is not None
        return (
            jax.lax.map(lambda row: ravel_pytree(metric.matvec(unravel(row)))[0], jnp.eye(flat.size)),
            kronecker_factors(found.layers, False, 4.0),
            ravel_pytree(psi.structure.split(gradient))[0],
        )

    chunks = tuple(jax.jit(chunk_of_epochs(phase.epoch, phase.stream, phase.epochs)) for phase in model.phases)
    return _Programs(chunks, jax.jit(matrices))


def fisher_matrices(config: RunConfig, damping: float = DAMPING) -> FisherMatrices:
    """Trains the state of ``config`` here and now and forms its Fisher metric.

    Args:
        config: as from :func:`small_run`; its matrices must fit into memory.
        damping: added before inverting, in units of the largest diagonal entry.
    """
    with numerics(config.dtype, jax.devices()[0]):
        programs = _programs(replace(config, seed=0))
        model = build_model(config, config.sampling.walkers)
        state = jax.jit(model.initial_state)()
        for number, (phase, chunk) in enumerate(zip(model.phases, programs.chunks, strict=True)):
            state = model.enter(phase, state) if number else state
            state, metrics = chunk(state, model.seed, model.system, jnp.asarray(phase.epochs, jnp.int32))
        matrix, factors, gradient = programs.matrices(state.params, state.data.walkers, model.system)
        ends = np.cumsum([0, *(block.size for block in model.wavefunction.structure.split(state.params))])
    exact = np.asarray(matrix, float)
    blocked, kronecker = np.zeros_like(exact), np.zeros_like(exact)
    for begin, end, (a, s) in zip(ends, ends[1:], factors, strict=False):
        blocked[begin:end, begin:end] = exact[begin:end, begin:end]
        kronecker[begin:end, begin:end] = np.kron(a, s)
    shift = damping * exact.diagonal().max() * np.eye(len(exact))
    inverses = tuple(np.linalg.inv(matrix + shift) for matrix in (exact, blocked, kronecker))
    energy = float(metrics["energy"][-1])
    return FisherMatrices(exact, blocked, kronecker, inverses, np.asarray(gradient, float), ends, energy)  # type: ignore[arg-type]
