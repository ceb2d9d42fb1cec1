"""Minibatches that grow along a minimisation: few samples are enough at first, and near the minimum few are too noisy.

The size grows exponentially, m_k = m_1 e^((k - 1) / b) in epoch k, until it is the number of samples (M. Friedlander,
M. Schmidt, SIAM J. Sci. Comput. 34, A1380 (2012); J. Martens, R. Grosse, ICML 2015, section 13). Every size is a
compiled program of its own. So the sizes are rounded up to a few, each larger than the last by the same factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from repro.config.checks import integer, shown
from repro.errors import InputError
from repro.optimizers.base import Optimizer
from repro.problems.base import Problem
from repro.training.minimisation import Minimised, minimise
from repro.training.reporting import Reporter
from repro.training.state import TRAINING_STREAM, stream_key


class Stage(NamedTuple):
    """Epochs with batches of one size."""

    batch_size: int
    epochs: int


def growing_batches(first: int, samples: int, reached: int, epochs: int, factor: float = math.sqrt(2.0)) -> list[Stage]:
    """The sizes of the batches of a minimisation.

    Args:
        first: m_1, samples of the first batch.
        samples: that there are, the size of the last batches.
        reached: epoch, counted from 1, from which on batches have all samples: b = (reached - 1) / ln(samples / m_1).
        epochs: of the minimisation.
        factor: by which a size is larger than the last, above 1; the last step may be smaller.

    Raises:
        InputError: for a value out of bounds.
    """
    for name, value, least in (("first", first, 1), ("samples", samples, first), ("reached", reached, 2)):
        integer(name, value, least)
    integer("epochs", epochs, 1)
    if not 1.0 < factor < math.inf:
        raise InputError(f"factor = {shown(factor)}: must be above 1")
    wanted = first * (samples / first) ** (np.arange(epochs) / (reached - 1))
    # A rounding error above a size does not make it the next one.
    steps = np.ceil(np.log(wanted / first) / math.log(factor) - 1e-9)
    sizes = np.minimum(np.ceil(first * factor**steps - 1e-9), samples).astype(int)
    found, counts = np.unique(sizes, return_counts=True)
    return [Stage(int(size), int(count)) for size, count in zip(found, counts, strict=True)]


def minimise_in_stages(
    problem_of: Callable[[int], Problem],
    optimizer_of: Callable[[Problem], Optimizer],
    params: Any,
    stages: Iterable[Stage],
    *,
    coefficients: Any = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Minimised:
    """One minimisation with several sizes of batches; the optimiser's state goes on from one to the next.

    Args:
        problem_of: from the size of the batches to the problem.
        optimizer_of: from the problem to the optimiser, the same for all sizes.
        params: where to begin.
        stages: as of :func:`growing_batches`.
        coefficients: as of :func:`repro.minimise`; the three that follow, too.
        seed: of everything random.
        reporter: told of the progress of each stage.

    Returns:
        As of one call of :func:`repro.minimise`, and a column ``"batch_size"`` in the curve.

    Raises:
        InputError: if there are no stages, or as of :func:`repro.minimise`.
    """
    state, curves = None, []
    for size, epochs in stages:
        problem = problem_of(size)
        if state is not None:
            # Samples of the new size, as shapes are part of a program; each epoch draws its own before it uses any.
            key = stream_key(jnp.asarray(seed, jnp.uint32), TRAINING_STREAM)
            state = state._replace(data=problem.draw(state.params, None, key, coefficients)[0])
        found = minimise(
            problem,
            optimizer_of(problem),
            params,
            epochs=epochs,
            coefficients=coefficients,
            seed=seed,
            state=state,
            reporter=reporter,
        )
        state = found.state
        curves.append({**found.curve, "batch_size": np.full(epochs, size)})
    if state is None:
        raise InputError("stages: must be at least one")
    curve = {name: np.concatenate([rows[name] for rows in curves]) for name in curves[0]}
    return Minimised(state.params, curve, state)
