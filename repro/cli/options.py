"""Options that several commands have, and where they tell their progress."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

Particles = Annotated[int, typer.Option("--particles", help="Number of fermions A.", show_default=False)]
V0 = Annotated[float, typer.Option("--v0", help="Interaction strength V0 (negative attracts).", show_default=False)]
Sigma0 = Annotated[float, typer.Option("--sigma0", help="Interaction range in oscillator lengths.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu or gpu; left out: a GPU when there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def whole_number_or_word(text: str | None) -> Any:
    """A number where the text is one; whether a word is known, the configuration says."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


def to_stderr(line: str) -> None:
    """Progress, apart from what a command prints for others to read."""
    print(line, file=sys.stderr, flush=True)
