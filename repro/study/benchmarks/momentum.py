"""Natural gradients with and without momentum on two least-squares problems: many short runs for one table.

A run is one compiled loop that ends when its level is reached. Runs that differ in numbers, seed or eps share a program
and are made one after the other by ``jax.lax.map``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pandas as pd
from jax import Array

from repro.config import SpringConfig
from repro.config.optimizers import LbfgsConfig, ProximalLeastSquaresConfig
from repro.config.problems import PinnConfig
from repro.demonstrations.base import in_double_precision
from repro.optimizers.base import Optimizer, from_optax
from repro.optimizers.limited_memory import limited_memory
from repro.optimizers.momentum import MomentumNumbers, with_numbers
from repro.optimizers.proximal_least_squares import proximal_least_squares
from repro.optimizers.sample_space import stochastic_reconfiguration
from repro.problems.pinn import (
    boundary_layer_problem,
    first_weights,
    points_of,
    quadrature,
    relative_errors,
    solution_network,
)
from repro.problems.regression import mackey_glass_problem, mackey_glass_samples, series_network
from repro.problems.residual import LeastSquares
from repro.study.benchmarks.subprocesses import table_so_far, write_table
from repro.study.experiments.momentum_table import (
    BATCHES,
    FEWER_POINTS,
    LAYER,
    LAYER_MAP,
    LAYERS,
    LEVELS,
    MAP_DAMPINGS,
    MAP_EPS,
    MAP_MOMENTA,
    MAP_SEEDS,
    NUMBERS,
    POINTS,
    SEEDS,
    SERIES,
    SERIES_MAP,
    STOCHASTIC,
    TABLE_COLUMNS,
    TUNING_SEEDS,
    best_setting,
)

SERIES_UNITS, LAYER_UNITS = "10", "20"
NO_LIMIT = 1e30
"""Of the length of a step of SPRING, which has none here."""


class Numbers(NamedTuple):
    """A setting; what a method does not have is ignored."""

    learning_rate: Array | float = 1.0
    damping: Array | float = 1e-6
    momentum: Array | float = 0.0


Maker = Callable[[LeastSquares, Numbers], Optimizer]


def _natural(kind: str, searches: bool = False) -> Maker:
    def made(problem: LeastSquares, numbers: Numbers) -> Optimizer:
        return with_numbers(problem, MomentumNumbers(*numbers), kind, searches=searches)

    return made


def _cut_off(problem: LeastSquares, numbers: Numbers) -> Optimizer:
    """The damping is the cutoff."""
    cut = MomentumNumbers(numbers.learning_rate, 0.0, 0.0, numbers.damping)
    return with_numbers(problem, cut, "none", cuts_off=True, searches=True)


class _SpringNumbers(NamedTuple):
    learning_rate: Array | float
    damping: Array | float
    momentum: Array | float
    step_limit: float = NO_LIMIT
    name: str = "spring"


def _spring(problem: LeastSquares, numbers: Numbers) -> Optimizer:
    return stochastic_reconfiguration(problem, cast("SpringConfig", _SpringNumbers(*numbers)))


def _of_optax(make: Callable[[Any], optax.GradientTransformation]) -> Maker:
    def made(problem: LeastSquares, numbers: Numbers) -> Optimizer:
        del problem  # the gradient is enough
        return from_optax(make(numbers.learning_rate))

    return made


def _by_default(make: Callable[[LeastSquares, Any], Optimizer], config: Any) -> Maker:
    def made(problem: LeastSquares, numbers: Numbers) -> Optimizer:
        del numbers  # nothing is tuned
        return make(problem, config)

    return made


METHODS: dict[str, Maker] = {
    "gradient descent": _of_optax(optax.sgd),
    "momentum": _of_optax(lambda rate: optax.sgd(rate, 0.9)),
    "Adam": _of_optax(optax.adam),
    "Muon": _of_optax(optax.contrib.muon),
    "L-BFGS": _by_default(limited_memory, LbfgsConfig()),
    "NGD": _natural("none"),
    "NGD, search": _natural("none", searches=True),
    "ANaGRAM": _cut_off,
    "LM": _natural("transported"),
    "FD": _natural("function-difference"),
    "LG": _natural("last-gradient"),
    "Nesterov": _natural("nesterov"),
    "SPRING": _spring,
    "Levenberg-Marquardt": _by_default(
        proximal_least_squares, ProximalLeastSquaresConfig("levenberg-marquardt", momentum=0.0)
    ),
    "proximal": _by_default(proximal_least_squares, ProximalLeastSquaresConfig()),
}

_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_DAMPINGS, _MOMENTA = (1e-8, 1e-6, 1e-4), (0.3, 0.6, 0.9)
_OF_MOMENTUM = tuple(Numbers(1.0, damping, beta) for damping in _DAMPINGS for beta in _MOMENTA)
GRIDS: dict[str, tuple[Numbers, ...]] = {
    "gradient descent": tuple(Numbers(rate) for rate in (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)),
    "momentum": tuple(Numbers(rate) for rate in (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 1.0)),
    "Adam": tuple(Numbers(rate) for rate in _RATES),
    "Muon": tuple(Numbers(rate) for rate in _RATES),
    "NGD": tuple(Numbers(rate, damping) for rate in (0.3, 0.6, 1.0) for damping in _DAMPINGS),
    "NGD, search": tuple(Numbers(1.0, 10.0**power) for power in range(-11, -2)),
    "ANaGRAM": tuple(Numbers(1.0, 10.0**power) for power in (-8, -7, -6, -5, -4, -3.5, -3, -2.5, -2)),
    "LM": _OF_MOMENTUM,
    "FD": _OF_MOMENTUM,
    "LG": _OF_MOMENTUM,
    "Nesterov": _OF_MOMENTUM,
}
"""Settings of a method, at most nine; one that is not here has its defaults."""
STOCHASTIC_GRIDS: dict[str, tuple[Numbers, ...]] = {
    "NGD": tuple(Numbers(rate, damping) for rate in (0.1, 0.3, 1.0) for damping in (1e-6, 1e-5, 1e-4)),
    "SPRING": tuple(Numbers(0.3, damping, zeta) for zeta in (0.5, 0.8, 0.95) for damping in (1e-6, 1e-5, 1e-4)),
    "NGD, search": GRIDS["NGD, search"],
    "LM": tuple(Numbers(0.3, damping, beta) for damping in (1e-6, 1e-5, 1e-4) for beta in _MOMENTA),
}
"""Of the minibatches."""
SECOND_ORDER_STEPS, FIRST_ORDER_STEPS = 300, 3000
LAYER_STEPS, LAYER_ADAM_STEPS, STOCHASTIC_STEPS, MAP_STEPS = 400, 5000, 400, 200
FIRST_ORDER = ("gradient descent", "momentum", "Adam", "Muon", "L-BFGS")
LAYER_METHODS = ("Adam", "L-BFGS", "NGD", "NGD, search", "ANaGRAM", "LM", "FD", "Levenberg-Marquardt", "proximal")


class Unit(NamedTuple):
    """Runs of one method that share a program.

    Attributes:
        part: of the table.
        method: one of :data:`METHODS`.
        batch: samples of a step, 0 for all.
        settings: that are tried; a single one needs no tuning.
        steps: at most.
        layers: eps of the boundary layers; () for the series.
        seeds: of the runs that are measured.
        mapped: whether every setting is measured, and none is chosen.
    """

    part: str
    method: str
    batch: int
    settings: tuple[Numbers, ...]
    steps: int
    layers: tuple[float, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    mapped: bool = False

    @property
    def runs(self) -> int:
        """How many there are."""
        places = max(1, len(self.layers))
        if self.mapped:
            return places * len(self.settings) * len(self.seeds)
        tuned = len(self.settings) * len(TUNING_SEEDS) if len(self.settings) > 1 else 0
        return places * (tuned + len(self.seeds))

    @property
    def told(self) -> str:
        """In a few words."""
        return f"{self.part}: {self.method}" + (f", batch {self.batch}" if self.batch else "")


def units() -> list[Unit]:
    """All that the table is made of."""
    one = (Numbers(),)
    found = [
        Unit(SERIES, name, 0, GRIDS.get(name, one), FIRST_ORDER_STEPS if name in FIRST_ORDER else SECOND_ORDER_STEPS)
        for name in METHODS
        if name != "SPRING"
    ]
    found += [
        Unit(LAYER, name, 0, GRIDS.get(name, one), LAYER_ADAM_STEPS if name == "Adam" else LAYER_STEPS, LAYERS)
        for name in LAYER_METHODS
    ]
    found += [
        Unit(STOCHASTIC, name, batch, STOCHASTIC_GRIDS.get(name, one), STOCHASTIC_STEPS)
        for batch in BATCHES
        for name in (*STOCHASTIC_GRIDS, "proximal")
    ]
    found += [
        Unit(FEWER_POINTS, name, batch, one, LAYER_STEPS, (1.0, 0.1, 0.03))
        for batch in POINTS
        for name in ("Levenberg-Marquardt", "proximal")
    ]
    found += [
        Unit(FEWER_POINTS, name, 10, (Numbers(1.0, 1e-6, beta),), LAYER_STEPS, (1.0, 0.1, 0.03))
        for name, beta in (("NGD", 0.0), ("LM", 0.9), ("FD", 0.9), ("LG", 0.9))
    ]
    mapped = tuple(Numbers(1.0, damping, beta) for damping in MAP_DAMPINGS for beta in MAP_MOMENTA)
    found.append(Unit(SERIES_MAP, "LM", 0, mapped, MAP_STEPS, (), MAP_SEEDS, True))
    found.append(Unit(LAYER_MAP, "LM", 0, mapped, MAP_STEPS, (MAP_EPS,), MAP_SEEDS, True))
    return found


class _Jobs(NamedTuple):
    """Runs of a unit, all with a leading axis."""

    numbers: Numbers
    params: Any
    points: Array
    known: Array
    seed: Array


def _loop(unit: Unit, problem: LeastSquares, errors: Any, to_the_end: bool, job: _Jobs) -> dict[str, Array]:
    """A run: steps until the level is reached, or until the end."""
    optimizer = METHODS[unit.method](problem, job.numbers)
    everything = LeastSquares(problem.residuals)
    level, key = LEVELS[unit.part], jax.random.key(job.seed)
    params = job.params

    def loss_of(theta: Any) -> Array:
        (residual,) = everything._residuals
        return 0.5 * jnp.mean(jnp.sum(residual(theta, job.points) ** 2, axis=1))

    def goes_on(carry: tuple[Any, ...]) -> Array:
        step, first, loss = carry[2:]
        reached = jnp.isfinite(first) & (not to_the_end)
        return (step < unit.steps) & jnp.isfinite(loss) & ~reached

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        theta, state, step, first, _ = carry
        data = problem.draw(theta, None, jax.random.fold_in(key, step), job.points)[0]
        evaluation = problem.evaluate(theta, data, job.points)
        updates, state = optimizer.update(evaluation.gradient, state, theta, **evaluation.batch)
        theta = optax.apply_updates(theta, updates)
        loss = loss_of(theta)
        first = jnp.where(jnp.isinf(first) & (loss <= level), step + 1.0, first)
        return theta, state, step + 1, first, loss

    begin = (params, optimizer.init(params), jnp.zeros((), jnp.int32), jnp.asarray(math.inf), loss_of(params))
    theta, _, _, first, loss = jax.lax.while_loop(goes_on, body, begin)
    l2, h1 = errors(theta, job.known) if errors else (jnp.asarray(math.nan), jnp.asarray(math.nan))
    return {"steps": first, "loss": loss, "l2_error": l2, "h1_error": h1}


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _job_list(unit: Unit, asked: Iterable[tuple[Numbers, float, int]]) -> _Jobs:
    """(setting, eps, seed) of each run -> what the program takes."""
    jobs = list(asked)
    if unit.layers:
        points = [points_of(PinnConfig(eps=eps)) for _, eps, _ in jobs]
        known = [quadrature(eps) for _, eps, _ in jobs]
        networks = {eps: solution_network(LAYER_UNITS, first_weights(PinnConfig(eps=eps))) for eps in unit.layers}
        params = [networks[eps].init(jax.random.key(seed), jnp.zeros(1)) for _, eps, seed in jobs]
    else:
        points = [mackey_glass_samples()[0]] * len(jobs)
        known = [np.zeros(0)] * len(jobs)
        network = series_network(SERIES_UNITS)
        params = [network.init(jax.random.key(seed), jnp.zeros((1, 4))) for *_, seed in jobs]
    numbers = _stacked([Numbers(*map(jnp.asarray, setting)) for setting, _, _ in jobs])
    seeds = jnp.asarray([seed for *_, seed in jobs], jnp.uint32)
    return _Jobs(numbers, _stacked(params), jnp.asarray(np.stack(points)), jnp.asarray(np.stack(known)), seeds)


@in_double_precision
def measured_unit(unit: Unit) -> pd.DataFrame:
    """Makes the runs of a unit: those that tune, then those of the best setting.

    Args:
        unit: one of :func:`units`, or a smaller one.

    Returns:
        A row for each run, with the columns ``TABLE_COLUMNS`` of :mod:`repro.study.experiments.momentum_table`.
    """
    batch = 0 if unit.batch in (0, len(mackey_glass_samples()[0])) and not unit.layers else unit.batch
    if unit.layers:
        network = solution_network(LAYER_UNITS, 1.0)  # the spread of the first weights is that of the parameters given
        problem, errors = boundary_layer_problem(network, batch), relative_errors(network)
    else:
        problem, errors = mackey_glass_problem(SERIES_UNITS, batch), None

    def program(to_the_end: bool) -> Callable[[_Jobs], dict[str, Array]]:
        one = partial(_loop, unit, problem, errors, to_the_end)
        return jax.jit(lambda jobs: jax.lax.map(one, jobs))

    def rows(asked: list[tuple[Numbers, float, int]], tuning: int, made: Callable[[_Jobs], Any]) -> pd.DataFrame:
        found = {name: np.asarray(values) for name, values in made(_job_list(unit, asked)).items()}
        plain = [[float(value) for value in setting] for setting, _, _ in asked]
        told = {name: [setting[place] for setting in plain] for place, name in enumerate(NUMBERS)}
        ended = {name: np.where(np.isfinite(values), values, math.nan) for name, values in found.items()}
        table = pd.DataFrame({"part": unit.part, "method": unit.method, "batch": unit.batch, **told, "tuning": tuning})
        table["eps"], table["seed"] = [eps for _, eps, _ in asked], [seed for *_, seed in asked]
        return table.assign(**ended)[list(TABLE_COLUMNS)]

    places = unit.layers or (0.0,)
    if unit.mapped:
        asked = [(setting, eps, seed) for setting in unit.settings for eps in places for seed in unit.seeds]
        return rows(asked, 0, program(False))
    tables, best = [], dict.fromkeys(places, unit.settings[0])
    if len(unit.settings) > 1:
        asked = [(setting, eps, seed) for setting in unit.settings for eps in places for seed in TUNING_SEEDS]
        tuning = rows(asked, 1, program(False))
        tables.append(tuning)
        best = {eps: Numbers(*best_setting(tuning[tuning["eps"] == eps])) for eps in places}
    asked = [(best[eps], eps, seed) for eps in places for seed in unit.seeds]
    tables.append(rows(asked, 0, program(bool(unit.layers))))
    return pd.concat(tables, ignore_index=True)


def bench_momentum(out: Path, resume: bool, tell: Callable[[str], None], chosen: Sequence[Unit] = ()) -> pd.DataFrame:
    """Makes the whole table.

    Args:
        out: where it is written, anew after each unit.
        resume: whether to go on with the table that is there.
        tell: receives a line for each unit, with an estimate of the time left.
        chosen: units to make; all when left out.

    Raises:
        InputError: for a table that is there already, or one that is not such a table.
        StorageError: if the system refuses to write.
    """
    asked = list(chosen) or units()
    done = table_so_far(out, resume, TABLE_COLUMNS)
    known = set(zip(done["part"], done["method"], done["batch"], strict=True)) if len(done) else set()
    left = [unit for unit in asked if (unit.part, unit.method, unit.batch) not in known]
    total, made, begun = sum(unit.runs * unit.steps for unit in left), 0, time.monotonic()
    for number, unit in enumerate(left, start=1):
        rows = measured_unit(unit)
        done = pd.concat([done, rows], ignore_index=True) if len(done) else rows
        write_table(done, out)
        made += unit.runs * unit.steps
        minutes = (time.monotonic() - begun) * (total - made) / made / 60
        tell(f"{number}/{len(left)} {unit.told}: {unit.runs} runs, about {minutes:.0f} min left")
    return done
