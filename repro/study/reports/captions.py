"""Title, caption and alternative text of a figure, taken from its notebook for the report.

A notebook begins with a cell of Markdown: a title, the claim, and paragraphs, one of which begins with
:data:`DRAWN`. The report takes its captions from there, so that both say the same.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from repro.errors import InputError
from repro.reading import read_json

DRAWN = "**What is drawn.**"
"""How the paragraph begins that describes the picture."""

_CLAIM = (
    *("**Claim on the slide", "**Claim of the abstract", "**What the study compared with"),
    *("**Claim of the introduction", "**Claim of the lecture"),
)
_SIGNS = {
    ",": "\N{THIN SPACE}",
    "ln": "ln\N{THIN SPACE}",
    "sin": "sin\N{THIN SPACE}",
    "psi": "ψ",
    "phi": "φ",
    "sigma": "σ",
    "lambda": "λ",
    "gamma": "γ",
    "alpha": "α",
    "kappa": "κ",
    "mu": "μ",
    "beta": "β",
    "delta": "δ",
    "epsilon": "ε",
    "eta": "η",
    "zeta": "ζ",
    "theta": "θ",
    "rho": "ρ",
    "hbar": "ħ",
    "omega": "ω",
    "nu": "ν",
    "Phi": "Φ",
    "pm": "±",
    "times": "×",
    "nabla": "∇",
    "leftarrow": " ← ",
    "le": "≤",
    "ge": "≥",
    "rm": "",
}
"""Of TeX's commands those that captions use."""
_TOKEN = re.compile(
    r"\\([A-Za-z]+|,)(?: (?![=<>/+-]))?|([\^_])(\{[^{}]*\}|[A-Za-z0-9])|\{\\rm ([^{}]*)\}|([A-Za-z])|(.)", re.DOTALL
)
_UNIT = re.compile(r"(?<=\d) (?=(?:%|s|GB)(?![A-Za-z]))")


@dataclass(frozen=True)
class Caption:
    """What is said of a figure.

    Attributes:
        title: in a line, without the figure's name.
        paragraphs: the caption, as HTML.
        alt: the title and what is drawn, as plain text.
    """

    title: str
    paragraphs: tuple[Markup, ...]
    alt: str


def math_html(tex: str) -> Markup:
    """A simple formula as HTML: letters in italics, Greek ones and operators as characters, sub- and superscripts.

    Args:
        tex: what stands between two dollar signs.

    Raises:
        InputError: for a command that is not among :data:`_SIGNS`.
    """
    parts = []
    for command, script, scripted, upright, letter, other in _TOKEN.findall(tex):
        if command:
            if command not in _SIGNS:
                known = ", ".join(f"\\{name}" for name in _SIGNS)
                raise InputError(f"${tex}$: \\{command} is no command that captions know; known are {known}")
            parts.append(_SIGNS[command])
        elif script:
            tag = "sup" if script == "^" else "sub"
            parts.append(f"<{tag}>{math_html(scripted.strip('{}'))}</{tag}>")
        elif upright:
            parts.append(html.escape(upright))
        elif letter:
            parts.append(f"<i>{letter}</i>")
        else:
            parts.append({"-": "\N{MINUS SIGN}", "{": "", "}": ""}.get(other, html.escape(other)))
    return Markup("".join(parts))


def prose_html(text: str) -> Markup:
    """A paragraph of a notebook as HTML: ``code``, emphasis and formulas.

    Raises:
        InputError: as :func:`math_html`.
    """
    parts = []
    for code, math, plain in re.findall(r"`([^`]*)`|\$([^$]*)\$|([^`$]+)", text):
        if code:
            parts.append(f"<code>{html.escape(code)}</code>")
        elif math:
            parts.append(math_html(math))
        else:
            escaped = _UNIT.sub("\N{NO-BREAK SPACE}", html.escape(plain, quote=False))
            strong = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escaped, flags=re.DOTALL)
            parts.append(re.sub(r"\*(.+?)\*", r"<i>\1</i>", strong, flags=re.DOTALL))
    return Markup("".join(parts))


def sentence_html(text: str) -> Markup:
    """A sentence that is printed as plain text elsewhere, its symbols as in a formula."""
    exact = "<i>E</i><sub>exact</sub>"
    return Markup(
        html.escape(text, quote=False)
        .replace("E - E_exact", f"<i>E</i> \N{MINUS SIGN} {exact}")
        .replace("E_exact", exact)
    )


def caption_of(notebook: Path) -> Caption:
    """What a notebook says of its figure.

    Raises:
        InputError: if its first cell has no title, or not one paragraph that begins with :data:`DRAWN`, and as
            :func:`math_html`.
    """
    text = "".join(read_json(notebook)["cells"][0]["source"])
    title, *paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    told = [part for part in paragraphs if not part.startswith(_CLAIM)]
    drawn = [part for part in told if part.startswith(DRAWN)]
    if not title.startswith(f"# {notebook.stem}: ") or len(drawn) != 1:
        raise InputError(
            f"{notebook}: its first cell must have the title '# {notebook.stem}: ...' and one paragraph that begins "
            f"with '{DRAWN}'; it has {title!r} and {len(drawn)} of these"
        )
    title = title.removeprefix(f"# {notebook.stem}: ")
    plain = html.unescape(prose_html(drawn[0].removeprefix(DRAWN)).striptags())
    return Caption(title, tuple(map(prose_html, told)), f"{title}. {plain}")


def printed_by(notebook: dict[str, Any]) -> str:
    """All that the cells of an executed notebook have printed."""
    return "".join("".join(output.get("text", "")) for cell in notebook["cells"] for output in cell.get("outputs", ()))
