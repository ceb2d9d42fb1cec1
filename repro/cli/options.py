"""Options that several commands have, those that are made from tables, and where commands tell their progress."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from repro.config import KNOWN_OPTIMIZERS, OPTIMIZERS, OPTIONS, PROBLEM_OPTIONS, PROBLEMS
from repro.config.options import Place, Table, parameter
from repro.study.runs.configurations import configure_problem
from repro.study.runs.profiles import PROFILES, configure

Device = Annotated[str | None, typer.Option("--device", help="cpu or gpu; left out: a GPU when there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


RUN, SIZES, FILES = "Run", "Sizes", "Machine and files"
"""Headings of the help; those of the optimisers' options follow the second."""


class _Said(NamedTuple):
    """What the command line says of an option of :func:`repro.study.runs.profiles.configure`."""

    group: str
    help: str


_PROFILES = "; ".join(f"{name}: {profile.purpose}" for name, profile in PROFILES.items())
_OTHERS = [name for name in KNOWN_OPTIMIZERS if name not in OPTIMIZERS]
RUN_OPTIONS = {
    "particles": _Said(RUN, "Number of fermions A."),
    "v0": _Said(RUN, "Interaction strength V0 (negative attracts)."),
    "sigma0": _Said(RUN, "Interaction range in oscillator lengths."),
    "optimizer": _Said(RUN, f"{', '.join(OPTIMIZERS)}; or, beyond the study, {', '.join(_OTHERS)}."),
    "profile": _Said(RUN, f"Sizes of the run. {_PROFILES}."),
    "seed": _Said(RUN, "Seed of everything random."),
    "epochs": _Said(SIZES, "Energy epochs; the profile's when left out."),
    "pretrain_epochs": _Said(SIZES, "Epochs of the fit to oscillator orbitals."),
    "pretrain_learning_rate": _Said(SIZES, "Of that fit: 1e-4; more than ten particles want 1e-3."),
    "evaluation_batches": _Said(SIZES, "Walks that the final energy is averaged over."),
    "walkers": _Said(SIZES, "Parallel Markov chains."),
    "sweeps": _Said(
        SIZES,
        "Metropolis sweeps between two epochs, or auto: as many as the walkers need to forget all but a tenth of where "
        "they were.",
    ),
    "layers": _Said(SIZES, "Hidden layers L."),
    "hidden": _Said(SIZES, "Units H of a layer."),
    "determinants": _Said(SIZES, "Determinants D."),
    "dtype": _Said(SIZES, "float32 or float64; mackey-glass and pinn are float64, all others float32."),
}
_PROBLEMS = "; ".join(f"{name}: {known.summary}" for name, known in PROBLEMS.items())
PROBLEM_RUN_OPTIONS = {
    "problem": _Said(RUN, f"Left out: an energy, which needs particles and v0. Or {_PROBLEMS}."),
    "steps": _Said(SIZES, "Steps of the optimiser, for a problem."),
    "evaluation_interval": _Said(SIZES, "Steps from one evaluation, such as of the test error, to the next."),
}

Particles = Annotated[int, typer.Option("--particles", help=RUN_OPTIONS["particles"].help, show_default=False)]
V0 = Annotated[float, typer.Option("--v0", help=RUN_OPTIONS["v0"].help, show_default=False)]
Sigma0 = Annotated[float, typer.Option("--sigma0", help=RUN_OPTIONS["sigma0"].help)]


def run_parameters() -> list[inspect.Parameter]:
    """What :func:`repro.study.runs.configurations.configured` takes, as options of a command."""
    energies, problems = (inspect.signature(function).parameters for function in (configure, configure_problem))
    found = []
    for said, known in ((PROBLEM_RUN_OPTIONS, problems), (RUN_OPTIONS, energies)):
        for name, (group, text) in said.items():
            kind, default = str | None if name == "sweeps" else known[name].annotation, known[name].default
            if default is inspect.Parameter.empty:  # needed by a kind of runs, which is not yet known
                kind, default = kind | None, None
            found.append(_flag(name, kind, default, group, text))
    for table, signature in ((PROBLEM_OPTIONS, problems), (OPTIONS, energies)):
        for group, members in _members(table).items():
            heading = f"{group} ({', '.join(members)})"
            names = [name for name, rows in table.items() if _group(rows) == group]
            found += [_flag(name, signature[name].annotation, None, heading, _help(name, table)) for name in names]
    return found


def _flag(name: str, kind: Any, default: Any, group: str, text: str) -> inspect.Parameter:
    """An option of the command line."""
    return parameter(name, Annotated[kind, typer.Option(_spelled(name), help=text, rich_help_panel=group)], default)


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _group(rows: dict[str, Place]) -> str:
    """The heading that an option comes under, where several owners have it under different ones the first."""
    return next(iter(rows.values())).option.group


def _members(table: Table) -> dict[str, list[str]]:
    """Groups of options in their order, each with the optimisers, or problems, that have some of it."""
    members: dict[str, list[str]] = {_group(rows): [] for rows in table.values()}
    for group, listed in members.items():
        having = {owner for rows in table.values() for owner, place in rows.items() if place.option.group == group}
        listed.extend(owner for owner in (*KNOWN_OPTIMIZERS, *PROBLEMS) if owner in having)
    return members


def optimizer_help(name: str) -> str:
    """What an option means for the optimisers that have it, with its default for each of them."""
    return _help(name, OPTIONS)


def _help(name: str, table: Table) -> str:
    rows = table[name]
    meanings: dict[str, dict[str, list[str]]] = {}
    for owner, place in rows.items():
        defaults = meanings.setdefault(place.option.meaning, {})
        defaults.setdefault(place.shown_default, []).append(owner)
    as_headed = list(rows) == _members(table)[_group(rows)] and [len(found) for found in meanings.values()] == [1]
    told = []
    for meaning, defaults in meanings.items():
        values = [f"{', '.join(owners)}: {default}" for default, owners in defaults.items()]
        told.append(f"{meaning} [{f'default: {next(iter(defaults))}' if as_headed else '; '.join(values)}].")
    return " ".join(told)


def given_options(context: typer.Context) -> dict[str, Any]:
    """The options that a command was called with, without those that have their defaults."""
    return {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None and source.name != "DEFAULT"
    }


class GroupedCommand(TyperCommand):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options, heading by heading."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for known in self.get_params(ctx):
            if (record := known.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(known, "rich_help_panel", None) or FILES, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def whole_number_or_word(text: str | None) -> Any:
    """A number where the text is one; whether a word is known, the configuration says."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


def to_stderr(line: str) -> None:
    """Progress, apart from what a command prints for others to read."""
    print(line, file=sys.stderr, flush=True)
