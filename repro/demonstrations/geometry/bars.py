"""Bars of 3 x 3 pixels: wake-sleep, reweighted and natural reweighted wake-sleep, with exact likelihoods (G21).

A picture has whole rows or whole columns that are white: fourteen pictures, all alike probable. The machine is small
enough for the exact Kullback-Leibler divergence of the data from the model, sum_x p_data(x) ln p_data(x) / p(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from repro.demonstrations.base import Values, in_double_precision
from repro.demonstrations.geometry.tiny_machines import all_states, log_likelihood, split_layers
from repro.optimizers.base import Optimizer
from repro.optimizers.presets import sgd, unit_fisher
from repro.problems.helmholtz import Machine, WakeSleep, first_machine

SIDE, HIDDEN = 3, (6, 3)
SIZES = (SIDE * SIDE, *HIDDEN)
SAMPLES, INTERVAL = 5, 10
"""K, and the steps from one look at the divergence to the next."""
LEVEL = 0.1
"""Nats."""
TUNING_SEEDS, SEEDS = (100, 101, 102), (0, 1, 2, 3, 4)
RATES = {
    "WS": (0.1, 0.3, 1.0, 3.0, 10.0),
    "RWS": (0.1, 0.3, 1.0, 3.0, 10.0),
    "NRWS": (0.01, 0.03, 0.1, 0.3, 1.0),
}
"""Five for each method."""
PROBLEMS = {"WS": WakeSleep("wake-sleep", SAMPLES), "RWS": WakeSleep("reweighted", SAMPLES)}
PROBLEMS["NRWS"] = PROBLEMS["RWS"]


def bars() -> np.ndarray:
    """The pictures, rows of zeros and ones, shape ``(14, 9)``."""
    found = set()
    for chosen in product((0, 1), repeat=SIDE):
        rows = np.repeat(np.array(chosen), SIDE).reshape(SIDE, SIDE)
        found |= {tuple(rows.ravel()), tuple(rows.T.ravel())}
    return np.array(sorted(found))


def divergence(machine: Machine, pictures: Array, hidden: tuple[Array, ...]) -> Array:
    """Of the data from the model, in nats."""
    return -jnp.log(float(pictures.shape[0])) - jnp.mean(log_likelihood(machine, pictures, hidden))


def _optimizer(method: str) -> Optimizer:
    """With the rate 1: both kinds of steps are proportional to it."""
    problem = PROBLEMS[method]
    return unit_fisher(problem, learning_rate=1.0) if method == "NRWS" else sgd(learning_rate=1.0, momentum=0.0)


def _run(method: str, pictures: Array, hidden: tuple[Array, ...], looks: int, rate: Array, seed: Array) -> Array:
    """The divergence after every :data:`INTERVAL` steps, shape ``(looks,)``."""
    problem, optimizer = PROBLEMS[method], _optimizer(method)
    key = jax.random.key(seed)

    def step(carry: tuple[Any, Any, Array], _: None) -> tuple[tuple[Any, Any, Array], None]:
        params, state, number = carry
        data = problem.draw(params, None, jax.random.fold_in(key, number), pictures)[0]
        evaluation = problem.evaluate(params, data, pictures)
        updates, state = optimizer.update(evaluation.gradient, state, params, **evaluation.batch)
        params = jax.tree.map(lambda w, change: w + rate * change, params, updates)
        return (params, state, number + 1), None

    def look(carry: tuple[Any, Any, Array], _: None) -> tuple[tuple[Any, Any, Array], Array]:
        carry, _ = jax.lax.scan(step, carry, None, INTERVAL)
        return carry, divergence(carry[0], pictures, hidden)

    params = first_machine(jax.random.fold_in(key, 2**20), SIZES, jnp.float64)
    return jax.lax.scan(look, (params, optimizer.init(params), jnp.zeros((), jnp.int32)), None, looks)[1]


def _all_runs(one: Any, in_turn: bool, pairs: tuple[Array, Array]) -> Array:
    """Runs of rates and seeds: side by side, or one after the other where matrices are factorised."""
    return jax.lax.map(lambda pair: one(*pair), pairs) if in_turn else jax.vmap(one)(*pairs)


def steps_to(curves: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Steps of runs, shape ``(N, looks)``, until the divergence is seen to be at most this; infinite for never."""
    below = curves <= level
    return np.where(below.any(axis=1), (below.argmax(axis=1) + 1) * float(INTERVAL), np.inf)


@dataclass(frozen=True)
class Bars:
    """What the methods do.

    Attributes:
        curves: by method with its best rate, the divergence of five seeds, shape ``(seeds, looks)``.
        rates: the best one of each method.
        tuning: by method, the median of the steps for each rate.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    curves: dict[str, np.ndarray]
    rates: dict[str, float]
    tuning: dict[str, np.ndarray]
    values: Values


@in_double_precision
def bars_learned(*, looks: int = 200, tuning_seeds: tuple[int, ...] = TUNING_SEEDS) -> Bars:
    """Tunes the rate of each method with seeds of its own, and trains with five others.

    Args:
        looks: at the divergence, one in ten steps.
        tuning_seeds: of the runs that choose the rate.
    """
    pictures = jnp.asarray(bars(), float)
    hidden = split_layers(all_states(sum(HIDDEN)), HIDDEN)
    curves, rates, tuning = {}, {}, {}
    for method, tried in RATES.items():
        one = partial(_run, method, pictures, hidden, looks)
        every = jax.jit(partial(_all_runs, one, method == "NRWS"))
        asked = [(rate, seed) for rate in tried for seed in tuning_seeds]
        found = np.asarray(every(_pairs(asked))).reshape(len(tried), len(tuning_seeds), looks)
        medians = np.array([np.median(steps_to(runs)) for runs in found])
        ends = np.array([np.median(runs[:, -1]) for runs in found])
        best = min(range(len(tried)), key=lambda place: (medians[place], np.nan_to_num(ends[place], nan=np.inf)))
        tuning[method], rates[method] = medians, tried[best]
        curves[method] = np.asarray(every(_pairs([(tried[best], seed) for seed in SEEDS])))
    steps = {method: steps_to(runs) for method, runs in curves.items()}
    typical = {method: float(np.median(one)) for method, one in steps.items()}
    values: Values = {
        "steps": typical,
        "rate": rates,
        "final_divergence": {method: float(np.median(runs[:, -1])) for method, runs in curves.items()},
        "arrived": {method: float(np.isfinite(one).mean()) for method, one in steps.items()},
        "rws_over_nrws": _ratio(typical["RWS"], typical["NRWS"]),
        "ws_over_rws": _ratio(typical["WS"], typical["RWS"]),
    }
    return Bars(curves, rates, tuning, values)


def _pairs(asked: list[tuple[float, int]]) -> tuple[Array, Array]:
    return jnp.asarray([rate for rate, _ in asked]), jnp.asarray([seed for _, seed in asked], jnp.uint32)


def _ratio(above: float, below: float) -> dict[str, float]:
    """Where both are infinite there is none, and nothing is judged."""
    return {} if np.isinf(above) and np.isinf(below) else {"ratio": above / below}
