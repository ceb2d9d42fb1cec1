"""What a method finds of the boundary layer: the solution at points, beside the exact one (M12)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from repro.config import optimizer_config
from repro.config.problems import PinnConfig
from repro.demonstrations.base import in_double_precision
from repro.optimizers import build_optimizer
from repro.problems.pinn import (
    boundary_layer_problem,
    exact_solution,
    first_weights,
    points_of,
    solution_network,
    solution_of,
)
from repro.training.minimisation import minimise

POINTS = 400


@in_double_precision
def solution(method: str, eps: float, steps: int, seed: int = 0, **options: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The exact solution and the one that a method has found, both with the columns ``x`` and ``v``.

    Args:
        method: name of an optimiser.
        eps: of the equation.
        steps: that it makes.
        seed: of the first weights.
        options: of the optimiser.
    """
    config = PinnConfig(eps=eps)
    network = solution_network(config.units, first_weights(config))
    problem, points = boundary_layer_problem(network), jnp.asarray(points_of(config))
    optimizer = build_optimizer(optimizer_config(method, **options), problem)
    params = network.init(jax.random.key(seed), points[0, :1])
    found = minimise(problem, optimizer, params, epochs=steps, coefficients=points, seed=seed).params
    # Denser where the layer is.
    x = 1.0 - np.linspace(1.0, 0.0, POINTS) ** 2
    values = jax.vmap(lambda one: solution_of(network)(found, one))(jnp.asarray(x))
    exact = pd.DataFrame({"x": x, "v": exact_solution(x, eps)[0]})
    return exact, pd.DataFrame({"x": x, "v": np.asarray(values)})
