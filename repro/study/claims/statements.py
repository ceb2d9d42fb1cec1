"""The claims of the study, read from ``claims.toml`` and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from repro.config import ALL_OPTIMIZERS, RunConfig, SystemConfig
from repro.errors import InputError
from repro.reading import parse_toml, record, shortened
from repro.study.runs.cases import NAMED
from repro.study.runs.profiles import PROFILES, study_run

FILE = "claims.toml"
TESTS = ("ratio", "level", "count", "fewer", "kinds", "every")
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


@cache
def load_claims() -> tuple[Claim, ...]:
    """All claims, in the order of the file."""
    return parse_claims(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))


def claims_of(figure: str) -> tuple[Claim, ...]:
    """The claims that a figure shows.

    Raises:
        InputError: if it shows none.
    """
    found = tuple(claim for claim in load_claims() if claim.figure == figure)
    if not found:
        raise InputError(f"figure {figure!r}: no claim in {FILE} is about it")
    return found


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


def _claim(entry: dict[str, Any], words: dict[str, dict[str, float]]) -> Claim:
    place = f"{FILE}, claim {entry.get('id', '?')}"
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
