"""Commands that measure speed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from repro.cli.options import to_stderr, whole_number_or_word
from repro.study.benchmarks.tasks import SMALL_STATES, WALKED

bench = typer.Typer(
    help="Measure speed, ratios within one run, and what else is kept as a table.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _cell(value: float, form: str) -> str:
    """A number in a table; nothing where none was measured."""
    return "" if math.isnan(value) else format(value, form)


@bench.command("epoch")
def bench_epoch(
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 2, 4 and 6.")] = None,
    optimizer: Annotated[
        list[str] | None, typer.Option("--optimizer", help="Repeatable; the study's six when left out.")
    ] = None,
    walkers: Annotated[int, typer.Option("--walkers", help="Parallel Markov chains.")] = 4096,
    sweeps: Annotated[int, typer.Option("--sweeps", help="Metropolis sweeps between two epochs.")] = 400,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Epochs timed at once, five times over, after compilation.")
    ] = 5,
    baseline: Annotated[bool, typer.Option("--baseline/--no-baseline", help="Also time DGD with dense blocks.")] = True,
    rounds: Annotated[
        int, typer.Option("--rounds", help="How often all are measured, minutes apart; the quickest is kept.")
    ] = 1,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each measurement.")] = Path(
        "output/T01.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rounds of the table in --out.")] = False,
) -> None:
    """Seconds and memory of one epoch of each optimiser beside a dense DGD: table T01, about 17 minutes a round.

    Each is compiled and timed in a process of its own; everything of an epoch is included. Other work on the machine
    only ever adds to the seconds: more rounds, now or later with --resume, come closer to what an epoch takes.

    Example: repro bench epoch --optimizer dgd --particles 2 --walkers 1024 --sweeps 40 --out output/T01.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.study.benchmarks.epoch import bench_epoch as run_bench

    sizes = (particles or [2, 4, 6], walkers, sweeps, epochs)
    rows = run_bench(optimizer or [], *sizes, baseline, out, rounds, resume)
    table = Table("optimizer", "A", "s/epoch", "compile s", "peak GB", "dense / this")
    for row in rows.to_dict("records"):
        table.add_row(
            str(row["optimizer"]),
            str(row["particles"]),
            f"{row['seconds_per_epoch']:.3f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['peak_memory_gb']:.2f}",
            _cell(row["dense_over_this"], ".1f"),
        )
    terminal().print(table)


@bench.command("parts")
def bench_parts(
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 4, 2, 6, 10, 16, 20.")] = None,
    walkers: Annotated[list[int] | None, typer.Option("--walkers", help="Repeatable; 4096, 1024, 16384.")] = None,
    hidden: Annotated[list[int] | None, typer.Option("--hidden", help="Repeatable; 64, 32, 128.")] = None,
    optimizer: Annotated[list[str] | None, typer.Option("--optimizer", help="Repeatable; all when left out.")] = None,
    sweeps: Annotated[int, typer.Option("--sweeps", help="Metropolis sweeps between two epochs.")] = 400,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each measurement.")] = Path(
        "output/parts.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and measure the rest.")] = False,
) -> None:
    """Where an epoch's time goes and how it grows, about two hours; less with fewer sizes or optimisers.

    Sampling, local energy, gradient and the parts of the update are timed apart, with the operations of their matrix
    products and the fraction of this machine's own rate that they reach. Particles, walkers and units a layer are
    varied one at a time, from the first of each list.

    Example: repro bench parts --optimizer dgd --particles 4 --walkers 1024 --hidden 64 --out output/parts.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.study.benchmarks.growth import growth
    from repro.study.benchmarks.parts import bench_parts as run_bench

    sizes = (particles or [4, 2, 6, 10, 16, 20], walkers or [4096, 1024, 16384], hidden or [64, 32, 128])
    rows = run_bench(optimizer or [], *sizes, sweeps, out, resume)
    table = Table("optimizer", "A", "W", "H", "part", "seconds", "GFLOP", "% of rate", "GB")
    for row in rows.to_dict("records"):
        table.add_row(
            *(str(row[name]) for name in ("optimizer", "particles", "walkers", "hidden", "part")),
            f"{row['seconds']:.4f}",
            _cell(row["operations"] / 1e9, ".2f"),
            _cell(100 * row["fraction_of_rate"], ".0f"),
            _cell(row["peak_memory_gb"], ".2f"),
        )
    terminal().print(table)
    exponents = Table("optimizer", "part", "with", "of", "exponent")
    for row in growth(rows).to_dict("records"):
        cells = (str(row[name]) for name in ("optimizer", "part", "with", "of"))
        exponents.add_row(*cells, f"{row['exponent']:.2f} +- {row['error']:.2f}")
    if exponents.row_count:
        terminal().print(exponents)


@bench.command("peers")
def bench_peers(
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 2, 4 and 6.")] = None,
    walkers: Annotated[int, typer.Option("--walkers", help="Walkers, the same for all.")] = 4096,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV.")] = Path("output/peers.csv"),
) -> None:
    """The same work by folx and NetKet on the same ansatz: Laplacians and natural-gradient steps, about 10 minutes.

    Needs one of them: `make setup LOCK=peers`. Each is timed in a process of its own.

    Example: repro bench peers --particles 2 --walkers 1024 --out output/peers.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.study.benchmarks.peers import bench_peers as run_bench
    from repro.study.benchmarks.subprocesses import keep, write_table
    from repro.study.benchmarks.tasks import PEER_PARTICLES

    keep(out)
    rows = run_bench(particles or PEER_PARTICLES, walkers)
    write_table(rows, out)
    table = Table("task", "code", "A", "seconds", "GB", "over ours")
    for row in rows.to_dict("records"):
        cells = (str(row[name]) for name in ("task", "code", "particles"))
        table.add_row(*cells, f"{row['seconds']:.4f}", f"{row['peak_memory_gb']:.2f}", f"{row['over_ours']:.2f}")
    terminal().print(table)


@bench.command("kfac-jax")
def bench_kfac_jax(
    python: Annotated[
        Path, typer.Option("--python", help="Interpreter of an environment made with requirements/peers-kfac.lock.")
    ],
    steps: Annotated[int, typer.Option("--steps", help="Of each run.")] = 400,
    seeds: Annotated[int, typer.Option("--seeds", help="How many, from 0 on.")] = 3,
    damping: Annotated[
        list[float] | None, typer.Option("--damping", help="Repeatable; both are tuned on 50, 150 and 450.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each run.")] = Path(
        "output/kfac_jax.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and make the rest.")] = False,
) -> None:
    """K-FAC of this package and kfac-jax, tuned alike, on the autoencoder of Q09: about 20 minutes of one core.

    kfac-jax needs an environment of its own, with an older JAX:
    python3 -m venv kfac && kfac/bin/python -m pip install --require-hashes -r requirements/peers-kfac.lock

    Example: repro bench kfac-jax --python kfac/bin/python --seeds 1 --damping 150 --out output/kfac_jax.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.study.benchmarks.kfac_jax_comparison import DAMPINGS
    from repro.study.benchmarks.kfac_jax_comparison import bench_kfac_jax as run_bench
    from repro.study.experiments.kfac_jax_table import compared, target_error

    rows = run_bench(python, steps, seeds, damping or DAMPINGS, out, resume, to_stderr)
    found = compared(rows, target_error())
    table = Table("protocol", "seconds a step over kfac-jax", "iterations to the error of PCA", "those of kfac-jax")
    for protocol, over in found["seconds_over_kfac_jax"].items():
        steps_told = (f"{found[name][protocol]:g}" for name in ("iterations", "kfac_jax_iterations"))
        table.add_row(protocol, f"{over:.2f}", *steps_told)
    terminal().print(table)


@bench.command("search")
def bench_search(
    python: Annotated[
        Path, typer.Option("--python", help="Interpreter of an environment made with requirements/peers-search.lock.")
    ],
    problem: Annotated[list[str] | None, typer.Option("--problem", help="Repeatable; all five.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="Repeatable; all nine.")] = None,
    samples: Annotated[list[int] | None, typer.Option("--samples", help="Of a step, repeatable; 10 to 1000.")] = None,
    scale: Annotated[list[float] | None, typer.Option("--scale", help="Repeatable; 0.03 to 30.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Of the measurement, from 0 on.")] = 10,
    budget: Annotated[int, typer.Option("--budget", help="Evaluations of a search.")] = 50_000,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each method.")] = Path(
        "output/search.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and make the rest.")] = False,
) -> None:
    """Searches by stochastic natural gradients and by cmaes and evosax, tuned alike (G18): 20 minutes of one core.

    cmaes and evosax need an environment of their own:
    python3 -m venv search && search/bin/python -m pip install --require-hashes -r requirements/peers-search.lock

    Example: repro bench search --python search/bin/python --problem plane --method cmaes --samples 10 --scale 1
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.demonstrations.geometry.stochastic_search import PROBLEMS
    from repro.study.benchmarks.search_comparison import SearchGrid
    from repro.study.benchmarks.search_comparison import bench_search as run_bench
    from repro.study.experiments.search_table import METHODS, SAMPLES, SCALES, measured_rows, read

    grid = SearchGrid(tuple(samples or SAMPLES), tuple(scale or SCALES), seeds=seeds, budget=budget)
    rows = run_bench(python, grid, problem or list(PROBLEMS), method or METHODS, out, resume, to_stderr)
    table = Table("problem", "method", "N", "scale", "evaluations", "arrived")
    for (name, of), found in measured_rows(read(rows)).groupby(["problem", "method"], sort=False):
        first, evaluations = found.iloc[0], found["evaluations"]
        told = f"{int((evaluations < math.inf).sum())} of {len(evaluations)}"
        numbers = (f"{first['samples']}", f"{first['scale']:g}", f"{evaluations.median():g}")
        table.add_row(str(name), str(of), *numbers, told)
    terminal().print(table)


@bench.command("kronecker")
def bench_kronecker(
    seeds: Annotated[int, typer.Option("--seeds", help="How many states, of the seeds from 0 on.")] = SMALL_STATES,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each state.")] = Path(
        "output/kronecker.csv"
    ),
) -> None:
    """How near Kronecker factors come to the Fisher metric of small states, about three minutes.

    Each state is trained in double precision, and its metric formed as a matrix. The relative distance is that of the
    Kronecker products from the metric's blocks, the gain that of KFAC's direction over the gradient.

    Example: repro bench kronecker --seeds 2 --out output/kronecker.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from repro.study.benchmarks.kronecker import bench_kronecker as run_bench

    run_bench(seeds, out, to_stderr)


@bench.command("sweeps")
def bench_sweeps(
    cases: Annotated[
        str, typer.Option("--cases", help="As in '2:-10 3:-20,20': particles, and couplings V0.")
    ] = " ".join(f"{particles}:{v0:g}" for particles, v0 in WALKED),
    sweeps: Annotated[
        list[str] | None, typer.Option("--sweeps", help="Repeatable, numbers or auto; 10, 40, 100, 400, auto.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Of the training, by proximal DGD.")] = 200,
    walkers: Annotated[int, typer.Option("--walkers", help="Walkers, in the training and after it.")] = 1024,
    batches: Annotated[int, typer.Option("--batches", help="Batches of all walkers; a multiple of ten.")] = 400,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each case.")] = Path(
        "output/sweeps.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and measure the rest.")] = False,
) -> None:
    """How long a walk has to be: the energy of one trained state by walks of several lengths, about an hour.

    A state of each case is trained, with walks that find their own length; then its parameters are held and every
    length asked for measures its energy, and how many independent samples it makes a second.

    Example: repro bench sweeps --cases 2:-10 --sweeps 10 --sweeps auto --out output/sweeps.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table

    from repro.console import terminal
    from repro.study.benchmarks.sweeps import bench_sweeps as run_bench
    from repro.study.claims.statements import parse_cases

    asked = [whole_number_or_word(text) for text in sweeps or ["10", "40", "100", "400", "auto"]]
    rows = run_bench(parse_cases(cases), asked, epochs, walkers, batches, out, resume)
    table = Table("A", "V0", "sweeps", "made", "correlation", "energy", "error", "independent samples a second")
    for row in rows.to_dict("records"):
        table.add_row(
            *(str(row[name]) for name in ("particles", "v0", "asked")),
            f"{row['sweeps']:.0f}",
            f"{row['correlation']:.3f}",
            f"{row['energy']:.6f}",
            f"{row['error']:.6f}",
            f"{row['independent_a_second']:.0f}",
        )
    terminal().print(table)


@bench.command("rounding")
def bench_rounding(
    runs: Annotated[int, typer.Option("--runs", help="Stored runs, drawn evenly from all optimisers.")] = 45,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw.")] = 0,
    particles: Annotated[int | None, typer.Option("--particles", help="Of these only; all when left out.")] = None,
    replicas: Annotated[int, typer.Option("--replicas", help="Of each run, by another weight each.")] = 2,
    label: Annotated[
        str, typer.Option("--label", help="Before the replicas' names, such as the processor that XLA_FLAGS emulates.")
    ] = "weight",
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each replica.")] = Path(
        "output/replicas.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what --out holds, and make the rest.")] = False,
) -> None:
    """How far rounding alone takes two trainings of one run apart, some minutes a run: what `repro verify` allows for.

    A replica begins with one weight another in its last place. A change of the processor does the same: with
    XLA_FLAGS=--xla_cpu_max_isa=SSE4_2 and another --label the same table gets its replicas, too.

    Example: repro bench rounding --runs 9 --particles 2 --out output/replicas.csv --resume
    """
    from repro.runtime import configure_jax

    configure_jax()
    from repro.console import reporter
    from repro.errors import InputError
    from repro.study.runs.store import STORED_RUNS, project_path
    from repro.study.verification.audit import affordable
    from repro.study.verification.replica_table import bench_rounding as run_bench
    from repro.study.verification.replica_table import drawn_evenly
    from repro.study.verification.verify import stored_runs
    from repro.training import environment

    if replicas < 1:
        raise InputError(f"replicas = {replicas}: must be at least 1")
    platform = environment.select_device(None).platform
    found = [
        run
        for run in stored_runs(project_path(STORED_RUNS))[0]
        if affordable(run, platform) and particles in (None, run.config.system.particles)
    ]
    run_bench(drawn_evenly(found, runs, seed), range(replicas), label, out, resume, to_stderr, reporter(None))


@bench.command("momentum")
def bench_momentum(
    out: Annotated[Path, typer.Option("--out", help="The table as CSV, written after each method.")] = Path(
        "output/momentum.csv"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the table in --out.")] = False,
) -> None:
    """Natural gradients with and without momentum on a series and a boundary layer (M10 to M14): about 20 minutes.

    Each method is tuned on at most nine settings with three seeds, and measured with ten others.

    Example: repro bench momentum --out output/momentum.csv
    """
    from repro.runtime import configure_jax

    configure_jax()
    from repro.study.benchmarks.momentum import bench_momentum as run_bench

    table = run_bench(out, resume, to_stderr)
    print(f"{out}: {len(table)} runs")
