"""Makes figures with papermill: checks parameters, uses the running interpreter's kernel, puts outputs in place."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from repro.config.checks import choice
from repro.console import duration
from repro.demonstrations.base import Values
from repro.errors import InputError, ReproError
from repro.machine import processors
from repro.reading import read_json
from repro.study.claims.statements import CHAPTERS, STUDY
from repro.study.claims.values import plain_values
from repro.study.claims.verdicts import Verdict, restored
from repro.study.reports.notebook_parameters import TYPES, notebook_declares, refuse_unfit
from repro.study.runs.store import RunSource, project_path
from repro.training.files import write_atomic
from repro.training.interruptions import end_with
from repro.training.rundir import RunDirectory

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NOTEBOOKS = "figures"
FRESH = "runs/fresh"
UNFINISHED = ".unfinished"
KERNEL = "repro-running-interpreter"
MOST_JOBS = 4
GLANCE_SECONDS = 0.3
"""How often the output of the notebook at hand is looked for."""


def notebook_paths(chapter: str | None = None) -> dict[str, Path]:
    """The figures' notebooks by name: those of a chapter, or of all chapters in their order when left out."""
    folders = {name: project_path(NOTEBOOKS) / ("" if name == STUDY else name) for name in CHAPTERS}
    chosen = folders.values() if chapter is None else [folders[chapter]]
    return {path.stem: path for folder in chosen for path in sorted(folder.glob("*.ipynb"))}


def save_figure(
    name: str,
    figure: Figure,
    table: pd.DataFrame,
    source: RunSource | None,
    out: str,
    verdicts: Sequence[Verdict],
    tables: Sequence[str] = (),
    values: Values | None = None,
) -> None:
    """Writes ``name``.pdf, .png, .csv and .json (what it was made of), atomically and the same for the same data.

    Args:
        name: such as "F11".
        figure: the drawing.
        table: the numbers drawn.
        source: what the runs came from; None where there are no runs.
        out: directory, from the project's root where relative.
        verdicts: on the claims that it shows.
        tables: the stored tables that are drawn, by their paths in the project.
        values: the numbers that its claims rest on, by name, of an item of a lecture.
    """
    directory = project_path(out)
    directory.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        figure.set_layout_engine("none")  # it takes as long as drawing, and both files show the same
        write_atomic(directory / f"{name}.{kind}", buffer.getvalue())
    write_atomic(directory / f"{name}.csv", table.to_csv(index=False, float_format="%.9g").encode())
    runs = [
        {
            "run": run.path.name,
            "content_hash": run.config.content_hash,
            "curve_sha256": run.result["curve_sha256"],
            "computed": run.computed,
        }
        for run in (source.given if source else ())
    ]
    read = [{"table": path, "sha256": hashlib.sha256(project_path(path).read_bytes()).hexdigest()} for path in tables]
    judged = [asdict(verdict) for verdict in verdicts]
    made_of: dict[str, Any] = {"figure": name, "runs": runs, "tables": read, "verdicts": judged}
    if values is not None:
        made_of["values"] = plain_values(values)
    write_atomic(directory / f"{name}.json", (json.dumps(made_of, indent=2) + "\n").encode())


def checked_parameters(notebook: Path, values: dict[str, Any]) -> dict[str, Any]:
    """``values`` if the notebook declares all of them with fitting types.

    Raises:
        InputError: for a parameter that the notebook does not declare, or a value of another type.
    """
    refuse_unfit(notebook.name, notebook_declares(notebook), values)
    return values


def _declared(notebook: Path, places: dict[str, Any]) -> dict[str, Any]:
    """Those of the places that a notebook asks for: one without runs does not ask where they are."""
    known = notebook_declares(notebook)
    return {name: value for name, value in places.items() if name in known}


def parse_assignments(notebook: Path, assignments: Sequence[str]) -> dict[str, Any]:
    """Turns ``NAME=VALUE`` texts into parameters of the types that the notebook declares.

    Raises:
        InputError: for a text without "=", an unknown name, or a value that is no such thing.
    """
    declared = notebook_declares(notebook)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"-p {assignment}: must be NAME=VALUE")
        kind = declared.get(name, "str")
        try:
            values[name] = {"true": True, "false": False}[text.lower()] if kind == "bool" else TYPES[kind](text)
        except (KeyError, ValueError) as error:
            raise InputError(f"{notebook.name}: {name} = {text!r}: must be of type {kind}") from error
    return checked_parameters(notebook, values)


@contextmanager
def _running_kernel() -> Iterator[str]:
    """A kernel that is this interpreter, whatever kernels are installed on the machine under whatever names."""
    from ipykernel.kernelspec import write_kernel_spec

    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is taken of the working directory, of a user's settings of IPython, or of a screen.
        apart = {"IPYTHONDIR": str(Path(folder) / "ipython"), "PYTHONSAFEPATH": "1"}
        drawing = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        write_kernel_spec(
            str(Path(folder) / "kernels" / KERNEL),
            overrides={"env": apart | drawing},
            extra_arguments=["--log-level=CRITICAL", "--InteractiveShellApp.ignore_cwd=True"],
        )
        os.environ["JUPYTER_PATH"] = folder + (os.pathsep + before if before else "")
        try:
            yield KERNEL
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def execute(notebook: Path, out: Path, parameters: dict[str, Any], told: TextIO | None = None) -> Path:
    """Executes one notebook with checked parameters.

    Args:
        notebook: what to execute.
        out: where it goes.
        parameters: their values by name.
        told: where its output is written as it comes; the process' own when left out.

    Returns:
        The executed notebook, ``out / notebook.name``.

    Raises:
        InputError: for bad parameters, before anything is run.
        ReproError: if a cell fails; the notebook as far as it got is kept as ``NAME.failed.ipynb``.
    """
    import papermill

    checked_parameters(notebook, parameters)
    out.mkdir(parents=True, exist_ok=True)
    target, failed = out / notebook.name, out / f"{notebook.stem}.failed.ipynb"
    with _running_kernel() as kernel, tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / notebook.name
        try:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                parameters=parameters,
                kernel_name=kernel,
                progress_bar=False,
                stdout_file=told or sys.stdout,
                stderr_file=told or sys.stderr,
            )
        except papermill.PapermillExecutionError as error:
            shutil.copy(executed, failed)
            raise ReproError(f"{notebook.stem}: {error.ename}: {error.evalue} (see {failed})") from error
        document = read_json(executed)
    # Whoever opens the result should be offered an ordinary kernel, not one that is gone.
    document["metadata"]["kernelspec"] = read_json(notebook)["metadata"]["kernelspec"]
    write_atomic(target, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
    failed.unlink(missing_ok=True)
    return target


def _begin_fresh(root: Path) -> None:
    """Removes the finished runs of an earlier fresh pass, unless that pass was interrupted: then it goes on."""
    mark = root / UNFINISHED
    if mark.exists():
        print(f"going on with the interrupted fresh pass in {root}", flush=True)
        return
    for result in sorted(root.glob("*/result.json")):
        print(f"removing {result.parent} (an earlier fresh pass)", flush=True)
        run = RunDirectory(result.parent)
        with run.locked():
            run.clear()
            if list(run.path.iterdir()) == [run.lock]:  # what is not the run's stays
                run.lock.unlink()
                run.path.rmdir()
    root.mkdir(parents=True, exist_ok=True)
    mark.touch()


@dataclass(frozen=True)
class _Task:
    """A notebook to execute: where it is, where its figure goes, its parameters, and a file for its output."""

    name: str
    notebook: Path
    out: Path
    parameters: dict[str, Any]
    log: Path


def _carry_out(task: _Task) -> float:
    """Executes a notebook, in a process of a pool; its output goes to a file.

    Returns:
        The seconds that it took.
    """
    begin = time.monotonic()
    with task.log.open("w", buffering=1, encoding="utf-8") as told:
        execute(task.notebook, task.out, task.parameters, told)
    return time.monotonic() - begin


def _begin_worker() -> None:
    """Keeps JAX from taking a whole GPU for one of several processes, and ends this one with the one that started it.

    What the user has set stays.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if parent := multiprocessing.parent_process():
        end_with(parent.sentinel)


def _in_order(tasks: Sequence[_Task], jobs: int) -> Iterator[tuple[_Task, float]]:
    """Executes notebooks, several at a time; their output is printed in their order, as it comes.

    Yields:
        Each task when it is done, with its seconds.
    """
    begin = time.monotonic()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker)
    try:
        futures = [pool.submit(_carry_out, task) for task in tasks]
        for number, (task, future) in enumerate(zip(tasks, futures, strict=True)):
            if number:
                done = sum(other.done() for other in futures)
                left = (time.monotonic() - begin) * (len(tasks) - done) / max(done, 1)
                print(f"{done} of {len(tasks)} figures made, about {duration(left)} left", file=sys.stderr, flush=True)
            print(f"== {task.name}", flush=True)
            told = 0
            while True:
                ended = future.done()
                text = task.log.read_text(encoding="utf-8", errors="replace")[told:] if task.log.exists() else ""
                print(text, end="", flush=True)
                told += len(text)
                if ended:
                    break
                wait([future], timeout=GLANCE_SECONDS)
            yield task, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def make_figures(
    names: Sequence[str], out: Path, *, fresh: bool = False, assignments: Sequence[str] = (), jobs: int | None = None
) -> list[Verdict]:
    """Executes the notebooks of the figures wanted, all of them if none is named, and says what each was made of.

    Args:
        names: of the figures.
        out: where they go.
        fresh: whether stored runs are ignored and trained anew.
        assignments: ``NAME=VALUE`` for all notebooks.
        jobs: notebooks at a time. As many as there are processors, :data:`MOST_JOBS` at most, when left out; one
            where runs may be trained, which two notebooks may both need.

    Returns:
        The verdicts on their claims, from the runs that they took.

    Raises:
        InputError: for an unknown figure, bad parameters or no job at all, before anything is executed.
        ReproError: if a notebook fails.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs = {jobs}: must be at least 1")
    notebooks = notebook_paths()
    if not notebooks:
        raise InputError(
            f"{project_path(NOTEBOOKS)}: no notebooks there; `repro figures` needs the project's source tree"
        )
    for name in names:
        choice("figure", name, tuple(notebooks))
    wanted = {name: notebooks[name] for name in (names or notebooks)}
    out = out.absolute()
    parameters = {name: parse_assignments(path, assignments) for name, path in wanted.items()}
    fresh_root = project_path(FRESH)
    if fresh:
        _begin_fresh(fresh_root)
    lines: list[str] = []
    verdicts: list[Verdict] = []
    if fresh or assignments:
        jobs = 1
    elif jobs is None:
        jobs = min(len(processors()), MOST_JOBS)
    places: dict[str, Any] = {"out": str(out)} | ({"fresh": True, "trained": FRESH} if fresh else {})
    with tempfile.TemporaryDirectory() as folder:
        tasks = [
            _Task(name, path, out, _declared(path, places) | parameters[name], Path(folder) / name)
            for name, path in wanted.items()
        ]
        for task, seconds in _in_order(tasks, min(jobs, len(tasks))):
            made_of = read_json(out / f"{task.name}.json")
            runs = made_of["runs"]
            verdicts += map(restored, made_of["verdicts"])
            computed = sum(run["computed"] for run in runs)
            tables = [table["table"] for table in made_of["tables"]]
            read = " and ".join([*([f"{len(runs) - computed} runs"] if runs or not tables else []), *tables])
            told = f"{read} read, {computed} computed" if runs or tables or "values" not in made_of else "computed"
            lines.append(f"{task.name}: {told}, {seconds:.0f} s")
    if fresh:
        (fresh_root / UNFINISHED).unlink(missing_ok=True)
    print(f"== done: notebook, PDF, PNG, CSV, and list of runs and verdicts of each figure are in {out}")
    print("\n".join(lines))
    return verdicts
