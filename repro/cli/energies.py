"""Commands on reference energies: one of them, or a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from repro.cli.options import V0, AsJson, Particles, Sigma0, to_stderr


def reference(
    method: Annotated[str, typer.Option("--method", help="exact, ci, hf or dmrg.", show_default=False)],
    particles: Particles,
    v0: V0,
    sigma0: Sigma0 = 0.5,
    modes: Annotated[int | None, typer.Option("--modes", help="Oscillator modes of ci; 20 when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute a reference energy.

    exact: by separation for 2 particles, by a converged no-core shell model for 3 to 8 (seconds to minutes). ci: full
    configuration interaction in a few oscillator modes, as the study had it. hf: Hartree-Fock. dmrg: on a grid, an
    independent check of exact (needs block2: make setup LOCK=dmrg).

    The error is the numerical error of the method's own value, not what the method leaves out.

    Example: repro reference --method exact --particles 6 --v0 -20
    """
    from repro.config import SystemConfig
    from repro.references import reference as compute

    found = compute(method, SystemConfig(particles, v0, sigma0), modes, to_stderr)
    if as_json:
        print(json.dumps({key: value for key, value in asdict(found).items() if value is not None}))
    else:
        print(
            f"{found.method} ({found.basis}): E = {found.energy:.12g} +- {found.error:.1g}  "
            f"(A = {found.particles}, V0 = {found.v0:g}, sigma0 = {found.sigma0:g})"
        )


def references(
    method: Annotated[list[str] | None, typer.Option("--method", help="Repeatable; exact, ci and hf.")] = None,
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 2 to 6.")] = None,
    v0: Annotated[list[float] | None, typer.Option("--v0", help="Repeatable; -20, -15, ... 20.")] = None,
    sigma0: Annotated[list[float] | None, typer.Option("--sigma0", help="Repeatable; 0.5.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV; what it has is not computed again.")] = Path(
        "output/references.csv"
    ),
) -> None:
    """Compute a table of reference energies, each with the command that makes it again.

    Every case is stored as soon as it is known; interrupted, the same command goes on. Left to itself it computes the
    cases of the table that comes with the project, paper_runs/references/energies.csv: the study's and the held-out
    ones. Where particles, strengths or ranges are given, it computes all their combinations.

    Example: repro references --method exact --particles 3 --v0 20 --out table.csv
    """
    from itertools import product

    from repro.config import SystemConfig
    from repro.study.experiments.reference_table import fill_table
    from repro.study.runs.cases import BETWEEN, CASES, HELD_OUT, PARTICLES, STRENGTHS

    systems = [*CASES, *HELD_OUT]
    if particles or v0 or sigma0:
        ranges = product(particles or PARTICLES, v0 or (*STRENGTHS, *BETWEEN), sigma0 or [SystemConfig.sigma0])
        systems = [SystemConfig(*values) for values in ranges]
    fill_table(out, method or ["exact", "ci", "hf"], systems, to_stderr)
