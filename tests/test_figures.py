"""Notebooks and the wrapper around papermill."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, is_one_line, repro

from repro.errors import InputError, ReproError
from repro.study.claims.statements import claims_of
from repro.study.claims.verdicts import restored
from repro.study.plots.curves import block_median, log_binned
from repro.study.reports import figures
from repro.study.reports.display import verdict_counts
from repro.study.runs.convergence import converged, fluctuation, summary
from repro.study.runs.profiles import configure
from repro.study.runs.store import Run, RunSource, find_run, load_run
from repro.study.verification.verify import read_verdicts
from repro.training.run import train

NOTEBOOKS = figures.notebook_paths()
IN_DOCS = ("F11", "F16", "G14")
"""Whose pictures are in docs/, too."""
PLACES = ("on the slide", "of the abstract", "of the introduction", "of the lecture")
"""Where a claim may stand that a notebook is about."""
QUICK = {"profile": "smoke", "epochs": 20, "optimizers": "kfac"}


@pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_notebooks_are_stripped_and_declare_typed_parameters(path):
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    tagged = [cell for cell in document["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    import papermill

    declared = papermill.inspect_notebook(str(path))
    of_study = path.parent.name == "figures"
    assert ({"stored", "trained", "fresh", "out"} if of_study else {"out"}) <= set(declared)
    assert all(entry["inferred_type_name"] in ("str", "int", "float", "bool") for entry in declared.values())
    text = "".join(document["cells"][0]["source"])
    claimed = any(f"**Claim {place}" in text for place in PLACES)
    assert claimed or path.stem == "T00"  # of a reference, not of a slide


def is_in_docs(name, out):
    """Asserts that docs/ has this picture, to the pixel."""
    made, shown = (matplotlib.image.imread(folder / f"{name}.png") for folder in (out, ROOT / "docs"))
    assert np.array_equal(made, shown), (
        f"docs/{name}.png is not what figures/{name}.ipynb draws; renew it: make pictures"
    )


def test_no_other_picture_is_in_docs():
    """Those that are there are compared where their notebooks are executed."""
    assert {path.stem for path in (ROOT / "docs").glob("*.png")} == set(IN_DOCS)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """F14 made of a short run, with a foreign kernel called python3 lying in wait."""
    root = tmp_path_factory.mktemp("figures")
    foreign = root / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"})
    )
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(root / "jupyter")
    try:
        places = {"stored": str(root / "stored"), "trained": str(root / "trained"), "out": str(root / "out")}
        figures.execute(NOTEBOOKS["F14"], root / "out", QUICK | places)
    finally:
        os.environ.pop("JUPYTER_PATH")
        if before is not None:
            os.environ["JUPYTER_PATH"] = before
    return root


def test_a_figure_leaves_its_files(quick):
    assert {path.name for path in (quick / "out").iterdir()} == {
        f"F14.{end}" for end in ("ipynb", "pdf", "png", "csv", "json")
    }
    executed = json.loads((quick / "out" / "F14.ipynb").read_text())
    text = "".join("".join(o.get("text", "")) for c in executed["cells"] for o in c.get("outputs", []))
    assert "COMPUTED trained/kfac-A2-V-10-seed0" in text
    assert executed["metadata"]["kernelspec"]["name"] == "python3"
    table = pd.read_csv(quick / "out" / "F14.csv")
    assert list(table["epoch"]) == list(range(1, 21))
    made_of = json.loads((quick / "out" / "F14.json").read_text())
    assert [run["computed"] for run in made_of["runs"]] == [True]
    assert [verdict["claim"] for verdict in made_of["verdicts"]] == [claim.id for claim in claims_of("F14")]


def test_a_figure_made_again_by_plain_papermill_is_the_same_to_the_byte(quick, tmp_path):
    """From the run that is there now."""
    command = [sys.executable, "-m", "papermill", "figures/F14.ipynb", str(tmp_path / "out.ipynb"), "-k", "python3",
               "-p", "profile", "smoke", "-p", "epochs", "20", "-p", "optimizers", "kfac",
               "-p", "stored", str(quick / "stored"), "-p", "trained", str(quick / "trained"),
               "-p", "out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    first, again = (
        {end: (out / f"F14.{end}").read_bytes() for end in ("pdf", "png", "csv")} for out in (quick / "out", tmp_path)
    )
    assert first == again
    assert "read trained/kfac" in (tmp_path / "out.ipynb").read_text()
    assert json.loads((tmp_path / "F14.json").read_text())["runs"][0]["computed"] is False


def test_stored_runs_make_f11(tmp_path):
    """From the stored runs, nothing is trained, and the weakly interacting points are within what the figure allows."""
    done = repro("figures", "F11", "--out", str(tmp_path), timeout=500)
    assert done.returncode == 0, done.stderr
    assert " 0 computed" in done.stdout
    assert done.stdout.count(": agrees") == 3
    shown = {claim.id for claim in claims_of("F11")}
    found = [verdict for verdict in read_verdicts(ROOT / "paper_runs") if verdict.claim in shown]
    assert len(found) == len(shown) > 0
    assert verdict_counts(found) in done.stdout.splitlines()
    is_in_docs("F11", tmp_path)
    table = pd.read_csv(tmp_path / "F11.csv")
    points = table[table["kind"] == "run"].set_index(["particles", "v0"])
    # Of the other seeds only the claim speaks.
    assert len(points) == len(re.findall(r"^read paper_runs/.*-seed0-", done.stdout, re.MULTILINE))
    laptop = points[points["profile"] == "laptop"]
    assert 0 < len(laptop) < len(points)
    assert laptop.loc[[(2, -10.0), (2, 0.0), (2, 10.0)], "within"].astype(bool).all()
    curves = table[table["kind"] == "reference"]
    assert len(curves) == 9 * curves["particles"].nunique()
    assert (curves["exact"] <= curves["ci"] + 1e-6).all()
    assert (curves["exact"] <= curves["hf"] + 1e-6).all()


def draw(names, out):
    """Executes the cells of notebooks in this process; a kernel takes longer to begin than most of them to end.

    Returns:
        The runs that they were made of, and the verdicts on their claims.
    """
    runs, verdicts = [], []
    for name in names:
        scope = {}
        with matplotlib.rc_context({"backend": "agg"}):
            for number, cell in enumerate(json.loads(NOTEBOOKS[name].read_text())["cells"]):
                if cell["cell_type"] == "code":
                    exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), scope)
                if "parameters" in cell["metadata"].get("tags", []):
                    scope["out"] = str(out)
            matplotlib.pyplot.close("all")
        made_of = json.loads((out / f"{name}.json").read_text())
        runs += made_of["runs"]
        verdicts += map(restored, made_of["verdicts"])
    assert not any(run["computed"] for run in runs)
    return runs, verdicts


def test_the_reference_table_and_the_densities_are_made_of_what_is_stored(tmp_path):
    draw(("T00", "F13"), tmp_path)
    table = pd.read_csv(tmp_path / "T00.csv")
    assert len(table) == 25
    assert (table["exact_error"] <= 1e-5).all()
    # The study's own reference is far off for strong attraction.
    strong = table[table["v0"] == -20.0].set_index("particles")["ci_excess_percent"]
    assert strong[2] > 1.5
    assert strong[5] > 14
    densities = pd.read_csv(tmp_path / "F13.csv")
    for (count, _), rows in densities.groupby(["particles", "v0"]):
        width = rows["x"].diff().median()
        assert -1e-6 < count - width * rows["exact"].sum() < 0.01  # what lies beyond the bins
        apart = 0.5 * width * (rows["n"] - rows["exact"]).abs().sum() / count
        assert apart < 0.05


def test_notebooks_that_run_at_once_are_told_in_order(tmp_path, monkeypatch, capfd):
    """The first takes longest; the third fails, which ends all and is kept, and what the second made is there."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    document = json.loads(NOTEBOOKS["F18"].read_text())
    head, parameters = document["cells"][0], next(cell for cell in document["cells"] if cell["metadata"].get("tags"))
    bodies = {
        "A1": "import time\ntime.sleep(4)\nprint('first')",
        "A2": "print('second')",
        "A3": "raise ValueError('no')",
    }
    written = "\nimport json, pathlib\nmade = {'runs': [], 'tables': [], 'verdicts': []}\n"
    for name, body in bodies.items():
        save = f"pathlib.Path(out, '{name}.json').write_text(json.dumps(made))"
        cell = parameters | {"metadata": {}, "id": "body", "source": body + written + save}
        notebook = document | {"cells": [head, parameters, cell]}
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setattr(figures, "NOTEBOOKS", folder)
    with pytest.raises(ReproError, match="A3: ValueError: no"):
        figures.make_figures([], tmp_path / "out", jobs=2)
    told = capfd.readouterr()
    assert told.out.split() == ["==", "A1", "first", "==", "A2", "second", "==", "A3"]
    assert "of 3 figures made, about" in told.err
    assert (tmp_path / "out" / "A2.ipynb").exists()
    assert [path.name for path in (tmp_path / "out").glob("A3*")] == ["A3.failed.ipynb"]
    with pytest.raises(InputError, match="jobs = 0: must be at least 1"):
        figures.make_figures([], tmp_path / "out", jobs=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"profil": "smoke"}, "unknown parameter 'profil'"),
        ({"seed": "0"}, "must be of type int"),
        ({"seed": True}, "must be of type int"),
        ({"profile": 3}, "must be of type str"),
        ({"fresh": 1}, "must be of type bool"),
    ],
)
def test_parameters_are_checked_before_anything_runs(tmp_path, parameters, message):
    with pytest.raises(InputError, match=message):
        figures.execute(NOTEBOOKS["F14"], tmp_path / "out", parameters)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("F99",), "figure = 'F99': unknown; did you mean F09? choose one of F01, F02, F03,"),
        (("F14", "-p", "seed=x"), "must be of type int"),
        (("F08", "-p", "seed"), "must be NAME=VALUE"),
        (("F08", "-p", "colour=red"), "unknown parameter 'colour'"),
    ],
)
def test_bad_figures_end_in_one_line(tmp_path, called, arguments, message):
    is_one_line(called("figures", *arguments, "--out", str(tmp_path / "out")).err, message)
    assert not (tmp_path / "out").exists()


def test_assignments_take_the_declared_types():
    parsed = figures.parse_assignments(NOTEBOOKS["F14"], ["seed=3", "fresh=true", "profile=paper"])
    assert parsed == {"seed": 3, "fresh": True, "profile": "paper"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one small run."""
    root = tmp_path_factory.mktemp("store")
    config = configure(particles=2, v0=-10.0, profile="smoke", walkers=32, sweeps=2, epochs=10, pretrain_epochs=0)
    train(config, root / "any-name")
    return root, config


def test_runs_are_found_by_content(store):
    root, config = store
    assert find_run(root, config) == root / "any-name"
    assert find_run(root, configure(particles=2, v0=-10.0)) is None


def copied(store, tmp_path):
    shutil.copytree(store[0], tmp_path / "store")
    return tmp_path / "store" / "any-name"


def test_an_altered_curve_is_caught(store, tmp_path):
    run = copied(store, tmp_path)
    text = (run / "curve.csv").read_text()
    (run / "curve.csv").write_text(text.replace("\n5,", "\n5,1", 1))
    with pytest.raises(InputError, match="altered after the run"):
        load_run(run)


def test_an_altered_configuration_is_caught(store, tmp_path):
    run = copied(store, tmp_path)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="altered after the run"):
        find_run(run.parent, store[1])


def test_unfinished_and_missing_files_are_caught(store, tmp_path):
    run = copied(store, tmp_path)
    (run / "curve.csv").unlink()
    with pytest.raises(InputError, match="missing"):
        load_run(run)
    (run / "result.json").unlink()
    with pytest.raises(InputError, match="has not ended"):
        load_run(run)
    assert find_run(run.parent, store[1]) is None


def test_a_diverged_run_is_a_run_that_did_not_converge(tmp_path, capsys):
    """It is made once, read again, and its curve ends where it did."""
    small = {"walkers": 32, "sweeps": 2, "epochs": 10, "pretrain_epochs": 0, "learning_rate": 1e38}
    config = configure(particles=2, v0=-10.0, profile="smoke", **small)
    made = RunSource(tmp_path / "none", tmp_path / "trained").get(config)
    again = RunSource(tmp_path / "none", tmp_path / "trained").get(config)
    assert made.computed
    assert not again.computed
    assert not again.complete
    assert len(again.curve) == again.result["epoch"] - 1
    assert not converged(again, 1.0)
    assert fluctuation(again, 1.0) == math.inf
    assert "diverged in epoch" in capsys.readouterr().out


def ended(energies, status="complete"):
    """A finished run with the given energies."""
    config = configure(particles=2, v0=0.0, epochs=len(energies))
    curve = pd.DataFrame({"epoch": np.arange(1, len(energies) + 1), "energy": energies})
    return Run(Path("run"), config, {"status": status}, curve, False)


@pytest.mark.parametrize(
    ("energies", "expected"),
    [
        ([5.0] * 95 + [2.01] * 5, True),
        ([5.0] * 95 + [2.03] * 5, False),
        ([5.0] * 95 + [1.97] * 5, False),
        ([5.0] * 95 + [2.0, 2.0, 2.0, 2.0, 2.3], False),
        ([2.0] * 90 + [5.0] * 5 + [2.0] * 5, True),
    ],
)
def test_what_counts_as_converged(energies, expected):
    """The last 5 % of the epochs: median within 1 %, nothing beyond 10 %."""
    assert converged(ended(energies), 2.0) is expected
    assert not converged(ended(energies, "diverged"), 2.0)


def test_fluctuation_and_summary_by_hand():
    energies = [3.0] * 80 + [2.0 + 0.01 * (-1) ** n for n in range(20)]
    run = ended(energies)
    assert fluctuation(run, 2.0) == pytest.approx(0.005)
    row = summary([run], 2.0).iloc[0]
    assert row["converged"]
    assert row["within_1_percent_at"] == math.inf  # twenty good epochs do not bring a median over forty there
    assert summary([ended(energies + [2.0] * 40)], 2.0).iloc[0]["within_1_percent_at"] == 101


def test_block_medians_by_hand():
    curve = pd.DataFrame({"epoch": [1, 2, 3, 4, 5], "energy": [1.0, 5.0, 3.0, 7.0, 9.0]})
    blocks = block_median(curve, "energy", 3)
    assert blocks["epoch"].tolist() == [3, 5]
    assert blocks["energy"].tolist() == [3.0, 8.0]


def test_the_comparisons_are_made_of_stored_runs(tmp_path, capsys):
    """Some figures read what they need; nothing is computed, and each says how its runs ended."""
    names = ("F02", "F05", "F06", "F14", "F16")
    _, verdicts = draw(names, tmp_path)
    shown = {claim.id for name in names for claim in claims_of(name)}
    found = [verdict for verdict in read_verdicts(ROOT / "paper_runs") if verdict.claim in shown]
    assert len(found) == len(shown)
    assert sorted(verdicts, key=lambda verdict: verdict.claim) == sorted(found, key=lambda verdict: verdict.claim)
    for name in names:
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000
    assert "converged" in capsys.readouterr().out
    is_in_docs("F16", tmp_path)
    listed = json.loads((tmp_path / "F06.json").read_text())["runs"]
    assert len(listed) >= 7


def test_the_picture_of_the_geometry_is_that_of_its_figure(tmp_path):
    draw(["G14"], tmp_path)
    is_in_docs("G14", tmp_path)


def test_fresh_ignores_what_is_stored(store, tmp_path, capsys):
    root, config = store
    read = RunSource(root, tmp_path / "trained").get(config)
    assert not read.computed
    computed = RunSource(root, tmp_path / "trained", fresh=True).get(config)
    assert computed.computed
    assert computed.result["energy"] == read.result["energy"]
    printed = capsys.readouterr().out
    assert "read " in printed
    assert "COMPUTED trained/" in printed


def test_a_fresh_pass_goes_on_after_an_interruption(tmp_path):
    root = tmp_path / "fresh"
    (root / "old").mkdir(parents=True)
    (root / "old" / "result.json").write_text("{}")
    (root / "half").mkdir()
    figures._begin_fresh(root)
    assert sorted(path.name for path in root.iterdir()) == [".unfinished", "half"]
    (root / "new").mkdir()
    (root / "new" / "result.json").write_text("{}")
    figures._begin_fresh(root)
    assert (root / "new").exists()


def test_log_bins_by_hand():
    epochs = pd.Series(np.arange(1, 101))
    binned = log_binned(epochs, epochs.astype(float), per_decade=1)
    assert list(binned["count"]) == [1, 9, 90]
    assert list(binned["median"]) == [1.0, 6.0, 55.5]
    assert (binned["low"] <= binned["median"]).all()
    assert (binned["high"] >= binned["median"]).all()
