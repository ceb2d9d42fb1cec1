"""Three ways to the damped inverse of a unit's Fisher block, and what each takes (G20).

(Talk on statistical models, slide "Natural Reweighted Wake-Sleep"; C. Varady et al., arXiv:2008.06687.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.optimizers.fisher_by_unit import (
    fisher_blocks,
    inverse_by_cholesky,
    inverse_by_updates,
    inverse_by_woodbury,
    inverse_of,
)
from repro.problems.helmholtz import UnitLayer

WAYS: dict[str, Callable[[UnitLayer, float], Array]] = {
    "Cholesky": inverse_by_cholesky,
    "Woodbury": inverse_by_woodbury,
    "Sherman-Morrison": inverse_by_updates,
}
SIZES, SAMPLES, UNITS, DAMPING = (16, 32, 64, 128, 256), 64, 16, 0.2
REPEATS = 3


@dataclass(frozen=True)
class BlockInverses:
    """What each way takes and gives.

    Attributes:
        sizes: of the blocks.
        seconds: by way, the least of a few measurements, for all units of a layer, shape ``(sizes,)``.
        residuals: by way, the largest element of (F + alpha) X - 1, shape ``(sizes,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`; seconds are not among them.
    """

    sizes: tuple[int, ...]
    seconds: dict[str, np.ndarray]
    residuals: dict[str, np.ndarray]
    values: Values


@in_double_precision
def block_inverses(*, sizes: tuple[int, ...] = SIZES, samples: int = SAMPLES, seed: int = 0) -> BlockInverses:
    """Inverts the blocks of random layers in all ways.

    Args:
        sizes: of the blocks.
        samples: that each block is estimated from.
        seed: of the layers.
    """
    seconds = {name: np.zeros(len(sizes)) for name in WAYS}
    residuals = {name: np.zeros(len(sizes)) for name in WAYS}
    difference, chosen = 0.0, 0.0
    for place, size in enumerate(sizes):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), size))
        inputs = (jax.random.uniform(keys[0], (samples, size)) < 0.5).astype(float)
        layer = UnitLayer(inputs, 0.25 * jax.random.uniform(keys[1], (samples, UNITS)))
        damped = fisher_blocks(layer) + DAMPING * jnp.eye(size)
        found = {}
        for name, way in WAYS.items():
            compiled = jax.jit(way).lower(layer, DAMPING).compile()
            found[name] = compiled(layer, DAMPING)
            seconds[name][place] = min(_seconds(compiled, layer) for _ in range(REPEATS))
            residuals[name][place] = float(jnp.abs(damped @ found[name] - jnp.eye(size)).max())
        reference = found["Cholesky"]
        difference = max(difference, *(float(jnp.abs(one - reference).max()) for one in found.values()))
        chosen = max(chosen, float(jnp.abs(inverse_of(layer, DAMPING) - reference).max()))
    values: Values = {
        "largest_difference": difference,
        "largest_difference_of_the_chosen_way": chosen,
        "largest_residual": max(float(one.max()) for one in residuals.values()),
    }
    return BlockInverses(sizes, seconds, residuals, values)


def _seconds(compiled: Callable[[UnitLayer, float], Array], layer: UnitLayer) -> float:
    begun = time.perf_counter()
    compiled(layer, DAMPING).block_until_ready()
    return time.perf_counter() - begun
