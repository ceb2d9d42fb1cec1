"""Where the printed algorithm and the released implementation differ, and what each difference does to a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro.config import RunConfig, SystemConfig
from repro.study.runs import convergence
from repro.study.runs.cases import SEEDS, exact_energy
from repro.study.runs.profiles import configure
from repro.study.runs.store import Run, RunSource

CASE = SystemConfig(2, -10.0)
"""Where the differences are measured: laptop profile."""


@dataclass(frozen=True)
class Point:
    """One difference.

    Attributes:
        title: what it is about.
        deck: as printed.
        released: as in the released implementation.
        options: of ``repro train`` that choose the other than the default.
        optimizers: that it concerns.
        seeds: that it is measured with.
    """

    title: str
    deck: str
    released: str
    options: dict[str, Any]
    optimizers: tuple[str, ...]
    seeds: tuple[int, ...] = SEEDS[:1]


POINTS = (
    Point(
        "Fisher metric in the quadratic model",
        "4 Cov(D, D)",
        "E[D D^T]: no factor 4, not centred",
        {"protocol": "released/fisher"},
        ("kfac", "ngd"),
    ),
    Point(
        "Kronecker factors",
        "factor 4, not centred",
        "no factor 4; inputs and sensitivities centred over the walkers, particle by particle, so that the row of the "
        "bias vanishes and only gamma regularises it",
        {"protocol": "released/factors"},
        ("kfac", "qn-kfac", "qn-mr-kfac"),
    ),
    Point(
        "first residual of MINRES",
        "g - (M + lambda) x0: solves (M + lambda) x = g",
        "g - M x0: solves (M + lambda)(x - x0) = g - M x0",
        {"protocol": "released/residual"},
        ("dgd", "ngd", "qn-mr-kfac"),
    ),
    Point(
        "sign of the start of MINRES",
        "+zeta delta_prev, uphill although updates go downhill",
        "the same; here the other sign, -zeta delta_prev (--start aligned)",
        {"start": "aligned"},
        ("dgd",),
    ),
    Point(
        "ratio of actual to predicted change",
        "(E' - E) / (M(delta) - M(0)), with the regularised model",
        "in logarithms, of |1/2 d^T M d + lambda |d|^2|; a rise by up to a tenth of |E| lowers lambda, a larger one "
        "raises it",
        {"protocol": "released/ratio"},
        ("dgd", "kfac", "qn-kfac"),
    ),
    Point(
        "energies in E' - E",
        "not stated; here both as sampled",
        "E from clipped local energies, E' from unclipped ones",
        {"protocol": "released/energies"},
        ("dgd", "qn-kfac"),
    ),
    Point(
        "local energies in the quasi-Hessian",
        "not stated; here as sampled",
        "clipped, as in E",
        {"protocol": "released/clipping"},
        ("qn-kfac",),
    ),
    Point(
        "all of them together",
        "the printed algorithm (--protocol deck)",
        "the released implementation (--protocol released)",
        {"protocol": "deck"},
        ("dgd", "qn-mr-kfac", "ngd", "qn-kfac", "kfac"),
        SEEDS,
    ),
)
PRINTED = POINTS[-1]
"""The printed algorithm as a whole."""

OPEN = (
    "The 20-mode configuration interaction published for V0 = -20 (-2.4246, -12.1935, -17.3300 for A = 2, 4, 5) lies "
    "above a clean one in the same 20 modes (-2.4258, -12.2125, -17.3720); the difference is unexplained. Both are far "
    "from converged: -2.4718, -13.6694, -20.3500.",
    "The greedy choice of gamma in QN-MR-KFAC is not settled by either text: here each candidate is taken through "
    "MINRES and the scaling before the model's values are compared.",
    "The released code materialises derivatives of every walker and dense blocks; here all products are matrix-free, "
    "but for layer blocks of at most 512 weights inside MINRES.",
)
"""Differences that no single option stands for."""


@dataclass(frozen=True)
class Effect:
    """What a difference does to one optimiser.

    Attributes:
        optimizer: its name.
        point: the difference.
        defaults: the runs in the released protocol that are there, by seed.
        variants: the runs that differ in this point only and are there, by seed.
    """

    optimizer: str
    point: Point
    defaults: tuple[Run, ...]
    variants: tuple[Run, ...]


def variant_config(optimizer: str, options: dict[str, Any], seed: int = 0) -> RunConfig:
    """The run that measures a point, or the default with no options."""
    return configure(particles=CASE.particles, v0=CASE.v0, optimizer=optimizer, seed=seed, **options)


def effects(source: RunSource) -> list[Effect]:
    """All points and optimisers with the runs at hand."""
    pairs = [(point, name) for point in POINTS for name in point.optimizers]

    def configs(point: Point, name: str, options: dict[str, Any]) -> list[RunConfig]:
        return [variant_config(name, options, seed) for seed in point.seeds]

    sides = [(point, name, options) for point, name in pairs for options in ({}, point.options)]
    each = {config.content_hash: config for side in sides for config in configs(*side)}
    runs = {run.config.content_hash: run for run in source.available(list(each.values()))}

    def there(point: Point, name: str, options: dict[str, Any]) -> tuple[Run, ...]:
        keys = [config.content_hash for config in configs(point, name, options)]
        return tuple(runs[key] for key in keys if key in runs)

    return [Effect(name, point, there(point, name, {}), there(point, name, point.options)) for point, name in pairs]


def endings(runs: Sequence[Run]) -> Counter[str]:
    """How many runs ended in which way; those that diverged are unstable, too."""
    return Counter(convergence.kind(run, exact_energy(run.config.system)) for run in runs)


def told(runs: Sequence[Run]) -> str:
    """How the runs of one optimiser ended, in a line; of several how many in which way, and the range of the rest."""
    if not runs:
        return "not run yet"
    if len(runs) == 1 and not runs[0].complete:
        return f"diverged at epoch {runs[0].result['epoch']}"
    exact = exact_energy(CASE)
    reached = [convergence.epochs_to(run, exact) for run in runs]
    errors = [100 * convergence.final_error(run, exact) for run in runs]
    if len(runs) == 1:
        (how,) = endings(runs)
        return f"{how}; {_epochs(reached)}; final error {_error(errors[0])}"
    counts = ", ".join(f"{count} {how}" for how, count in endings(runs).items())
    final = " to ".join(dict.fromkeys(_error(some(errors)) for some in (min, max)))
    return f"of {len(runs)} seeds: {counts}; {_epochs(reached)}; final error {final}"


def _epochs(reached: Sequence[float]) -> str:
    first, last = ("never" if math.isinf(epoch) else f"{epoch:.0f}" for epoch in (min(reached), max(reached)))
    return "1 % never" if first == "never" else f"1 % at epoch {first}" + (f" to {last}" if last != first else "")


def _error(percent: float) -> str:
    return "none (diverged)" if math.isinf(percent) else f"{percent:.2g} %"
