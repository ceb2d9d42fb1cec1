"""The command line, ``repro --help``.

Commands import what they need themselves: ``repro --help`` should not wait for JAX.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import Annotated

import typer

from repro import __version__
from repro.cli.benchmarks import bench
from repro.cli.energies import reference, references
from repro.cli.machine import doctor
from repro.cli.options import GroupedCommand
from repro.cli.runs import evaluate, import_published, observables, train
from repro.cli.study import claims, figures, report, store, sweep, values, verify, why
from repro.errors import ReproError, StorageError, storage_error
from repro.reading import told

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # XLA's word, in errors that have no type of their own
INTERRUPTED = 130  # as shells report a death by SIGINT

app = typer.Typer(
    name="repro",
    help="Optimisers for neural-network quantum states, compared on trapped one-dimensional fermions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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


app.command(cls=GroupedCommand)(train)
for _command in (
    *(import_published, evaluate, observables, reference, references),
    *(figures, sweep, store, claims, values, verify, why, report, doctor),
):
    app.command()(_command)
app.add_typer(bench, name="bench")


def main() -> None:
    """Runs the command line; user errors end as one line on standard error and exit code 2."""
    # A file json.py in the working directory is none of our processes' library.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of few letters is no reason to stop
    try:
        # Commands return nothing; a number is the exit code of a typer.Exit, or of an interruption that typer caught.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()  # what cannot be written is said here, not when the interpreter ends
        sys.exit(code or 0)
    except ReproError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # as in `repro claims | head`: nobody reads on
        _leave(1)
    except OSError as error:
        _fail(str(storage_error(error)), StorageError.exit_code)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; go on with the same command, and --resume where it has that option", INTERRUPTED)
    except MemoryError:
        _fail("no memory left; close other programs, or lower the sizes asked for", 1)
    except Exception as error:
        if setting := _bad_setting(error):
            _fail(setting, 2)
        if OUT_OF_MEMORY in str(error):
            _fail(f"no memory left ({told(error)}); lower --walkers, --hidden or --walker-chunk", 1)
        # Usage errors: typer carries its own copy of click, whose exceptions are known only by this method.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        context = getattr(error, "ctx", None)
        _fail(f"{describe()} (see `{context.command_path if context else 'repro'} --help`)", 2)


def _bad_setting(error: Exception) -> str:
    """What is wrong with a variable that JAX reads as it is imported; "" for any other error."""
    found = re.search(r"for JAX flag (\w+)|for environment '(\w+)'", str(error)) if type(error) is ValueError else None
    if found is None:
        return ""
    name = (found[1] or found[2]).upper()
    return f"{name} = {os.environ.get(name)!r}: JAX knows no such value; unset it"


def one_line(message: str) -> str:
    """A message without what would break its line, or colour a terminal: names of files may hold anything."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in message)


def _fail(message: str, code: int) -> None:
    with suppress(OSError):
        print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
    _leave(code)


def _leave(code: int) -> None:
    """Ends with this exit code, also where standard output takes nothing any more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
    sys.exit(code)
