"""The command line, ``repro --help``."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from repro import __version__
from repro.config import PROXIMAL_PARTS
from repro.errors import ReproError

# Commands import what they need themselves: `repro --help` should not wait for JAX.

INTERRUPTED = 130  # as shells report a death by SIGINT

app = typer.Typer(
    name="repro",
    help="Optimisers for neural-network quantum states, compared on trapped one-dimensional fermions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Particles = Annotated[int, typer.Option("--particles", help="Number of fermions A.", show_default=False)]
V0 = Annotated[float, typer.Option("--v0", help="Interaction strength V0 (negative attracts).", show_default=False)]
Sigma0 = Annotated[float, typer.Option("--sigma0", help="Interaction range in oscillator lengths.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu or gpu; left out: a GPU when there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def _whole_number_or_word(text: str | None) -> Any:
    """A number where the text is one; whether a word is known, the configuration says."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


@app.command()
def train(
    particles: Particles,
    v0: V0,
    out: Annotated[Path, typer.Option("--out", help="Directory of the run.", show_default=False)],
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            help="adam, kfac, qn-kfac, qn-mr-kfac, ngd, dgd; or, beyond the study, proximal-dgd, minsr, spring.",
        ),
    ] = "adam",
    sigma0: Sigma0 = 0.5,
    profile: Annotated[
        str,
        typer.Option("--profile", help="smoke (seconds), laptop (minutes on two cores) or paper (the study's size)."),
    ] = "laptop",
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Energy epochs; the profile's when left out.")] = None,
    pretrain_epochs: Annotated[
        int | None, typer.Option("--pretrain-epochs", help="Epochs of the fit to oscillator orbitals.")
    ] = None,
    pretrain_learning_rate: Annotated[
        float | None,
        typer.Option("--pretrain-learning-rate", help="Of that fit: 1e-4; more than ten particles want 1e-3."),
    ] = None,
    evaluation_batches: Annotated[
        int | None, typer.Option("--evaluation-batches", help="Walks that the final energy is averaged over.")
    ] = None,
    walkers: Annotated[int | None, typer.Option("--walkers", help="Parallel Markov chains.")] = None,
    sweeps: Annotated[
        str | None,
        typer.Option(
            "--sweeps",
            help="Metropolis sweeps between two epochs, or auto: as many as the walkers need to forget all but a "
            "tenth of where they were.",
        ),
    ] = None,
    layers: Annotated[int, typer.Option("--layers", help="Hidden layers L.")] = 2,
    hidden: Annotated[int, typer.Option("--hidden", help="Units H of a layer.")] = 64,
    determinants: Annotated[int, typer.Option("--determinants", help="Determinants D.")] = 1,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="released (the authors' code; default), deck (the printed algorithm), or the first with points of "
            "the second, as in released/ratio: fisher, factors, residual, ratio, energies, clipping.",
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Adam, 1e-4; minSR, SPRING.")] = None,
    damping: Annotated[float | None, typer.Option("--damping", help="Initial damping lambda; 1e3.")] = None,
    damping_factor: Annotated[
        float | None, typer.Option("--damping-factor", help="w1 of the damping's rule; 0.95.")
    ] = None,
    damping_interval: Annotated[
        int | None, typer.Option("--damping-interval", help="Epochs between adaptations of the damping; 5.")
    ] = None,
    damping_min: Annotated[float | None, typer.Option("--damping-min", help="Least damping; 1e-7.")] = None,
    damping_max: Annotated[float | None, typer.Option("--damping-max", help="Largest damping; 1e20.")] = None,
    ratio_low: Annotated[
        float | None,
        typer.Option("--ratio-low", help="Ratio of actual to predicted change below which the damping grows; 0.25."),
    ] = None,
    ratio_high: Annotated[
        float | None, typer.Option("--ratio-high", help="Ratio above which it shrinks; 0.75.")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option("--gamma", help="Initial gamma of the Kronecker factors; the root of the damping.")
    ] = None,
    gamma_factor: Annotated[
        float | None, typer.Option("--gamma-factor", help="w2 of gamma's greedy rule; sqrt(0.95).")
    ] = None,
    gamma_interval: Annotated[
        int | None, typer.Option("--gamma-interval", help="Epochs between comparisons of gamma; 5.")
    ] = None,
    gamma_min: Annotated[float | None, typer.Option("--gamma-min", help="Least gamma; 1e-4.")] = None,
    gamma_max: Annotated[float | None, typer.Option("--gamma-max", help="Largest gamma; 1e20.")] = None,
    factor_memory: Annotated[
        float | None, typer.Option("--factor-memory", help="Largest weight of the past in the factors' averages; 0.9.")
    ] = None,
    minres_iterations: Annotated[
        int | None, typer.Option("--minres-iterations", help="Most MINRES iterations an epoch; 50.")
    ] = None,
    minres_tolerance: Annotated[
        float | None, typer.Option("--minres-tolerance", help="Relative residual at which MINRES stops; 1e-8.")
    ] = None,
    preconditioner_shift: Annotated[
        float | None,
        typer.Option("--preconditioner-shift", help="kappa of the preconditioner (diagonal + kappa)^xi; 1e-2."),
    ] = None,
    preconditioner_power: Annotated[
        float | None, typer.Option("--preconditioner-power", help="xi of the preconditioner; 0.75.")
    ] = None,
    start_decay: Annotated[
        float | None,
        typer.Option("--start-decay", help="zeta: MINRES starts from this multiple of the previous update; 0.95."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="anti-aligned (the study's) or aligned: the sign of that start.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option("--momentum", help="SPRING only: mu, what is kept of the previous direction; 0.99.")
    ] = None,
    step_limit: Annotated[
        float | None, typer.Option("--step-limit", help="minSR and SPRING: the largest squared norm of a step.")
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            "--without",
            help=f"proximal-dgd only: parts to leave out, of {', '.join(PROXIMAL_PARTS)}, in this order, separated by "
            "commas.",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32",
    device: Device = None,
    walker_chunk: Annotated[
        int | None,
        typer.Option("--walker-chunk", help="Walkers differentiated at once, to bound memory; chosen when left out."),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", help="Least time between two checkpoints.")
    ] = 10.0,
    pretrained: Annotated[
        Path | None, typer.Option("--pretrained", help="A run to take the pretraining from, instead of repeating it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Train a wavefunction, checkpointing as it goes, and measure its final energy.

    An interrupted run goes on with the same command and --resume, and gives the same curve as an uninterrupted one.
    Regulators that are left out keep the study's values; one that the optimiser does not have is refused. A run that
    leaves the finite numbers ends with exit code 3 and keeps its curve and its last good state.

    Example: repro train --optimizer dgd --particles 2 --v0 -10 --profile laptop --out runs/first
    """
    from repro.study.profiles import configure

    config = configure(
        particles=particles,
        v0=v0,
        optimizer=optimizer,
        profile=profile,
        sigma0=sigma0,
        seed=seed,
        epochs=epochs,
        pretrain_epochs=pretrain_epochs,
        pretrain_learning_rate=pretrain_learning_rate,
        evaluation_batches=evaluation_batches,
        walkers=walkers,
        sweeps=_whole_number_or_word(sweeps),
        layers=layers,
        hidden=hidden,
        determinants=determinants,
        protocol=protocol,
        learning_rate=learning_rate,
        damping=damping,
        damping_factor=damping_factor,
        damping_interval=damping_interval,
        damping_min=damping_min,
        damping_max=damping_max,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        gamma=gamma,
        gamma_factor=gamma_factor,
        gamma_interval=gamma_interval,
        gamma_min=gamma_min,
        gamma_max=gamma_max,
        factor_memory=factor_memory,
        minres_iterations=minres_iterations,
        minres_tolerance=minres_tolerance,
        preconditioner_shift=preconditioner_shift,
        preconditioner_power=preconditioner_power,
        start_decay=start_decay,
        start=start,
        momentum=momentum,
        step_limit=step_limit,
        without=without,
        dtype=dtype,
    )
    from repro.runtime import configure_jax

    configure_jax(device)
    from repro.console import reporter
    from repro.references import known_energy
    from repro.training.run import train as run_training

    exact = known_energy(config.system)
    outcome = run_training(
        config,
        out,
        device=device,
        walker_chunk=walker_chunk,
        resume=resume,
        overwrite=overwrite,
        checkpoint_seconds=checkpoint_seconds,
        pretrained=pretrained,
        reporter=reporter(exact),
    )
    _print_energy(outcome.result, exact, str(outcome.run.path))


@app.command()
def evaluate(
    directory: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure the final energy of a run: further batches at fixed parameters, autocorrelation-aware error, split R-hat.

    A run stored without its checkpoint cannot be sampled again; its stored result is shown, and said to be so.
    """
    from repro.runtime import configure_jax

    configure_jax(device)
    from repro.console import reporter
    from repro.references import known_energy
    from repro.training.run import evaluate as evaluate_run
    from repro.training.rundir import RunDirectory

    run = RunDirectory(directory)
    system = run.read_config().system
    exact = known_energy(system)
    if run.checkpoint.exists():
        result, source = evaluate_run(directory, device=device, reporter=reporter(exact)), "sampled now"
    else:
        result, source = run.read_result(), "stored result"
    if as_json:
        keys = ("energy", "energy_error", "rhat", "ess", "variance", "rounding")
        print(json.dumps({key: result.get(key) for key in keys} | {"exact": exact, "source": source}, allow_nan=False))
    else:
        _print_energy(result, exact, f"{directory} ({source})")


@app.command()
def observables(
    directory: Annotated[Path, typer.Argument(help="A run directory with its checkpoint.", show_default=False)],
    batches: Annotated[int, typer.Option("--batches", help="Batches of all walkers, a walk apart.")] = 200,
    bins: Annotated[int, typer.Option("--bins", help="Bins of the densities.")] = 80,
    extent: Annotated[
        float | None,
        typer.Option("--extent", help="They reach from -extent to extent; left out, as far as the particles do."),
    ] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the observables that are there.")] = False,
) -> None:
    """Measure densities, pair density, one-body density matrix, natural occupations and the virial of a trained state.

    All with Monte Carlo errors, into the folder observables of the run. An eigenstate has no virial.

    Example: repro observables runs/first
    """
    from repro.runtime import configure_jax

    configure_jax(device)
    from rich.console import Console
    from rich.table import Table

    from repro.console import reporter
    from repro.references import known_energy
    from repro.training.observation import beyond_pauli, observe, refuse_observables, store_observables
    from repro.training.rundir import RunDirectory

    refuse_observables(directory, overwrite)  # before the sampling, not after it
    exact = known_energy(RunDirectory(directory).read_config().system)
    found = observe(directory, batches=batches, bins=bins, extent=extent, device=device, reporter=reporter(exact))
    folder = store_observables(directory, found, overwrite)
    table = Table(title=str(folder), show_header=False)
    for name, estimate in found.scalars.items():
        table.add_row(name, f"{estimate.mean:.5f} +- {estimate.error:.5f}")
    shown = zip(found.occupations.mean[:8], found.occupations.error[:8], strict=True)
    table.add_row("natural occupations", "\n".join(f"{value:.4f} +- {error:.4f}" for value, error in shown))
    Console().print(table)
    if beyond_pauli(found.occupations):
        print("An occupation above one: psi is large where its walkers do not go; all this is of the part they see.")


def _print_energy(result: dict[str, Any], exact: float | None, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    if result.get("energy") is None:
        raise ReproError(f"{title}: no energy: {result.get('reason', 'the run has not ended')}")
    table = Table(title=title, show_header=False)
    error = result["energy_error"]
    table.add_row("energy", f"{result['energy']:.6f} +- {error:.6f}")
    if exact is not None:
        difference = result["energy"] - exact
        sigma = f", {difference / error:+.1f} sigma" if error > 0 else ""
        relative = f", {100 * difference / abs(exact):+.4f} %" if exact else ""
        table.add_row("exact", f"{exact:.6f}")
        table.add_row("difference", f"{difference:+.6f}{sigma}{relative}")
    if result.get("rounding") is not None:
        table.add_row("rounding", f"{result['rounding']:.1e}")
    table.add_row("variance", f"{result['variance']:.3e}")
    table.add_row("split R-hat", f"{result['rhat']:.4f}")
    table.add_row("effective samples", f"{result['ess']:.0f}")
    if result.get("seconds_per_epoch") is not None:
        table.add_row("seconds per epoch", f"{result['seconds_per_epoch']:.4f}")
    Console().print(table)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@app.command()
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
    """
    from repro.config import SystemConfig
    from repro.references import reference as compute

    found = compute(method, SystemConfig(particles, v0, sigma0), modes, _to_stderr)
    if as_json:
        print(json.dumps({key: value for key, value in asdict(found).items() if value is not None}))
    else:
        print(
            f"{found.method} ({found.basis}): E = {found.energy:.12g} +- {found.error:.1g}  "
            f"(A = {found.particles}, V0 = {found.v0:g}, sigma0 = {found.sigma0:g})"
        )


@app.command()
def references(
    method: Annotated[list[str] | None, typer.Option("--method", help="Repeatable; exact, ci and hf.")] = None,
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 2 to 6.")] = None,
    v0: Annotated[list[float] | None, typer.Option("--v0", help="Repeatable; -20, -15, ... 20.")] = None,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV; what it has is not computed again.")] = Path(
        "output/references.csv"
    ),
) -> None:
    """Compute a table of reference energies, each with the command that makes it again.

    Every case is stored as soon as it is known; interrupted, the same command goes on. The table that comes with the
    project is paper_runs/references/energies.csv.

    Example: repro references --method exact --particles 3 --v0 20 --out table.csv
    """
    from repro.study.cases import BETWEEN, PARTICLES, STRENGTHS
    from repro.study.reference_table import fill_table

    fill_table(out, method or ["exact", "ci", "hf"], particles or PARTICLES, v0 or (*STRENGTHS, *BETWEEN), _to_stderr)


@app.command()
def figures(
    names: Annotated[list[str] | None, typer.Argument(help="Figures such as F11 F08; all when left out.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where notebooks, PDF, PNG and CSV go.")] = Path("output"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore stored runs and train them anew.")] = False,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE for the notebooks, checked against them.")
    ] = None,
) -> None:
    """Execute the figures' notebooks: each leaves its executed notebook, PDF, PNG and the CSV behind it.

    What was read from stored runs and what was computed is printed, figure by figure, and at the end the verdicts on
    all claims that these figures show.
    """
    from repro.study.display import show_verdicts
    from repro.study.figures import make_figures

    show_verdicts(make_figures(names or [], out, fresh=fresh, assignments=parameter or []))


@app.command()
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
    from repro.study.display import sweep_summary, sweep_watcher
    from repro.study.grid import read_grid
    from repro.study.store import STORED_RUNS, project_path
    from repro.study.sweep import FAILED
    from repro.study.sweep import plan as plan_sweep
    from repro.study.sweep import sweep as run_sweep

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


@app.command()
def store(
    directories: Annotated[list[Path], typer.Argument(help="Directories of finished runs.", show_default=False)],
) -> None:
    """Add finished runs to paper_runs/, without their checkpoints, and bring its manifest up to date.

    A run must verify and must have been made by committed code. Figures, claims and `repro verify` then use it.
    Runs that go on are left out.
    Observables that were sampled since are added to a run that is there without.

    Example: repro store runs/sweep/*/
    """
    from repro.study.manifest import MOST_MEGABYTES, store_runs
    from repro.study.store import STORED_RUNS, project_path

    done = store_runs(directories, project_path(STORED_RUNS))
    for name in done.added:
        print(f"stored {name}")
    for name in done.observed:
        print(f"stored the observables of {name}")
    for name in done.unfinished:
        print(f"left out {name}, which has not ended")
    print(f"{len(done.added)} stored, {len(done.known)} were there; {done.megabytes:.1f} of {MOST_MEGABYTES:g} MB")


@app.command()
def claims(
    keep: Annotated[
        bool, typer.Option("--store", help="Store the verdicts in paper_runs/, for `repro verify` to confirm.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge every claim of the study from the stored runs: reproduced, not reproduced, undecided."""
    from repro.study.manifest import write_manifest
    from repro.study.store import STORED_RUNS, project_path
    from repro.study.verify import judge_all, write_verdicts

    root = project_path(STORED_RUNS)
    verdicts = judge_all(root)
    if keep:
        write_verdicts(root, verdicts)
        write_manifest(root)
    if as_json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
        return
    from repro.study.display import show_verdicts

    show_verdicts(verdicts)


@app.command()
def verify(
    audit: Annotated[int, typer.Option("--audit", help="Stored runs to train again for their first epochs.")] = 2,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the choice of those runs; by the clock when left out.")
    ] = None,
) -> None:
    """Check what is stored: checksums, verdicts made again from the data, a sample of runs trained again.

    A run that is trained again on the machine it was made on gives the same digits; elsewhere its energies must agree
    within five standard errors. Exit code 1 if anything cannot be confirmed.
    """
    import time

    from repro.console import reporter
    from repro.references import known_energy
    from repro.runtime import configure_jax
    from repro.study.display import show_verdicts
    from repro.study.store import STORED_RUNS, project_path
    from repro.study.verify import verify as verify_all

    configure_jax()
    chosen = int(time.time()) % 100_000 if seed is None else seed
    report = verify_all(
        project_path(STORED_RUNS), audit, chosen, _to_stderr, lambda config: reporter(known_energy(config.system))
    )
    show_verdicts(report.verdicts)
    for problem in report.problems:
        print(f"NOT CONFIRMED: {problem}")
    again = f"repro verify --audit {audit} --seed {chosen}"
    if report.problems:
        print(f"{len(report.problems)} problems; the same check again: {again}")
        raise typer.Exit(1)
    print(f"everything stored is confirmed; the same check again: {again}")


@app.command()
def why(
    figure: Annotated[str, typer.Argument(help="A figure or table, such as F06.", show_default=False)],
) -> None:
    """Show what a figure rests on: its claims, its notebook, the runs with their configurations, and the code."""
    from rich.console import Console

    from repro.study.chain import chain_of

    Console().print(chain_of(figure))


@app.command()
def report(
    figures_in: Annotated[Path, typer.Option("--figures", help="Where `repro figures` left them.")] = Path("output"),
    out: Annotated[Path, typer.Option("--out", help="Where index.html goes.")] = Path("report"),
) -> None:
    """Write one self-contained page with the verdicts, every figure, the ledger and the provenance."""
    from repro.study.report import write_report

    path = write_report(figures_in, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in a browser")


bench = typer.Typer(help="Measure speed; ratios within one run.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


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
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.console import Console
    from rich.table import Table

    from repro.study.benchmarks.epoch import bench_epoch as run_bench

    sizes = (particles or [2, 4, 6], walkers, sweeps, epochs)
    rows = run_bench(optimizer or [], *sizes, baseline, out, rounds, resume)
    table = Table("optimizer", "A", "s/epoch", "compile s", "peak GB", "dense / this")
    for row in rows.to_dict("records"):
        ratio = float(row["dense_over_this"])
        table.add_row(
            str(row["optimizer"]),
            str(row["particles"]),
            f"{row['seconds_per_epoch']:.3f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['peak_memory_gb']:.2f}",
            "" if math.isnan(ratio) else f"{ratio:.1f}",
        )
    Console().print(table)


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
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.console import Console
    from rich.table import Table

    from repro.study.benchmarks.growth import growth
    from repro.study.benchmarks.parts import bench_parts as run_bench

    sizes = (particles or [4, 2, 6, 10, 16, 20], walkers or [4096, 1024, 16384], hidden or [64, 32, 128])
    rows = run_bench(optimizer or [], *sizes, sweeps, out, resume)
    table = Table("optimizer", "A", "W", "H", "part", "seconds", "GFLOP", "% of rate", "GB")
    for row in rows.to_dict("records"):
        memory = float(row["peak_memory_gb"])
        table.add_row(
            *(str(row[name]) for name in ("optimizer", "particles", "walkers", "hidden", "part")),
            f"{row['seconds']:.4f}",
            "" if math.isnan(row["operations"]) else f"{row['operations'] / 1e9:.2f}",
            "" if math.isnan(row["operations"]) else f"{100 * row['fraction_of_rate']:.0f}",
            "" if math.isnan(memory) else f"{memory:.2f}",
        )
    Console().print(table)
    exponents = Table("optimizer", "part", "with", "of", "exponent")
    for row in growth(rows).to_dict("records"):
        cells = (str(row[name]) for name in ("optimizer", "part", "with", "of"))
        exponents.add_row(*cells, f"{row['exponent']:.2f} +- {row['error']:.2f}")
    if exponents.row_count:
        Console().print(exponents)


@bench.command("peers")
def bench_peers(
    particles: Annotated[list[int] | None, typer.Option("--particles", help="Repeatable; 2, 4 and 6.")] = None,
    walkers: Annotated[int, typer.Option("--walkers", help="Walkers, the same for all.")] = 4096,
    out: Annotated[Path, typer.Option("--out", help="The table as CSV.")] = Path("output/peers.csv"),
) -> None:
    """The same work by folx and NetKet on the same ansatz: Laplacians and natural-gradient steps, about 10 minutes.

    Needs one of them: `make setup LOCK=peers`. Each is timed in a process of its own.
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.console import Console
    from rich.table import Table

    from repro.study.benchmarks.isolated import keep, write_table
    from repro.study.benchmarks.peers import bench_peers as run_bench
    from repro.study.benchmarks.tasks import PEER_PARTICLES

    keep(out)
    rows = run_bench(particles or PEER_PARTICLES, walkers)
    write_table(rows, out)
    table = Table("task", "code", "A", "seconds", "GB", "over ours")
    for row in rows.to_dict("records"):
        cells = (str(row[name]) for name in ("task", "code", "particles"))
        table.add_row(*cells, f"{row['seconds']:.4f}", f"{row['peak_memory_gb']:.2f}", f"{row['over_ours']:.2f}")
    Console().print(table)


@bench.command("sweeps")
def bench_sweeps(
    cases: Annotated[
        str, typer.Option("--cases", help="As in '2:-10 3:-20,20': particles, and couplings V0.")
    ] = "2:-10 3:20 4:-20 5:-20 6:10",
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
    """How long a walk has to be: the energy of one trained state by walks of several lengths, about half an hour.

    A state of each case is trained, with walks that find their own length; then its parameters are held and every
    length asked for measures its energy, and how many independent samples it makes a second.
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.console import Console
    from rich.table import Table

    from repro.study.benchmarks.sweeps import bench_sweeps as run_bench
    from repro.study.claims import parse_cases

    asked = [_whole_number_or_word(text) for text in sweeps or ["10", "40", "100", "400", "auto"]]
    rows = run_bench(parse_cases(cases), asked, epochs, walkers, batches, out, resume)
    table = Table("A", "V0", "sweeps", "made", "correlation", "energy", "error", "independent samples a second")
    for row in rows.to_dict("records"):
        table.add_row(
            *(str(row[name]) for name in ("particles", "v0", "asked")),
            f"{row['sweeps']:.0f}",
            f"{row['correlation']:.3f}",
            f"{row['energy']:.6f}",
            f"{row['error']:.6f}",
            f"{row['ess'] / row['seconds']:.0f}",
        )
    Console().print(table)


@app.command()
def doctor() -> None:
    """Say what this machine has, what is wrong with it, and how to mend it; exit code 1 if something is."""
    from repro.runtime import configure_jax

    configure_jax()
    from rich.console import Console
    from rich.table import Table

    from repro.doctor import examine

    findings = examine(Path.cwd())
    table = Table(show_header=False)
    for finding in findings:
        mark = "[red]wrong[/red]" if finding.remedy else "[green]ok[/green]"
        table.add_row(mark, finding.subject, finding.value + (f"\n-> {finding.remedy}" if finding.remedy else ""))
    Console().print(table)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Runs the command line; user errors end as one line on standard error and exit code 2."""
    try:
        # Commands return nothing; a number is the exit code of a typer.Exit, or of an interruption that typer caught.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except ReproError as error:
        _fail(str(error), error.exit_code)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; go on with the same command, and --resume where it has that option", INTERRUPTED)
    except Exception as error:
        # Usage errors: typer carries its own copy of click, whose exceptions are known only by this method.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        _fail(f"{describe()} (see `repro --help`)", 2)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
