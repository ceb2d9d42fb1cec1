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

from repro.errors import InputError
from repro.study.claims import load_claims
from repro.study.figures import notebook_paths
from repro.study.ledger import POINTS
from repro.study.report import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report on pictures of the right names."""
    folder = tmp_path_factory.mktemp("figures")
    for name in notebook_paths():
        matplotlib.image.imsave(folder / f"{name}.png", np.random.default_rng(0).random((300, 1600)), cmap="gray")
        (folder / f"{name}.pdf").write_bytes(b"%PDF-1.4\n")
        (folder / f"{name}.csv").write_text("a,b\n1,2\n")
        (folder / f"{name}.json").write_text(json.dumps({"figure": name, "runs": []}))
    return write_report(folder, tmp_path_factory.mktemp("report"))


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


def test_the_page_is_complete(page):
    text = page.read_text()
    found = Links(text)
    assert len(found.images) == len(notebook_paths())
    assert all(image["alt"] for image in found.images)
    for claim in load_claims():
        assert f"claim-{claim.id}" in found.names
    for name in notebook_paths():
        assert name in found.names
    assert text.index("How many of the 25 cases") < text.index('id="claims"')
    for point in POINTS:
        assert point.title in html.unescape(text)


def test_the_page_needs_no_network(page):
    """Everything is in it but the link to the paper."""
    found = Links(page.read_text())
    assert len(set(found.names)) == len(found.names)
    for address in found.addresses:
        if address.startswith("#"):
            assert address[1:] in found.names
        else:
            assert address.startswith("data:") or address == "https://arxiv.org/abs/2401.17550"
    assert not re.search(r"@import|url\(|<script", page.read_text())


def test_downloads_are_the_files(page):
    addresses = [address for address in Links(page.read_text()).addresses if address.startswith("data:text/csv")]
    assert len(addresses) == len(notebook_paths())
    assert base64.b64decode(addresses[0].partition("base64,")[2]) == b"a,b\n1,2\n"
    picture = next(a for a in Links(page.read_text()).addresses if a.startswith("data:image/png"))
    assert matplotlib.image.imread(io.BytesIO(base64.b64decode(picture.partition("base64,")[2]))).shape[:2] == (
        300,
        1600,
    )


def test_a_missing_figure_is_named(tmp_path):
    with pytest.raises(InputError, match=r"F01\.csv: missing; make the figures first"):
        write_report(tmp_path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt install chromium")
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_in_a_browser(page, width):
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
        assert len(sizes) == len(notebook_paths())
        assert all(complete and natural == 1600 and 0 < shown <= width for complete, natural, shown in sizes)
        links = view.eval_on_selector_all("a[href^='#']", "links => links.map(a => a.getAttribute('href').slice(1))")
        assert len(links) > 2 * len(load_claims())
        lost = view.evaluate("names => names.filter(name => !document.getElementById(name))", links)
        assert lost == []
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert all(url.startswith(("file:", "data:")) for url in requests)
        assert errors == []
        view.click("nav a[href='#ledger']")
        assert view.evaluate("location.hash") == "#ledger"
        browser.close()
