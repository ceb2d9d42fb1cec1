"""Observables of a trained state, with Monte Carlo errors."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from repro.errors import InputError, storage_error
from repro.machine import memory_bytes
from repro.numerics.batching import map_in_batches
from repro.training import environment
from repro.training.files import write_atomic
from repro.training.model import EnergyModel, numerics
from repro.training.reporting import Reporter, Silent
from repro.training.restart import load_state
from repro.training.rundir import RunDirectory
from repro.training.state import OBSERVATION_STREAM, TRAINING, stream_key
from repro.vmc.physics.observables import (
    Histogram,
    energy_parts,
    one_body_density,
    one_body_density_matrix,
    pair_density,
)
from repro.vmc.physics.oscillator import oscillator_orbitals
from repro.vmc.problem import density
from repro.vmc.sampling.metropolis import Chain, walk

MOST_BATCHES = 10**6
BLOCKS = 20
"""Batches are averaged in as many blocks; errors are of the means of blocks."""

DENSITY_MATRIX_WALKERS = 256
"""Walkers of a batch, at most, whose particles are moved over all nodes."""

DENSITY_MATRIX_MOVES = 6 * DENSITY_MATRIX_WALKERS
"""Particles moved, at most: at A = 20 all of so many walkers' would take ten times as long as the walk."""


def turning_point(functions: int) -> float:
    """Where the highest of so many oscillator functions begins to fall off, in oscillator lengths."""
    return math.sqrt(2.0 * functions - 1.0)


def orbitals_for(particles: int) -> int:
    """Oscillator functions in which the one-body density matrix of A particles is represented."""
    return max(20, particles + 10)


def extent_for(particles: int) -> float:
    """Oscillator lengths from the centre within which A particles are: the last one's turning point, and some more."""
    return max(5.0, turning_point(particles) + 1.5)


@dataclass(frozen=True)
class Estimate:
    """Means over all batches, and their standard errors, of the same shape."""

    mean: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Observables:
    """What a state looks like; see :mod:`repro.vmc.physics.observables`.

    Attributes:
        histogram: the bins.
        one_body: n(x), shape ``(bins,)``.
        pair: n_2(x, y), shape ``(bins, bins)``.
        density_matrix: between oscillator functions, shape ``(M, M)``.
        occupations: eigenvalues of the density matrix, largest first.
        scalars: "energy", "kinetic", "trap", "interaction", "virial" and "outside", the mean number of particles
            beyond the bins.
        epochs: of training that led to the state; 0 while it is pretrained.
    """

    histogram: Histogram
    one_body: Estimate
    pair: Estimate
    density_matrix: Estimate
    occupations: Estimate
    scalars: dict[str, Estimate]
    epochs: int


def occupations_of(matrix: np.ndarray) -> np.ndarray:
    """Eigenvalues of the symmetric part, largest first."""
    return np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[::-1]


def beyond_pauli(occupations: Estimate) -> bool:
    """Whether an occupation is above one by more than its error and a hundredth.

    No state of fermions has one. The walkers then are not where |psi|^2 is: moved to where it is large, a particle
    raises psi by far more than walkers of |psi|^2 would ever see.

    Args:
        occupations: largest first.
    """
    return bool(occupations.mean[0] - 1.0 > 0.01 + 3.0 * occupations.error[0])


def jackknife(blocks: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A function of the mean with its error, leaving out one block at a time (Efron, Stein, Ann. Stat. 9, 586 (1981)).

    Args:
        blocks: means of blocks, on the leading axis.
        statistic: of the mean over blocks.
    """
    count = len(blocks)
    total = blocks.sum(axis=0)
    values = np.stack([statistic((total - block) / (count - 1)) for block in blocks])
    spread = np.sum((values - values.mean(axis=0)) ** 2, axis=0)
    return Estimate(statistic(total / count), np.sqrt((count - 1) / count * spread))


def _batch(model: EnergyModel, histogram: Histogram) -> Callable[..., tuple[Chain, dict[str, jax.Array]]]:
    psi, dtype = model.wavefunction, jnp.dtype(model.config.dtype)
    sweeps, particles = model.config.sampling.sweeps, model.config.system.particles
    orbitals, moved = orbitals_for(particles), min(DENSITY_MATRIX_WALKERS, DENSITY_MATRIX_MOVES // particles)
    reach = turning_point(orbitals) + 2.0  # beyond it a function falls off within two lengths
    nodes = jnp.linspace(-reach, reach, 90, dtype=dtype)
    weights = jnp.full(nodes.shape, nodes[1] - nodes[0])

    def batch(params: Any, chain: Chain, key: jax.Array) -> tuple[Chain, dict[str, jax.Array]]:
        chain, _ = walk(density(psi, params), chain, key, sweeps, model.unroll)
        x = chain.walkers
        ratio = map_in_batches(lambda y: psi.laplacian_ratio(params, y), x, model.walker_chunk)
        parts = energy_parts(ratio, x, model.system)
        density_matrix = one_body_density_matrix(
            lambda y: psi.sign_log_psi(params, y),
            x[:moved],
            nodes,
            weights,
            lambda y: oscillator_orbitals(y, orbitals),
        )
        scalars = {name: jnp.mean(values) for name, values in parts.items()}
        outside = jnp.mean(jnp.sum(jnp.abs(x) >= histogram.extent, axis=1).astype(dtype))
        return chain, {
            "one_body": one_body_density(x, histogram),
            "pair": pair_density(x, histogram),
            "density_matrix": density_matrix,
            "energy": scalars["kinetic"] + scalars["trap"] + scalars["interaction"],
            "outside": outside,
            **scalars,
        }

    return batch


def observe(
    path: str | Path,
    *,
    batches: int = 200,
    bins: int = 80,
    extent: float | None = None,
    device: str | None = None,
    reporter: Reporter | None = None,
) -> Observables:
    """Samples the state in a run's checkpoint.

    Args:
        path: a run directory with a checkpoint.
        batches: of all walkers, a walk apart; a tenth as many again go before, unrecorded.
        bins: of the densities.
        extent: they reach from -extent to extent, in oscillator lengths; None for :func:`extent_for` the particles.
        device: "cpu", "gpu", or None for a GPU where there is one.
        reporter: told of the progress.

    Raises:
        InputError: if there is no usable checkpoint, or a number is out of bounds.
    """
    if not BLOCKS <= batches <= MOST_BATCHES:
        raise InputError(
            f"batches = {batches}: must be between {BLOCKS}, for errors from as many blocks, and {MOST_BATCHES}"
        )
    if not 2 <= bins <= 1000:
        raise InputError(f"bins = {bins}: must be between 2 and 1000")
    if extent is not None and not 0 < extent <= 100:
        raise InputError(f"extent = {extent:g}: must be positive and at most 100 oscillator lengths")
    memory = memory_bytes()
    if memory is not None and (needed := 8 * batches * bins**2) > memory:
        raise InputError(
            f"batches = {batches}, bins = {bins}: pair densities of {needed / 1e9:,.1f} GB, and there are "
            f"{memory / 1e9:,.1f}; lower one of them"
        )
    run, reporter = RunDirectory(Path(path)), reporter or Silent()
    config, chosen = run.read_config(), environment.select_device(device)
    histogram = Histogram(bins, extent_for(config.system.particles) if extent is None else extent)
    with numerics(config.dtype, chosen):
        model, phase, state, _ = load_state(config, run, None, chosen.platform)
        assert isinstance(model, EnergyModel)
        root, chain = stream_key(model.seed, OBSERVATION_STREAM), state.data
        # Compiled beforehand, so that the time left is estimated from batches alone.
        batch = jax.jit(_batch(model, histogram)).lower(state.params, chain, root).compile()
        burn_in = max(1, batches // 10)
        found: list[dict[str, np.ndarray]] = []
        reporter.start("observables", 0, burn_in + batches)
        for number in range(burn_in + batches):
            chain, measured = batch(state.params, chain, jax.random.fold_in(root, number))
            if number >= burn_in:
                found.append({name: np.asarray(value, np.float64) for name, value in measured.items()})
            reporter.advance(number + 1, {"energy": float(measured["energy"])})
        reporter.finish()
    if not all(np.isfinite(one["energy"]) for one in found):
        raise InputError(f"{run.path}: its state has no finite energy")
    blocks = {
        name: np.stack([part.mean(axis=0) for part in np.array_split(np.stack([one[name] for one in found]), BLOCKS)])
        for name in found[0]
    }
    estimates = {name: jackknife(values, lambda mean: mean) for name, values in blocks.items()}
    return Observables(
        histogram,
        estimates.pop("one_body"),
        estimates.pop("pair"),
        estimates.pop("density_matrix"),
        jackknife(blocks["density_matrix"], occupations_of),
        estimates,
        int(state.epoch) if phase.name == TRAINING else 0,
    )


def _table(columns: dict[str, np.ndarray]) -> bytes:
    stream = io.StringIO()
    stream.write(",".join(columns) + "\n")
    for row in zip(*columns.values(), strict=True):
        stream.write(",".join(f"{value:.6g}" for value in row) + "\n")
    return stream.getvalue().encode()


def refuse_observables(path: Path, overwrite: bool) -> Path:
    """Where the summary of a run's observables goes.

    Raises:
        InputError: if there are observables already and ``overwrite`` is not set.
    """
    summary = RunDirectory(path).observables / "observables.json"
    if summary.exists() and not overwrite:
        raise InputError(f"{summary}: exists; --overwrite replaces it")
    return summary


def store_observables(
    path: Path, observables: Observables, overwrite: bool = False, revision: str | None = None
) -> Path:
    """Writes density.csv, pair_density.csv, density_matrix.csv, occupations.csv and observables.json (with the hashes).

    Args:
        path: the run directory; the files go to its folder ``observables``.
        observables: what to write.
        overwrite: whether to replace what is there.
        revision: git revision of the code that measured; asked of git when left out.

    Returns:
        The folder.

    Raises:
        InputError: if there are observables already and ``overwrite`` is not set.
        StorageError: if the system refuses.
    """
    summary = refuse_observables(path, overwrite)
    folder = summary.parent
    centres = observables.histogram.centres
    x, y = np.meshgrid(centres, centres, indexing="ij")
    upper = y >= x  # symmetric
    matrix = observables.density_matrix
    i, j = np.triu_indices(len(matrix.mean))
    count = np.arange(1.0, len(matrix.mean) + 1)
    tables = {
        "density.csv": {"x": centres, "n": observables.one_body.mean, "error": observables.one_body.error},
        "pair_density.csv": {
            "x": x[upper],
            "y": y[upper],
            "n2": observables.pair.mean[upper],
            "error": observables.pair.error[upper],
        },
        "density_matrix.csv": {
            "i": i.astype(float),
            "j": j.astype(float),
            "rho": 0.5 * (matrix.mean + matrix.mean.T)[i, j],
            "error": np.maximum(matrix.error, matrix.error.T)[i, j],
        },
        "occupations.csv": {
            "orbital": count,
            "occupation": observables.occupations.mean,
            "error": observables.occupations.error,
        },
    }
    try:
        folder.mkdir(exist_ok=True)
        summary.unlink(missing_ok=True)  # it vouches for the tables, so it goes first and comes last
    except OSError as error:
        raise storage_error(error, folder) from error
    hashes = {}
    for name, columns in tables.items():
        content = _table(columns)
        write_atomic(folder / name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    told: dict[str, Any] = {
        name: {"mean": float(estimate.mean), "error": float(estimate.error)}
        for name, estimate in observables.scalars.items()
    }
    record = {
        "run": RunDirectory(path).read_config().content_hash,
        "epochs": observables.epochs,
        **told,
        "sha256": hashes,
        "git_revision": revision or environment.git_revision(),
        "versions": environment.versions(),
    }
    write_atomic(summary, (json.dumps(record, indent=2) + "\n").encode())
    return folder
