"""Checks the parameters of notebooks: papermill only warns of an unknown one, and takes a value of any type."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.config.checks import shown, suggestion
from repro.errors import InputError

TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
INJECTED = "# Parameters"
"""How papermill begins the cell that it puts below the one of the parameters."""


def refuse_unfit(where: str, declared: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Refuses parameters that a notebook does not declare, and values of another type.

    Args:
        where: how to call the notebook in an error.
        declared: the names of the types, of :data:`TYPES`, by parameter.
        values: what is asked for.

    Raises:
        InputError: for the first that does not fit.
    """
    for name, value in values.items():
        if name not in declared:
            meant = suggestion(name, list(declared))
            raise InputError(f"{where}: unknown parameter {name!r}; {meant}known are {', '.join(declared)}")
        kind = TYPES[declared[name]]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number if kind is float else isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not fits:
            remedy = "; write True or False" if kind is bool else ""
            raise InputError(f"{where}: {name} = {shown(value)}: must be of type {kind.__name__}{remedy}")


def check_parameters(cells: Sequence[str] | None = None) -> None:
    """Refuses, inside of a notebook, parameters that papermill put into it and that do not fit its own.

    Args:
        cells: the code that was executed so far; the running notebook's when left out.

    Raises:
        InputError: for a parameter that the notebook does not declare, or a value of another type.
    """
    if cells is None:
        from IPython import get_ipython  # type: ignore[attr-defined]

        shell = get_ipython()
        cells = shell.user_ns.get("In", []) if shell is not None else []
    declared: dict[str, str] = {}
    values: dict[str, Any] = {}
    for cell in cells:
        if cell.startswith(INJECTED):
            values |= _assigned(cell)
        elif not declared:
            declared = _annotated(cell)
    refuse_unfit("this notebook", declared, values)


def _annotated(cell: str) -> dict[str, str]:
    """The types of a cell of nothing but annotated names; none of any other cell."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:  # IPython's own commands
        return {}
    found = {ast.unparse(line.target): ast.unparse(line.annotation) for line in body if isinstance(line, ast.AnnAssign)}
    return found if len(found) == len(body) else {}


def _assigned(cell: str) -> dict[str, Any]:
    lines = [line for line in ast.parse(cell).body if isinstance(line, ast.Assign)]
    return {ast.unparse(line.targets[0]): _literal(line.value) for line in lines}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:  # float('nan') and the like
        return float("nan")


def notebook_declares(notebook: Path) -> dict[str, str]:
    """The types of a notebook's parameters by name, from its cell with the tag "parameters"."""
    import papermill

    return {name: entry["inferred_type_name"] for name, entry in papermill.inspect_notebook(str(notebook)).items()}
