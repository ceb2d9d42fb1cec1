"""Tests of the claims, and their verdicts: reproduced, not reproduced, undecided.

The median of a quantity is judged by its distribution-free confidence interval: of n independent values in order, the
k-th smallest and the k-th largest enclose the median of their distribution, each side failing with probability
P(Bin(n, 1/2) < k) (W. Conover, Practical Nonparametric Statistics, section 3.2). Here k is the largest for which that
is at most 5 %; fewer than five values have no such interval. Misses are infinite and need no special care. A claim is
reproduced when the interval lies within the bounds of the claim, not reproduced when it lies outside of them, and
undecided otherwise, and as long as runs that the claim names are missing: looking again after each run would make
false alarms more frequent than stated. The false-alarm rate of a verdict is the probability to have given it although
the truth lay just on the bound.

Counts are compared by Fisher's exact test at 5 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from repro.study.claims import KINDS, Claim
from repro.study.evidence import Evidence, Item, gather
from repro.study.store import RunSource

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
LEVEL = 0.05
FEWEST = 5
NOTHING = "nothing measured yet"
RARE = 0.2
"""A kind of run rarer than this counts as not occurring."""


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim.

    Attributes:
        claim: its name.
        verdict: one of the three above.
        told: the statistic in words.
        false_alarm: probability of this verdict if the truth lay on the bound; None where it is undecided.
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


def restored(entry: Mapping[str, Any]) -> Verdict:
    """A verdict from what ``dataclasses.asdict`` and JSON made of it."""
    return Verdict(**{**entry, "runs": tuple(entry["runs"])})


def counted(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many claims have which verdict, each of the three in this order."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {kind: found[kind] for kind in (REPRODUCED, NOT_REPRODUCED, UNDECIDED)}


@dataclass(frozen=True)
class Interval:
    """A median with its confidence interval; ``miss`` is the probability that the truth lies beyond either end."""

    median: float
    low: float
    high: float
    miss: float


def fewer_hits(hits: int, count: int, probability: float = 0.5) -> float:
    """P(Bin(count, probability) < hits)."""
    ways = (math.comb(count, n) * probability**n * (1.0 - probability) ** (count - n) for n in range(hits))
    return math.fsum(ways)


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The distribution-free interval of the median that misses on either side with probability ``level`` at most.

    Returns:
        None if there are too few values for one.
    """
    ordered, count = sorted(values), len(values)
    ranks = [rank for rank in range(1, count // 2 + 1) if fewer_hits(rank, count) <= level]
    if not ranks:
        return None
    rank = ranks[-1]
    miss = fewer_hits(rank, count)
    return Interval(float(np.median(ordered)), ordered[rank - 1], ordered[count - rank], miss)


def bootstrap_interval(values: Sequence[float], level: float = 0.9) -> tuple[float, float]:
    """The percentile bootstrap interval of a median, for reading; not finite where too many values are misses."""
    from scipy.stats import bootstrap  # takes as long to import as everything else here

    finite_in_order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    ordered = np.sort(np.asarray(values, float))
    if len(ordered) < 2:
        return float(ordered[0]), float(ordered[0])
    # Ranks are resampled in place of values, so that misses need not be finite.
    found = bootstrap(
        (finite_in_order.astype(float),),
        np.median,
        confidence_level=level,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(0),
        vectorized=True,
    ).confidence_interval
    low, high = (ordered[math.floor(found.low)], ordered[math.ceil(found.high)])
    return float(low), float(high)


def number(value: float) -> str:
    """A number as it stands in a sentence."""
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return f"{value:.3g}"


def _measured(claim: Claim) -> str:
    """Such as "final error, kfac over qn-kfac"."""
    return claim.quantity.replace("_", " ") + (f", {' or '.join(claim.of)} over {claim.to}" if claim.to else "")


def _bounds(claim: Claim) -> str:
    if math.isinf(claim.at_most):
        return f"at least {number(claim.at_least)}"
    if math.isinf(claim.at_least):
        return f"at most {number(claim.at_most)}"
    return f"between {number(claim.at_least)} and {number(claim.at_most)}"


def _needs(evidence: Evidence, otherwise: str) -> str:
    if evidence.missing:
        return f"{len(evidence.missing)} more runs: {evidence.missing[0].run_name} and so on"
    if len(evidence.items) < evidence.wanted:
        return "a benchmark of these optimisers and sizes: `repro bench epoch`"
    return otherwise


def _judge_median(claim: Claim, items: Sequence[Item]) -> tuple[str, str, float | None]:
    """Verdict, sentence and false-alarm rate for one group of numbers."""
    values = [item.value for item in items]
    if not values:
        return UNDECIDED, NOTHING, None
    what = _measured(claim)
    interval = median_interval(values)
    if interval is None:
        told = f"{what}: {', '.join(number(value) for value in values)}; fewer than {FEWEST} values"
        return UNDECIDED, told, None
    told = (
        f"{what}: median {number(interval.median)} of {len(values)}, interval {number(interval.low)} to "
        f"{number(interval.high)}; claimed is {_bounds(claim)}"
    )
    if claim.at_least <= interval.low and interval.high <= claim.at_most:
        return REPRODUCED, told, interval.miss
    if interval.high < claim.at_least or interval.low > claim.at_most:
        return NOT_REPRODUCED, told, interval.miss
    return UNDECIDED, told, None


def _median(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    verdict, told, alarm, needs = _median_so_far(claim, evidence)
    if len(evidence.items) < evidence.wanted:
        return UNDECIDED, f"{told}; {len(evidence.items)} of {evidence.wanted} values so far", None, needs
    return verdict, told, alarm, needs


def _median_so_far(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    groups = {group: [item for item in evidence.items if item.group == group] for group in _groups(evidence)}
    judged = {group: _judge_median(claim, items) for group, items in groups.items()}
    if len(judged) == 1:
        verdict, told, alarm = next(iter(judged.values()))
        return verdict, told, alarm, "more seeds: the interval of the median contains the bound"
    told = "; ".join(f"{group}: {verdict}" for group, (verdict, _, _) in judged.items()) or "nothing measured yet"
    told = f"{claim.quantity.replace('_', ' ')}, claimed is {_bounds(claim)} in each group: {told}"
    verdicts = [verdict for verdict, _, _ in judged.values()]
    alarms = [alarm or 0.0 for _, _, alarm in judged.values()]
    if NOT_REPRODUCED in verdicts:
        refuted = [alarm for verdict, alarm in zip(verdicts, alarms, strict=True) if verdict == NOT_REPRODUCED]
        return NOT_REPRODUCED, told, min(1.0, len(judged) * max(refuted)), ""
    if judged and all(verdict == REPRODUCED for verdict in verdicts):
        return REPRODUCED, told, max(alarms), ""
    return UNDECIDED, told, None, "more seeds in the groups that are undecided"


def _groups(evidence: Evidence) -> list[str]:
    return list(dict.fromkeys(item.group for item in evidence.items)) or [""]


def _every(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    broken = [item for item in evidence.items if not claim.at_least <= item.value <= claim.at_most]
    what = _measured(claim)
    if not evidence.items:
        return UNDECIDED, NOTHING, None, ""
    if broken:
        worst = ", ".join(f"{item.label}: {number(item.value)}" for item in broken[:3])
        told = f"{what}: {len(broken)} of {len(evidence.items)} are not {_bounds(claim)} ({worst})"
        return NOT_REPRODUCED, told, LEVEL, ""
    told = f"{what}: all {len(evidence.items)} of {evidence.wanted} are {_bounds(claim)}"
    if len(evidence.items) < evidence.wanted:
        return UNDECIDED, told, None, ""
    # If one case in five broke the bound, all would keep it with this probability.
    return REPRODUCED, told, (1.0 - RARE) ** len(evidence.items), ""


def _fisher(table: list[list[int]], side: Literal["less", "greater"]) -> float:
    from scipy.stats import fisher_exact  # takes as long to import as everything else here

    return float(fisher_exact(np.asarray(table), alternative=side).pvalue)


def _kind_counts(evidence: Evidence) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for item in evidence.items:
        optimizer, ended = item.group.split(": ")
        counts.setdefault(optimizer, Counter())[ended] += 1
    return counts


def _tell(name: str, counts: Counter[str]) -> str:
    return f"{name}: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS) + f" of {counts.total()}"


def _count(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    name = claim.of[0]
    counts = _kind_counts(evidence).get(name, Counter())
    hits, total = sum(counts[kind] for kind in claim.kinds), counts.total()
    left = evidence.wanted - total
    told = f"{_tell(name, counts)}; the slide states {claim.stated} of {evidence.wanted}"
    if hits >= claim.stated:
        # An optimiser that converges in three of five such cases would pass with this probability.
        return REPRODUCED, told, 1.0 - fewer_hits(claim.stated, evidence.wanted, 0.6), ""
    most = hits + left
    table = [[claim.stated, evidence.wanted - claim.stated], [most, evidence.wanted - most]]
    chance = _fisher(table, "greater")
    if chance <= LEVEL:
        return NOT_REPRODUCED, told + f"; Fisher's exact test: p = {chance:.2g}", chance, ""
    return UNDECIDED, told, None, "further seeds: fewer than stated, but by no more than chance allows"


def _fewer(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    counts = _kind_counts(evidence)
    first, second = (counts.get(name, Counter()) for name in (claim.of[0], claim.to))
    table = [[sum(group[kind] for kind in claim.kinds) for group in (first, second)]]
    table.append([group.total() - hits for group, hits in zip((first, second), table[0], strict=True)])
    told = f"{_tell(claim.of[0], first)}; {_tell(claim.to, second)}"
    for verdict, chance in ((REPRODUCED, _fisher(table, "greater")), (NOT_REPRODUCED, _fisher(table, "less"))):
        if chance <= LEVEL:
            return verdict, told + f"; Fisher's exact test: p = {chance:.2g}", chance, ""
    return UNDECIDED, told, None, "further seeds: the difference is no larger than chance allows"


def _kinds(claim: Claim, evidence: Evidence) -> tuple[str, str, float | None, str]:
    counts = sum(_kind_counts(evidence).values(), Counter())
    told = _tell(claim.of[0], counts)
    absent = [kind for kind in claim.kinds if not counts[kind]]
    chance = (1.0 - RARE) ** counts.total()
    if not absent:
        return REPRODUCED, told, LEVEL, ""
    if chance <= LEVEL:
        return NOT_REPRODUCED, f"{told}; none {' or '.join(absent)}", chance, ""
    return UNDECIDED, told, None, f"further runs: a kind of one in five would be absent with probability {chance:.2g}"


TESTS = {"ratio": _median, "level": _median, "every": _every, "count": _count, "fewer": _fewer, "kinds": _kinds}


def decide(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a claim from its evidence."""
    verdict, told, alarm, needs = TESTS[claim.test](claim, evidence)
    undecided = verdict == UNDECIDED
    return Verdict(
        claim=claim.id,
        verdict=verdict,
        told=told,
        false_alarm=None if undecided else alarm,
        needs=_needs(evidence, needs) if undecided else "",
        found=len(evidence.items),
        wanted=evidence.wanted,
        runs=evidence.runs,
    )


def judge(claim: Claim, source: RunSource) -> Verdict:
    """The verdict on a claim from the runs at hand."""
    return decide(claim, gather(claim, source))
