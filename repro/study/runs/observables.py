"""Reading the observables that are stored with a run."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from repro.errors import InputError
from repro.reading import read_bytes, read_json
from repro.study.runs.store import Run

TABLES = ("density", "pair_density", "density_matrix", "occupations")


@dataclass(frozen=True)
class StoredObservables:
    """As ``repro observables`` wrote them, see :mod:`repro.training.observation`.

    Attributes:
        density: columns x, n, error.
        pair_density: columns x, y, n2, error, for y >= x.
        density_matrix: columns i, j, rho, error, for j >= i.
        occupations: columns orbital, occupation, error.
        scalars: means and errors by name.
    """

    density: pd.DataFrame
    pair_density: pd.DataFrame
    density_matrix: pd.DataFrame
    occupations: pd.DataFrame
    scalars: dict[str, Any]

    def pair_matrix(self) -> np.ndarray:
        """n_2(x, y) on the whole grid."""
        upper = self.pair_density.pivot_table(index="x", columns="y", values="n2").to_numpy()
        return np.where(np.isnan(upper), upper.T, upper)


def observables_of(run: Run) -> StoredObservables:
    """The observables of a run, verified; sampled now if the run has a checkpoint and none are there.

    Raises:
        InputError: if there are none and no checkpoint to sample, or if they were altered, belong to another run, or
            were measured before the run was complete.
    """
    from repro.runtime import configure_jax
    from repro.training.observation import observe, store_observables
    from repro.training.rundir import RunDirectory

    directory = RunDirectory(run.path)
    folder = directory.observables
    summary = folder / "observables.json"
    if not summary.exists():
        if not directory.checkpoint.exists():
            raise InputError(f"{folder}: no observables, and no checkpoint to sample; train the run anew")
        configure_jax()
        store_observables(run.path, observe(run.path))
    record = read_json(summary)
    sums = record.get("sha256") if isinstance(record, dict) else None
    if not isinstance(sums, dict) or not {f"{name}.csv" for name in TABLES} <= set(sums):
        raise InputError(f"{summary}: damaged (no checksums of its tables)")
    if record.get("run") != run.config.content_hash:
        raise InputError(f"{summary}: belongs to configuration {record.get('run')}, not {run.config.content_hash}")
    # Those of earlier versions do not say so; a run that diverged was measured where its last state was kept.
    done = record.get("epochs", run.config.epochs)
    if run.complete and done != run.config.epochs:
        raise InputError(
            f"{summary}: was measured after {done} of {run.config.epochs} epochs; measure the final state: "
            f"repro observables {run.path} --overwrite"
        )
    tables = {}
    for name in TABLES:
        content = read_bytes(folder / f"{name}.csv")
        if hashlib.sha256(content).hexdigest() != sums[f"{name}.csv"]:
            raise InputError(f"{folder / name}.csv: was altered (its SHA-256 is not the one in observables.json)")
        tables[name] = pd.read_csv(io.BytesIO(content))
    return StoredObservables(**tables, scalars=record)
