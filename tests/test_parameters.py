"""The parameters that papermill puts into a notebook, which it does not check itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import ROOT

from repro.errors import InputError
from repro.study.reports.figures import notebook_paths
from repro.study.reports.notebook_parameters import check_parameters, notebook_declares

DECLARED = "profile: str = 'laptop'  # a size\nseed: int = 0\ndamping: float = 1.0\nfresh: bool = False"


@pytest.mark.parametrize(
    ("injected", "told"),
    [
        ("fresh = 'false'", "fresh = 'false': must be of type bool; write True or False"),
        ("fresh = 1", "must be of type bool"),
        ("profil = 'smoke'", "unknown parameter 'profil'; did you mean profile"),
        ("seed = 1.5", "seed = 1.5: must be of type int"),
        ("seed = True", "must be of type int"),
        ("seed = None", "must be of type int"),
        ("profile = 3", "must be of type str"),
        ("damping = 'small'", "must be of type float"),
        ("profile = 'smoke'\nseeds = [1, 2]", "unknown parameter 'seeds'; did you mean seed"),
    ],
)
def test_what_does_not_fit_ends_at_once(injected, told):
    with pytest.raises(InputError, match=told):
        check_parameters(["", "%matplotlib inline", DECLARED, f"# Parameters\n{injected}\n", "import json\nx = 1"])


def test_what_fits_and_what_a_user_defines_later_pass():
    check_parameters([DECLARED, "# Parameters\nprofile = 'smoke'\ndamping = 3\nfresh = True\nseed = -1\n", "other = 3"])
    check_parameters([DECLARED, "runs = []", DECLARED])
    check_parameters([])


@pytest.mark.parametrize("path", notebook_paths().values(), ids=notebook_paths())
def test_every_notebook_checks_its_parameters_before_it_reads_or_trains(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "\ncheck_parameters()\n" in code[1]
    with pytest.raises(InputError, match="out = 1: must be of type str"):
        check_parameters([code[0], "# Parameters\nout = 1\n"])
    check_parameters([code[0]])
    assert set(notebook_declares(path)) == {line.split(":")[0] for line in code[0].splitlines()}


def test_papermill_ends_with_an_error_line(tmp_path):
    command = [sys.executable, "-m", "papermill", "figures/F14.ipynb", str(tmp_path / "out.ipynb"), "-k", "python3",
               "-p", "profil", "smoke", "-p", "out", str(tmp_path), "-p", "trained", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 1
    assert "InputError: this notebook: unknown parameter 'profil'; did you mean profile" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]
