"""Commands on a single run: train, evaluate, observables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from repro.cli.options import RUN, AsJson, Device, given_options, run_parameters, whole_number_or_word
from repro.config import AnyRunConfig, RunConfig
from repro.config.options import takes
from repro.errors import ReproError
from repro.study.runs.configurations import KEYS, configured


@takes(run_parameters(), first=True)
def train(
    *,
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Directory of the run.", rich_help_panel=RUN, show_default=False)],
    device: Device = None,
    walker_chunk: Annotated[
        int | None,
        typer.Option("--walker-chunk", help="Walkers differentiated at once, to bound memory; chosen when left out."),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", help="Least time between two checkpoints.")
    ] = 10.0,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            help="A run to take the pretraining from, instead of repeating it; or a folder that `repro "
            "import-published` made, to begin with that network.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out; other files there stay.")
    ] = False,
    **options: Any,
) -> None:
    """Train a wavefunction, or with --problem another model, checkpointing as it goes, and measure what it ended with.

    An interrupted run goes on with the same command and --resume, and gives the same curve as an uninterrupted one.
    Options of the optimiser that are left out keep its defaults; one that it does not have is refused. A run that
    leaves the finite numbers ends with exit code 3 and keeps its curve and its last good state.

    Example: repro train --optimizer dgd --particles 2 --v0 -10 --profile laptop --out runs/first
    """
    del options  # the context knows which of them were given
    config = _configured(pretrained, given_options(context))
    from repro.runtime import configure_jax

    configure_jax(device)
    from repro.console import reporter
    from repro.references import reference_of
    from repro.training.run import train as run_training

    exact = reference_of(config)
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
    _print_result(outcome.result, exact, str(outcome.run.path))


def _configured(pretrained: Path | None, given: dict[str, Any]) -> AnyRunConfig:
    """The configuration that the options of :func:`run_parameters` stand for."""
    from repro.training.imported import is_imported, load_imported

    network = load_imported(pretrained).content_hash if pretrained and is_imported(pretrained) else ""
    options = {name: value for name, value in given.items() if name in KEYS}
    return configured(options | {"sweeps": whole_number_or_word(options.get("sweeps"))}, network)


def import_published(
    file: Annotated[
        Path, typer.Argument(help="The authors' stored network: their checkpoint (.pt) or its tensors (.npz).")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the network; new or empty.", show_default=False)],
    walkers_record: Annotated[
        int | None,
        typer.Option("--walkers-record", help="Which record of a .pt holds the walkers; found by itself as a rule."),
    ] = None,
) -> None:
    """Import the network that the study's authors stored after their pretraining, to train from where they did.

    A clone of their public repository has it. Nothing of the file is executed: tensors are read as raw numbers and told
    apart by their sizes.

    Example: repro import-published their_network.pt --out runs/published
    """
    from repro.training.imported import read_published, save_imported

    network = read_published(file, walkers_record)
    path = save_imported(network, out, file)
    particles, layers, hidden = network.size
    print(
        f"{path}: network {network.content_hash}, {particles} particles, {layers} hidden layers of {hidden} units, "
        f"{len(network.walkers)} walkers, proposal width {network.width:.4g}"
    )
    print(f"train from it: repro train --pretrained {out} --optimizer dgd --particles {particles} --v0 -10 ...")


def evaluate(
    directory: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure the final energy of a run: further batches at fixed parameters, autocorrelation-aware error, split R-hat.

    Of a run of another problem, measure what that problem measures, such as the test error.

    A run stored without its checkpoint cannot be sampled again; its stored result is shown, and said to be so.

    Example: repro evaluate runs/first --json
    """
    from repro.runtime import configure_jax

    configure_jax(device)
    from repro.console import reporter
    from repro.references import reference_of
    from repro.training.evaluation import evaluate as evaluate_run
    from repro.training.rundir import RunDirectory

    run = RunDirectory(directory)
    config = run.read_any_config()
    exact = reference_of(config)
    if run.checkpoint.exists():
        result, source = evaluate_run(directory, device=device, reporter=reporter(exact)), "sampled now"
    else:
        result, source = run.read_result(), "stored result"
    if not as_json:
        _print_result(result, exact, f"{directory} ({source})")
        return
    if isinstance(config, RunConfig):
        keys = ("energy", "energy_error", "rhat", "ess", "variance", "rounding")
        told = {key: result.get(key) for key in keys} | {"exact": exact}
    else:
        told = {"evaluation": result.get("evaluation")}
    print(json.dumps(told | {"source": source}, allow_nan=False))


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
    from rich.table import Table

    from repro.console import reporter, terminal
    from repro.references import known_energy
    from repro.training.environment import git_revision
    from repro.training.observation import beyond_pauli, observe, refuse_observables, store_observables
    from repro.training.rundir import RunDirectory

    refuse_observables(directory, overwrite)  # before the sampling, not after it
    run, revision = RunDirectory(directory), git_revision()
    exact = known_energy(run.read_config().system)
    with run.locked():  # of a run that goes on, they would be of a state that it does not end in
        found = observe(directory, batches=batches, bins=bins, extent=extent, device=device, reporter=reporter(exact))
        folder = store_observables(directory, found, overwrite, revision)
    table = Table(title=str(folder), show_header=False)
    for name, estimate in found.scalars.items():
        table.add_row(name, f"{estimate.mean:.5f} +- {estimate.error:.5f}")
    shown = zip(found.occupations.mean[:8], found.occupations.error[:8], strict=True)
    table.add_row("natural occupations", "\n".join(f"{value:.4f} +- {error:.4f}" for value, error in shown))
    terminal().print(table)
    if beyond_pauli(found.occupations):
        print("An occupation above one: psi is large where its walkers do not go; all this is of the part they see.")


def _print_result(result: dict[str, Any], exact: float | None, title: str) -> None:
    """What a run ended with: its energy, or what its problem measures."""
    if "evaluation" not in result:
        _print_energy(result, exact, title)
        return
    from rich.table import Table

    from repro.console import terminal

    table = Table(title=title, show_header=False)
    for name, value in result["evaluation"].items():
        table.add_row(name.replace("_", " "), f"{value:.6g}")
    for name in ("seconds_per_step", "cpu_seconds_per_step"):
        if result.get(name) is not None:
            table.add_row(name.replace("_", " "), f"{result[name]:.2g}")
    terminal().print(table)


def _print_energy(result: dict[str, Any], exact: float | None, title: str) -> None:
    from rich.table import Table

    from repro.console import terminal

    if result.get("energy") is None:
        raise ReproError(f"{title}: nothing was measured: {result.get('reason', 'the run has not ended')}")
    table = Table(title=title, show_header=False)
    error = result["energy_error"]
    table.add_row("energy", f"{result['energy']:.6f} +- {error:.6f}")
    if exact is None:
        table.add_row("exact", "not known")
    else:
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
    terminal().print(table)
