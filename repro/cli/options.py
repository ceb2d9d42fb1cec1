"""Options that several commands have, those that are made from tables, and where commands tell their progress."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from repro.config import KNOWN_OPTIMIZERS, OPTIMIZERS, OPTIONS
from repro.config.options import Place, parameter
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
    "dtype": _Said(SIZES, "float32 or float64."),
}

Particles = Annotated[int, typer.Option("--particles", help=RUN_OPTIONS["particles"].help, show_default=False)]
V0 = Annotated[float, typer.Option("--v0", help=RUN_OPTIONS["v0"].help, show_default=False)]
Sigma0 = Annotated[float, typer.Option("--sigma0", help=RUN_OPTIONS["sigma0"].help)]


def run_parameters() -> list[inspect.Parameter]:
    """What :func:`repro.study.runs.profiles.configure` takes, as options of a command."""
    known = inspect.signature(configure).parameters
    found = [
        _flag(name, {"sweeps": str | None}.get(name, known[name].annotation), known[name].default, *RUN_OPTIONS[name])
        for name in RUN_OPTIONS
    ]
    for group, members in _members().items():
        heading = f"{group} ({', '.join(members)})"
        names = [name for name, rows in OPTIONS.items() if _group(rows) == group]
        found += [_flag(name, known[name].annotation, None, heading, optimizer_help(name)) for name in names]
    return found


def _flag(name: str, kind: Any, default: Any, group: str, text: str) -> inspect.Parameter:
    """An option of the command line, which must be given if there is no default."""
    needed = default is inspect.Parameter.empty
    told = typer.Option(f"--{name.replace('_', '-')}", help=text, rich_help_panel=group, show_default=not needed)
    return parameter(name, Annotated[kind, told], default)


def _group(rows: dict[str, Place]) -> str:
    """The heading that an option comes under, where several optimisers have it under different ones the first."""
    return next(iter(rows.values())).option.group


def _members() -> dict[str, list[str]]:
    """Groups of the optimisers' options in their order, each with the optimisers that have some of it."""
    members: dict[str, list[str]] = {_group(rows): [] for rows in OPTIONS.values()}
    for rows in OPTIONS.values():
        for optimizer, place in rows.items():
            listed = members[place.option.group]
            listed.extend([] if optimizer in listed else [optimizer])
    return members


def optimizer_help(name: str) -> str:
    """What an option means for the optimisers that have it, with its default for each of them."""
    rows = OPTIONS[name]
    meanings: dict[str, dict[str, list[str]]] = {}
    for optimizer, place in rows.items():
        defaults = meanings.setdefault(place.option.meaning, {})
        defaults.setdefault(place.shown_default, []).append(optimizer)
    as_headed = list(rows) == _members()[_group(rows)] and [len(found) for found in meanings.values()] == [1]
    told = []
    for meaning, defaults in meanings.items():
        values = [f"{', '.join(optimizers)}: {default}" for default, optimizers in defaults.items()]
        told.append(f"{meaning} [{f'default: {next(iter(defaults))}' if as_headed else '; '.join(values)}].")
    return " ".join(told)


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
