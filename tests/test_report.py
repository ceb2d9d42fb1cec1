"""The report: complete, self-contained, and whole in a real browser at two widths."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from repro.errors import InputError, ReproError
from repro.study.claims.definitions import FLUCTUATION
from repro.study.claims.measurements import SCALING
from repro.study.claims.statements import CHAPTERS, LECTURES, STUDY, all_claims, load_claims, subject_of
from repro.study.experiments.ledger import POINTS
from repro.study.experiments.misprints import MISPRINTS
from repro.study.reports import page as report
from repro.study.reports.captions import caption_of, math_html, prose_html
from repro.study.reports.figures import notebook_paths
from repro.study.reports.page import LARGEST_PAGE, write_report
from repro.study.runs.convergence import DEFINITION, KINDS, SPEED

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"desktop": 1280, "phone": 390}


PDF = {"F05": 8_000_000, "F06": 30_000}
"""Bytes, where it is not a small one."""
TOLD = {"how_they_ended(": f"{DEFINITION}\n{KINDS}\n", "print(SPEED)": f"{SPEED}\n"}
"""What the notebooks print by their calls."""


def printing(path):
    """A notebook as if it had been executed: its cells print the definitions that they ask for."""
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        code = "".join(cell["source"])
        told = [text for call, text in TOLD.items() if call in code] if cell["cell_type"] == "code" else []
        cell["outputs"] = [{"output_type": "stream", "text": [text]} for text in told]
    return json.dumps(document)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Files of every figure, made up but for what the notebooks say."""
    folder = tmp_path_factory.mktemp("figures")
    picture = np.random.default_rng(0).random((75, 400)).round(1).repeat(4, axis=1)
    for name, notebook in notebook_paths().items():
        matplotlib.image.imsave(folder / f"{name}.png", picture, cmap="gray")
        (folder / f"{name}.pdf").write_bytes(b"%PDF-1.4\n".ljust(PDF.get(name, 0)))
        (folder / f"{name}.csv").write_text("a,b\n1,2\n")
        (folder / f"{name}.ipynb").write_text(printing(notebook))
        runs = [{"computed": False}, {"computed": True}] if name == "F06" else []
        tables = [{"table": SCALING}] if name == "F15" else []
        (folder / f"{name}.json").write_text(json.dumps({"figure": name, "runs": runs, "tables": tables}))
    return folder


@pytest.fixture(scope="module")
def pages(figures, tmp_path_factory):
    """The report on them, chapter -> its page."""
    written = write_report(figures, tmp_path_factory.mktemp("report"))
    return dict(zip(CHAPTERS, written, strict=True))


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request):
    """Each chapter in turn."""
    return request.param


@pytest.fixture(scope="module")
def page(pages, chapter):
    """Its page."""
    return pages[chapter]


def sections(page):
    """The page's text on each figure, without tags."""
    parts = re.findall(r'<section id="(\w+)">(.*?)</section>', page.read_text(), re.DOTALL)
    return {name: " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split()) for name, text in parts}


class Links(HTMLParser):
    """Addresses and names of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.images, self.names = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        self.addresses += [values[name] for name in ("href", "src") if name in values]
        self.names += [values["id"]] if "id" in values else []


def test_the_page_is_complete(page, chapter):
    text = page.read_text()
    found = Links(text)
    notebooks = notebook_paths(chapter)
    assert [image["alt"] for image in found.images] == [caption_of(path).alt for path in notebooks.values()]
    assert {f"claim-{claim.id}" for claim in load_claims(chapter)} | set(notebooks) <= set(found.names)
    assert CHAPTERS[chapter] in html.unescape(text)


def test_the_study_has_its_ledger_and_the_lectures_their_misprints(pages):
    text = html.unescape(pages[STUDY].read_text())
    assert text.index("How many of the 25 cases") < text.index('id="claims"')
    for point in POINTS:
        assert point.title in text
    told = {name: html.unescape(pages[name].read_text()) for name in LECTURES}
    for misprint in MISPRINTS:
        subject = subject_of(misprint.item)
        assert subject, misprint.item
        assert misprint.printed in told[subject.chapter]


def test_the_page_needs_no_network(page, pages):
    """Everything is in it but the other pages and the link to the paper."""
    beside = {other.name for other in pages.values() if other != page}
    found = Links(page.read_text())
    assert len(set(found.names)) == len(found.names)
    assert beside <= set(found.addresses)
    for address in found.addresses:
        if address.startswith("#"):
            assert address[1:] in found.names
        else:
            assert address.startswith("data:") or address in {"https://arxiv.org/abs/2401.17550", *beside}
    assert not re.search(r"@import|url\(|<script", page.read_text())


def test_figures_say_what_they_draw_and_what_their_words_mean(pages):
    """By the claims' quantities, and by what the notebooks print: titles tell how runs ended that no claim counts."""
    told = {name: text for page in pages.values() for name, text in sections(page).items()}
    code = {
        name: "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        for name, path in notebook_paths().items()
    }
    quantities = {name: {claim.quantity for claim in all_claims() if claim.figure == name} for name in code}
    for name in code:
        words = told[name].replace("\N{MINUS SIGN}", "-").replace("Eexact", "E_exact")
        assert "What is drawn. " in words
        counted = "kind" in quantities[name] or any(
            call in code[name] for call in ("case_grid(", "print_counts(", "kind(")
        )
        timed = bool({"epochs_to_1_percent", "seconds_to_1_percent", "ablation_loss"} & quantities[name])
        assert (DEFINITION in words and KINDS in words) >= counted, name
        assert (SPEED in words) is (timed or "print(SPEED)" in code[name]), name
        assert (FLUCTUATION in words) is ("fluctuation" in quantities[name]), name
    assert "Converged:" not in told["F12"]
    assert "Made of 2 runs (1 of them trained for it)." in told["F06"]
    assert f"Made of the stored table {SCALING} (from repro bench parts)." in told["F15"]
    assert "Made of no stored run or table: all of it is computed" in told["F12"]


def test_formulas_are_readable(tmp_path):
    assert prose_html(r"*in* `a*b*` $4\,{\rm Cov}(D)$ & $\ln|\psi|^2$, $x_{n-1}$, 5 %") == (
        "<i>in</i> <code>a*b*</code> 4\N{THIN SPACE}Cov(<i>D</i>) &amp; "
        "ln\N{THIN SPACE}|ψ|<sup>2</sup>, <i>x</i><sub><i>n</i>\N{MINUS SIGN}1</sub>, 5\N{NO-BREAK SPACE}%"
    )
    with pytest.raises(InputError, match=r"\\frac is no command that captions know; known are \\,, \\ln"):
        math_html(r"\frac 1 2")
    notebook = tmp_path / "F01.ipynb"
    notebook.write_text(json.dumps({"cells": [{"source": ["# F01: a title\n", "\n", "A picture.\n"]}]}))
    with pytest.raises(InputError, match=r"and one paragraph that begins with .*; it has '# F01: a title' and 0 of"):
        caption_of(notebook)


def test_the_page_is_small_enough_to_send(pages, figures, tmp_path, monkeypatch):
    """Files that do not fit are named instead, the largest first; pictures that do not fit are an error."""
    assert LARGEST_PAGE == 10_000_000
    assert max(page.stat().st_size for page in pages.values()) <= LARGEST_PAGE
    assert "PDF (8000 kB, not in this page: make figures FIGURES=F05 leaves it" in sections(pages[STUDY])["F05"]
    assert "PDF (30 kB)" in sections(pages[STUDY])["F06"]
    monkeypatch.setattr(report, "LARGEST_PAGE", 50_000)
    with pytest.raises(ReproError, match=r"pictures of index.html take \d\.\d MB, and 0\.05 MB are allowed"):
        write_report(figures, tmp_path)


def test_downloads_are_the_files(page, chapter):
    addresses = [address for address in Links(page.read_text()).addresses if address.startswith("data:text/csv")]
    assert len(addresses) == len(notebook_paths(chapter))
    assert base64.b64decode(addresses[0].partition("base64,")[2]) == b"a,b\n1,2\n"
    picture = next(a for a in Links(page.read_text()).addresses if a.startswith("data:image/webp"))
    assert Image.open(io.BytesIO(base64.b64decode(picture.partition("base64,")[2]))).size == (1600, 75)


def test_a_missing_figure_is_named(tmp_path):
    with pytest.raises(InputError, match=r"F01\.csv: missing; make the figures first"):
        write_report(tmp_path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt install chromium")
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_in_a_browser(page, pages, chapter, width):
    """Every image shows, every link within the page leads somewhere, and nothing is wider than the screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": width, "height": 900})
        requests, errors = [], []
        view.on("request", lambda request: requests.append(request.url))
        view.on("pageerror", lambda error: errors.append(error))
        view.goto(page.as_uri())
        sizes = view.eval_on_selector_all("img", "images => images.map(i => [i.complete, i.naturalWidth, i.width])")
        assert len(sizes) == len(notebook_paths(chapter))
        assert all(complete and natural == 1600 and 0 < shown <= width for complete, natural, shown in sizes)
        links = view.eval_on_selector_all("a[href^='#']", "links => links.map(a => a.getAttribute('href').slice(1))")
        assert len(links) > 2 * len(load_claims(chapter))
        lost = view.evaluate("names => names.filter(name => !document.getElementById(name))", links)
        assert lost == []
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert all(url.startswith(("file:", "data:")) for url in requests)
        assert errors == []
        # A click opens a picture in full size, to be moved about in; another one closes it.
        name = next(iter(notebook_paths(chapter)))
        view.click(f"#{name} .enlarge img")
        opened = view.locator(f"#{name} .enlarge img").bounding_box()
        assert opened["width"] == (1600 if width >= 640 else 1200)
        assert opened["height"] == opened["width"] * 75 / 1600
        view.eval_on_selector(f"#{name}-large", "picture => picture.scrollTo(picture.scrollWidth, 0)")
        moved = view.locator(f"#{name} .enlarge img").bounding_box()
        assert moved["x"] + moved["width"] == width
        view.click(f"#{name} .close")
        assert view.locator(f"#{name} .enlarge img").bounding_box()["width"] <= width
        assert 0 <= view.locator(f"#{name}").bounding_box()["y"] + 1 < 900
        other = next(other for other in pages.values() if other != page)
        view.click(f"nav a[href='{other.name}']")
        assert view.url == other.as_uri()
        browser.close()
