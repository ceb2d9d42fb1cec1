"""Doctor, reporters, help, package layout."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import ROOT, repro
from typer.main import get_command

import repro as package
from repro import console, doctor
from repro.cli import app
from repro.runtime import DETERMINISTIC_GPU, IDLE_LAPACK, configure_jax
from repro.study.runs.grid import KEYS

# A module imports only from its own room and from the rooms before it.
ROOMS = (
    *("errors", "reading", "machine", "config", "datasets", "numerics", "parameters", "curvature", "solvers"),
    *("problems", "vmc", "optimizers", "training", "references", "demonstrations", "console", "runtime", "study"),
    *("doctor", "cli", "__main__"),
)
STUDY_ROOMS = ("runs", "experiments", "benchmarks", "claims", "verification", "plots", "reports")
CORE = ("numerics", "parameters", "curvature", "solvers", "problems", "vmc", "optimizers", "training")
CORE_IMPORTS = {"jax", "haiku", "optax", "numpy", "repro"}


def imports(path: Path, nested: bool = False) -> set[str]:
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", CORE)
def test_the_training_core_needs_only_jax_haiku_optax_numpy(room):
    for path in (ROOT / "repro" / room).rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - CORE_IMPORTS
        assert not outside, f"{path}: {outside}"


@pytest.mark.parametrize(("house", "rooms"), [("repro", ROOMS), ("repro.study", STUDY_ROOMS)])
def test_data_flows_one_way(house, rooms):
    for room in rooms:
        place = ROOT.joinpath(*house.split("."), room)
        files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        assert files
        for path in files:
            for name in imports(path, nested=True):
                if name.startswith(f"{house}."):
                    room_of = name.removeprefix(f"{house}.").split(".")[0]
                    assert rooms.index(room_of) <= rooms.index(room), f"{path} imports {name}"


def test_every_module_has_its_room():
    found = {
        path.stem for path in (ROOT / "repro").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(ROOMS)
    assert {path.parent.name for path in (ROOT / "repro" / "study").glob("*/*.py")} == set(STUDY_ROOMS)


def test_help_teaches_without_loading_jax():
    probe = "import sys; from repro.cli import app; assert 'jax' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0
    done = repro("--help")
    assert done.returncode == 0
    for command in ("train", "evaluate", "observables", "reference", "references", "figures", "bench", "doctor"):
        assert command in done.stdout
        assert repro(command, "--help").returncode == 0
    assert repro("--version").stdout.strip()


def test_every_command_has_an_example_that_it_takes():
    """Parsed, not carried out: its options are there and whole."""
    commands = get_command(app).commands
    commands |= {f"bench {name}": command for name, command in commands.pop("bench").commands.items()}
    for name, command in commands.items():
        found = re.search(rf"Example: repro {name}(.*)", command.help)
        assert found, f"repro {name} --help has no example"
        command.make_context(name, shlex.split(found[1]))


def test_train_takes_whatever_a_grid_may_hold():
    (train,) = (command.callback for command in app.registered_commands if command.callback.__name__ == "train")
    assert set(KEYS) <= set(inspect.signature(train).parameters)


def test_doctor_reports_and_judges(tmp_path, monkeypatch):
    findings = {finding.subject: finding for finding in doctor.examine(tmp_path)}
    assert {"python", "jax", "jaxlib", "devices", "threads", "free memory", "free disk", "determinism"} <= set(findings)
    assert not findings["jax"].remedy
    monkeypatch.setattr(doctor, "LEAST_FREE_GIB", 1e6)
    monkeypatch.setenv("JAX_DEBUG_NANS", "1")
    findings = {finding.subject: finding for finding in doctor.examine(tmp_path)}
    assert "--walker-chunk" in findings["free memory"].remedy
    assert "unset" in findings["JAX_DEBUG_NANS"].remedy


def test_doctor_on_the_command_line():
    assert repro("doctor").returncode == 0
    done = repro("doctor", JAX_DISABLE_JIT="1")
    assert done.returncode == 1
    assert "unset JAX_DISABLE_JIT" in done.stdout


def test_gpu_determinism_is_asked_for_and_the_cpu_left_alone(monkeypatch):
    before = {name: getattr(jax.config, name) for name in ("jax_platforms",)}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    configure_jax("cpu")
    assert os.environ["XLA_FLAGS"] == ""
    configure_jax(None)
    assert os.environ["XLA_FLAGS"] == " ".join(DETERMINISTIC_GPU)
    assert {name: getattr(jax.config, name) for name in before} == before


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells what a process has loaded")
@pytest.mark.parametrize("module", ["repro.cli", "repro.study.runs.sweep", "repro.study.benchmarks.epoch"])
def test_linear_algebra_is_loaded_after_its_threads_are_set(module):
    """:data:`repro.runtime.IDLE_LAPACK` is read once: what makes runs must not load it before."""
    name, chosen = IDLE_LAPACK
    loaded = "any('libscipy_openblas-' in line for line in open('/proc/self/maps'))"
    told = f"print(before, os.environ['{name}'], {loaded})"
    program = [
        f"import os, {module}",
        f"before = {loaded}",
        "from repro.runtime import configure_jax",
        "configure_jax('cpu')",
        "import jax.numpy as jnp",
        "jnp.linalg.eigh(jnp.eye(3)).eigenvectors.block_until_ready()",
        told,
    ]
    for set_before in ({}, {name: "20"}):
        kept = {variable: value for variable, value in os.environ.items() if variable != name}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(program)],
            env=kept | set_before,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["False", set_before.get(name, chosen), "True"]


def test_the_public_face_loads_what_is_asked_for():
    probe = "import sys, repro; assert 'jax' not in sys.modules; repro.dgd, repro.optimizers.adam"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'dgdd'"):
        package.dgdd  # noqa: B018


def test_reporters_tell_the_same_story(capsys):
    for reporter in (console.PlainReporter(1.0), console.TerminalReporter(1.0)):
        reporter.start("training", 0, 10)
        reporter.advance(5, {"energy": 1.5, "energy_error": 0.1})
        reporter.note("a line")
        reporter.finish()
        told = capsys.readouterr().err
        assert "E = 1.50000 +- 0.10000 (exact +0.50000)" in told
        assert "a line" in told


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (65, "1 min 05 s"), (3700, "1 h 01 min")])
def test_durations(seconds, text):
    assert console.duration(seconds) == text


def test_the_readmes_python_runs():
    text = (ROOT / "README.md").read_text()
    blocks = text.split("```python\n")[1:]
    assert blocks
    for block in blocks:
        exec(compile(block.split("```")[0], "README.md", "exec"), {})


def test_the_readmes_commands_exist():
    """Every make target and every `repro` command that the README names is there."""
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE)) <= targets
    commands = set(re.findall(r"\.venv/bin/repro ([a-z]+)", text))
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert commands <= known | {group.name for group in app.registered_groups}
    assert {"train", "figures", "claims", "verify", "why", "report", "sweep", "store"} <= known
    assert len(commands) >= 4
    names = {path.stem for path in (ROOT / "figures").rglob("*.ipynb")}
    assert set(re.findall(r"FIGURES=([A-Z]\d\d)", text)) <= names
