"""The report: self-contained pages, of the study and of each lecture, with verdicts, figures, ledger and provenance."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from repro.errors import InputError, ReproError
from repro.reading import decoded, parse_json
from repro.study.claims.definitions import definitions_of
from repro.study.claims.measurements import MADE_BY
from repro.study.claims.statements import CHAPTERS, STUDY, Claim, all_claims, claims_of, load_claims
from repro.study.claims.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, UNDECIDED, Verdict, counted
from repro.study.experiments import ledger
from repro.study.experiments.misprints import MISPRINTS, Misprint
from repro.study.reports.captions import Caption, caption_of, printed_by, prose_html, sentence_html
from repro.study.reports.figures import notebook_paths
from repro.study.runs.manifest import MANIFEST
from repro.study.runs.store import STORED_RUNS, RunSource, project_path
from repro.study.verification.verify import read_verdicts, stored_runs
from repro.training.environment import git_revision, versions
from repro.training.files import write_atomic

STUDY_TEMPLATE, LECTURE_TEMPLATE = "study.html", "lecture.html"
FIRST_PAGE = "index.html"
DOWNLOADS = {"csv": "text/csv", "pdf": "application/pdf"}
MARKS = {REPRODUCED: "yes", NOT_REPRODUCED: "no", UNDECIDED: "open", NOT_RUN: "skipped"}
"""Classes of the page's style by verdict."""


LARGEST_PAGE = 10_000_000
"""Bytes of a page at most, so that it can be sent and opens on a phone."""
COLORS = 32
"""Of a picture in the page."""


@dataclass(frozen=True)
class Download:
    """A file of a figure.

    Attributes:
        kind: such as "csv".
        path: where it was read from.
        address: a data address.
        kilobytes: of the file.
        embedded: whether it is in the page, or named only.
    """

    kind: str
    path: Path
    address: str
    kilobytes: int
    embedded: bool = False


@dataclass(frozen=True)
class FigurePart:
    """A figure as the page shows it.

    Attributes:
        name: such as "F06".
        caption: what its notebook says of it.
        definitions: the sentences behind the words that it uses.
        judged: its claims with their verdicts.
        image: as a data address.
        downloads: its other files.
        made_of: the runs and tables drawn, in words.
    """

    name: str
    caption: Caption
    definitions: list[str]
    judged: list[tuple[Claim, Verdict]]
    image: str
    downloads: tuple[Download, ...]
    made_of: Markup


@dataclass(frozen=True)
class ChapterPart:
    """A chapter of the page: the study, or a lecture.

    Attributes:
        name: such as "study".
        title: in a line.
        counts: how many claims have which verdict.
        judged: its claims with their verdicts.
        figures: its figures.
    """

    name: str
    title: str
    counts: dict[str, int]
    judged: list[tuple[Claim, Verdict]]
    figures: list[FigurePart]


def _address(content: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def packed_picture(content: bytes) -> bytes:
    """A lossless WebP of the same size in pixels with at most :data:`COLORS` colours: about a quarter of the bytes."""
    packed = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).convert("RGB")
        few.save(packed, "webp", lossless=True, method=3)
    return packed.getvalue()


def _told_made_of(made_of: dict[str, Any]) -> Markup:
    """Such as "Made of 25 runs and of paper_runs/growth/F15.csv (from repro bench parts)."."""
    runs, tables = made_of["runs"], [entry["table"] for entry in made_of["tables"]]
    if not runs and not tables and "values" in made_of:
        return Markup("All of it is computed when the figure is made.")
    new = sum(run["computed"] for run in runs)
    parts = [f"of {len(runs)} runs" + (f" ({new} of them trained for it)" if new else "")] if runs else []
    parts += [f"of the stored table `{table}` (from `{MADE_BY[table]}`)" for table in tables]
    nothing = "of no stored run or table: all of it is computed when the figure is made"
    return prose_html(f"Made {' and '.join(parts) or nothing}.")


def _document(content: bytes, source: str) -> Any:
    return parse_json(decoded(content, source), source)


def _figure(name: str, notebook: Path, folder: Path, verdicts: dict[str, Verdict]) -> FigurePart:
    contents = {}
    for kind in (*DOWNLOADS, "png", "json", "ipynb"):
        path = folder / f"{name}.{kind}"
        try:
            contents[kind] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: missing; make the figures first: repro figures") from error
    judged = [(claim, verdicts[claim.id]) for claim in claims_of(name)]
    downloads = tuple(
        Download(kind, folder / f"{name}.{kind}", _address(contents[kind], media), round(len(contents[kind]) / 1e3))
        for kind, media in DOWNLOADS.items()
    )
    printed = printed_by(_document(contents["ipynb"], f"{name}.ipynb"))
    return FigurePart(
        name=name,
        caption=caption_of(notebook),
        definitions=definitions_of([claim.quantity for claim, _ in judged], printed),
        judged=judged,
        image=_address(packed_picture(contents["png"]), "image/webp"),
        downloads=downloads,
        made_of=_told_made_of(_document(contents["json"], f"{name}.json")),
    )


def _embedding(figures: Sequence[FigurePart], room: int) -> list[FigurePart]:
    """The figures with as many of their downloads embedded as the room allows, the smallest first.

    Args:
        figures: with their downloads.
        room: bytes for the addresses of downloads.
    """
    chosen: set[Path] = set()
    for download in sorted(
        (download for figure in figures for download in figure.downloads), key=lambda download: len(download.address)
    ):
        room -= len(download.address)
        if room < 0:
            break
        chosen.add(download.path)
    return [
        replace(
            figure,
            downloads=tuple(replace(each, embedded=each.path in chosen) for each in figure.downloads),
        )
        for figure in figures
    ]


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


def page_name(chapter: str) -> str:
    """The file that a chapter's page is in."""
    return FIRST_PAGE if chapter == STUDY else f"{chapter}.html"


def _template(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def render(figures: Path) -> dict[str, str]:
    """The pages by their names, each at most :data:`LARGEST_PAGE` bytes.

    Of the downloads of figures the smallest are in the page, the others are named.

    Args:
        figures: the folder in which ``repro figures`` left them.

    Raises:
        InputError: if a figure is missing, or no verdicts are stored.
        ReproError: if the pictures of a page alone are larger than :data:`LARGEST_PAGE`.
    """
    root = project_path(STORED_RUNS)
    verdicts = {verdict.claim: verdict for verdict in read_verdicts(root)}
    if missing := [claim.id for claim in all_claims() if claim.id not in verdicts]:
        raise InputError(f"{missing[0]}: no verdict is stored; `repro claims --store` stores one")
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["symbols"] = sentence_html
    chapters = [_chapter(name, figures, verdicts) for name in CHAPTERS if load_claims(name)]
    told = {
        "marks": MARKS,
        "made": _provenance(root),
        "pages": [{"name": one.name, "title": one.title, "file": page_name(one.name)} for one in chapters],
    }
    told_of_study = {
        "headline": _headline(verdicts),
        "ledger": [
            (effect, ledger.told(effect.defaults), ledger.told(effect.variants))
            for effect in ledger.effects(RunSource(root, root, quiet=True))
        ],
        "open_points": ledger.OPEN,
    }
    pages = {}
    for chapter in chapters:
        template = environment.get_template(STUDY_TEMPLATE if chapter.name == STUDY else LECTURE_TEMPLATE)
        own = told_of_study if chapter.name == STUDY else {"misprints": _misprints_of(chapter)}
        pages[page_name(chapter.name)] = _filled(template, chapter, told | own)
    return pages


def _misprints_of(chapter: ChapterPart) -> list[Misprint]:
    names = {figure.name for figure in chapter.figures}
    return [misprint for misprint in MISPRINTS if misprint.item in names]


def _filled(template: Template, chapter: ChapterPart, told: dict[str, Any]) -> str:
    """The page of a chapter, with as many downloads as there is room for."""
    without = len(template.render(told, chapter=chapter).encode())
    if without > LARGEST_PAGE:
        raise ReproError(
            f"report: text and pictures of {page_name(chapter.name)} take {without / 1e6:.1f} MB, and "
            f"{LARGEST_PAGE / 1e6:g} MB are allowed; draw fewer pixels (savefig.dpi in repro/study/plots/style.py)"
        )
    embedded = _embedding(chapter.figures, LARGEST_PAGE - without)
    return template.render(told, chapter=replace(chapter, figures=embedded))


def _chapter(name: str, folder: Path, verdicts: dict[str, Verdict]) -> ChapterPart:
    judged = [(claim, verdicts[claim.id]) for claim in load_claims(name)]
    drawn = [_figure(figure, notebook, folder, verdicts) for figure, notebook in notebook_paths(name).items()]
    return ChapterPart(name, CHAPTERS[name], counted(verdict for _, verdict in judged), judged, drawn)


def write_report(figures: Path, out: Path) -> tuple[Path, ...]:
    """Writes ``out/index.html`` and a page for each lecture beside it; they need no network.

    Returns:
        The pages, the first one first.

    Raises:
        InputError: as :func:`render`.
        ReproError: as :func:`render`.
    """
    pages = render(figures)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_atomic(out / name, text.encode())
    return tuple(out / name for name in pages)
