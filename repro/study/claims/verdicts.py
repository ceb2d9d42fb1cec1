"""Tests of the claims, and their verdicts: reproduced, not reproduced, undecided.

A median is judged by its distribution-free interval: the claim is reproduced when the interval lies within its bounds,
not reproduced when it lies outside of them, and undecided otherwise, and as long as runs that the claim names are
missing: looking again after each run would make false alarms more frequent than stated. Misses are infinite and need
no special care; pairs of misses have no ratio, decide nothing, and are told. Counts are compared by Fisher's exact
test.

The false-alarm rate of a verdict is the chance of reaching it although it is false, in the least favourable case that
the test allows for; ``docs/claims.md`` has it for each kind of test. No verdict with a rate above 5 % is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom, norm

from repro.demonstrations.base import Values
from repro.errors import InputError
from repro.reading import record, shortened
from repro.study.claims.measurements import SIDES, Evidence, Item, gather
from repro.study.claims.statements import KINDS, NOT_RUN_TEST, STUDY, VALUE, Claim, Subject, load_claims
from repro.study.claims.statistics import (
    LEVEL,
    MOST,
    fisher,
    median_interval,
    runs_for_fisher,
    runs_without_exception,
    unseen,
    values_for_median,
)
from repro.study.claims.values import Number, numbers_of, stored_values, told_number
from repro.study.runs.store import RunSource

REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_RUN)
NOTHING = "nothing measured yet"
SAME = 1e-6
"""Relative difference, and difference of small numbers, that rounding on another processor may make of a value."""
SEEDS = 100
"""No more seeds of a count are looked for than these."""


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim.

    Attributes:
        claim: its name.
        verdict: one of :data:`VERDICTS`.
        told: the statistic in words.
        false_alarm: probability of this verdict although it is false; None where it is undecided.
        needs: what would decide it, where it is undecided.
        found: how many numbers there were.
        wanted: how many there would be if every run were made.
        runs: names of the runs used.
    """

    claim: str
    verdict: str
    told: str
    false_alarm: float | None
    needs: str
    found: int
    wanted: int
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Judged:
    """A verdict, its statistic in words, its false-alarm rate, and what would decide it if that were needed."""

    verdict: str
    told: str
    alarm: float | None = None
    needs: str = ""


def restored(entry: Mapping[str, Any]) -> Verdict:
    """A verdict from what ``dataclasses.asdict`` and JSON made of it.

    Raises:
        InputError: if it is none.
    """
    values = dict(entry) if isinstance(entry, Mapping) else {}
    if isinstance(values.get("runs"), list):
        values["runs"] = tuple(values["runs"])
    verdict = record(Verdict, values, "verdict")
    if verdict.verdict not in VERDICTS:
        raise InputError(f"verdict = {shortened(repr(verdict.verdict))}: unknown")
    return verdict


def of_chapter(verdicts: Iterable[Verdict], chapter: str) -> list[Verdict]:
    """The verdicts on the claims of a chapter."""
    claims = {claim.id for claim in load_claims(chapter)}
    return [verdict for verdict in verdicts if verdict.claim in claims]


def counted(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many claims have which verdict, in the order of :data:`VERDICTS`; the last one only where there is any."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {kind: found[kind] for kind in VERDICTS if found[kind] or kind != NOT_RUN}


def any_false_alarm(verdicts: Iterable[Verdict]) -> tuple[float, float]:
    """The probability that at least one of the decided verdicts is a false alarm.

    Returns:
        A bound that holds however they depend on each other, the sum of their rates (G. Boole), and the probability
        if they were independent.
    """
    alarms = [verdict.false_alarm for verdict in verdicts if verdict.false_alarm is not None]
    return min(1.0, sum(alarms)), 1.0 - math.prod(1.0 - alarm for alarm in alarms)


def number(value: float) -> str:
    """A number as it stands in a sentence."""
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return f"{value:.3g}"


def _measured(claim: Claim) -> str:
    """Such as "final error, kfac over qn-kfac"."""
    return claim.quantity.replace("_", " ") + (f", {claim.of[0]} over {claim.to}" if claim.to else "")


def _bounds(claim: Claim) -> str:
    if math.isinf(claim.at_most):
        return f"at least {number(claim.at_least)}"
    if math.isinf(claim.at_least):
        return f"at most {number(claim.at_most)}"
    if claim.at_least == claim.at_most:
        return f"exactly {number(claim.at_most)}"
    return f"between {number(claim.at_least)} and {number(claim.at_most)}"


def _needs(evidence: Evidence, otherwise: str) -> str:
    if evidence.missing:
        return f"{len(evidence.missing)} more runs: {evidence.missing[0].run_name} and so on"
    if len(evidence.items) < evidence.wanted:
        return "a benchmark of these optimisers and sizes: `repro bench epoch`"
    return otherwise


def _judge_median(claim: Claim, items: Sequence[Item], groups: int) -> _Judged:
    """The verdict on one of several groups of numbers; any of them may refute the claim, at a level shared out."""
    values = [item.value for item in items]
    if not values:
        return _Judged(UNDECIDED, NOTHING)
    what = _measured(claim)
    inner, outer = (median_interval(values, level) for level in (LEVEL, LEVEL / groups))
    told = f"{what}: {', '.join(number(value) for value in values)}; too few values for an interval of the median"
    if inner is not None:
        told = (
            f"{what}: median {number(inner.median)} of {len(values)}, interval {number(inner.low)} to "
            f"{number(inner.high)}; claimed is {_bounds(claim)}"
        )
        if claim.at_least <= inner.low and inner.high <= claim.at_most:
            return _Judged(REPRODUCED, told, inner.miss)
    if outer is not None and (outer.high < claim.at_least or outer.low > claim.at_most):
        return _Judged(NOT_REPRODUCED, told, groups * outer.miss)
    return _Judged(UNDECIDED, told)


def _median(claim: Claim, evidence: Evidence) -> _Judged:
    judged = _median_so_far(claim, evidence)
    if len(evidence.items) < evidence.wanted:
        return _Judged(UNDECIDED, f"{judged.told}; {len(evidence.items)} of {evidence.wanted} values so far")
    return judged


def _median_so_far(claim: Claim, evidence: Evidence) -> _Judged:
    names = list(dict.fromkeys(item.group for item in evidence.items)) or [""]
    groups = {name: [item for item in evidence.items if item.group == name] for name in names}
    judged = {name: _judge_median(claim, items, len(groups)) for name, items in groups.items()}
    told = "; ".join(f"{name}: {group.verdict}" for name, group in judged.items())
    told = f"{_measured(claim)}, claimed is {_bounds(claim)} in each group: {told}"
    if len(judged) == 1:
        told = judged[names[0]].told
    if alarms := [group.alarm for group in judged.values() if group.alarm and group.verdict == NOT_REPRODUCED]:
        return _Judged(NOT_REPRODUCED, told, max(alarms))
    open_groups = [groups[name] for name, group in judged.items() if group.verdict == UNDECIDED]
    if not open_groups:
        return _Judged(REPRODUCED, told, max(group.alarm or 0.0 for group in judged.values()))
    return _Judged(UNDECIDED, told, needs=_values_needed(claim, open_groups, len(groups)))


def _values_needed(claim: Claim, open_groups: Sequence[Sequence[Item]], groups: int) -> str:
    """How many values would decide, were they shared out as those at hand: all groups for, or one against the claim."""
    if not all(open_groups):
        return "something measured"
    values = [np.array([item.value for item in items]) for items in open_groups]
    below = [float(np.mean(some < claim.at_least)) for some in values]
    above = [float(np.mean(some > claim.at_most)) for some in values]
    for_it = max(values_for_median(max(shares)) for shares in zip(below, above, strict=True))
    against = min(values_for_median(1.0 - share, LEVEL / groups) for share in (*below, *above))
    count, there = min(for_it, against), max(map(len, values))
    each = "" if groups == 1 else " in each group that is open"
    if math.isinf(count):
        return f"more than {MOST:,} values{each}: about as many of them lie on one side of the bound as on the other"
    told = f"{count:,.0f} values{each} in place of {there}, were they shared out as these"
    return f"{told}: {math.ceil(count * claim.seeds / there)} seeds in place of {claim.seeds}" if claim.cases else told


def _every(claim: Claim, evidence: Evidence) -> _Judged:
    count = len(evidence.items)
    if not count:
        return _Judged(UNDECIDED, NOTHING)
    what = _measured(claim)
    broken = [item for item in evidence.items if not claim.at_least <= item.value <= claim.at_most]
    if broken:
        worst = sorted(broken, key=lambda item: item.value, reverse=math.isinf(claim.at_least))
        some = "; ".join(f"{item.label}: {number(item.value)}" for item in worst[:3])
        told = f"{what}: {len(broken)} of {count} {'is' if len(broken) == 1 else 'are'} not {_bounds(claim)}"
        told += f" ({some}{'; and so on' * (len(broken) > 3)})"
        return _Judged(NOT_REPRODUCED, told, _by_noise(claim, count))
    told = f"{what}: all {count} of {evidence.wanted} are {_bounds(claim)}"
    if count < evidence.wanted:
        return _Judged(UNDECIDED, told)
    enough = runs_without_exception()
    return _Judged(REPRODUCED, told, unseen(count), f"{enough} values without an exception in place of {count}")


def _by_noise(claim: Claim, count: int) -> float:
    """Probability that noise takes one of so many numbers beyond a bound in standard errors; other numbers have none.

    A number that is no estimate and breaks a bound has broken it.
    """
    if claim.quantity not in SIDES:
        return 0.0
    return float(1.0 - (1.0 - SIDES[claim.quantity] * norm.sf(claim.at_most)) ** count)


def _kind_counts(evidence: Evidence) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for item in evidence.items:
        optimizer, ended = item.group.split(": ")
        counts.setdefault(optimizer, Counter())[ended] += 1
    return counts


def _tell(name: str, counts: Counter[str]) -> str:
    return f"{name}: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS) + f" of {counts.total()}"


def _count(claim: Claim, evidence: Evidence) -> _Judged:
    """A rate against the slide's; missing runs count as misses where it is reached, as hits where it is not."""
    counts = _kind_counts(evidence).get(claim.of[0], Counter())
    hits, total = sum(counts[kind] for kind in claim.kinds), counts.total()
    told = f"{_tell(claim.of[0], counts)}; the slide states {claim.stated} of {len(claim.cases)}"
    verdict, chance = _against_slide(claim, hits, evidence.wanted)
    if verdict == NOT_REPRODUCED:
        at_best, chance = _against_slide(claim, hits + evidence.wanted - total, evidence.wanted)
        if at_best == REPRODUCED:
            return _Judged(UNDECIDED, told)
        told += f"; Fisher's exact test: p = {chance:.2g}" * (chance <= LEVEL)
    return _Judged(verdict, told, chance, _seeds_needed(claim, hits / total) if total else "")


def _against_slide(claim: Claim, hits: int, wanted: int) -> tuple[str, float]:
    """Whether a rate reaches the slide's, and the false-alarm rate of saying so, or of saying that it does not."""
    slide = claim.stated, len(claim.cases)
    if hits * slide[1] < slide[0] * wanted:
        return NOT_REPRODUCED, float(fisher(slide, (hits, wanted)))
    # Of an optimiser that hits as often as the largest count of which Fisher's test says that it is not the slide's.
    rejected = np.flatnonzero(fisher(slide, (np.arange(wanted + 1), wanted)) <= LEVEL)
    rate = rejected[-1] / wanted if rejected.size else 1.0
    return REPRODUCED, float(binom.sf(math.ceil(slide[0] * wanted / slide[1]) - 1, wanted, rate))


def _seeds_needed(claim: Claim, rate: float) -> str:
    """How many seeds would tell a rate from the slide's, at the rate observed."""
    cases = len(claim.cases)
    chances = [_against_slide(claim, round(rate * cases * seeds), cases * seeds)[1] for seeds in range(1, SEEDS + 1)]
    enough = next((seeds for seeds, chance in enumerate(chances, start=1) if chance <= LEVEL), None)
    if enough:
        return f"{enough} seeds in place of {claim.seeds}, at this rate"
    return (
        f"more cases behind the slide's number: even {SEEDS} seeds at this rate would leave Fisher's test at "
        f"p = {chances[-1]:.2g}, as {cases} are few"
    )


def _fewer(claim: Claim, evidence: Evidence) -> _Judged:
    counts = _kind_counts(evidence)
    first, second = (counts.get(name, Counter()) for name in (claim.of[0], claim.to))
    told = f"{_tell(claim.of[0], first)}; {_tell(claim.to, second)}"
    if not (first and second) or len(evidence.items) < evidence.wanted:
        return _Judged(UNDECIDED, told)
    one, other = ((sum(group[kind] for kind in claim.kinds), group.total()) for group in (first, second))
    for verdict, chance in ((REPRODUCED, float(fisher(one, other))), (NOT_REPRODUCED, float(fisher(other, one)))):
        if chance <= LEVEL:
            return _Judged(verdict, f"{told}; Fisher's exact test: p = {chance:.2g}", chance)
    kinds = " or ".join(claim.kinds)
    runs = runs_for_fisher(one[0] / one[1], other[0] / other[1])
    if math.isinf(runs):
        share = f"as many runs are {kinds}" if one[0] or other[0] else f"no run is {kinds}"
        needs = f"other cases: in these {share} with either optimiser, and at such rates no number of seeds would do"
    else:
        seeds = math.ceil(runs / len(claim.cases))
        needs = f"{runs:,.0f} runs of each, at these rates: {seeds} seeds in place of {claim.seeds}"
    return _Judged(UNDECIDED, told, needs=needs)


def _kinds(claim: Claim, evidence: Evidence) -> _Judged:
    counts = sum(_kind_counts(evidence).values(), Counter())
    told = _tell(claim.of[0], counts)
    absent = [kind for kind in claim.kinds if not counts[kind]]
    if not absent:  # what occurred occurs
        return _Judged(REPRODUCED, told, 0.0)
    if len(evidence.items) < evidence.wanted:
        return _Judged(UNDECIDED, told)
    enough = runs_without_exception(LEVEL / len(claim.kinds))
    alarm = len(claim.kinds) * unseen(counts.total())
    needs = f"{enough} runs without one that is {' or '.join(absent)} in place of {counts.total()}, or one that is"
    return _Judged(NOT_REPRODUCED, f"{told}; none {' or '.join(absent)}", alarm, needs)


TESTS = {"ratio": _median, "level": _median, "every": _every, "count": _count, "fewer": _fewer, "kinds": _kinds}


def decide(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a claim from its evidence; undecided where its false-alarm rate would be above 5 %."""
    judged = TESTS[claim.test](claim, evidence)
    undecided = judged.alarm is None or judged.alarm > LEVEL
    return Verdict(
        claim=claim.id,
        verdict=UNDECIDED if undecided else judged.verdict,
        told=judged.told + _silence(claim, len(evidence.silent)),
        false_alarm=None if undecided else judged.alarm,
        needs=_needs(evidence, judged.needs) if undecided else "",
        found=len(evidence.items),
        wanted=evidence.wanted,
        runs=evidence.runs,
    )


def _silence(claim: Claim, count: int) -> str:
    if not count:
        return ""
    what = ("pair of misses", "pairs of misses") if claim.to else ("run that diverged", "runs that diverged")
    return f"; {count} {what[count > 1]} {'decide' if count > 1 else 'decides'} nothing"


def judge_values(claim: Claim, values: Values | None) -> Verdict:
    """The verdict on a claim of a lecture from its item's values: each number must lie within the bounds.

    A number with a standard error counts as within or beyond a bound where it is so by as many standard errors as a
    false-alarm rate of 5 % needs, shared out among the numbers; the others are computed, and leave nothing to chance.

    Args:
        claim: of a lecture.
        values: of its item; None if they were not measured.

    Raises:
        InputError: if the values are there but not the one that the claim is about.
    """
    if claim.test == NOT_RUN_TEST:
        return Verdict(claim.id, NOT_RUN, claim.reason, None, "", 0, 0)
    if values is None:
        needs = f"its values: repro values {claim.figure} --store"
        return Verdict(claim.id, UNDECIDED, NOTHING, None, needs, 0, 1)
    if values.get(claim.quantity) in ({}, []):
        return Verdict(claim.id, UNDECIDED, NOTHING, None, "the runs that it is measured from", 0, 1)
    numbers = numbers_of(claim, values)
    outside = [one for one in numbers if not claim.at_least <= one.value <= claim.at_most]
    shown = outside or sorted(numbers, key=lambda one: one.value, reverse=math.isinf(claim.at_least))
    some = ", ".join(told_number(one) for one in shown[:3]) + ("; and so on" if len(shown) > 3 else "")
    what = claim.quantity.replace("_", " ")
    told = f"{what}: {some}; claimed is {_bounds(claim)}"
    if len(numbers) > 1:
        told = f"{what}: {len(numbers) - len(outside)} of {len(numbers)} are {_bounds(claim)} ({some})"
    alarms = [_alarm(claim, one) for one in numbers]
    alarm = min(len(numbers) * min(_alarm(claim, one) for one in outside), 1.0) if outside else max(alarms)
    decided = alarm <= LEVEL
    verdict = NOT_REPRODUCED if outside else REPRODUCED
    needs = "" if decided else "a smaller standard error: more samples"
    return Verdict(
        claim.id,
        verdict if decided else UNDECIDED,
        told,
        alarm if decided else None,
        needs,
        len(numbers),
        len(numbers),
    )


def _alarm(claim: Claim, one: Number) -> float:
    """The chance that a number on the other side of its nearest bound comes out as far on this side as it did."""
    if not one.error:
        return 0.0
    distance = min(abs(one.value - claim.at_least), abs(one.value - claim.at_most))
    return float(norm.sf(distance / one.error))


def values_apart(subject: Subject, stored: Values, found: Values) -> list[str]:
    """One line for each claim of an item whose stored values say something else than those that were measured now.

    What is computed without training is the same up to rounding; of what was trained, where rounding grows, the
    verdicts must be the same.
    """
    problems = []
    for claim in subject.claims:
        if claim.test != VALUE:
            continue
        was, now = judge_values(claim, stored), judge_values(claim, found)
        if was.verdict != now.verdict:
            problems.append(f"{claim.id}: the stored values say {was.verdict!r}, those measured now {now.verdict!r}")
        elif not subject.trained:
            pairs = zip(numbers_of(claim, stored), numbers_of(claim, found), strict=True)
            problems += [
                f"{claim.id}: {claim.quantity} {one.label} is stored as {one.value:.9g}, now it is {other.value:.9g}"
                for one, other in pairs
                if not math.isclose(one.value, other.value, rel_tol=SAME, abs_tol=SAME)
            ]
    return problems


def judge(claim: Claim, source: RunSource) -> Verdict:
    """The verdict on a claim from the runs at hand, or from the stored values of its item."""
    if claim.chapter != STUDY:
        return judge_values(claim, stored_values(source.stored, claim.figure))
    return decide(claim, gather(claim, source))
