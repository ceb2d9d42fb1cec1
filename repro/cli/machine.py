"""The command that examines the machine."""

from __future__ import annotations

from pathlib import Path

import typer


def doctor() -> None:
    """Say what this machine has, what is wrong with it, and how to mend it; exit code 1 if something is.

    Example: repro doctor
    """
    from repro.runtime import configure_jax

    configure_jax()
    from rich.table import Table
    from rich.text import Text

    from repro.console import terminal
    from repro.doctor import examine

    findings = examine(Path.cwd())
    table = Table(show_header=False)
    for finding in findings:
        mark = Text("wrong", "red") if finding.remedy else Text("ok", "green")
        table.add_row(mark, finding.subject, finding.value + (f"\n-> {finding.remedy}" if finding.remedy else ""))
    terminal().print(table)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)
