"""K-FAC of this package and kfac-jax on the autoencoder, one after the other on one machine: a table for the claims.

Both are tuned on the same dampings with seed 0, and both train the best one with the further seeds. Network, start,
images, batch size and the intervals of K-FAC are the same; the batches are drawn by each package itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from repro.config import ProblemRunConfig
from repro.config.checks import integer
from repro.datasets import load_images
from repro.errors import InputError
from repro.problems.autoencoder import Autoencoder
from repro.study.benchmarks.kfac_jax import train_with_kfac_jax
from repro.study.benchmarks.subprocesses import table_so_far, write_table
from repro.study.experiments.kfac_jax_table import (
    INVERSE_INTERVAL,
    OWN,
    PEER,
    TABLE_COLUMNS,
    chosen_damping,
    iterations_to,
    seconds_per_step,
    target_error,
)
from repro.study.runs.configurations import configure_problem
from repro.training.reporting import Silent
from repro.training.run import train

FIRST_WEIGHTS = {"tanh": "dense", "logistic": "sparse"}
"""The first weights of a protocol, which is named by its units."""
DAMPINGS = (50.0, 150.0, 450.0)
INTERVAL = 5
"""Steps from one look at all images to the next."""
KEYS = ("protocol", "damping", "seed", "code")


def own_config(protocol: str, damping: float, seed: int, steps: int) -> ProblemRunConfig:
    """The run of this package: K-FAC with what J. Martens and R. Grosse (ICML 2015) use."""
    return configure_problem(
        problem="autoencoder",
        activation=protocol,
        first_weights=FIRST_WEIGHTS[protocol],
        steps=steps + 1,  # errors are those before a step
        evaluation_interval=INTERVAL,
        seed=seed,
        optimizer="kfac",
        damping=damping,
        damping_min=1e-8,
        gamma_interval=20,
        gamma_min=1e-4,
        gamma_max=1e4,
        factor_memory=0.95,
        inverse_interval=INVERSE_INTERVAL,
        factor_inverse="cholesky",
        factor_fraction=0.125,
        model_fraction=0.25,
        factor_targets="sampled",
    )


def _own(protocol: str, damping: float, seed: int, steps: int) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(own_config(protocol, damping, seed, steps), Path(folder) / "run", reporter=Silent())
        curve = pd.read_csv(outcome.run.curve)
    done = curve["cpu_seconds"].cumsum().shift(1, fill_value=0.0)  # a row's error is the one before its step
    seen = curve.assign(steps=curve["step"] - 1, cpu_seconds=done)[["steps", "cpu_seconds", "training_error"]].dropna()
    return seen[seen["steps"] > 0]


def _peer(python: Path, protocol: str, damping: float, seed: int, steps: int) -> pd.DataFrame:
    images = load_images("mnist-5k").training
    found = train_with_kfac_jax(
        python,
        Autoencoder(images.shape[1], activation=protocol, start=FIRST_WEIGHTS[protocol]),
        images,
        steps=steps,
        damping=damping,
        inverse_interval=INVERSE_INTERVAL,
        interval=INTERVAL,
        seed=seed,
    )
    done = pd.Series(found["cpu_seconds"]).cumsum()
    rows = [(step, float(done[step - 1]), error) for step, error in found["errors"]]
    return pd.DataFrame(rows, columns=["steps", "cpu_seconds", "training_error"])


def bench_kfac_jax(
    python: Path,
    steps: int,
    seeds: int,
    dampings: Sequence[float],
    out: Path,
    resume: bool,
    tell: Callable[[str], None],
) -> pd.DataFrame:
    """Trains the autoencoder in both protocols by both packages.

    Args:
        python: interpreter of an environment with kfac-jax.
        steps: of each run.
        seeds: how many, from 0 on.
        dampings: that both are tuned on.
        out: where the table is written, anew after each run.
        resume: whether to go on with the table that is there.
        tell: receives a line for each run, with an estimate of the time left.

    Returns:
        Of each run the errors on all training images after every :data:`INTERVAL` steps, and the processor time of the
        steps so far, in the columns ``TABLE_COLUMNS`` of :mod:`repro.study.experiments.kfac_jax_table`.

    Raises:
        InputError: for numbers out of bounds, a table that is there already, or an interpreter that is not.
        ReproError: if kfac-jax fails.
    """
    integer("steps", steps, 2 * INVERSE_INTERVAL)
    integer("seeds", seeds, 1)
    for damping in dampings:
        own_config("tanh", damping, 0, steps)  # refuses what is no damping
    if not python.is_file():
        raise InputError(f"{python}: not there; make an environment with requirements/peers-kfac.lock")
    table = table_so_far(out, resume, TABLE_COLUMNS)
    error, begin, made = target_error(), time.monotonic(), 0
    total = 2 * len(FIRST_WEIGHTS) * (len(dampings) + seeds - 1)

    def measured(case: tuple[str, float, int, str], number: int) -> None:
        nonlocal table, made
        protocol, damping, seed, code = case
        if len(table) and (table[list(KEYS)] == case).all(axis=1).any():
            return
        arguments = (protocol, damping, seed, steps)
        rows = _own(*arguments) if code == OWN else _peer(python, *arguments)
        rows = rows.assign(protocol=protocol, damping=damping, seed=seed, code=code)[list(TABLE_COLUMNS)]
        table, made = pd.concat([table, rows], ignore_index=True), made + 1
        write_table(table, out)
        left = (time.monotonic() - begin) / made * (total - number)
        tell(
            f"{number}/{total} {code}, {protocol}, damping {damping:g}, seed {seed}: error of PCA after "
            f"{iterations_to(rows, error):g} steps, {1e3 * seconds_per_step(rows):.0f} ms of processor time a step, "
            f"about {left / 60:.0f} min left"
        )

    number = 0
    for protocol in FIRST_WEIGHTS:
        for damping in dampings:
            for code in (OWN, PEER):
                number += 1
                measured((protocol, damping, 0, code), number)
        best = {code: chosen_damping(table, protocol, code, error) for code in (OWN, PEER)}
        for seed in range(1, seeds):
            for code in (OWN, PEER):
                number += 1
                measured((protocol, best[code], seed, code), number)
    return table
