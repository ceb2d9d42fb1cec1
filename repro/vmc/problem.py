"""Variational Monte Carlo as a problem: walkers as samples, local energies as values, the geometry of ln|psi|."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from repro.config import AUTO, SWEEPS_COLUMN, Sweeps
from repro.curvature.eigenbasis import Eigenbasis
from repro.curvature.jacobian import centred
from repro.curvature.pullback import Curvature
from repro.errors import InputError
from repro.numerics.batching import map_in_batches, sum_in_batches
from repro.numerics.sharding import all_gather, global_count, pmean, psum
from repro.parameters.linear_layers import LinearLayer
from repro.parameters.partition import Partition
from repro.problems.base import MeasuredChange, Metrics, SampleSpace, required
from repro.vmc.ansatz.trial import Params, TrialState, checked_walkers
from repro.vmc.derivatives import Derivatives, derivatives, partition_of
from repro.vmc.eigenbasis import turned
from repro.vmc.energy_change import End, paired_change
from repro.vmc.metrics import decision_metric, fisher
from repro.vmc.physics.hamiltonian import potential_energy
from repro.vmc.physics.local_energy import Potential, clip_local_energies, local_energy
from repro.vmc.quasi_hessian import quasi_hessian
from repro.vmc.sampling.metropolis import Chain, LogDensity, most_sweeps, planned_sweeps, walk

CURVATURES = ("fisher", "uncentred-fisher", "decision", "quasi-hessian", "unclipped-quasi-hessian")
"""With D = d ln|psi| / d theta: 4 Cov(D, D); E[D D^T]; the decision metric; the quasi-Hessian with clipped and with
unclipped local energies."""


def density(psi: TrialState, params: Params) -> LogDensity:
    """ln|psi|^2 of the current state, the target of the walk."""
    return lambda x: 2.0 * psi.log_psi(params, x)


def walker_energies(
    psi: TrialState, params: Params, x: Array, couplings: Any, chunk: int, potential: Potential = potential_energy
) -> Array:
    """Local energies of walkers ``(W, ...)``, shape ``(W,)``.

    Raises:
        InputError: if no other potential is given than the study's, and the walkers are not on a line.
    """
    if x.ndim != 2 and potential is potential_energy:
        raise InputError(
            f"walkers of shape {x.shape}: must be (W, A), as the study's Hamiltonian has its particles on a line; give "
            "MonteCarlo another potential"
        )
    return map_in_batches(lambda y: local_energy(psi.laplacian_ratio(params, y), y, couplings, potential), x, chunk)


def energy_gradient(psi: TrialState, params: Params, x: Array, energies: Array, chunk: int) -> Params:
    """G = 2 E[ (E_L - E) d ln|psi| / d theta ].

    Only the energies need centring: their sum is then zero, so that the mean of d ln|psi| / d theta drops out.

    Args:
        psi: the state.
        params: where.
        x: walkers, shape ``(W, ...)``.
        energies: local energies, clipped if that is wanted, shape ``(W,)``.
        chunk: walkers differentiated at a time.

    Returns:
        The gradient, of the structure of ``params``.
    """
    weights = 2.0 * (energies - pmean(energies)) / global_count(energies.shape[0])

    def gradient(y: Array, w: Array) -> Params:
        return jax.grad(lambda p: jnp.sum(w * psi.log_psi(p, y)))(params)

    return psum(sum_in_batches(gradient, chunk, x, weights))


def kinetic_energies(psi: TrialState, params: Any, walkers: Array, chunk: int) -> Array:
    """Kinetic part of the local energies of walkers ``(W, ...)``, shape ``(W,)``."""
    return map_in_batches(lambda x: -0.5 * psi.laplacian_ratio(params, x), walkers, chunk)


def sweeps_found(chain: Chain, sweeps: Sweeps) -> Metrics:
    """The number of sweeps that a walk from here has, where the chains find it."""
    return {SWEEPS_COLUMN: planned_sweeps(chain).astype(chain.width.dtype)} if sweeps == AUTO else {}


class EnergyEvaluation(NamedTuple):
    """See :class:`repro.problems.base.Evaluation`; ``clipped`` are the local energies without their outliers."""

    gradient: Any
    values: Array
    batch: Mapping[str, Array]
    clipped: Array


class Walk(NamedTuple):
    """How walkers were drawn: the chains before it, and the acceptance."""

    before: Chain
    acceptance: Array


@dataclass(frozen=True)
class MonteCarlo:
    """The energy of a trial state, a :class:`repro.problems.base.Problem`; its coefficients are the couplings.

    Attributes:
        psi: the state.
        walker_chunk: walkers differentiated at once, a divisor of their number; all of them when left out.
        sweeps: of Metropolis between two epochs, or "auto".
        unroll: sweeps that are written out in a row, see :func:`repro.vmc.sampling.metropolis.walk`.
        lower_median: as for :func:`repro.vmc.physics.local_energy.clip_local_energies`.
        potential: ``(walkers (W, ...), couplings) -> (W,)``, in units in which the kinetic energy is -1/2 Laplacian;
            that of the study's trapped fermions when left out.
    """

    psi: TrialState
    walker_chunk: int | None = None
    sweeps: Sweeps = 40
    unroll: int = 1
    lower_median: bool = False
    potential: Potential = potential_energy

    @property
    def curvatures(self) -> tuple[str, ...]:
        """All of :data:`CURVATURES`."""
        return CURVATURES

    @property
    def layered(self) -> bool:
        """Whether the state's linear maps are known."""
        return self.psi.structure is not None

    @property
    def tells_damping(self) -> bool:
        """Local energies and kinetic energy do."""
        return True

    @property
    def factor_scale(self) -> float:
        """F = 4 Cov(D, D), as ln p = 2 ln|psi|."""
        return 4.0

    @property
    def has_protocols(self) -> bool:
        """The study is about energies."""
        return True

    @property
    def strength(self) -> float:
        """There is no penalty."""
        return 0.0

    @property
    def factor_targets(self) -> tuple[str, ...]:
        """Walkers are samples of the state."""
        return ("sampled",)

    @property
    def residuals_follow_outputs(self) -> bool:
        """False: local energies are not errors of ln|psi|."""
        return False

    def partition(self, params: Any) -> Partition:
        """The linear maps where they are known, else a block for each child of the parameters' tree."""
        return partition_of(self.psi, params)

    def draw(self, params: Any, data: Chain, key: Array, coefficients: Any) -> tuple[Chain, Walk]:
        """Walks from where the walkers are.

        Raises:
            InputError: if there are none, or they do not suit the state.
        """
        if data is None:
            raise InputError(
                "data: Monte Carlo needs walkers to begin with; give data=initial_chain(key, walkers, particles)"
            )
        del coefficients
        checked_walkers(self.psi, params, data.walkers)
        chain, acceptance = walk(density(self.psi, params), data, key, self.sweeps, self.unroll)
        return chain, Walk(data, acceptance)

    def evaluate(self, params: Any, data: Chain, coefficients: Any) -> EnergyEvaluation:
        """Local energies, unclipped, and the gradient of the energy, with clipped ones."""
        chunk = self._chunk(data.walkers)
        energies = self._energies(params, data.walkers, coefficients)
        clipped = self.robust(energies)
        gradient = energy_gradient(self.psi, params, data.walkers, clipped, chunk)
        batch = {"walkers": data.walkers, "local_energies": energies}
        return EnergyEvaluation(gradient, energies, batch, clipped)

    def metrics(self, evaluation: EnergyEvaluation, data: Chain, drawn: Walk) -> Metrics:
        """Energy, its error and variance over the walkers, unclipped; the clipped mean; acceptance and width."""
        energies = evaluation.values
        average, walkers = pmean(energies), global_count(energies.shape[0])
        variance = psum(jnp.sum((energies - average) ** 2)) / (walkers - 1)
        return {
            "energy": average,
            "energy_error": jnp.sqrt(variance / walkers),
            "variance": variance,
            "energy_clipped": pmean(evaluation.clipped),
            "acceptance": drawn.acceptance,
            "proposal_width": data.width,
            **sweeps_found(drawn.before, self.sweeps),
        }

    def advance(self, params: Any, data: Chain, key: Array, coefficients: Any) -> tuple[Chain, Array]:
        """A further walk, at other parameters, and the local energies after it."""
        # The first walk used fold_in(key, 0 ... sweeps - 1).
        further, _ = self.draw(params, data, jax.random.fold_in(key, most_sweeps(self.sweeps)), coefficients)
        return further, self._energies(params, further.walkers, coefficients)

    def _energies(self, params: Any, walkers: Array, couplings: Any) -> Array:
        return walker_energies(self.psi, params, walkers, couplings, self._chunk(walkers), self.potential)

    def robust(self, values: Array) -> Array:
        """Local energies, clipped."""
        return clip_local_energies(values, self.lower_median)

    def part(self, batch: Mapping[str, Any], fraction: float, number: int) -> Mapping[str, Any]:
        """The first of the walkers, of each device: chains are independent of each other, and any part is as good."""
        del number
        count = max(1, round(fraction * batch["walkers"].shape[0]))
        return {name: values[:count] for name, values in batch.items()}

    def geometry(self, params: Any, wanted: Iterable[str], batch: Mapping[str, Any]) -> MonteCarloGeometry:
        """At ``walkers`` of shape ``(W, A)`` or ``(W, n, d)`` with their unclipped ``local_energies``, shape ``(W,)``.

        Raises:
            InputError: if one of the two is missing, if the walkers do not suit the state, or if there are not as many
                energies as walkers, of their type.
        """
        source = "from the walk at these parameters"
        walkers, local_energies = required(batch, "walkers", "local_energies", source=source)
        walkers, local_energies = checked_walkers(self.psi, params, walkers), jnp.asarray(local_energies)
        if local_energies.shape != walkers.shape[:1]:
            raise InputError(
                f"local_energies of shape {local_energies.shape}: must be ({walkers.shape[0]},), one for each of the "
                f"walkers of shape {walkers.shape}"
            )
        if local_energies.dtype != walkers.dtype:
            raise InputError(
                f"local_energies are {local_energies.dtype}: must be {walkers.dtype}, as the walkers are; "
                f"use local_energies.astype({walkers.dtype})"
            )
        mixed = "decision" in wanted
        return MonteCarloGeometry(self, params, walkers, local_energies, self._chunk(walkers), mixed)

    def _chunk(self, walkers: Array) -> int:
        return self.walker_chunk or walkers.shape[0]


class MonteCarloGeometry:
    """See :class:`repro.problems.base.Geometry`."""

    def __init__(
        self,
        problem: MonteCarlo,
        params: Any,
        walkers: Array,
        local_energies: Array,
        chunk: int,
        mixed: bool,
        known: Derivatives | None = None,
    ) -> None:
        self._problem, self._params = problem, params
        self._walkers, self._energies, self._chunk, self._mixed = walkers, local_energies, chunk, mixed
        self._known = known

    @property
    def derivatives(self) -> Derivatives:
        """Of ln|psi|, evaluated once."""
        if self._known is None:
            psi = self._problem.psi
            self._known = derivatives(psi, self._params, self._walkers, self._chunk, self._mixed)
        return self._known

    @property
    def partition(self) -> Partition:
        """The blocks of the state."""
        return self.derivatives.parts

    @property
    def layers(self) -> tuple[LinearLayer, ...] | None:
        """The linear maps, where they are known."""
        return self.derivatives.layers

    def factor_layers(self, targets: str) -> tuple[LinearLayer, ...] | None:
        """The linear maps; walkers are samples of the state, so that there are no other targets."""
        del targets
        return self.layers

    def curvature(self, name: str) -> Curvature:
        """One of :data:`CURVATURES`."""
        found = self.derivatives
        if name == "decision":
            return decision_metric(found)
        if name == "quasi-hessian":
            # Unclipped, single walkers can make the model so indefinite that runs diverge.
            return quasi_hessian(found, self._problem.robust(self._energies))
        if name == "unclipped-quasi-hessian":
            return quasi_hessian(found, self._energies)
        if name == "fisher":
            return fisher(found)
        if name == "uncentred-fisher":
            return fisher(found, centred=False, scale=1.0)
        raise ValueError(f"curvature {name!r}: is none of {', '.join(CURVATURES)}")

    def turned(self, bases: tuple[Eigenbasis, ...]) -> MonteCarloGeometry:
        """In other coordinates of the layers."""
        known = turned(self.derivatives, bases)
        return MonteCarloGeometry(
            self._problem, self._params, self._walkers, self._energies, self._chunk, self._mixed, known
        )

    def sample_space(self) -> SampleSpace:
        """Centred scores and centred local energies, over the square root of the number of walkers."""
        scale = all_gather(self._energies).shape[0] ** -0.5
        rows = scale * centred(self._scores(), axis=0)
        return SampleSpace(rows, scale * centred(clip_local_energies(self._energies)))

    def _scores(self) -> Array:
        """D of every walker, shape ``(W, P)``.

        On one thread of a processor XLA multiplies that by its transpose twice as fast as it does the transpose by
        that.
        """
        psi, params = self._problem.psi, self._params

        def of_walker(x: Array) -> Array:
            return ravel_pytree(jax.grad(lambda theta: psi.log_psi(theta, x[None])[0])(params))[0]

        return map_in_batches(jax.vmap(of_walker), self._walkers, self._chunk, axis=-2)

    def trial(self) -> EnergyTrial:
        """Paired changes of the energy."""
        return EnergyTrial(self._problem.psi, self._params, self._walkers, self._energies, self._chunk)


class EnergyTrial:
    """Measures steps by the paired change of the energy on the same walkers; see :mod:`repro.vmc.energy_change`."""

    def __init__(self, psi: TrialState, params: Any, walkers: Array, local_energies: Array, chunk: int) -> None:
        self._psi, self._params, self._walkers, self._chunk = psi, params, walkers, chunk
        self._kinetic = kinetic_energies(psi, params, walkers, chunk)
        self._energies, self._before = local_energies, clip_local_energies(local_energies)

    def change(self, step: Any) -> MeasuredChange:
        """E' - E for a step."""
        psi, walkers = self._psi, self._walkers
        moved = jax.tree.map(jnp.add, self._params, step)
        # The potential is the same: the walkers do not move.
        after = clip_local_energies(self._energies - self._kinetic + kinetic_energies(psi, moved, walkers, self._chunk))
        ends = []
        for at, energies in ((self._params, self._before), (moved, after)):
            log_psi, slopes = jax.jvp(lambda theta: psi.log_psi(theta, walkers), (at,), (step,))
            ends.append(End(log_psi, slopes, energies))
        return paired_change(*ends)

    def damping(self, carried: Any, left_out: frozenset[str]) -> Array:
        """The spread of the local energies plus the mean kinetic energy per coordinate, ``"kinetic"`` of the parts.

        On a line that is the energy per particle.
        """
        del carried
        coordinates = math.prod(self._walkers.shape[1:])
        kinetic = jnp.zeros_like(self._kinetic) if "kinetic" in left_out else self._kinetic / coordinates
        return energy_scale(self._before, kinetic)


def energy_scale(energies: Array, kinetic: Array) -> Array:
    """Lambda of a first attempt: the spread of the local energies, and the mean kinetic energy per coordinate.

    Args:
        energies: local energies, clipped, shape ``(W,)``.
        kinetic: their kinetic part per coordinate, shape ``(W,)``.
    """
    # Not less than rounding, or nothing would hold an exact eigenstate without kinetic energy.
    least = jnp.finfo(energies.dtype).eps * jnp.maximum(1.0, jnp.abs(pmean(energies)))
    spread = jnp.maximum(jnp.sqrt(pmean((energies - pmean(energies)) ** 2)), least)
    return spread + jnp.maximum(pmean(clip_local_energies(kinetic)), 0.0)
