"""The claims of the study and of the lectures, read from TOML files and checked.

Those of the study are in ``claims.toml``. Those of a lecture are in a folder of its name, one file for each item, which
also names the function that measures the item's values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from repro.config import ALL_OPTIMIZERS, RunConfig, SystemConfig
from repro.config.checks import choice
from repro.errors import InputError
from repro.reading import parse_toml, record, shortened
from repro.study.runs.cases import NAMED
from repro.study.runs.profiles import PROFILES, study_run

FILE = "claims.toml"
STUDY = "study"
CHAPTERS = {
    STUDY: "The study: optimisers for neural-network quantum states",
    "optimisation": "From gradient descent to K-FAC",
    "geometry": "Natural gradients on statistical models and in function space",
}
"""The titles of what is judged, in the order in which it is shown."""
LECTURES = tuple(chapter for chapter in CHAPTERS if chapter != STUDY)
VALUE, NOT_RUN_TEST = "value", "not-run"
RUN_TESTS = ("ratio", "level", "count", "fewer", "kinds", "every")
TESTS = (*RUN_TESTS, VALUE, NOT_RUN_TEST)
KINDS = ("converged", "unstable", "stuck")


@dataclass(frozen=True)
class Claim:
    """A statement of the slides and the test that decides it.

    Attributes:
        id: such as "F04.accuracy".
        figure: where it is shown, such as "F04".
        statement: what is claimed, in our words.
        source: where it comes from, and the words that it rests on.
        test: one of :data:`TESTS`.
        quantity: what is measured, a name known to :mod:`repro.study.claims.measurements`.
        of: the optimisers measured; one only where it is compared with another.
        to: the optimiser compared with, or "".
        at_least: lower bound.
        at_most: upper bound.
        word: the word of the slide that the bounds stand for, or "".
        kinds: of runs that are counted.
        stated: the number that the slide states, of the cases.
        cases: the systems; empty where no runs are needed.
        seeds: how many, from 0 on.
        profile: size of the runs.
        groups: "v0" to judge each interaction strength apart, or "".
        reason: why it is not run, of a claim that is not.
        chapter: one of :data:`CHAPTERS`.
    """

    id: str
    figure: str
    statement: str
    source: str
    test: str
    quantity: str
    of: tuple[str, ...] = ()
    to: str = ""
    at_least: float = -math.inf
    at_most: float = math.inf
    word: str = ""
    kinds: tuple[str, ...] = ()
    stated: int = 0
    cases: tuple[SystemConfig, ...] = ()
    seeds: int = 1
    profile: str = "laptop"
    groups: str = ""
    reason: str = ""
    chapter: str = STUDY

    def config(self, optimizer: str, system: SystemConfig, seed: int) -> RunConfig:
        """The run of one optimiser, case and seed."""
        return study_run(optimizer, system, seed, self.profile)

    @property
    def optimizers(self) -> tuple[str, ...]:
        """All that the claim is about."""
        return (*self.of, self.to) if self.to else self.of

    @property
    def compared(self) -> list[tuple[RunConfig, ...]]:
        """The runs that a number each is made of: pairs where two optimisers are compared, else single ones."""
        groups = [self.optimizers] if self.to else [(name,) for name in self.of]
        return [
            tuple(self.config(name, system, seed) for name in group)
            for group in groups
            for system in self.cases
            for seed in range(self.seeds)
        ]

    @property
    def configs(self) -> list[RunConfig]:
        """All runs that the claim is about."""
        return [
            self.config(name, system, seed)
            for name in self.optimizers
            for system in self.cases
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True)
class Subject:
    """An item of a lecture: what its values are measured by, and its claims.

    Attributes:
        name: such as "P01".
        chapter: one of :data:`CHAPTERS`.
        measured_by: a function of the chapter's demonstrations, such as "taylor.expansion", or "" where nothing is run.
        claims: judged by the values.
        trained: whether a network is trained for them in single precision, so that they depend on rounding.
    """

    name: str
    chapter: str
    measured_by: str
    claims: tuple[Claim, ...]
    trained: bool = False


@cache
def load_claims(chapter: str = STUDY) -> tuple[Claim, ...]:
    """The claims of a chapter, in the order in which they are written."""
    if chapter == STUDY:
        return parse_claims(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
    return tuple(claim for subject in load_subjects(chapter).values() for claim in subject.claims)


def all_claims() -> tuple[Claim, ...]:
    """The claims of all chapters, in their order."""
    return tuple(claim for chapter in CHAPTERS for claim in load_claims(chapter))


@cache
def load_subjects(chapter: str) -> dict[str, Subject]:
    """The items of a lecture by name, in the order of their names."""
    folder = resources.files(__package__).joinpath(chapter)
    if not folder.is_dir():
        return {}
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {
        name: parse_subject(file.read_text(encoding="utf-8"), name, chapter)
        for file in files
        for name in [file.name.removesuffix(".toml")]
    }


def subject_of(name: str) -> Subject | None:
    """The item of this name, of whichever lecture; None if there is none."""
    return next((load_subjects(chapter)[name] for chapter in LECTURES if name in load_subjects(chapter)), None)


def chosen_subjects(names: Sequence[str]) -> list[Subject]:
    """The items of these names that have values, all of them if none is named.

    Raises:
        InputError: for a name that is not known, or an item that is not run.
    """
    known = {name: subject for chapter in LECTURES for name, subject in load_subjects(chapter).items()}
    measured = {name: subject for name, subject in known.items() if subject.measured_by}
    for name in names:
        choice("item", name, tuple(measured))
    return [measured[name] for name in names] or list(measured.values())


def claims_of(figure: str) -> tuple[Claim, ...]:
    """The claims that a figure shows.

    Raises:
        InputError: if it shows none.
    """
    found = tuple(claim for claim in all_claims() if claim.figure == figure)
    if not found:
        raise InputError(f"figure {figure!r}: no claim in {FILE} is about it")
    return found


def parse_subject(text: str, name: str, chapter: str) -> Subject:
    """An item of a lecture from its file.

    Raises:
        InputError: as :func:`parse_claims`, and for a claim that needs runs, has no bound, or whose name does not begin
            with that of the item.
    """
    place = f"{name}.toml"
    document = parse_toml(text, place)
    measured_by, entries = document.pop("measured_by", ""), document.pop("claim", [])
    trained = document.pop("trained", False)
    if document:
        raise InputError(f"{place}: unknown key {next(iter(document))!r}; known are measured_by, trained and [[claim]]")
    if not isinstance(measured_by, str) or not isinstance(trained, bool):
        raise InputError(f"{place}: measured_by must be a text, and trained true or false")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{place}: claim: must be tables [[claim]]")
    claims = tuple(
        replace(_claim({"figure": name, "quantity": "", **entry}, {}, place), chapter=chapter) for entry in entries
    )
    for claim in claims:
        where = f"{place}, claim {claim.id}"
        if claim.id.split(".")[0] != name:
            raise InputError(f"{where}: its name must begin with {name}")
        if claim.test not in (VALUE, NOT_RUN_TEST):
            raise InputError(f"{where}: test = {claim.test!r}: must be {VALUE!r} or {NOT_RUN_TEST!r}")
        if claim.test == NOT_RUN_TEST and not claim.reason:
            raise InputError(f"{where}: reason: must say why it is not run")
        if claim.test == VALUE and not (measured_by and claim.quantity):
            raise InputError(
                f"{where}: quantity and measured_by: must name the value and the function that measures it"
            )
        if claim.test == VALUE and math.isinf(claim.at_least) and math.isinf(claim.at_most):
            raise InputError(f"{where}: at_least or at_most: must be a number, or nothing is claimed")
    return Subject(name, chapter, measured_by, claims, trained)


def parse_claims(text: str) -> tuple[Claim, ...]:
    """The claims of a file.

    Raises:
        InputError: for what is not TOML, an unknown key, word, test, optimiser, kind or profile, or a name given twice.
    """
    document = parse_toml(text, FILE)
    words, entries = document.get("words", {}), document.get("claim", [])
    if not isinstance(words, dict) or not all(isinstance(bounds, dict) for bounds in words.values()):
        raise InputError(f"{FILE}: words: must be tables of bounds")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{FILE}: claim: must be tables [[claim]]")
    claims = tuple(_claim(entry, words) for entry in entries)
    names = [claim.id for claim in claims]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{FILE}: claim {twice[0]} is there twice")
    return claims


def parse_cases(text: str) -> tuple[SystemConfig, ...]:
    """The cases that a text names: a set of :data:`repro.study.runs.cases.NAMED`, or strengths by number of particles.

    The latter look like "2:-10 3:-20,20".

    Raises:
        InputError: for another text, or a case out of its bounds.
    """
    if not isinstance(text, str):
        raise InputError(f"cases = {shortened(repr(text))}: must be a text")
    if text in NAMED:
        return NAMED[text]
    try:
        parts = [part.split(":") for part in text.split()]
        pairs = [(int(count), float(v0)) for count, couplings in parts for v0 in couplings.split(",") if v0]
    except ValueError as error:
        known = ", ".join(repr(name) for name in NAMED)
        raise InputError(f"cases = {shortened(repr(text))}: must be {known} or like '2:-10 3:-20,20'") from error
    return tuple(SystemConfig(count, v0) for count, v0 in pairs)


def _claim(entry: dict[str, Any], words: dict[str, dict[str, float]], file: str = FILE) -> Claim:
    place = f"{file}, claim {entry.get('id', '?')}"
    values = dict(entry)
    word = values.pop("bound", "")
    if word:
        if not isinstance(word, str) or word not in words:
            raise InputError(f"{place}: bound = {shortened(repr(word))}: unknown word; known are {', '.join(words)}")
        values |= words[word] | {"word": word}
    values["cases"] = parse_cases(values.get("cases", ""))
    for name in ("of", "kinds"):
        listed = values.get(name, ())
        values[name] = tuple(listed) if isinstance(listed, list) else listed
    claim = record(Claim, values, place)
    allowed: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("test", (claim.test,), TESTS),
        ("chapter", (claim.chapter,), (STUDY,)),
        ("of", claim.of, ALL_OPTIMIZERS),
        ("to", (claim.to,), ("", *ALL_OPTIMIZERS)),
        ("kinds", claim.kinds, KINDS),
        ("profile", (claim.profile,), tuple(PROFILES)),
        ("groups", (claim.groups,), ("", "v0")),
    )
    for name, given, known in allowed:
        if unknown := next((value for value in given if value not in known), None):
            raise InputError(f"{place}: {name} = {unknown!r}: unknown; known are {', '.join(filter(None, known))}")
    if claim.to and len(claim.of) != 1:
        raise InputError(f"{place}: of = {list(claim.of)}: must be one optimiser to compare with {claim.to}")
    return claim
