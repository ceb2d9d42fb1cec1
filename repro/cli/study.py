"""Commands on the study as a whole: figures, sweeps, stored runs, claims, and the page of them all."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from repro.cli.options import AsJson, Device, to_stderr


def figures(
    names: Annotated[list[str] | None, typer.Argument(help="Figures such as F11 F08; all when left out.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where notebooks, PDF, PNG and CSV go.")] = Path("output"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore stored runs and train them anew.")] = False,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE for the notebooks, checked against them.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            help="Notebooks at a time; as many as there are processors, at most four, when left out; always one with "
            "--fresh or --parameter.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Execute the figures' notebooks: each leaves its executed notebook, PDF, PNG and the CSV behind it.

    What was read from stored runs and what was computed is printed, figure by figure, and at the end the verdicts on
    all claims that these figures show.

    Example: repro figures F14 --parameter profile=smoke --parameter seed=3 --out output/smoke
    """
    from repro.study.reports.display import show_verdicts
    from repro.study.reports.figures import make_figures

    show_verdicts(make_figures(names or [], out, fresh=fresh, assignments=parameter or [], jobs=jobs))


def sweep(
    grid: Annotated[Path, typer.Argument(help="A TOML file of [[runs]] tables.", show_default=False)],
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at a time, each on its share of the processors.")] = 1,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            help="The most runs, differing in v0, sigma0 and seed only, that one vectorised program trains together; "
            "25 with --device gpu, else 1.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the runs are made.")] = Path("runs/sweep"),
    again: Annotated[
        bool, typer.Option("--again", help="Also make the runs that are stored with the project.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be run.")] = False,
    device: Device = None,
) -> None:
    """Make the runs of a grid that are not there yet, several at a time.

    A [[runs]] table stands for all combinations of its values; a list is several values. Its keys are the options of
    `repro train` with underscores, such as optimizer = ["kfac", "dgd"], particles = 2, v0 = [-10, 10], seed = [0, 1].

    What is stored is skipped, what was interrupted goes on, runs with the same pretraining share it. A run that
    diverges is a result; one that fails is reported, and the rest goes on (exit code 1 at the end).

    A single run leaves a GPU idle; there, runs that differ in couplings and seed only are trained together. On a CPU
    nothing is gained by that.

    Example: repro sweep paper_runs/grids/seeds.toml --jobs 2
    """
    from repro.study.reports.display import sweep_summary, sweep_watcher
    from repro.study.runs.grid import read_grid
    from repro.study.runs.store import STORED_RUNS, project_path
    from repro.study.runs.sweep import FAILED
    from repro.study.runs.sweep import plan as plan_sweep
    from repro.study.runs.sweep import sweep as run_sweep

    configs = read_grid(grid)
    stored = [] if again else [project_path(STORED_RUNS)]
    if plan:
        for job in plan_sweep(configs, stored, out):
            print(f"{job.state:<9} {job.path}")
        return
    with sweep_watcher() as watcher:
        ended = run_sweep(configs, out, stored=stored, jobs=jobs, batch=batch, device=device, watcher=watcher)
    print(f"{out}: {sweep_summary(ended)}")
    failures = [job for job in ended if job.state == FAILED]
    for job in failures:
        print(f"failed: {job.path.name}: {job.told} (see {job.log})", file=sys.stderr)
    if failures:
        raise typer.Exit(1)


def store(
    directories: Annotated[list[Path], typer.Argument(help="Directories of finished runs.", show_default=False)],
) -> None:
    """Add finished runs to paper_runs/, without their checkpoints, and bring its manifest up to date.

    A run must verify and must have been made by committed code. Figures, claims and `repro verify` then use it.
    Runs that go on are left out.
    Observables that were sampled since are added to a run that is there without.

    Example: repro store runs/sweep/*/
    """
    from repro.study.runs.manifest import MOST_MEGABYTES, store_runs
    from repro.study.runs.store import STORED_RUNS, project_path

    done = store_runs(directories, project_path(STORED_RUNS))
    for name in done.added:
        print(f"stored {name}")
    for name in done.observed:
        print(f"stored the observables of {name}")
    for name in done.unfinished:
        print(f"left out {name}, which has not ended")
    print(f"{len(done.added)} stored, {len(done.known)} were there; {done.megabytes:.1f} of {MOST_MEGABYTES:g} MB")


def claims(
    keep: Annotated[
        bool,
        typer.Option(
            "--store",
            help="Store the verdicts in paper_runs/, for `repro verify` to confirm, and renew the manifest and its "
            "checksum in CITATION.cff.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge every claim of the study from the stored runs: reproduced, not reproduced, undecided.

    Example: repro claims --json
    """
    from repro.study.runs.manifest import storing, write_manifest
    from repro.study.runs.store import STORED_RUNS, project_path
    from repro.study.verification.verify import judge_all, write_verdicts

    root = project_path(STORED_RUNS)
    with storing(root) if keep else nullcontext():
        verdicts = judge_all(root)
        if keep:
            write_verdicts(root, verdicts)
            write_manifest(root)
    if as_json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
        return
    from repro.study.reports.display import show_verdicts

    show_verdicts(verdicts)


def values(
    names: Annotated[
        list[str] | None, typer.Argument(help="Items such as P01; all of the lectures when left out.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--store", help="Store them in paper_runs/values/, for `repro claims` to judge.")
    ] = False,
) -> None:
    """Compute the values of the lectures' items: the numbers that their claims rest on.

    They are printed as JSON, with the verdict on each claim. No notebook is executed and nothing is drawn.

    Example: repro values P01 P06
    """
    from repro.runtime import configure_jax
    from repro.study.claims.statements import chosen_subjects
    from repro.study.claims.values import measured, plain_values, store_values
    from repro.study.claims.verdicts import judge_values
    from repro.study.runs.store import STORED_RUNS, project_path

    subjects = chosen_subjects(names or [])
    configure_jax()
    for number, subject in enumerate(subjects, start=1):
        to_stderr(f"{subject.name} ({number} of {len(subjects)})")
        found = measured(subject)
        print(json.dumps({"item": subject.name, "values": plain_values(found)}))
        for claim in subject.claims:
            verdict = judge_values(claim, found)
            to_stderr(f"  {verdict.verdict}: {claim.statement} {verdict.told}")
        if keep:
            to_stderr(f"  stored {store_values(project_path(STORED_RUNS), subject.name, found)}")


def verify(
    audit: Annotated[int, typer.Option("--audit", help="Stored runs to train again for their first epochs.")] = 2,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the choice of those runs; by the clock when left out.")
    ] = None,
) -> None:
    """Check what is stored: checksums, numbers against each other, verdicts and references made again, some runs too.

    A run that is trained again with the code, processor, threads and versions it was made with gives the same digits;
    elsewhere it must agree within what the walkers' noise and rounding make of one run. Exit code 1 if anything
    cannot be confirmed, with a line for each problem. No stored state is kept, so the audit sees the first epochs of
    a run; its last ones and its final energy can only be had by training it to the end.

    Example: repro verify --audit 10 --seed 1
    """
    import time

    from repro.console import reporter
    from repro.references import reference_of
    from repro.runtime import configure_jax
    from repro.study.reports.display import show_verdicts
    from repro.study.runs.store import STORED_RUNS, project_path
    from repro.study.verification.verify import verify as verify_all

    configure_jax()
    chosen = int(time.time()) % 100_000 if seed is None else seed
    report = verify_all(
        project_path(STORED_RUNS), audit, chosen, to_stderr, lambda config: reporter(reference_of(config))
    )
    show_verdicts(report.verdicts)
    for problem in report.problems:
        print(f"NOT CONFIRMED: {problem}")
    if report.digest:
        print(f"manifest: sha256:{report.digest}")
    again = f"repro verify --audit {audit} --seed {chosen}"
    if report.problems:
        print(f"{len(report.problems)} problems; the same check again: {again}")
        raise typer.Exit(1)
    print(f"everything stored is confirmed; the same check again: {again}")


def why(
    figure: Annotated[str, typer.Argument(help="A figure or table, such as F06.", show_default=False)],
) -> None:
    """Show what a figure rests on: its claims, its notebook, the runs with their configurations, and the code.

    Example: repro why F06
    """
    from repro.console import terminal
    from repro.study.reports.provenance import chain_of

    terminal().print(chain_of(figure))


def report(
    figures_in: Annotated[Path, typer.Option("--figures", help="Where `repro figures` left them.")] = Path("output"),
    out: Annotated[Path, typer.Option("--out", help="Where the pages go.")] = Path("report"),
) -> None:
    """Write the report: a page for the study and one for each subject of the lectures, with verdicts and figures.

    Each page is one file that needs no network.

    Example: repro report --figures output --out report
    """
    from repro.study.reports.page import write_report

    first, *others = write_report(figures_in, out)
    print(f"{first}: {first.stat().st_size / 1e6:.1f} MB, open it in a browser")
    for path in others:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, it is linked from there")
