"""Claims and verdicts: the statistics against brute force, the rules by table, every claim with its figure."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import binom, fisher_exact

from repro.config import ALL_OPTIMIZERS, BEYOND, OPTIMIZERS, SystemConfig
from repro.errors import InputError, ReproError
from repro.study.benchmarks.tasks import PEER_PARTICLES, WALKED
from repro.study.claims.measurements import (
    COMPUTED,
    GROWN_PARTICLES,
    RUN_QUANTITIES,
    VARIATIONAL,
    Evidence,
    Item,
    gather,
    growth_ratios,
    judged_states,
    maxima,
    peer_ratios,
    ratio,
    sweep_gains,
    sweep_shifts,
)
from repro.study.claims.statements import Claim, claims_of, load_claims, parse_cases, parse_claims
from repro.study.claims.statistics import (
    LEVEL,
    bootstrap_interval,
    fisher,
    median_interval,
    runs_for_fisher,
    values_for_median,
)
from repro.study.claims.verdicts import (
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    Verdict,
    any_false_alarm,
    counted,
    decide,
    judge,
    of_chapter,
)
from repro.study.experiments.fisher_images import cosine
from repro.study.experiments.ledger import POINTS, PRINTED, effects, endings, variant_config
from repro.study.experiments.ledger import told as ending_told
from repro.study.experiments.many_particles import large_run
from repro.study.plots.tables import case_title
from repro.study.reports.figures import notebook_paths
from repro.study.runs import convergence
from repro.study.runs.cases import CASES, SEEDS, case_label, exact_energy
from repro.study.runs.grid import read_grid
from repro.study.runs.profiles import configure, study_run
from repro.study.runs.store import Run, RunSource, finished_runs, load_run, project_path
from repro.study.runs.timing import read_benchmarks
from repro.study.verification.verify import read_verdicts

STORED = project_path("paper_runs")


def ended(energies, status="complete", energy=None, error=0.001, seconds=2.0):
    """A finished run with the given energies."""
    config = configure(particles=2, v0=0.0, epochs=len(energies))
    curve = pd.DataFrame({"epoch": np.arange(1, len(energies) + 1), "energy": energies, "seconds": seconds})
    result = {"status": status, "energy": energies[-1] if energy is None else energy, "energy_error": error}
    return Run(Path("run"), config, result, curve, False)


def claim(test="ratio", **values):
    return Claim("X", "F02", "something", "somewhere", test, values.pop("quantity", "fluctuation"), **values)


def evidence(values, wanted=None, group=""):
    items = tuple(Item(f"number {n}", value, group) for n, value in enumerate(values))
    return Evidence(items, len(items) if wanted is None else wanted)


def kinds(wanted=None, **counts):
    """Evidence of so many runs of each kind, by optimiser, as kfac={"stuck": 2}; of so many wanted, if not all."""
    groups = []
    for name, found in counts.items():
        for kind, count in found.items():
            groups += [f"{name.replace('_', '-')}: {kind}"] * count
    return Evidence(tuple(Item("", 0.0, group) for group in groups), len(groups) if wanted is None else wanted)


# Statistics


@pytest.mark.parametrize("count", [5, 7, 8, 12, 25])
def test_the_interval_of_the_median_by_enumeration(count):
    """The rank is the largest whose tail stays below 5 %; the tail is that of the binomial distribution."""
    found = median_interval([float(n) for n in range(1, count + 1)])
    rank = int(found.low)
    assert found.high == count + 1 - rank
    assert found.miss == pytest.approx(sum(math.comb(count, k) for k in range(rank)) / 2**count)
    assert found.miss <= 0.05 < sum(math.comb(count, k) for k in range(rank + 1)) / 2**count


def test_the_interval_of_the_median_covers_it_as_often_as_it_says():
    draws = np.random.default_rng(0).lognormal(size=(4000, 9))
    beyond = [median_interval(list(row)) for row in draws]
    low = np.mean([found.low > 1.0 for found in beyond])
    assert low == pytest.approx(beyond[0].miss, abs=5 * math.sqrt(beyond[0].miss / 4000))


def test_fishers_test_is_the_usual_one():
    for hits, others in ((3, 1), (0, 5), (7, 7)):
        expected = fisher_exact([[hits, 8 - hits], [others, 9 - others]], alternative="greater").pvalue
        assert float(fisher((hits, 8), (others, 9))) == pytest.approx(expected)


def test_how_many_values_or_runs_are_enough():
    """Without one beyond, five values; without difference, none; with a certain difference, three runs of each."""
    assert values_for_median(0.0) == 5
    assert values_for_median(0.0, LEVEL / 5) == 7
    assert math.isinf(values_for_median(0.5))
    assert runs_for_fisher(1.0, 0.0) == 3
    assert math.isinf(runs_for_fisher(0.4, 0.4))


def test_fewer_than_five_values_have_no_interval():
    assert median_interval([1.0, 2.0, 3.0, 4.0]) is None
    assert median_interval([]) is None


def test_misses_are_ordered_like_numbers():
    found = median_interval([math.inf, 1.0, math.inf, 2.0, 3.0])
    assert (found.low, found.median, found.high) == (1.0, 3.0, math.inf)


def test_false_alarms_are_as_rare_as_stated():
    """Ratios whose median is the bound itself: a verdict of either kind is given as often as it says, no more."""
    draws = 2.0 * np.random.default_rng(1).lognormal(size=(3000, 5))
    verdicts = Counter(decide(claim(at_least=2.0), evidence(row)).verdict for row in draws)
    for verdict in (REPRODUCED, NOT_REPRODUCED):
        assert verdicts[verdict] / 3000 == pytest.approx(1 / 32, abs=5 * math.sqrt(1 / 32 / 3000))


def test_bootstrap_of_a_median_with_misses():
    assert bootstrap_interval([1.0, 2.0, math.inf, math.inf, math.inf])[1] == math.inf
    low, high = bootstrap_interval([float(n) for n in range(1, 42)])
    assert 14 < low < 21 < high < 28
    assert bootstrap_interval([3.0]) == (3.0, 3.0)


# Verdicts by table


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([3.0, 4.0, 5.0, 6.0, math.inf], {"at_least": 2.0}, REPRODUCED),
        ([1.0, 4.0, 5.0, 6.0, 7.0], {"at_least": 2.0}, UNDECIDED),
        ([1.0, 1.1, 1.2, 1.3, 1.9], {"at_least": 2.0}, NOT_REPRODUCED),
        ([3.0, 4.0, 5.0, 6.0], {"at_least": 2.0}, UNDECIDED),
        ([0.6, 0.9, 1.0, 1.1, 1.9], {"at_least": 0.5, "at_most": 2.0}, REPRODUCED),
        ([2.1, 2.9, 3.0, 3.1, 3.9], {"at_least": 0.5, "at_most": 2.0}, NOT_REPRODUCED),
        ([], {"at_least": 2.0}, UNDECIDED),
    ],
)
def test_verdicts_on_a_median(values, bounds, expected):
    verdict = decide(claim(of=("kfac",), to="qn-kfac", **bounds), evidence(values))
    assert verdict.verdict == expected
    assert (verdict.false_alarm is None) == (expected == UNDECIDED)
    assert bool(verdict.needs) == (expected == UNDECIDED)


def test_nothing_is_decided_before_all_runs_are_there():
    """Five values would do, but seven are named."""
    verdict = decide(claim(at_least=2.0), evidence([3.0] * 5, wanted=7))
    assert verdict.verdict == UNDECIDED
    assert "5 of 7 values so far" in verdict.told


def test_groups_are_judged_apart():
    """One group that fails refutes the whole, if its values are enough for its share of the 5 %."""

    def verdict(second):
        items = evidence([0.1] * 5, group="V0 = 0").items + evidence(second, group="V0 = 20").items
        return decide(claim("level", at_most=1.0, groups="v0"), Evidence(items, len(items)))

    assert verdict([0.1] * 5).verdict == REPRODUCED
    assert verdict([3.0] * 5).verdict == UNDECIDED
    assert "6 values in each group that is open in place of 5" in verdict([3.0] * 5).needs
    assert verdict([3.0] * 6).verdict == NOT_REPRODUCED
    assert verdict([3.0] * 6).false_alarm == pytest.approx(2 / 64)
    assert verdict([0.1] * 4).verdict == UNDECIDED


def slides_count(seeds=1):
    return claim(
        "count", quantity="kind", of=("dgd",), kinds=("converged",), stated=22, cases=parse_cases("all"), seeds=seeds
    )


@pytest.mark.parametrize(
    ("converged", "others", "expected"),
    [
        (22, 3, REPRODUCED),
        (25, 0, REPRODUCED),
        (18, 7, UNDECIDED),
        (12, 13, NOT_REPRODUCED),
        (3, 22, NOT_REPRODUCED),
        (66, 9, REPRODUCED),  # three seeds: a rate, not 22 of 75
        (65, 10, UNDECIDED),
        (50, 25, NOT_REPRODUCED),
    ],
)
def test_counts_against_the_slide(converged, others, expected):
    found = decide(slides_count((converged + others) // 25), kinds(dgd={"converged": converged, "stuck": others}))
    assert found.verdict == expected
    assert f"{converged} converged" in found.told
    if expected == NOT_REPRODUCED:
        table = [[22, 3], [converged, others]]
        assert found.false_alarm == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def test_a_count_says_whether_further_seeds_can_decide_it():
    """17 of 25 with further seeds; 18 of 25 with none, as the slide's own 25 cases are too few to tell them apart."""
    found = decide(slides_count(), kinds(dgd={"converged": 17, "stuck": 8}))
    (seeds,) = map(int, re.findall(r"(\d+) seeds in place of 1, at this rate", found.needs))
    assert decide(slides_count(seeds), kinds(dgd={"converged": 17 * seeds, "stuck": 8 * seeds})).verdict != UNDECIDED
    fewer = seeds - 1
    assert decide(slides_count(fewer), kinds(dgd={"converged": 17 * fewer, "stuck": 8 * fewer})).verdict == UNDECIDED
    assert (
        "more cases behind the slide's number" in decide(slides_count(), kinds(dgd={"converged": 18, "stuck": 7})).needs
    )


def test_a_count_is_open_while_missing_runs_could_change_it():
    """13 of 15 runs: with the ten others both ends are possible. 1 of 15: not even all others would do."""
    assert decide(slides_count(), kinds(25, dgd={"converged": 13, "stuck": 2})).verdict == UNDECIDED
    assert decide(slides_count(), kinds(25, dgd={"converged": 1, "stuck": 14})).verdict == NOT_REPRODUCED


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"stuck": 5}, {"converged": 5}, REPRODUCED),
        ({"converged": 5}, {"stuck": 5}, NOT_REPRODUCED),
        ({"stuck": 3, "converged": 2}, {"stuck": 2, "converged": 3}, UNDECIDED),
        ({}, {}, UNDECIDED),
    ],
)
def test_fewer_runs_of_a_kind(first, second, expected):
    found = decide(FEWER, kinds(kfac=first, qn_kfac=second))
    assert found.verdict == expected
    assert found.false_alarm is None or found.false_alarm == pytest.approx(1 / 252)


FEWER = claim("fewer", quantity="kind", of=("kfac",), to="qn-kfac", kinds=("stuck",), cases=CASES[:1], seeds=5)


def test_fewer_runs_of_a_kind_wait_for_all_runs():
    found = decide(FEWER, kinds(20, kfac={"stuck": 5}, qn_kfac={"converged": 5}))
    assert found.verdict == UNDECIDED


def test_fewer_runs_of_a_kind_say_how_many_would_decide():
    """Of none and none, as of as many, no number of seeds makes a difference; of one and none of five 24 do."""

    def needs(first, second):
        return decide(
            FEWER,
            kinds(kfac={"stuck": first, "unstable": 5 - first}, qn_kfac={"stuck": second, "unstable": 5 - second}),
        ).needs

    assert "no run is stuck with either optimiser, and at such rates no number of seeds would do" in needs(0, 0)
    assert "as many runs are stuck with either optimiser" in needs(2, 2)
    (runs,) = map(int, re.findall(r"^(\d+) runs of each", needs(1, 0)))
    enough = [n for n in range(1, 100) if fisher_exact([[round(n / 5), n - round(n / 5)], [0, n]]).pvalue / 2 <= LEVEL]
    assert runs == enough[0]
    assert f"{runs} seeds in place of 5" in needs(1, 0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"converged": 1, "unstable": 1, "stuck": 1}, REPRODUCED),
        ({"converged": 10, "unstable": 10}, NOT_REPRODUCED),
        ({"converged": 3, "unstable": 2}, UNDECIDED),
    ],
)
def test_kinds_that_occur(counts, expected):
    rule = claim("kinds", quantity="kind", of=("kfac",), kinds=("converged", "unstable", "stuck"))
    assert decide(rule, kinds(kfac=counts)).verdict == expected


def test_an_absent_kind_may_come_with_the_runs_that_are_missing():
    rule = claim("kinds", quantity="kind", of=("kfac",), kinds=("converged", "unstable", "stuck"))
    assert decide(rule, kinds(25, kfac={"converged": 10, "unstable": 10})).verdict == UNDECIDED


def test_a_bound_on_every_run():
    """One that breaks it refutes the claim; that all keep it says something only once exceptions must be rare."""
    rule = claim("every", at_most=5.0)
    kept = decide(rule, evidence([1.0] * 14))
    assert (kept.verdict, kept.false_alarm) == (REPRODUCED, pytest.approx(0.8**14))
    few = decide(rule, evidence([1.0] * 13))
    assert (few.verdict, few.false_alarm) == (UNDECIDED, None)
    assert "14 values without an exception in place of 13" in few.needs
    broken = decide(rule, evidence([1.0, 5.1]))
    assert (broken.verdict, broken.false_alarm) == (NOT_REPRODUCED, 0.0)
    assert decide(rule, evidence([1.0] * 14, wanted=15)).verdict == UNDECIDED
    assert decide(rule, evidence([1.0, 5.1], wanted=3)).verdict == NOT_REPRODUCED


def test_noise_may_break_a_bound_in_standard_errors():
    """Of two states at the exact energy one breaks a bound by chance as often as stated; 13 % is too often."""
    rule = claim("every", quantity=VARIATIONAL, at_most=1.5)
    draws = np.random.default_rng(2).normal(size=(4000, 2))
    broken = [found.false_alarm for row in draws if (found := decide(rule, evidence(row))).verdict != UNDECIDED]
    assert broken == []
    rule = claim("every", quantity=VARIATIONAL, at_most=2.5)
    broken = [found.false_alarm for row in draws if (found := decide(rule, evidence(row))).verdict == NOT_REPRODUCED]
    assert len(broken) / 4000 == pytest.approx(broken[0], abs=5 * math.sqrt(broken[0] / 4000))


def test_what_decides_nothing_is_told_and_not_missed():
    """Two ties of misses beside fourteen values: nothing is missing, and the sentence says so."""
    silent = evidence([math.nan] * 2).items
    some = Evidence(evidence([3.0] * 14).items, 14, (), silent)
    found = decide(claim("every", of=("ngd",), to="dgd", at_least=1.0), some)
    assert (found.verdict, found.found, found.wanted) == (REPRODUCED, 14, 14)
    assert found.told.endswith("; 2 pairs of misses decide nothing")
    alone = decide(claim("every", at_most=1.0), Evidence((), 0, (), silent[:1]))
    assert (alone.verdict, alone.told) == (UNDECIDED, "nothing measured yet; 1 run that diverged decides nothing")


@pytest.mark.parametrize(
    ("values", "bounds"),
    [
        ([4.0] * 30 + [6.0] * 20, {"at_least": 5.0}),
        ([4.0] * 20 + [6.0] * 30, {"at_least": 5.0}),
        ([0.3] * 2 + [1.0] * 8, {"at_least": 0.5, "at_most": 2.0}),
        ([3.0] * 4, {"at_least": 2.0}),
        ([0.3] * 6 + [1.0] * 4 + [3.0] * 1, {"at_least": 0.5, "at_most": 2.0}),
    ],
)
def test_so_many_values_as_it_says_would_decide(values, bounds):
    """Shared out as those at hand, the number named decides, and one less does not."""
    found = decide(claim(**bounds), evidence(values))
    assert found.verdict == UNDECIDED
    (count,) = map(int, re.findall(r"^([\d,]+) values in place of", found.needs.replace(",", "")))

    def again(count):
        shares = sorted(values)
        return decide(claim(**bounds), evidence([shares[int(place * len(values) / count)] for place in range(count)]))

    assert again(count).verdict != UNDECIDED or again(count + 1).verdict != UNDECIDED
    assert again(count // 2).verdict == UNDECIDED


def test_no_number_of_values_decides_on_the_bound():
    assert "more than 10,000 values" in decide(claim(at_least=5.0), evidence([4.0] * 10 + [6.0] * 10)).needs


def test_no_verdict_has_a_larger_false_alarm_rate_than_5_percent():
    """Whatever the evidence."""
    draw = np.random.default_rng(3)
    rules = [
        claim(at_least=1.0),
        claim("level", at_most=1.0, groups="v0"),
        claim("every", at_least=0.1),
        claim("every", quantity="sweep_shift", at_most=2.0),
    ]
    for _ in range(50):
        groups = [f"V0 = {number}" for number in range(draw.integers(1, 6))]
        items = [Item("", value, str(draw.choice(groups))) for value in draw.lognormal(size=draw.integers(0, 40))]
        found = [decide(rule, Evidence(tuple(items), len(items))) for rule in rules]
        kfac, qn_kfac = (
            dict(zip(("converged", "unstable", "stuck"), draw.integers(0, 20, 3), strict=True)) for _ in "ab"
        )
        found.append(decide(FEWER, kinds(kfac=kfac, qn_kfac=qn_kfac)))
        found.append(decide(slides_count(), kinds(25, dgd={"converged": int(draw.integers(0, 26))})))
        found.append(decide(claim("kinds", of=("kfac",), kinds=("converged", "stuck")), kinds(kfac=kfac)))
        assert all((one.false_alarm is None) == (one.verdict == UNDECIDED) for one in found)
        assert all(one.false_alarm is None or one.false_alarm <= LEVEL for one in found)


def test_any_false_alarm():
    verdicts = [Verdict(str(alarm), REPRODUCED, "", alarm, "", 5, 5) for alarm in (0.03, None, 0.01, 0.0)]
    assert any_false_alarm(verdicts) == pytest.approx((0.04, 1 - 0.97 * 0.99))


# Quantities by hand


def test_speed_by_hand(monkeypatch):
    run = ended([3.0] * 60 + [2.01] * 60)
    assert convergence.epochs_to(run, 2.0) == 81  # the median of 40 turns when more than half of them are good
    assert convergence.epochs_to(run, 2.0, 0.001) == math.inf
    monkeypatch.setattr(convergence, "seconds_per_epoch", lambda config: 2.0)
    assert convergence.seconds_to(run, 2.0) == 162.0
    assert convergence.seconds_to(run, 2.0, 0.001) == math.inf
    monkeypatch.setattr(convergence, "seconds_per_epoch", lambda config: None)
    assert math.isnan(convergence.seconds_to(run, 2.0))


def test_seconds_come_from_the_benchmark_of_the_same_size(tmp_path):
    table = "optimizer,particles,walkers,sweeps,seconds_per_epoch\nadam,2,1024,40,0.5\ndgd,2,1024,40,1.5\n"
    (tmp_path / "one.csv").write_text(table)
    assert read_benchmarks(tmp_path) == {("adam", 2, 1024, 40): 0.5, ("dgd", 2, 1024, 40): 1.5}
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "one.csv").write_text("optimizer,particles\nadam,2\n")
    with pytest.raises(ReproError, match="no benchmark"):
        read_benchmarks(broken)
    twice = tmp_path / "twice"
    twice.mkdir()
    (twice / "one.csv").write_text(table)
    (twice / "two.csv").write_text(table.replace("adam", "kfac"))
    with pytest.raises(ReproError, match=r"two.csv: dgd at A = 2, 1024 walkers and 40 sweeps is measured in one.csv"):
        read_benchmarks(twice)


def test_final_error_by_hand():
    assert convergence.final_error(ended([2.0], energy=2.1), 2.0) == pytest.approx(0.05)
    assert convergence.final_error(ended([2.0], energy=2.0, error=0.02), 2.0) == pytest.approx(0.01)
    assert convergence.final_error(ended([2.0], energy=2.0, error=0.0), 2.0) == convergence.RESOLUTION
    assert convergence.final_error(ended([2.0], "diverged"), 2.0) == math.inf


@pytest.mark.parametrize(
    ("energies", "status", "expected"),
    [
        ([2.0] * 100, "complete", "converged"),
        ([2.1] * 100, "complete", "stuck"),
        ([2.0] * 98 + [2.5] + [2.0], "complete", "unstable"),
        ([2.0] * 90 + [2.5] + [2.0] * 9, "complete", "converged"),  # steady in the window of the definition
        ([2.1] * 90 + [2.5] + [2.1] * 9, "complete", "unstable"),
        ([2.5] + [2.0] * 99, "complete", "converged"),
        ([2.0] * 100, "diverged", "unstable"),
    ],
)
def test_kinds_of_runs(energies, status, expected):
    assert convergence.kind(ended(energies, status), 2.0) == expected


def test_runs_are_called_converged_where_they_are():
    """One meaning of the word, whatever the curve."""
    draw = np.random.default_rng(4)
    runs = [ended(list(2.0 + draw.choice([0.0, 0.03, 0.3], 60, p=p))) for p in draw.dirichlet([4, 1, 0.05], 300)]
    said = [(convergence.kind(run, 2.0) == "converged", convergence.converged(run, 2.0)) for run in runs]
    assert Counter(said).keys() == {(True, True), (False, False)}


def test_departure_by_hand():
    """Within 1 % at epoch 81, and once more 3 % away for longer than half of 40 epochs."""
    left = [3.0] * 60 + [2.01] * 60 + [2.06] * 30 + [2.01] * 60
    assert convergence.departure(ended(left), 2.0) == pytest.approx(0.03)
    assert convergence.departure(ended([3.0] * 60 + [2.01] * 60 + [2.06] * 10 + [2.01] * 60), 2.0) <= 0.01
    assert convergence.departure(ended([3.0] * 200), 2.0) == 0.0
    assert convergence.departure(ended([2.0] * 99 + [2.5]), 2.0) == math.inf
    assert convergence.departure(ended([2.0] * 100, "diverged"), 2.0) == math.inf


def test_energies_below_the_exact_one_by_hand():
    assert convergence.sigma_below(ended([2.0], energy=1.9, error=0.01), 2.0) == pytest.approx(10.0)
    assert convergence.sigma_below(ended([2.0], energy=2.1, error=0.01), 2.0) == pytest.approx(-10.0)
    assert convergence.sigma_below(ended([2.0], energy=2.0 - 4e-6, error=0.0), 2.0) == pytest.approx(2.0)
    assert convergence.sigma_below(ended([2.0], energy=-1.4e8, error=2.8e8), 2.0) == math.inf
    assert math.isnan(convergence.sigma_below(ended([2.0], "diverged"), 2.0))


def test_ratios_of_misses():
    assert math.isnan(ratio(math.inf, math.inf))
    assert math.isnan(ratio(0.0, 0.0))
    assert ratio(1.0, math.inf) == 0.0
    assert ratio(math.inf, 1.0) == math.inf
    assert ratio(1.0, 0.0) == math.inf


def test_maxima_of_a_density():
    x = np.linspace(-5, 5, 81)
    two = np.exp(-((x - 1.5) ** 2)) + np.exp(-((x + 1.5) ** 2))
    noise = 0.01 * np.random.default_rng(0).normal(size=x.shape)
    assert maxima(two + noise, np.full_like(x, 0.01)) == 2
    assert maxima(np.exp(-(x**2)) + noise, np.full_like(x, 0.01)) == 1
    assert maxima(two, np.full_like(x, 0.2)) < 2  # the dip is no deeper than the noise


def test_cosine():
    assert cosine(np.array([1.0, 1.0]), np.array([3.0, 3.0])) == pytest.approx(1.0)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0


# The claims themselves


def test_no_orphans():
    """Every figure has a claim, every claim a figure, and every figure prints and keeps the verdicts."""
    notebooks = notebook_paths("study")
    assert {claim.figure for claim in load_claims()} == set(notebooks)
    for name, path in notebooks.items():
        code = "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        assert f'verdicts = print_verdicts("{name}", source)' in code, name
        assert re.search(rf'save_figure\("{name}", .*, source, out, verdicts(, tables=.*)?\)', code), name
    assert {claim.figure for claim in load_claims()} >= {f"F{n:02}" for n in range(1, 15)} | {"T00", "T01", "T02"}


def test_the_readme_counts_the_stored_verdicts():
    text = (ROOT / "README.md").read_text()
    counts = re.search(r"(\d+) claims.* (\d+) are \*reproduced\*, (\d+) \*not reproduced\* and (\d+) \*undecided", text)
    assert counts
    found = counted(of_chapter(read_verdicts(STORED), "study"))
    assert [int(count) for count in counts.groups()] == [sum(found.values()), *found.values()]


def test_the_readmes_table_of_optimisers_is_that_of_the_stored_runs():
    lines = re.findall(r"^\| (.*), (?:500|1000) epochs \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [name for name, _ in lines] == ["DGD", "minSR", "SPRING", "**proximal DGD**"]
    stored = finished_runs(STORED)
    for name, told in lines:
        optimizer = name.strip("*").lower().replace(" ", "-")
        wanted = [study_run(optimizer, case, seed) for seed in SEEDS for case in CASES]
        runs = [load_run(stored[config.content_hash]) for config in wanted if config.content_hash in stored]
        judged = [(run, exact_energy(run.config.system)) for run in runs]
        cells = [str(len(runs))]
        for level in (0.01, 0.001):
            epochs = [convergence.epochs_to(*run, level) for run in judged]
            cells.append(f"{np.isfinite(epochs).sum()}, {np.median(epochs):.0f}")
        cells.append(str([convergence.kind(*run) for run in judged].count("converged")))
        cells.append(f"{100 * np.median([convergence.final_error(*run) for run in judged]):.1g} %")
        assert told.replace("**", "").split(" | ") == cells, name


def test_every_claim_can_be_judged():
    """Known quantities, runs where runs are needed, and bounds where bounds are."""
    for found in load_claims():
        assert found.quantity == "kind" or found.quantity in RUN_QUANTITIES or found.quantity in COMPUTED, found.id
        assert bool(found.configs) == (found.quantity not in COMPUTED), found.id
        if found.test in ("ratio", "level", "every"):
            assert math.isfinite(found.at_least) or math.isfinite(found.at_most), found.id
        if found.test in ("count", "fewer", "kinds"):
            assert found.kinds, found.id
        assert found.statement.endswith("."), found.id


def test_every_state_that_is_drawn_is_held_to_the_variational_principle():
    """Ours and its peers included, all seeds, and the large systems; who lies below is found."""
    states = judged_states()
    hashes = {config.content_hash for config in states}
    assert len(hashes) == len(states)
    for name in ALL_OPTIMIZERS:
        seeds = SEEDS if name in ("dgd", *BEYOND) else SEEDS[:1]
        assert all(study_run(name, case, seed).content_hash in hashes for case in CASES for seed in seeds), name
    assert {config.system.particles for config in states} >= {10, 16, 20}
    (rule,) = claims_of("T02")
    broken = [item for item in gather(rule, RunSource(STORED, STORED, quiet=True)).items if item.value > rule.at_most]
    below = {name for item in broken if math.isfinite(item.value) for name in item.runs}
    assert below == {
        study_run("proximal-dgd", SystemConfig(6, 0.0), 2).run_name,
        large_run("spring", SystemConfig(10, 0.0)).run_name,
    }
    assert study_run("dgd", SystemConfig(6, 10.0)).run_name in {name for item in broken for name in item.runs}


def test_one_word_has_one_meaning():
    words = {}
    for found in load_claims():
        if found.word:
            assert words.setdefault(found.word, (found.at_least, found.at_most)) == (found.at_least, found.at_most)
    assert set(words) == {"more", "much", "huge", "on_par", "negligible"}


def test_cases():
    assert parse_cases("2:-10 3:-20,20") == (SystemConfig(2, -10.0), SystemConfig(3, -20.0), SystemConfig(3, 20.0))
    assert len(parse_cases("all")) == 25
    for text in ("2", "two:1", "2:x"):
        with pytest.raises(InputError, match="must be 'all', 'held-out' or like"):
            parse_cases(text)


def test_claims_about_the_held_out_cases_are_about_the_runs_of_their_grid():
    """Every optimiser, case and seed of the file, no other; no case is one of the 25, and labels tell them apart."""
    entry = ENTRY.replace('"kind"', '"epochs_to_0.1_percent"') + (
        'of = ["proximal-dgd", "spring", "minsr"]\ncases = "held-out"\nseeds = 3\nat_most = 1.0\n'
    )
    (found,) = parse_claims(entry)
    grid = read_grid(STORED / "grids" / "held_out.toml")
    assert {config.content_hash for config in found.configs} == {config.content_hash for config in grid}
    assert not set(found.cases) & set(CASES)
    labels = [case_label(system) for system in (*CASES, *found.cases)]
    assert len(set(labels)) == len(labels) == 25 + 22
    assert "A = 3, V0 = -10, sigma0 = 0.3" in labels
    assert case_title(found.cases[0]) == "A = 3, $V_0$ = −10, $\\sigma_0$ = 0.3"


def test_levels_of_a_tenth_of_a_per_cent_are_quantities():
    run = ended([3.0] * 60 + [2.01] * 60 + [2.001] * 60)
    assert RUN_QUANTITIES["epochs_to_1_percent"](run, 2.0) == 81
    assert RUN_QUANTITIES["epochs_to_0.1_percent"](run, 2.0) == 141
    assert RUN_QUANTITIES["seconds_to_0.1_percent"](run, 2.0) == convergence.seconds_to(run, 2.0, 0.001)


ENTRY = (
    '[[claim]]\nid = "X"\nfigure = "F01"\nstatement = "S."\nsource = "A slide."\ntest = "level"\nquantity = "kind"\n'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[claim]", "not TOML"),
        (ENTRY + 'bound = "enormous"\n', "unknown word"),
        (ENTRY + 'of = ["sgd"]\n', "of = 'sgd': unknown"),
        (ENTRY + 'to = "sgd"\n', "to = 'sgd': unknown"),
        (ENTRY + 'kinds = ["happy"]\n', "kinds = 'happy': unknown"),
        (ENTRY + 'profile = "desktop"\n', "profile = 'desktop': unknown"),
        (ENTRY + "treshold = 1\n", "treshold"),
        (ENTRY.replace('source = "A slide."\n', ""), "source"),
        (ENTRY + 'of = ["kfac", "qn-kfac"]\nto = "dgd"\n', "must be one optimiser to compare with dgd"),
        (ENTRY.replace("level", "guess"), "test = 'guess': unknown"),
        (ENTRY + ENTRY, "claim X is there twice"),
    ],
)
def test_bad_claims_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_claims(text)


def test_unknown_quantities_are_refused(tmp_path):
    with pytest.raises(InputError, match="quantity = 'beauty': unknown"):
        gather(claim(quantity="beauty"), RunSource(tmp_path, tmp_path))


def test_a_figure_without_a_claim_is_refused():
    with pytest.raises(InputError, match="no claim"):
        claims_of("F99")


def test_stored_runs_are_evidence():
    """F14's five runs are stored; the optimisers really differ in the range of their damping."""
    (found,) = claims_of("F14")
    source = RunSource(STORED, STORED, quiet=True)
    numbers = gather(found, source)
    assert len(numbers.items) == numbers.wanted == 5
    assert len(numbers.runs) == 5
    assert judge(found, source).verdict == REPRODUCED


def test_missing_runs_are_named(tmp_path):
    (found,) = claims_of("F02")
    verdict = judge(found, RunSource(tmp_path, tmp_path, quiet=True))
    assert (verdict.verdict, verdict.found, verdict.wanted) == (UNDECIDED, 0, 5)
    assert "10 more runs: kfac-A2-V-10-seed0" in verdict.needs


def test_the_ledger_tells_all_seeds_of_the_printed_algorithm():
    source = RunSource(STORED, STORED, quiet=True)
    found = {effect.optimizer: effect for effect in effects(source) if effect.point is PRINTED}
    assert set(found) == set(OPTIMIZERS) - {"adam"}
    for effect in found.values():
        assert [run.config.seed for run in effect.variants] == list(SEEDS)
        assert endings(effect.variants) == {"unstable": 3}
        assert ending_told(effect.variants).startswith("of 3 seeds: 3 unstable; 1 % never; final error ")
    assert ending_told(found["dgd"].defaults).startswith(
        "of 3 seeds: 3 converged; 1 % at epoch 272 to 336; final error "
    )
    assert ending_told(()) == "not run yet"
    assert ending_told(found["dgd"].defaults[:1]) == "converged; 1 % at epoch 328; final error 0.25 %"


def test_the_ledger_covers_every_optimiser_and_differs_from_the_default():
    assert {name for point in POINTS for name in point.optimizers} == set(OPTIMIZERS) - {"adam"}
    for point in POINTS:
        for name in point.optimizers:
            assert variant_config(name, point.options) != variant_config(name, {})


def test_a_count_reproduced_by_chance():
    """The false-alarm rate of a count is that of the best optimiser which Fisher's test tells from the slide's."""
    told_apart = [k for k in range(26) if fisher_exact([[22, 3], [k, 25 - k]], alternative="greater").pvalue <= LEVEL]
    verdict = decide(slides_count(), kinds(dgd={"converged": 23, "stuck": 2}))
    assert verdict.false_alarm == pytest.approx(sum(binom.pmf(k, 25, told_apart[-1] / 25) for k in range(22, 26)))


def beside_peers(tmp_path, monkeypatch, codes):
    """A benchmark in which codes take so many times ours, the same for all particles."""
    rows = [
        {"task": task, "code": code, "particles": count, "over_ours": over}
        for (task, code), over in codes.items()
        for count in PEER_PARTICLES
    ]
    path = tmp_path / "peers.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    monkeypatch.setattr("repro.study.claims.measurements.BESIDE_PEERS", str(path))


def test_other_packages_are_compared_whatever_their_version(tmp_path, monkeypatch):
    codes = {
        ("laplacian", "folx 0.2.19"): 1.5,
        ("laplacian", "nested derivatives"): 0.1,  # no other package's
        ("laplacian", "this package"): 1.0,
        ("natural gradient", "netket, SR 3.23.0"): 30.0,
        ("natural gradient", "netket, minSR 3.23.0.dev1"): 0.9,
    }
    beside_peers(tmp_path, monkeypatch, codes)
    found = {item.label: item.value for item in peer_ratios(None)}
    expected = {
        ("laplacian, folx", 1.5),
        ("natural gradient, netket, SR", 30.0),
        ("natural gradient, netket, minSR", 0.9),
    }
    assert found == {f"{name}, A = {count}": over for name, over in expected for count in PEER_PARTICLES}
    assert len(found) == COMPUTED["peer_ratio"].wanted


def test_a_benchmark_without_one_of_the_packages_says_so(tmp_path, monkeypatch):
    beside_peers(tmp_path, monkeypatch, {("laplacian", "folx 0.2.19"): 1.5})
    with pytest.raises(ReproError, match="make it again with `repro bench peers`"):
        peer_ratios(None)


def walked(tmp_path, monkeypatch, asked=("auto", "400")):
    """A benchmark of walks: energies of the two lengths five errors apart, and three times as many samples a second."""
    rows = [
        {"particles": count, "v0": v0, "asked": one, "energy": energy, "error": error, "independent_a_second": speed}
        for count, v0 in WALKED
        for one, energy, error, speed in (("auto", 1.0, 0.3, 30.0), ("400", 3.5, 0.4, 10.0))
        if one in asked
    ]
    path = tmp_path / "sweeps.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    monkeypatch.setattr("repro.study.claims.measurements.WALKS", str(path))


def test_walks_of_their_own_length_are_compared_with_the_studys(tmp_path, monkeypatch):
    walked(tmp_path, monkeypatch)
    shifts, gains = ([item.value for item in found(None)] for found in (sweep_shifts, sweep_gains))
    assert shifts == pytest.approx([5.0] * len(WALKED))
    assert gains == pytest.approx([3.0] * len(WALKED))
    assert [COMPUTED[name].wanted for name in ("sweep_shift", "sweep_gain")] == [len(WALKED)] * 2


def test_a_benchmark_of_walks_that_lacks_a_length_says_so(tmp_path, monkeypatch):
    walked(tmp_path, monkeypatch, asked=["auto"])
    with pytest.raises(ReproError, match="make it again with `repro bench sweeps`"):
        sweep_shifts(None)


def scaling(tmp_path, monkeypatch, **seconds):
    """A benchmark in which optimisers take so many seconds with 2 and with more particles."""
    rows = [
        {"optimizer": name, "particles": count, "walkers": 1024, "hidden": 64, "part": "whole epoch", "seconds": value}
        for name, of in seconds.items()
        for count, value in of.items()
    ]
    # Other sizes stand beside it, and are not compared.
    rows += [{**row, "walkers": 4096, "seconds": 99.0} for row in rows]
    path = tmp_path / "F15.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    monkeypatch.setattr("repro.study.claims.measurements.SCALING", str(path))


def test_growth_is_compared_from_two_particles_on(tmp_path, monkeypatch):
    counts = (2, *GROWN_PARTICLES)
    scaling(tmp_path, monkeypatch, kfac={a: 0.5 * a for a in counts}, dgd={a: 0.1 * a**2 for a in counts})
    found = {item.label: item.value for item in growth_ratios(None)}
    assert found == pytest.approx({f"A = {a}": a / 2 for a in GROWN_PARTICLES})


def test_a_growth_benchmark_that_lacks_a_size_says_so(tmp_path, monkeypatch):
    scaling(tmp_path, monkeypatch, kfac={2: 1.0, 4: 2.0}, dgd={2: 1.0, 4: 2.0})
    with pytest.raises(ReproError, match="make it again with `repro bench parts`"):
        growth_ratios(None)
