"""One self-contained page: the verdicts, every figure, the ledger, where it all came from."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from repro.errors import InputError
from repro.study import ledger
from repro.study.claims import Claim, claims_of, load_claims
from repro.study.figures import notebook_paths
from repro.study.manifest import MANIFEST
from repro.study.store import STORED_RUNS, RunSource, project_path
from repro.study.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Verdict, counted
from repro.study.verify import read_verdicts, stored_runs
from repro.training.environment import git_revision, versions
from repro.training.files import write_atomic

TEMPLATE = "report.html"
DOWNLOADS = {"csv": "text/csv", "pdf": "application/pdf"}
MARKS = {REPRODUCED: "yes", NOT_REPRODUCED: "no", UNDECIDED: "open"}
"""Classes of the page's style by verdict."""


@dataclass(frozen=True)
class FigurePart:
    """A figure as the page shows it.

    Attributes:
        name: such as "F06".
        judged: its claims with their verdicts.
        image: as a data address.
        downloads: kind to data address and size in kB.
        runs: how many it was made of.
    """

    name: str
    judged: list[tuple[Claim, Verdict]]
    image: str
    downloads: dict[str, tuple[str, int]]
    runs: int


def _address(content: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def _figure(name: str, folder: Path, verdicts: dict[str, Verdict]) -> FigurePart:
    contents = {}
    for kind in (*DOWNLOADS, "png", "json"):
        path = folder / f"{name}.{kind}"
        try:
            contents[kind] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: missing; make the figures first: repro figures") from error
    judged = [(claim, verdicts[claim.id]) for claim in claims_of(name)]
    downloads = {
        kind: (_address(contents[kind], media), round(len(contents[kind]) / 1e3)) for kind, media in DOWNLOADS.items()
    }
    runs = len(json.loads(contents["json"])["runs"])
    return FigurePart(name, judged, _address(contents["png"], "image/png"), downloads, runs)


def _headline(verdicts: dict[str, Verdict]) -> list[str]:
    """How many cases DGD converges in, at both sizes."""
    sizes = {"F09": "laptop profile, 1024 walkers", "F09.paper": "the study's size, 4096 walkers"}
    lines = []
    for name, size in sizes.items():
        verdict = verdicts[name]
        left = verdict.wanted - verdict.found
        lines.append(f"{size}: {verdict.told}" + (f"; {left} not run yet" if left else ""))
    return lines


def _provenance(root: Path) -> dict[str, Any]:
    runs, problems = stored_runs(root)
    if problems:
        raise InputError(f"{problems[0]}; see `repro verify`")
    places = (run.result["device"] for run in runs)
    devices = Counter(f"{place['kind']} ({place['processor']}), {place['threads']} threads" for place in places)
    hours = sum(run.result["training_seconds"] / run.result.get("trained_together", 1) for run in runs) / 3600.0
    manifest = (root / MANIFEST).read_bytes()
    return {
        "runs": len(runs),
        "hours": hours,
        "devices": devices.most_common(),
        "revisions": len({run.result["git_revision"] for run in runs}),
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "files": manifest.count(b"\n"),
        "revision": git_revision(),
        "versions": versions(),
    }


def render(figures: Path) -> str:
    """The page.

    Args:
        figures: the folder in which ``repro figures`` left them.

    Raises:
        InputError: if a figure is missing, or no verdicts are stored.
    """
    root = project_path(STORED_RUNS)
    verdicts = {verdict.claim: verdict for verdict in read_verdicts(root)}
    if missing := [claim.id for claim in load_claims() if claim.id not in verdicts]:
        raise InputError(f"{missing[0]}: no verdict is stored; `repro claims --store` stores one")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath(TEMPLATE).read_text())
    return template.render(
        counts=counted(verdicts.values()),
        marks=MARKS,
        headline=_headline(verdicts),
        judged=[(claim, verdicts[claim.id]) for claim in load_claims()],
        figures=[_figure(name, figures, verdicts) for name in notebook_paths()],
        ledger=[
            (effect, ledger.told(effect.default), ledger.told(effect.variant))
            for effect in ledger.effects(RunSource(root, root, quiet=True))
        ],
        open_points=ledger.OPEN,
        made=_provenance(root),
    )


def write_report(figures: Path, out: Path) -> Path:
    """Writes ``out/index.html``, one file that needs no network.

    Raises:
        InputError: as :func:`render`.
    """
    text = render(figures)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    write_atomic(path, text.encode())
    return path
