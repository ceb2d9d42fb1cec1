"""What surrounds a run does not change it: settings of JAX, locale, home, working directory, names of files."""

from __future__ import annotations

import ast
import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import matplotlib as mpl
import pytest
from conftest import ROOT
from rich.table import Table

from repro import cli, console, machine, runtime
from repro.errors import InputError
from repro.study.plots.style import RC, use_style
from repro.study.runs.profiles import configure
from repro.training import environment
from repro.training.curve import Table as Curve
from repro.training.run import train

NAME = "[red]ä[/red] :smile: [/]"
OPTIONS = ("--particles", "2", "--v0", "-10", "--profile", "smoke", "--walkers", "16", "--sweeps", "2", "--epochs", "3",
           "--pretrain-epochs", "3")  # fmt: skip
HOSTILE = {
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_ENABLE_CUSTOM_PRNG": "1",
    "JAX_LEGACY_PRNG_KEY": "error",
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_SOFTMAX_CUSTOM_JVP": "1",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_DISABLE_JIT": "1",
    "JAX_TRANSFER_GUARD": "disallow",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "HOME": "/proc/none",
}


def numbers(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


def test_a_run_is_the_same_in_a_hostile_environment(tmp_path):
    """Settings of JAX that change random numbers or types, or stop at a NaN; no home, no letters beyond ASCII, and a
    working directory whose files are named like the library's."""
    calm = train(
        configure(particles=2, v0=-10.0, profile="smoke", walkers=16, sweeps=2, epochs=3, pretrain_epochs=3),
        tmp_path / "calm",
    )
    for module in ("json", "select", "random", "csv", "typing"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('taken for the library')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "repro", "train", *OPTIONS, "--out", NAME],
        cwd=tmp_path,
        env=os.environ | HOSTILE,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ":smile: [/]" in done.stdout
    assert "[red]" in done.stdout
    made = tmp_path / NAME
    for table in ("pretraining.csv", "curve.csv"):
        assert numbers(made / table) == numbers(calm.run.path / table)


def test_settings_that_no_context_fixes_are_refused(monkeypatch):
    environment.refuse_settings()
    monkeypatch.setitem(environment.REFUSED, "jax_random_seed_offset", 3)
    with pytest.raises(InputError, match="JAX_RANDOM_SEED_OFFSET = 0: would change the numbers of a run; unset it"):
        environment.select_device("cpu")


def test_a_platform_that_jax_does_not_know_is_named(monkeypatch):
    def nothing(backend: str) -> None:
        raise RuntimeError("Unable to initialize\nbackend")

    monkeypatch.setattr(jax, "local_devices", nothing)
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with pytest.raises(InputError, match=r"JAX_PLATFORMS = 'nonsense': .*Unable to initialize backend.*unset it"):
        environment.select_device(None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError('Invalid value "foo" for JAX flag jax_default_prng_impl'), "JAX_DEFAULT_PRNG_IMPL = None"),
        (ValueError("invalid truth value 'x' for environment 'JAX_ENABLE_X64'"), "JAX_ENABLE_X64 = None"),
        (PermissionError(13, "Permission denied", "there"), "there: Permission denied"),
        (InputError("a\nb\x1b[31m \udcff ä"), r"a\nb\x1b[31m \udcff ä"),
        (MemoryError(), "no memory left"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "no memory left (RESOURCE_EXHAUSTED"),
    ],
)
def test_the_command_line_ends_in_one_line(monkeypatch, capsys, error, told):
    def fails(**_: object) -> None:
        raise error

    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == (1 if isinstance(error, MemoryError | RuntimeError) else 2)
    assert capsys.readouterr().err.startswith(f"error: {told}")


def test_names_are_no_markup(monkeypatch):
    """In a table's title and cells, a note and the bar of a phase, on a terminal."""
    stream = io.StringIO()
    shown = console.terminal()
    monkeypatch.setattr(console, "terminal", lambda stderr=False: shown)
    shown.file, shown._force_terminal = stream, True
    table = Table(NAME, title=NAME)
    table.add_row(NAME)
    shown.print(table)
    reporter = console.TerminalReporter(None)
    reporter.note(NAME)
    reporter.start(NAME, 0, 1)
    reporter.finish()
    assert stream.getvalue().count(NAME) >= 5


def test_a_machine_without_affinity_or_home(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.processors() == list(range(os.cpu_count() or 1))
    assert environment.thread_count() == os.cpu_count()

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert runtime.cache_directory() is None


def test_figures_do_not_look_as_a_user_likes_his(monkeypatch):
    with mpl.rc_context():
        mpl.rcParams |= {"font.family": ["serif"], "axes.facecolor": "pink", "lines.linewidth": 9.0}
        use_style()
        found = dict(mpl.rcParams)
    assert found["font.family"] == ["sans-serif"]
    assert found["axes.facecolor"] == "white"
    assert found["lines.linewidth"] == RC["lines.linewidth"]


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    found = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)]
    return [(getattr(node.func, "attr", getattr(node.func, "id", "")), node) for node in found]


def test_text_is_utf8_and_rich_prints_through_one_door():
    for path in sorted((ROOT / "repro").rglob("*.py")):
        for name, node in calls(path):
            place = f"{path}, line {node.lineno}"
            given = {keyword.arg for keyword in node.keywords}
            modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            of_module = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("os", "Image")
            opens = name == "open" and not of_module and not any("b" in str(mode) for mode in modes)
            if opens or (name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)):
                assert "encoding" in given, place
            if name in ("Console", "from_markup"):
                assert path.stem == "console", f"{place}: use repro.console.terminal"
            if name == "TextColumn":
                assert "markup" in given, place


def test_a_table_is_read_whatever_its_line_ends():
    assert Curve.decode(("epoch",), "epoch\r\n1\r\n", 1, "curve.csv").lines == ["1"]
