"""The Fisher matrix of a Helmholtz machine has a block for each unit: by enumeration and by Monte Carlo (G19).

(Talk on statistical models, slide "The Fisher Matrix of a Helmholtz Machine"; N. Ay (2002).)
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.tiny_machines import all_states, block_numbers, scores, split_layers
from repro.optimizers.fisher_by_unit import fisher_blocks
from repro.problems.helmholtz import (
    UnitLayer,
    dreamt,
    first_machine,
    generative_parents,
    log_generative,
    unit_layers,
)

SIZES = (6, 4, 3)
SPREAD = 3.0
"""What the first weights are multiplied by, so that units are not all alike. Biases are zero: where units are hardly
ever on, the errors of a mean over samples are not those of a normal distribution."""


@dataclass(frozen=True)
class UnitBlocks:
    """The Fisher matrix of the generative net.

    Attributes:
        exact: by the sum over all states, shape ``(P, P)``.
        sampled: the mean over samples.
        errors: standard errors of these.
        units: the unit that each parameter belongs to, shape ``(P,)``.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    exact: np.ndarray
    sampled: np.ndarray
    errors: np.ndarray
    units: np.ndarray
    values: Values


@in_double_precision
def unit_blocks(*, samples: int = 200_000, seed: int = 0) -> UnitBlocks:
    """Both matrices of a machine with random weights.

    Args:
        samples: of the Monte Carlo mean.
        seed: of weights and samples.
    """
    key = jax.random.key(seed)
    machine = first_machine(key, SIZES, jnp.float64)
    machine = jax.tree.map(lambda weights: (SPREAD * weights).at[-1].set(0.0), machine)
    layers = split_layers(all_states(sum(SIZES)), SIZES)
    probability = jnp.exp(log_generative(machine, layers))
    rows = scores(machine, layers, "generative")
    exact = np.asarray((rows * probability[:, None]).T @ rows)
    units = block_numbers(machine.generative)
    same = units[:, None] == units[None, :]
    drawn = np.asarray(scores(machine, dreamt(machine, jax.random.fold_in(key, 1), samples), "generative"))
    sampled, squares = drawn.T @ drawn / samples, (drawn**2).T @ drawn**2 / samples
    errors = np.sqrt(np.maximum(squares - sampled**2, 0.0) / samples)
    known = np.where(errors > 0, errors, np.inf)
    blocks = _from_formula(machine.generative, generative_parents(layers), probability)
    largest = max(weights.shape[0] for weights in (*machine.generative, *machine.recognition))
    values: Values = {
        "sum_of_probabilities": float(probability.sum()),
        "largest_off_block": float(np.abs(exact[~same]).max()),
        "largest_in_block": float(np.abs(exact[same]).max()),
        "formula_off": float(np.abs(exact - np.where(same, blocks, 0.0)).max()),
        "largest_off_block_in_errors": float((np.abs(sampled) / known)[~same].max()),
        "sampled_off_in_errors": float((np.abs(sampled - exact) / known)[same].max()),
        "largest_block": float(largest),
        "parameters": float(len(units)),
    }
    return UnitBlocks(exact, sampled, errors, units, values)


def _from_formula(weights: tuple[jax.Array, ...], parents: tuple[jax.Array, ...], probability: jax.Array) -> np.ndarray:
    """E[sigma'(a_j) h h^T] of every unit, set into the order of the flat parameters; zero elsewhere."""
    total = sum(w.size for w in weights)
    found = np.zeros((total, total))
    first = 0
    for layer, w in zip(unit_layers(weights, parents), weights, strict=True):
        # Weighted states as if they were samples: the mean over S states has the weight S p.
        scaled = UnitLayer(layer.inputs, layer.variances * probability[:, None] * len(probability))
        for unit, block in enumerate(np.asarray(fisher_blocks(scaled))):
            places = first + np.arange(w.shape[0]) * w.shape[1] + unit
            found[np.ix_(places, places)] = block
        first += w.size
    return found
