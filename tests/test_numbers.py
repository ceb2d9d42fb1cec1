"""Every number that README and docs/ state of the results is what the stored runs and tables give.

The table below has a line for each sentence: the file, the sentence with a format field in place of each number, and
what computes them. A line fails when the sentence is no longer there, and when a number in it is another.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import combinations, product
from string import Formatter

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from repro.config import OPTIMIZERS, PROXIMAL_PARTS, RunConfig, SpringConfig, SystemConfig
from repro.demonstrations.base import Values
from repro.demonstrations.geometry.stochastic_search import PROBLEMS
from repro.optimizers.second_order import ASSEMBLED_WEIGHTS
from repro.references import stored_reference
from repro.study.benchmarks.growth import WHOLE, growth
from repro.study.benchmarks.tasks import WALKED
from repro.study.claims.measurements import (
    BENCHMARK,
    gather,
    growth_ratios,
    peer_ratios,
    ratio,
    scaling_table,
    sweep_gains,
    sweep_shifts,
    sweeps_table,
)
from repro.study.claims.statements import load_claims
from repro.study.claims.statistics import LEVEL, RARE, median_interval, runs_without_exception
from repro.study.claims.values import stored_values
from repro.study.claims.verdicts import Verdict, any_false_alarm, of_chapter
from repro.study.experiments import ablation
from repro.study.experiments import many_particles as large
from repro.study.experiments.autoencoder_benchmark import COMPARED
from repro.study.experiments.ledger import effects
from repro.study.runs import convergence
from repro.study.runs.cases import CASES, PAPER_CASES, SEEDS, STRENGTHS, exact_energy
from repro.study.runs.profiles import EPOCHS, PROFILES, configure, study_run
from repro.study.runs.store import STORED_RUNS, Run, RunSource, finished_runs, load_any_run, load_run, project_path
from repro.study.runs.timing import seconds_per_epoch
from repro.study.verification.audit import (
    AUDITED_EPOCHS,
    FIRST,
    FIRST_WALKERS,
    MOST,
    MOST_OTHER,
    PRETRAINED_APART,
    PRETRAINED_BLOCK,
    REPLICAS,
)
from repro.study.verification.consistency import pretraining_of
from repro.study.verification.rounding import ALARMS
from repro.study.verification.verify import read_verdicts
from repro.vmc.ansatz import slater_wavefunction

FEW = tuple(case for case in CASES if case.particles <= 4)
MANY = tuple(case for case in CASES if case.particles >= 5)
FREE = tuple(case for case in CASES if case.v0 == 0)
A2, A3 = SystemConfig(2, -10.0), SystemConfig(3, 20.0)
FIVE = range(5)
STUDY, LAPTOP = PROFILES["paper"], PROFILES["laptop"]


# What is stored


@cache
def measured_values(item: str) -> Values:
    """The stored numbers of an item of a lecture."""
    found = stored_values(project_path(STORED_RUNS), item)
    assert found is not None
    return found


@cache
def stored() -> dict[str, object]:
    return finished_runs(project_path(STORED_RUNS))


@cache
def run(config: RunConfig) -> Run:
    return load_run(stored()[config.content_hash])


def runs(
    name: str, cases: Iterable[SystemConfig] = CASES, seeds: Iterable[int] = (0,), profile: str = "laptop"
) -> list[Run]:
    """By seeds, and within a seed by cases."""
    return [run(study_run(name, case, seed, profile)) for seed in seeds for case in cases]


def of(measure: Callable[..., float], some: Iterable[Run], *arguments: float) -> np.ndarray:
    """A number of each run, given the exact energy."""
    return np.array([measure(one, exact_energy(one.config.system), *arguments) for one in some])


def ended(some: Iterable[Run]) -> Counter[str]:
    return Counter(convergence.kind(one, exact_energy(one.config.system)) for one in some)


def count(some: Iterable[Run], kind: str = "converged") -> int:
    return ended(some)[kind]


def spread(values: Iterable[float]) -> tuple[float, float]:
    return min(values), max(values)


def epochs(some: Iterable[Run], level: float = 0.01) -> np.ndarray:
    return of(convergence.epochs_to, some, level)


def errors(some: Iterable[Run]) -> np.ndarray:
    """Final errors in per cent."""
    return 100 * of(convergence.final_error, some)


def ratios(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array([ratio(float(one), float(other)) for one, other in zip(first, second, strict=True)])


def middle(values: np.ndarray) -> tuple[float, float, float]:
    """Median and interval."""
    found = median_interval(values)
    return found.median, found.low, found.high


def dgd(seed: int, cases: Iterable[SystemConfig] = CASES) -> list[Run]:
    return runs("dgd", cases, [seed])


def all_of(name: str) -> list[Run]:
    return runs(name, seeds=SEEDS)


def wanting(kind: str, some: Iterable[Run]) -> list[Run]:
    return [one for one in some if convergence.kind(one, exact_energy(one.config.system)) == kind]


@cache
def grown(optimizer: str, size: str, quantity: str = "seconds") -> float:
    """The exponent of a whole epoch."""
    table = growth(scaling_table())
    table = table[table["part"] == WHOLE].set_index(["optimizer", "with", "of"])["exponent"]
    return float(table[optimizer, size, quantity])


@cache
def whole_epochs(column: str = "seconds", walkers: int = 1024) -> pd.Series:
    """By optimiser and particles, at the study's width."""
    table = scaling_table()
    chosen = table[(table["part"] == WHOLE) & (table["walkers"] == walkers) & (table["hidden"] == 64)]
    return chosen.set_index(["optimizer", "particles"])[column]


def over(first: str, second: str, particles: Iterable[int]) -> list[float]:
    """An epoch of one optimiser over one of another."""
    return [whole_epochs()[first, A] / whole_epochs()[second, A] for A in particles]


def large_errors(name: str, systems: Iterable[SystemConfig]) -> np.ndarray:
    return errors([run(large.large_run(name, system)) for system in systems])


TEN = tuple(system for system in large.SYSTEMS if system.particles == 10)
LARGER = tuple(system for system in large.FREE if system.particles > 10)


@cache
def walks(asked: str) -> pd.DataFrame:
    return sweeps_table().query("asked == @asked").set_index(["particles", "v0"])


def benchmark(name: str) -> list[float]:
    table = pd.read_csv(project_path(BENCHMARK)).set_index(["optimizer", "particles"])["seconds_per_epoch"]
    return [table[name, A] for A in (2, 4, 6)]


@cache
def of_claim(name: str) -> np.ndarray:
    claim = next(claim for claim in load_claims() if claim.id == name)
    return np.array([item.value for item in gather(claim, source()).items])


@cache
def source() -> RunSource:
    root = project_path(STORED_RUNS)
    return RunSource(root, root, quiet=True)


def word(number: int) -> str:
    words = "none one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    return words.split()[number]


def fraction(value: float) -> str:
    """Such as "quarter" for 0.26."""
    return {2: "half", 3: "third", 4: "quarter", 5: "fifth"}[round(1 / value)]


# What is said


Line = tuple[str, Callable[[], Iterable[object]]]
"""A sentence and what computes the numbers in it."""


def excess(case: SystemConfig) -> float:
    """How far 20 modes lie above the exact energy, in per cent."""
    exact = exact_energy(case)
    return 100 * (stored_reference("ci", case).energy - exact) / abs(exact)


def below() -> np.ndarray:
    """Standard errors by which each state's energy lies below the exact one; infinite where it cannot be judged."""
    return of_claim("T02")


def finite_below() -> np.ndarray:
    return below()[np.isfinite(below())]


def printed_unstable() -> list[int]:
    """Runs of the printed algorithm, if all of them are unstable and none was within 1 %."""
    some = [
        one for effect in effects(source()) if effect.point.options == {"protocol": "deck"} for one in effect.variants
    ]
    assert set(ended(some)) == {"unstable"}
    assert np.isinf(epochs(some)).all()
    return [len(some)]


def stored_verdict(name: str) -> Verdict:
    return next(verdict for verdict in read_verdicts(project_path(STORED_RUNS)) if verdict.claim == name)


README = [
    ("K-FAC needs {:.0f} and {:.0f} iterations to the error of 30 principal components, Adam {:.0f} and {:.0f}, SGD "
     "with momentum {:,.0f} and {:,.0f} (two protocols, medians of three seeds, each method tuned).",
     lambda: [measured_values("Q09")["iterations_to_pca_30"][f"{protocol}, {method}"]
              for method in ("kfac", "adam", "sgd") for protocol in COMPARED]),
    ("20 modes, is up to {:.0f} % too high (A = {}, V0 = {:g})",
     lambda: (excess(worst := max(CASES, key=excess)), worst.particles, worst.v0)),
    ("a {} of the study's walkers, a {} of its sweeps",
     lambda: (fraction(LAPTOP.walkers / STUDY.walkers), {10: "tenth"}[STUDY.sweeps // LAPTOP.sweeps])),
    ("in **{}, {} and {}** (three seeds)", lambda: (count(dgd(seed)) for seed in SEEDS)),
    ("up to four particles in {} or {} of {}", lambda: (*spread([count(dgd(seed, FEW)) for seed in SEEDS]), len(FEW))),
    ("with five and six in {} to {} of {}", lambda: (*spread([count(dgd(seed, MANY)) for seed in SEEDS]), len(MANY))),
    ("At the study's own size in {} (one seed)", lambda: [count(runs("dgd", profile="paper"))]),
    ("(Fisher's exact test, p = {:.2f})", lambda: [stored_verdict("F09").false_alarm]),
    ("ends with a {} of DGD's error", lambda: [fraction(middle(of_claim("F10.accuracy.qn-mr-kfac"))[0])]),
    ("all {} runs of the five second-order optimisers are unstable (A = 2, V0 = -10, three seeds)", printed_unstable),
    ("**{} of {}** lie more than five standard errors below",
     lambda: (word((finite_below() > 5).sum()).capitalize(), len(below()))),
    ("{} more have an error larger than the energy", lambda: [word(np.isinf(below()).sum()).capitalize()]),
    ("{} of {} cases converge instead of {}",
     lambda: (count(runs("qn-mr-kfac")), len(CASES), count(runs("qn-kfac")))),
    ("less steady in {} of the {} cases (one seed), and by a factor of {} at least",
     lambda: ((of_claim("F06.cases") > 1).sum(), len(CASES), math.floor(of_claim("F06").min()))),
    ("in epochs, {:.0f} to {:.0f} times fewer to 1 %; in seconds, {:.0f} against {:.0f} and {:.0f} against {:.0f}",
     lambda: (*middle(of_claim("F08"))[1:], *seconds_against_adam())),
    ('"more" means at least {:g}; "much" and "far fewer" at least {:g}; "huge" at least {:g}; "on par" between 1/{:g} '
     'and {:g}; "negligible cost" at most {:g}.',
     lambda: (*(bound(name)[0] for name in ("more", "much", "huge")), 1 / bound("on_par")[0], bound("on_par")[1],
              bound("negligible")[1])),
    ("| `smoke` | {} | {} | {} |", lambda: profile_row("smoke")),
    ("| `laptop` | {} | {} | {} | {:.0f} min |", lambda: (*profile_row("laptop"), minutes("laptop"))),
    ("| `paper` | {} | {} | {} | {:.0f} min (", lambda: (*profile_row("paper"), minutes("paper"))),
    ("took {:.2f}, {:.2f} and {:.1f} s at A = 2, 4 and 6 on two cores", lambda: benchmark("dgd")),
    ("It took {:.1f}, {:.1f} and {:.0f} s when written with dense matrices", lambda: benchmark("dgd, dense")),
    ("The study takes {}; a trained state of A = 2, V0 = -10 needs {:.0f}, one of A = 5, V0 = -20 some {:.0f}0,",
     lambda: (STUDY.sweeps, walks("auto")["sweeps"][2, -10], walks("auto")["sweeps"][5, -20] / 10)),
]  # fmt: skip


def seconds_against_adam() -> list[float]:
    """Medians over five seeds, DGD and Adam, in the two cases."""
    return [
        np.median(of(convergence.seconds_to, runs(name, [case], FIVE))) for case in (A2, A3) for name in ("dgd", "adam")
    ]


def profile_row(name: str) -> tuple[int, int, int]:
    return PROFILES[name].walkers, PROFILES[name].sweeps, PROFILES[name].epochs


def minutes(profile: str) -> float:
    """Of the epochs of DGD with two particles."""
    config = study_run("dgd", A2, 0, profile)
    return config.epochs * seconds_per_epoch(config) / 60


def too_high(some: Iterable[Run]) -> list[float]:
    """Final errors of the runs that are steady at another energy, in per cent."""
    return sorted(errors(wanting("stuck", some)))


def unstable(some: Iterable[Run]) -> set[SystemConfig]:
    return {one.config.system for one in wanting("unstable", some)}


def would_have(some: list[Run]) -> list[int]:
    """How many would have converged, had they ended after 200, 400, 600 or 800 epochs."""
    return [
        sum(convergence.converged(convergence.stopped_at(one, n), exact_energy(one.config.system)) for one in some)
        for n in (200, 400, 600, 800)
    ]


def at_the_studys_size(case: SystemConfig, *names: str) -> list[float]:
    """By how much the final energies are too high, in per cent."""
    exact = exact_energy(case)
    some = [runs(name, [case], profile="paper")[0] for name in names]
    return [100 * (one.result["energy"] - exact) / abs(exact) for one in some]


def how(*some: Run) -> str:
    """How runs ended that all ended in one way, or in which ways."""
    return " or ".join(ended(some))


RESULTS = [
    ("own, seeds 0, 1 and 2 come within 1 % at epochs {:.0f}, {:.0f} and {:.0f}.",
     lambda: epochs(runs("dgd", [A2], SEEDS, "paper"))),
    ("jumps once more to about {:.0f} % above the exact energy between epochs 200 and 250,",
     lambda: (100 * convergence.relative_error(run(study_run("dgd", A2, 2, "paper")).curve["energy"], exact_energy(A2))
              [200:250].median(),)),
    ("has a {} of the study's walkers and a {} of its sweeps.",
     lambda: (fraction(LAPTOP.walkers / STUDY.walkers), {10: "tenth"}[STUDY.sweeps // LAPTOP.sweeps])),
    ("DGD converges in **{}, {} and {} of the {} cases**",
     lambda: (*(count(dgd(seed)) for seed in SEEDS), len(CASES))),
    ("in {} or {} of {} with up to four particles, in {} to {} of {} with five and six.",
     lambda: (*spread([count(dgd(seed, FEW)) for seed in SEEDS]), len(FEW),
              *spread([count(dgd(seed, MANY)) for seed in SEEDS]), len(MANY))),
    ("Of the other {} runs, {} end {:.0f} to {:.0f} % too high, and {} become unstable.",
     lambda: (len(all_of("dgd")) - count(all_of("dgd")), word(count(all_of("dgd"), "stuck")),
              *spread(too_high(all_of("dgd"))), word(count(all_of("dgd"), "unstable")))),
    ("corrected by MINRES converges in **{} of {}** cases. Adam, with ten times the epochs, converges in {}, "
     "quasi-Newton KFAC in {}, KFAC in {} and natural gradient descent in {}. The other runs of the last two {}.",
     lambda: (count(runs("qn-mr-kfac")), len(CASES),
              *(count(runs(name)) for name in ("adam", "qn-kfac", "kfac", "ngd")),
              "all become unstable" if not count(runs("kfac") + runs("ngd"), "stuck") else "do not")),
    ("With `--protocol deck` all {} runs of the five second-order optimisers (A = 2, V0 = -10, laptop profile,",
     printed_unstable),
    ("Quasi-Newton KFAC ends with {:.0f} times DGD's error and {:.1f} times its fluctuations",
     lambda: [middle(of_claim(f"F10.{what}.qn-kfac"))[0] for what in ("accuracy", "stability")]),
    ("Quasi-Newton KFAC with MINRES ends with {:.2f} times DGD's error and {:.2f} times its fluctuations",
     lambda: [middle(of_claim(f"F10.{what}.qn-mr-kfac"))[0] for what in ("accuracy", "stability")]),
    ("(with MINRES {:.2f} times DGD's, {:.2f} to {:.2f})", lambda: middle(of_claim("F10.speed.qn-mr-kfac"))),
    ("Of {} states of all optimisers, sizes and seeds that are drawn, {} break",
     lambda: (len(below()), int((below() > 5).sum()))),
    ("In {} of them, proximal DGD at A = 6 and SPRING at A = 10, both without interaction, the energy lies {:.0f} and "
     "{:.0f} standard errors below", lambda: (int((finite_below() > 5).sum()), *sorted(finite_below())[-2:])),
    ("The other {} have a standard error larger than the exact energy", lambda: [int(np.isinf(below()).sum())]),
    ("Natural gradient descent is steadier than DGD in {} of the {} cases; in {} both diverge.",
     lambda: (word(int((of_claim("F06.cases") < 1).sum())), len(CASES),
              word(sum(not any(one.complete for one in pair) for pair in zip(runs("ngd"), runs("dgd"), strict=True))))),
    ("DGD fluctuates at least {} times less than natural gradient descent, and quasi-Newton KFAC at least {} times "
     "less than KFAC",
     lambda: (math.floor(of_claim("F06").min()), math.floor(of_claim("F02").min()))),
    ("({:.1f} to {:.1f} times its seconds). DGD needs {:.0f} to {:.0f} times fewer epochs to 1 % than Adam, and in the "
     "median {:.0f} s where Adam needs {:.0f} (A = 2), {:.0f} s where Adam needs {:.0f} (A = 3).",
     lambda: (*middle(of_claim("F07.speed"))[1:], *middle(of_claim("F08"))[1:], *seconds_against_adam())),
    ("{} run of five converges, {} of five.",
     lambda: (word(count(runs("qn-kfac", [A3], FIVE))), word(count(runs("kfac", [A3], FIVE))))),
    # Proximal DGD, SPRING and minSR
    ("by epoch {:.0f} and within 0.1 % by epoch {:.0f}. Half of the runs are there by epochs {:.0f} and {:.0f}. "
     "After {} epochs the median of their errors is {:.1g} %, and {} of {} are converged",
     lambda: (epochs(all_of("proximal-dgd")).max(), epochs(all_of("proximal-dgd"), 0.001).max(),
              np.median(epochs(all_of("proximal-dgd"))), np.median(epochs(all_of("proximal-dgd"), 0.001)),
              EPOCHS["proximal-dgd"], np.median(errors(all_of("proximal-dgd"))), count(all_of("proximal-dgd")),
              len(all_of("proximal-dgd")))),
    ("without interaction, has left the ground state again, to {:.1f} % below it",
     lambda: [errors(all_of("proximal-dgd")).max()]),
    ("In the median DGD needs {:.2f} times the epochs to 1 % and {:.2f} times the seconds. We asked for five times. "
     "The {} pairs do not decide this ({:.2f} to {:.2f}, {:.2f} to {:.2f}).",
     lambda: (middle(of_claim("F16.speed"))[0], middle(of_claim("F16.seconds"))[0], len(of_claim("F16.speed")),
              *middle(of_claim("F16.speed"))[1:], *middle(of_claim("F16.seconds"))[1:])),
    ("SPRING is within 1 % in all {} runs, too, by epoch {:.0f}, and within 0.1 % in {}, half of them by {:.0f} and "
     "{:.0f}. In the median of the pairs, it needs {:.2f} times as many epochs to 0.1 % as proximal DGD ({:.2f} to "
     "{:.2f}).",
     lambda: (np.isfinite(epochs(all_of("spring"))).sum(), epochs(all_of("spring")).max(),
              np.isfinite(epochs(all_of("spring"), 0.001)).sum(), np.median(epochs(all_of("spring"))),
              np.median(epochs(all_of("spring"), 0.001)), *middle(spring_over_ours(0.001)))),
    ("minSR is within 1 % in {} of {} runs, and {} of its runs end converged.",
     lambda: (np.isfinite(epochs(all_of("minsr"))).sum(), len(all_of("minsr")), count(all_of("minsr")))),
    # At the study's own size
    ("DGD converges in **{} of the {} cases** (F09). {} end {:.1f} and {:.1f} % too high, and {} become unstable",
     lambda: (count(large_dgd()), len(CASES), word(count(large_dgd(), "stuck")).capitalize(), *too_high(large_dgd()),
              word(count(large_dgd(), "unstable")))),
    ("A = 4, V0 = -20 and A = 5 and 6, V0 = 20 blow up, A = 2 and 3 without interaction leave the exact state again{}",
     lambda: ["." if unstable(large_dgd()) == {
         SystemConfig(4, -20.0), SystemConfig(5, 20.0), SystemConfig(6, 20.0), SystemConfig(2, 0.0),
         SystemConfig(3, 0.0)} else " no more"]),
    ("If the runs had ended earlier, {} to {} would have converged.", lambda: spread(would_have(large_dgd()))),
    ("Proximal DGD was run in the {} cases with up to four particles. All are within 1 % by epoch {:.0f}, {} within "
     "0.1 % by {:.0f} (A = 4 without interaction ends at {:.2f} %), and the median error is {:.1g} %, where DGD's is "
     "{:.2f} %.",
     lambda: (word(len(PAPER_CASES)), epochs(large_own()).max(), word(len(within(large_own(), 0.001))),
              within(large_own(), 0.001).max(), errors(large_own())[PAPER_CASES.index(SystemConfig(4, 0.0))],
              np.median(errors(large_own())), np.median(errors(runs("dgd", PAPER_CASES, profile="paper"))))),
    ("A = 2, V0 = -10: quasi-Newton KFAC with MINRES ends {:.3f} % too high, Adam after 10,000 epochs {:.2f} %, DGD "
     "{:.1f} %, quasi-Newton KFAC {:.0f} %. KFAC and natural gradient descent are {}.",
     lambda: (*at_the_studys_size(A2, "qn-mr-kfac", "adam", "dgd", "qn-kfac"),
              how(*runs("kfac", [A2], profile="paper"), *runs("ngd", [A2], profile="paper")))),
    ("A = 3, V0 = 20: DGD ends {:.2f} % and quasi-Newton KFAC with MINRES {:.2f} % too high, Adam {:.1f} %",
     lambda: at_the_studys_size(A3, "dgd", "qn-mr-kfac", "adam")),
    ("(it was at {:.1f} % until an excursion some {} epochs before its end)", lambda: adams_excursion()),
    ("KFAC diverges, quasi-Newton KFAC and natural gradient descent are {}.",
     lambda: [how(*runs("qn-kfac", [A3], profile="paper"), *runs("ngd", [A3], profile="paper"))]),
    # How it scales
    ("an epoch of DGD grows as A^{:.1f}, of KFAC as A^{:.1f}. The memory of DGD grows as A^{:.1f} ({:.1f} GB with "
     "twenty), that of KFAC as A^{:.1f}.",
     lambda: (grown("dgd", "A"), grown("kfac", "A"), grown("dgd", "A", "memory"),
              whole_epochs("peak_memory_gb")["dgd", 20], grown("kfac", "A", "memory"))),
    ("With two particles an epoch of DGD takes {:.1f} times as long as one of KFAC, with six to twenty {:.1f} to "
     "{:.0f} times",
     lambda: (*over("dgd", "kfac", [2]), *spread(over("dgd", "kfac", (6, 10, 16, 20))))),
    ("from two particles on, DGD's epoch has grown {:.1f} to {:.1f} times as much as KFAC's",
     lambda: spread([item.value for item in growth_ratios([])])),
    ("proximal DGD is within {:.1f} %, DGD {:.1f} to {:.1f} %, KFAC {:.1f} to {:.1f} %",
     lambda: (large_errors("proximal-dgd", TEN).max(), *spread(large_errors("dgd", TEN)),
              *spread(large_errors("kfac", TEN)))),
    ("{:.0f} and {:.0f} % (DGD), {:.0f} and {:.0f} % (proximal DGD), {:.0f} and {:.0f} % (KFAC) too high",
     lambda: (*large_errors("dgd", LARGER), *large_errors("proximal-dgd", LARGER), *large_errors("kfac", LARGER))),
    ("An epoch grows as W^{:.1f} to W^{:.1f} for the study's optimisers and for proximal DGD, as W^{:.1f} "
     "for SPRING and W^{:.1f} for minSR",
     lambda: (*spread([grown(name, "W") for name in (*OPTIMIZERS, "proximal-dgd")]), grown("spring", "W"),
              grown("minsr", "W"))),
    ("with four particles and 4096 walkers they take {:.1f} and {:.1f} s, DGD and proximal DGD {}.",
     lambda: (*(whole_epochs(walkers=4096)[name, 4] for name in ("spring", "minsr")),
              " and ".join({f"{whole_epochs(walkers=4096)[name, 4]:.1f}" for name in ("dgd", "proximal-dgd")}))),
    ("In turn, they grow least with particles (A^{:.1f} and A^{:.1f}).",
     lambda: (grown("spring", "A"), grown("minsr", "A"))),
    ("An epoch of proximal DGD takes {:.1f} to {:.1f} times as long as one of DGD up to ten particles; with sixteen "
     "and twenty {:.1f} and {:.1f} times",
     lambda: (*spread(over("proximal-dgd", "dgd", (2, 4, 6, 10))), *over("proximal-dgd", "dgd", (16, 20)))),
    # How long a walk has to be
    ("with {:.0f} (A = 2, V0 = -10), {:.0f} (A = 3, V0 = 20), {:.0f} (A = 6, V0 = 10), {:.0f} (A = 4, V0 = -20) and "
     "{:.0f} sweeps (A = 5, V0 = -20)",
     lambda: (walks("auto")["sweeps"][case] for case in ((2, -10), (3, 20), (6, 10), (4, -20), (5, -20)))),
    ("leave a correlation of a tenth or less{}",
     lambda: ["," if walks("auto")["correlation"].max() <= 0.1 else " no more"]),
    ("Their energies are within {:.1f} standard errors of those of 400 sweeps, that is within {:.0f} parts in 100,000, "
     "and they give {:.1f} to {:.0f} times as many independent samples a second.",
     lambda: (max(item.value for item in sweep_shifts([])),
              1e5 * (walks("auto")["energy"] / walks("400")["energy"] - 1).abs().max(),
              *spread([item.value for item in sweep_gains([])]))),
    ("ten sweeps leave up to {:.2f} of the correlation, yet give the most independent samples a second in {} of the {} "
     "states",
     lambda: (walks("10")["correlation"].max(), word(fastest_walks()["10"]), word(len(WALKED)))),
    # Beside other packages
    ("a Laplacian at 4096 walkers, folx takes {:.1f} to {:.1f} times as long as ours. A step of natural gradient "
     "descent takes NetKet {:.0f} to {:.0f} times as long, but the steps are different work",
     lambda: (*spread(peers("folx")), *spread(peers("netket")))),
]  # fmt: skip


def adams_excursion() -> tuple[float, int]:
    """Error before it, in per cent, and how many epochs before the end it began, to the nearest ten."""
    (adam,) = runs("adam", [A3], profile="paper")
    errors_of_epochs = convergence.relative_error(adam.curve["energy"], exact_energy(A3)).abs()
    began = int(np.flatnonzero(errors_of_epochs.tail(200) > 0.05)[0]) + len(errors_of_epochs) - 200
    before = errors_of_epochs.iloc[began - convergence.SMOOTHING : began].median()
    return 100 * before, round(len(errors_of_epochs) - began, -1)


def peers(code: str) -> list[float]:
    return [item.value for item in peer_ratios([]) if code in item.label]


def fastest_walks() -> Counter[str]:
    table = sweeps_table()
    best = table.loc[table.groupby(["particles", "v0"])["independent_a_second"].idxmax()]
    return Counter(best["asked"])


def spring_over_ours(level: float) -> np.ndarray:
    return ratios(epochs(all_of("spring"), level), epochs(all_of("proximal-dgd"), level))


def large_dgd() -> list[Run]:
    return runs("dgd", profile="paper")


def large_own() -> list[Run]:
    return runs("proximal-dgd", PAPER_CASES, profile="paper")


def within(some: Iterable[Run], level: float) -> np.ndarray:
    """Epochs of those that get there."""
    found = epochs(some, level)
    return found[np.isfinite(found)]


def losses_apart() -> tuple[float, float]:
    """How far means of the logarithm of the pretraining's loss are apart, in per cent, block by block.

    Returns:
        The most between runs with the same pretraining, and the least between those of two seeds; up to A = 16.
    """
    found: dict[RunConfig, list[np.ndarray]] = {}
    for path in finished_runs(project_path(STORED_RUNS)).values():
        run = load_any_run(path)
        if not isinstance(run.config, RunConfig):
            continue
        if run.config.pretraining.epochs and run.config.system.particles <= 16:
            plain = study_run("adam", SystemConfig(run.config.system.particles, 0.0), run.config.seed)
            parts = {name: getattr(run.config, name) for name in ("sampling", "pretraining", "ansatz", "dtype")}
            same = replace(plain, **parts)
            losses = np.log(pretraining_of(run)["loss"].to_numpy())
            found.setdefault(same, []).append(losses.reshape(-1, PRETRAINED_BLOCK).mean(axis=1))

    def apart(some: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> list[float]:
        return [100 * float(np.abs(one - other).max()) for one, other in product(some, others)]

    within = [value for losses in found.values() for value in apart(losses, losses[:1])]
    seeds = [
        value
        for one, other in combinations(found, 2)
        if replace(one, seed=0) == replace(other, seed=0)
        for value in apart(found[one], found[other])
    ]
    return max(within), min(seeds)


CLAIMS = [
    # What an audit sees
    ("a sample trained again for {} epochs", lambda: [AUDITED_EPOCHS]),
    ("The losses of the first {} epochs may differ by {} walkers' share. Later, means over {} epochs may differ by "
     "{:.0f} %: those of the stored runs with the same pretraining differ by {:.1f} % at most (A = 2 to 16), those of "
     "two seeds by {:.1f} % at least.",
     lambda: (word(FIRST), int(FIRST_WALKERS), PRETRAINED_BLOCK, 100 * PRETRAINED_APART, *losses_apart())),
    ("Energies may differ by {} times the walkers' noise and the usual spread together, which is in proportion to the "
     "distance from the exact energy; other columns by {} times theirs.",
     lambda: (word(int(MOST)), word(int(MOST_OTHER)))),
    ("*{} replicas of the run itself* are trained", lambda: [word(REPLICAS)]),
    ("A sound run fails with a probability of at most {:.0f} %", lambda: [100 * ALARMS]),
    ("| much reduced, slow, substantially | at least {:g} |", lambda: [bound("much")[0]]),
    ("| better, more stable, outperforms | at least {:g} |", lambda: [bound("more")[0]]),
    ("| huge | at least {:g} |", lambda: [bound("huge")[0]]),
    ("| on par | between 1/{:g} and {:g} |", lambda: (1 / bound("on_par")[0], bound("on_par")[1])),
    ("| negligible additional cost | at most {:g} |", lambda: [bound("negligible")[1]]),
    ("the median over the last {:.0f} % of the epochs of the relative error is at most {:.0f} %, and no energy in that "
     "window is further than {:.0f} % away",
     lambda: (100 * convergence.WINDOW, 100 * convergence.LEVEL, 100 * convergence.OUTLIER)),
    ("in the last {} of its epochs an energy lies more than {:.0f} % of |E| from their median",
     lambda: (fraction(convergence.TAIL), 100 * convergence.OUTLIER)),
    ("until the median relative error of {} epochs in a row is at most", lambda: [convergence.SMOOTHING]),
    ("k is the largest for which that is at most {:.0f} %", lambda: [100 * LEVEL]),
    ("With {} values, these are the smallest and the largest, and the probability is 1/{:.0f}.",
     lambda: (word(fewest()), 1 / median_interval(range(fewest())).miss)),
    ("with probability {:.1f}^n: {} values are the fewest", lambda: (1 - RARE, runs_without_exception())),
    ("For the stored verdicts they are {:.2f} and {:.2f}.",
     lambda: any_false_alarm(of_chapter(read_verdicts(project_path(STORED_RUNS)), "study"))),
    ("once a kind of one run in {} would be absent with at most {:.0f} %",
     lambda: (word(round(1 / RARE)), 100 * LEVEL)),
]  # fmt: skip


def fewest() -> int:
    """Of values that have an interval of their median."""
    return next(n for n in range(1, 10) if median_interval(range(n)))


def bound(name: str) -> tuple[float, float]:
    return next((claim.at_least, claim.at_most) for claim in load_claims() if claim.word == name)


def free(particles: int, seed: int, profile: str = "laptop") -> Run:
    """DGD without interaction."""
    return runs("dgd", [SystemConfig(particles, 0.0)], [seed], profile)[0]


def thrown_off(one: Run) -> float:
    """The largest excursion after epoch 300 that a run came back from, in per cent: before it is lost for good."""
    curve = convergence.relative_error(one.curve["energy"], exact_energy(one.config.system)).abs().to_numpy()
    home = np.flatnonzero(curve < 0.001)
    return 100 * curve[300 : home[-1]].max()


def first_off(one: Run) -> int:
    """The first epoch after 300 that is half a per cent off."""
    curve = convergence.relative_error(one.curve["energy"], exact_energy(one.config.system)).abs().to_numpy()
    return int(np.flatnonzero(curve[300:] > 0.005)[0]) + 301


def lost(*some: Run) -> list[int]:
    """The epochs in which runs diverged."""
    return [one.result["epoch"] for one in some]


def blocks() -> Iterable[object]:
    """The layer blocks of the study's network."""
    psi = slater_wavefunction(particles=2)
    return psi.structure.split(psi.init(jax.random.key(0)))


def unclipped() -> Run:
    return run(configure(particles=2, v0=-10.0, optimizer="qn-kfac", protocol="released/clipping"))


OPTIMIZERS_TEXT = [
    ("The hidden layers' blocks ({:,} weights at H = 64) exist as products only.",
     lambda: [max(sum(leaf.size for leaf in jax.tree.leaves(block)) for block in blocks())]),
    ("a layer with at most {} weights is assembled", lambda: [ASSEMBLED_WEIGHTS]),
    ("{} products with the operator", lambda: [{50: "fifty"}[study_run("dgd", A2).optimizer.minres.iterations]]),
    ("QN-KFAC at A = 2, V0 = -10, laptop profile, seed 0, ends {:.1f} % too high with unclipped ones and {:.2f} % with "
     "clipped ones; but with clipped ones five seeds end between {:.2f} and {:.0f} %",
     lambda: (*errors([unclipped(), *runs("qn-kfac", [A2])]), *spread(errors(runs("qn-kfac", [A2], FIVE))))),
    ("reaches 9/2 by epoch 300, is thrown off by up to {:.1f} % and returns several times from epoch {} on, and "
     "diverges at {}; A = 6 diverges at {};",
     lambda: (thrown_off(free(3, 0)), first_off(free(3, 0)), *lost(free(3, 0), free(6, 0)))),
    ("A = 2 is thrown off by up to {:.1f} % and ends at {:.5f}({:.0f}).",
     lambda: (thrown_off(free(2, 0)), free(2, 0).result["energy"], 1e5 * free(2, 0).result["energy_error"])),
    ("With seed 1, A = 2 and 3 are lost at epochs {} and {}. A = 4, 5 and 6 end exact to {:.1g} %. - With seed 2, A "
     "= 2 is lost at {}.",
     lambda: (*lost(free(2, 1), free(3, 1)), errors([free(A, 1) for A in (4, 5, 6)]).max(), *lost(free(2, 2)))),
    ("at the study's own size A = 2 and 3 are lost at {} and {}.",
     lambda: lost(free(2, 0, "paper"), free(3, 0, "paper"))),
]  # fmt: skip


def own(level: float = 0.01) -> np.ndarray:
    return epochs(all_of("proximal-dgd"), level)


def seconds_over(other: str) -> list[float]:
    """An epoch of proximal DGD over one of another optimiser, by the laptop's benchmark."""
    by_size = [
        [seconds_per_epoch(study_run(name, SystemConfig(A, 0.0))) for name in ("proximal-dgd", other)]
        for A in (2, 4, 6)
    ]
    return [mine / theirs for mine, theirs in by_size]


def pairs_with_dgd() -> np.ndarray:
    return ratios(epochs(all_of("dgd")), own())


def without_interaction() -> np.ndarray:
    return np.array([one.config.system in FREE for one in all_of("proximal-dgd")])


def at_size(name: str, case: SystemConfig) -> tuple[float, float, float]:
    """Epochs to both levels and final error of the run at the study's size."""
    some = runs(name, [case], profile="paper")
    return epochs(some)[0], epochs(some, 0.001)[0], errors(some)[0]


def level_told(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"


def cell(one: Run, kind: bool = True) -> str:
    """A run as the tables of docs/proximal-results.md have it."""
    reached = ", ".join(level_told(epochs([one], level)[0]) for level in convergence.LEVELS)
    return f"{reached}; {ending(one, kind)}"


def ending(one: Run, kind: bool = True) -> str:
    if not one.complete:
        return "diverged"
    way = how(one) if kind else "converged"
    return f"{errors([one])[0]:.2g}" + (f", {way}" if way != "converged" else "")


def case_lines() -> Iterable[Line]:
    for case in CASES:
        label = f"| {case.particles}, {case.v0:g} "
        yield (
            label + "| {} " * 3 + "|",
            lambda case=case: (cell(one, kind=False) for one in runs("proximal-dgd", [case], SEEDS)),
        )
        yield (
            label + "| {} " * 6 + "|",
            lambda case=case: (cell(one) for name in ("spring", "minsr") for one in runs(name, [case], SEEDS)),
        )


@cache
def ablated() -> pd.DataFrame:
    some = [run(config) for config in ablation.ablation_configs()]
    table = ablation.ablation_table(some, {case: exact_energy(case) for case in ablation.CASES})
    return table.set_index(["without", "particles", "v0"])


def ablation_cell(part: str, case: SystemConfig) -> str:
    row = ablated().loc[part, case.particles, case.v0]
    reached = ", ".join(level_told(row[convergence.epochs_column(level)]) for level in convergence.LEVELS)
    return f"{reached}; {100 * row['error']:.2g}"


NAMES_OF_PARTS = {
    ablation.NOTHING: "nothing",
    "momentum": "momentum (x0)",
    "coupling": "coupling of layers",
    "information": "information (lambda F)",
    "kinetic": "kinetic (T/A in lambda)",
    "limit": "limit (reach)",
}


def ablation_lines() -> Iterable[Line]:
    for part in (ablation.NOTHING, *PROXIMAL_PARTS):
        yield (
            f"| {NAMES_OF_PARTS.get(part, part)} | {{}} | {{}} | {{}} |",
            lambda part=part: (ablation_cell(part, case) for case in ablation.CASES),
        )


def extended_lines() -> Iterable[Line]:
    """SPRING beyond the edge of the grid that it was tuned on."""
    for damping, limit in product((0.1, 0.3, 1.0), (0.1, 0.3)):
        default = " (the default)" if damping == limit == SpringConfig().damping else ""
        yield (
            f"| 0.1, {damping:g}, {limit:g}{default} | {{}} | {{}} |",
            lambda damping=damping, limit=limit: (cell(extended(case, damping, limit)) for case in (A2, A3)),
        )


def extended(case: SystemConfig, damping: float, limit: float) -> Run:
    options = {"learning_rate": 0.1, "damping": damping, "step_limit": limit}
    return run(configure(particles=case.particles, v0=case.v0, optimizer="spring", epochs=300, **options))


def of_large(name: str, system: SystemConfig) -> Run:
    return run(large.large_run(name, system))


def first_excess(system: SystemConfig) -> float:
    """Of the first epoch over the exact energy, a factor."""
    first = of_large("proximal-dgd", system).curve["energy"].iloc[0]
    return float(first / exact_energy(system))


def attracted() -> list[Run]:
    """minSR where the attraction is strongest."""
    return runs("minsr", [case for case in CASES if case.v0 == min(STRENGTHS)], SEEDS)


SIX_FREE = SystemConfig(6, 0.0)
PROXIMAL = [
    ("**All {} runs are within 1 % by epoch {:.0f} and within 0.1 % by epoch {:.0f}.** Half of them are there by "
     "epochs {:.0f} and {:.0f}. The first of these numbers is the smallest that can be measured. - {} of the runs "
     "end converged.",
     lambda: (len(own()), own().max(), own(0.001).max(), np.median(own()), np.median(own(0.001)),
              count(all_of("proximal-dgd")))),
    ("the study's DGD with 1000 epochs: {}, {} and {} of the {} cases converge, and {} of the {} runs diverge, {} of "
     "them without interaction",
     lambda: (*(count(dgd(seed)) for seed in SEEDS), len(CASES), word(sum(not one.complete for one in all_of("dgd"))),
              len(all_of("dgd")), word(sum(not one.complete for one in runs("dgd", FREE, SEEDS))))),
    ("The median of the final errors is {:.1g} %, the largest of the {} {:.1f} %.",
     lambda: (np.median(errors(all_of("proximal-dgd"))), count(all_of("proximal-dgd")),
              errors(wanting("converged", all_of("proximal-dgd"))).max())),
    ("needs {:.2f} times as many epochs to 1 % in the median of the {} pairs (interval {:.2f} to {:.2f}).",
     lambda: (middle(pairs_with_dgd())[0], len(own()), *middle(pairs_with_dgd())[1:])),
    ("In {} pairs the factor is less than five. In {} of these {} pairs, proximal DGD is at that floor and DGD within "
     "1 % before epoch {}.",
     lambda: ((pairs_with_dgd() < 5).sum(),
              ((pairs_with_dgd() < 5) & (own() == convergence.SMOOTHING) & (epochs(all_of("dgd")) < 200)).sum(),
              (pairs_with_dgd() < 5).sum(), 200)),
    ("All {} pairs without interaction are among the {}. There the pretraining ends within a few per cent, and the "
     "factor is {:.1f} to {:.1f}. In the {} other pairs it is {:.1f} ({:.2f} to {:.2f}).",
     lambda: (word(int((pairs_with_dgd()[without_interaction()] < 5).sum())), (pairs_with_dgd() < 5).sum(),
              *spread(pairs_with_dgd()[without_interaction()]), (~without_interaction()).sum(),
              *middle(pairs_with_dgd()[~without_interaction()]))),
    ("An epoch takes {:.1f}, {:.1f} and {:.1f} times as long as one of DGD's with 2, 4 and 6 particles, and {:.1f}, "
     "{:.1f} and {:.1f} times as long as one of SPRING's",
     lambda: (*seconds_over("dgd"), *seconds_over("spring"))),
    ("So DGD needs {:.2f} times the seconds ({:.2f} to {:.2f}).", lambda: middle(of_claim("F16.seconds"))),
    ("Proximal DGD: all runs are within 1 % by epoch {:.0f}, half of them by {:.0f}, and {} within 0.1 % by {:.0f}. "
     "The median error is {:.1g} %.",
     lambda: (epochs(large_own()).max(), np.median(epochs(large_own())), word(len(within(large_own(), 0.001))),
              within(large_own(), 0.001).max(), np.median(errors(large_own())))),
    ("DGD, 1000 epochs: {} runs are within 1 % at some time, half of all by epoch {:.0f}, and {} within 0.1 %. {} "
     "become unstable. The median error is {:.2f} %.",
     lambda: (word(len(within(runs("dgd", PAPER_CASES, profile="paper"), 0.01))),
              np.median(epochs(runs("dgd", PAPER_CASES, profile="paper"))),
              word(len(within(runs("dgd", PAPER_CASES, profile="paper"), 0.001))),
              word(count(runs("dgd", PAPER_CASES, profile="paper"), "unstable")).capitalize(),
              np.median(errors(runs("dgd", PAPER_CASES, profile="paper"))))),
    ("A = 3, V0 = 20: proximal DGD takes {:.0f} and {:.0f} epochs and ends at {:.4f} % (DGD {:.0f}, {:.0f} and "
     "{:.2f} %).",
     lambda: (*at_size("proximal-dgd", A3), *at_size("dgd", A3))),
    ("A = 2, V0 = -10: proximal DGD takes {:.0f} and {:.0f} epochs and ends at {:.4f} %, which is its standard error "
     "(DGD {:.0f}, never and {:.2f} %).",
     lambda: (*at_size("proximal-dgd", A2), at_size("dgd", A2)[0], at_size("dgd", A2)[2])),
    ("stays above 0.1 %: A = 4 without interaction, at {:.2f} %",
     lambda: [at_size("proximal-dgd", SystemConfig(4, 0.0))[2]]),
    *case_lines(),
    # Where it loses, and why
    ("The run ends {:.1f} % *below* the exact energy", lambda: errors(runs("proximal-dgd", [SIX_FREE], [2]))),
    ("There proximal DGD takes {:.0f} epochs to 0.1 % for six particles and {:.0f} for four, and ends at {:.3f} and "
     "{:.2f} % (seed 0; with four particles, {:.0f} and {:.0f} epochs in the other seeds).",
     lambda: (*epochs(runs("proximal-dgd", [SIX_FREE]), 0.001), *epochs(runs("proximal-dgd", FREE[2:3]), 0.001),
              *errors(runs("proximal-dgd", [SIX_FREE])), *errors(runs("proximal-dgd", FREE[2:3])),
              *epochs(runs("proximal-dgd", FREE[2:3], (1, 2)), 0.001))),
    ("At 6, 20 it takes {:.0f} epochs to 1 % (SPRING {:.0f}; the study's DGD {:.0f}, and that run diverges later).",
     lambda: (epochs(runs(name, [SystemConfig(6, 20.0)]))[0] for name in ("proximal-dgd", "spring", "dgd"))),
    ("Proximal DGD comes within {:.2f}, {:.4f} and {:.2f} % in 100 epochs, from {:.0f} to {:.0f} % above the exact "
     "energy. DGD is then at {:.1f} to {:.1f} %, and KFAC at {:.1f} to {:.1f} %.",
     lambda: (*large_errors("proximal-dgd", (TEN[1], TEN[0], TEN[2])),
              *spread([100 * (first_excess(system) - 1) for system in TEN]), *spread(large_errors("dgd", TEN)),
              *spread(large_errors("kfac", TEN)))),
    ("The pretraining leaves the energy at {:.1f} and {:.1f} times the exact one. Then 100 epochs bring it to {:.0f} "
     "and {:.0f} % above (DGD {:.0f} and {:.0f} %, KFAC {:.0f} and {:.0f} %)",
     lambda: (*map(first_excess, LARGER), *large_errors("proximal-dgd", LARGER), *large_errors("dgd", LARGER),
              *large_errors("kfac", LARGER))),
    # What each part is worth
    *ablation_lines(),
    # minSR and SPRING
    *extended_lines(),
    ("comes within 1 % in all {} runs, by epoch {:.0f} at the latest, half of them by {:.0f}, and within 0.1 % in {}, "
     "half of them by {:.0f}. All {} runs count as converged",
     lambda: (len(within(all_of("spring"), 0.01)), epochs(all_of("spring")).max(), np.median(epochs(all_of("spring"))),
              len(within(all_of("spring"), 0.001)), np.median(epochs(all_of("spring"), 0.001)),
              count(all_of("spring")))),
    ("it needs fewer epochs to 1 % in {} of the {} pairs and more in {}. To 0.1 % it needs fewer in {} and more in {}. "
     "In the median it needs {:.2f} times as many epochs to 0.1 % ({:.2f} to {:.2f}).",
     lambda: ((epochs(all_of("spring")) < own()).sum(), len(own()), (epochs(all_of("spring")) > own()).sum(),
              (epochs(all_of("spring"), 0.001) < own(0.001)).sum(), (epochs(all_of("spring"),
              0.001) > own(0.001)).sum(),
              *middle(spring_over_ours(0.001)))),
    ("Its final energy is the better one in {} pairs. Its median error is {:.3f} %, that of proximal DGD {:.3f} %.",
     lambda: ((errors(all_of("spring")) < errors(all_of("proximal-dgd"))).sum(), np.median(errors(all_of("spring"))),
              np.median(errors(all_of("proximal-dgd"))))),
    ("Its last state is {:.1f} % too high, where proximal DGD is at {:.3f} %. With seeds 1 and 2 it ends at {:.3f} and "
     "{:.2f} %.",
     lambda: (*errors(runs("spring", [SystemConfig(6, -20.0)])), *errors(runs("proximal-dgd", [SystemConfig(6,
              -20.0)])),
              *errors(runs("spring", [SystemConfig(6, -20.0)], (1, 2))))),
    ("comes within 1 % in {} of the {} runs ({}, {} and {} by seed), half of all by {:.0f}, and within 0.1 % in {}. "
     "- {} runs end converged, {} are unstable and {} stuck. Of the {} runs with an attraction of 20, {} are among "
     "these. The median of its final errors is {:.3f} %.",
     lambda: (len(within(all_of("minsr"), 0.01)), len(all_of("minsr")),
              *(len(within(runs("minsr", seeds=[seed]), 0.01)) for seed in SEEDS), np.median(epochs(all_of("minsr"))),
              len(within(all_of("minsr"), 0.001)), count(all_of("minsr")), word(count(all_of("minsr"), "unstable")),
              word(count(all_of("minsr"), "stuck")), len(attracted()), len(attracted()) - count(attracted()),
              np.median(errors(all_of("minsr"))))),
]  # fmt: skip
GUIDE = [
    ("The study's values are the defaults. Its `damping` of {:.0f} is cautious",
     lambda: [study_run("dgd", A2).optimizer.damping.initial]),
]  # fmt: skip


def autoencoder_row(method: str) -> str:
    """Iterations and seconds to the error of PCA, in both protocols, as docs/lectures.md has them."""
    values, cells = measured_values("Q09"), []
    for name in (f"{protocol}, {method}" for protocol in COMPARED):
        steps, seconds = (values[f"{what}_to_pca_30"].get(name) for what in ("iterations", "seconds"))
        if steps is None:
            cells += ["not all tried", "-"]
        elif math.isinf(steps):
            cells += [f"not in {values['steps'][name]:.0f}", "-"]
        else:
            cells += [f"{steps:.0f}", f"{seconds:.0f}"]
    return " | ".join(cells)


def autoencoder_lines() -> list[tuple[str, Callable[[], Iterable[object]]]]:
    names = {"sgd": "SGD with Nesterov's momentum", "adam": "Adam", "kfac": "K-FAC", "hessian-free": "Hessian-free",
             "proximal-dgd": "the proximal step", "spring": "SPRING"}  # fmt: skip
    return [(f"| {told} | {{}} |", lambda method=method: [autoencoder_row(method)]) for method, told in names.items()]


LECTURES = [
    *autoencoder_lines(),
    ("the mean image has {:.1f}, and the 30 principal components have {:.1f}.",
     lambda: (measured_values("Q09")["error_of_mean_image"], measured_values("Q09")["error_of_pca_30"])),
    ("A step takes {:.2f} (tanh) and {:.2f} (logistic) times the processor time of one of kfac-jax, measured in one "
     "run. It takes {:.0f} and {:.0f} iterations to the error of PCA where kfac-jax takes {:.0f} and {:.0f}.",
     lambda: [measured_values("Q09")[name][protocol]
              for name in ("kfac_seconds_over_kfac_jax", "kfac_iterations_beside_kfac_jax", "kfac_jax_iterations")
              for protocol in COMPARED]),
    ("With beta = 0.9 the path is {:.2f} times as long as without momentum.",
     lambda: [measured_values("P06")["length_over_none"]["0.9"]]),
    ("the mean cosine is still {:.2f}, above our bound of 0.2",
     lambda: [measured_values("P07")["cosine_trained_on_batches"]]),
    ("halves with the length of the step, by {:.2f}, {:.2f} and {:.2f}.",
     lambda: measured_values("P16")["spread_ratio"]),
    ("is off by {:.0f} % at the start. The square root also turns the direction: the cosine is {:.2f} at the start and "
     "{:.2f} after training.",
     lambda: (100 * measured_values("P19")["difference_from_empirical"]["start"],
              *(measured_values("P19")["cosine_sqrt"][time] for time in ("start", "trained")))),
    ("ends at {:.1f} times the loss of a single one that was tuned",
     lambda: [measured_values("P25")["best_default_over_tuned"]]),
    ("the solve with split damping is up to {:.0f} % off.",
     lambda: [100 * measured_values("Q08")["damped_error_pi_split"]]),
    ("its distribution is off by {:.2f}.", lambda: [measured_values("P11")["distribution_difference_everywhere"]]),
]  # fmt: skip


def search_row(method: str) -> str:
    """Median evaluations on each function, and how many of ten searches arrived, as docs/geometry.md has them."""
    values, cells = measured_values("G18"), []
    for case in (f"{problem}, {method}" for problem in PROBLEMS):
        median, arrived = values["evaluations"][case], round(10 * values["arrived"][case])
        told = "never" if math.isinf(median) else f"{median:.0f}"
        cells.append(f"{told} ({arrived})" if 0 < arrived < 10 else told)
    return " | ".join(cells)


SEARCHES = {
    "constant step": "natural gradient, constant step, as on the slide",
    "covariance": "the same over the deviation of the values",
    "regression": "regression on the statistics",
    "ranks": "ranks: xNES",
    "cmaes": "CMA-ES of cmaes",
    "evosax CMA_ES": "CMA-ES of evosax",
    "evosax xNES": "xNES of evosax",
    "evosax SNES": "SNES of evosax",
    "random": "random search",
}


def steps_of_m09(measure: str, *methods: str) -> list[float]:
    """Medians over the grid."""
    return [measured_values("M09")[measure][method] for method in methods]


GEOMETRY = [
    *[(f"| {told} | {{}} |", lambda method=method: [search_row(method)]) for method, told in SEARCHES.items()],
    ("by {:.1f} to {:.1f} times on the line and {:.1f} to {:.1f} times in the plane",
     lambda: measured_values("G18")["cmaes_over_regression"].values()),
    ("arrives on {} of the five functions. On Rosenbrock it never does.",
     lambda: [word(sum(part >= 0.5 for part in measured_values("G18")["arrived_with_constant_step"].values()))]),
    ("the interval of the ratio goes from {:.1f} to {:.1f}.",
     lambda: measured_values("G18")["ranks_over_cmaes"].values()),
    ("N = {:.0f} for the regression on both quadratics. With N = 1000 the methods need {:.0f} to {:.0f} times",
     lambda: (*set(measured_values("G18")["best_samples_of_regression"].values()),
              *spread(measured_values("G18")["evaluations_with_1000_over_10"].values()))),
    ("was {:.0f} in all our searches. On Rosenbrock it needs {:.0f} times the evaluations",
     lambda: (max(measured_values("G18")["evosax_xnes_off_diagonal"].values()),
              measured_values("G18")["evosax_xnes_over_ranks"]["rosenbrock"])),
    ("where it needs {:.0f} steps and the vanilla gradient {:.0f}.",
     lambda: (measured_values("G03")["steps_natural"], measured_values("G03")["steps_vanilla"])),
    ("has the area {:.3f} for the projected vanilla flow in the probabilities, and {:.3f} for the natural flow. In "
     "G14 the two flows end at different maxima on {:.0f} % of the starts",
     lambda: (measured_values("G06")["basin_vanilla_mu"], measured_values("G06")["basin_natural"],
              100 * measured_values("G14")["part_that_ends_differently"])),
    ("after a time of {:.3f} there is no normal distribution any more, and after {:.3f} if",
     lambda: (measured_values("G15")["exit_time_matrix"], measured_values("G15")["exit_time_independent"])),
    ("the last momentum needs {:.0f} steps to a loss of 1e-9 and natural gradient descent {:.0f}. With the best of "
     "twelve steps it is {:.0f} against {:.0f}, and with a search for the step {:.0f} against {:.0f}. If its "
     "coefficient is tuned as well, momentum wins with a fixed step, {:.0f} against {:.0f}.",
     lambda: [steps for measure in ("median_steps_fixed", "median_steps_tuned", "median_steps_search",
                                    "steps_with_rate_and_beta_tuned")
              for steps in steps_of_m09(measure, "LM", "NGD")]),
    ("and {:.0f} and {:.0f} steps to a loss of 1e-6 where the last momentum needs {:.0f}.",
     lambda: [measured_values("M08")["steps"][f"{name}, 0.9"]
              for name in ("parameter", "function-difference", "transported")]),
    ("descent with a search for the step needs {:.1f}, where the talk's curve has 95, the last momentum {:.1f} and the "
     "function difference {:.1f}. Of the momenta, only the last gradient needs fewer, {:.1f}.",
     lambda: [measured_values("M10")["steps_to_5e-5"][name] for name in ("NGD, search", "LM", "FD", "LG")]),
    ("the fewest steps are {:.0f} on the series, without momentum and with it alike. For the layer they are {:.0f}.",
     lambda: [steps for place in ("series", "layer")
              for steps in {measured_values("M14")[f"{place}_least_steps{without}"]
                            for without in ("", "_without_momentum")}]),
    ("with 20, natural gradient descent needs {:.1f} steps, SPRING {:.1f} and a search on these samples {:.1f}.",
     lambda: [measured_values("M11")[f"steps_{name}"]["m = 20"] for name in ("NGD", "SPRING", "NGD, search")]),
    ("a median relative error of {:.1e} in H1, Adam with {:.1e} after 5000 steps. With eps = 0.01 it arrives from "
     "{:.0f} of ten starts, and Levenberg-Marquardt from {:.0f}.",
     lambda: (*(measured_values("M12")["error_h1"][f"eps = 0.03, {name}"] for name in ("proximal", "Adam")),
              *(10 * measured_values("M13")["success"][f"eps = 0.01, {name}"]
                for name in ("proximal", "Levenberg-Marquardt")))),
    ("the best tuned method needs {:.2f} times the steps of the proximal step in the median.",
     lambda: [measured_values("M13")["median_best_tuned_over_proximal"]]),
    ("needs {:.0f} steps to a divergence of 0.1 nats and reweighted wake-sleep {:.0f}.",
     lambda: [measured_values("G21")["steps"][name] for name in ("NRWS", "RWS")]),
    ("are medians of five seeds, of which {:.0f} and {:.0f} arrive within 2000 steps",
     lambda: [5 * measured_values("G21")["arrived"][name] for name in ("NRWS", "RWS")]),
    ("reaches from sigma = {:.3f} to {:.3f}. The saddle of G14 is at mu = {:.3f}, sigma = {:.3f}.",
     lambda: (measured_values("G09")["sigma_low"], measured_values("G09")["sigma_high"],
              *measured_values("G14")["saddle"][:2])),
    ("the loss is multiplied by {:.2f} in each step and is at 1e-9 after {:.0f} steps; in M04 it is multiplied by "
     "{:.4f}. The local minimum of M08 is at {:.3f}.",
     lambda: (measured_values("M01")["ratio"], measured_values("M03")["steps_to_1e-9"],
              measured_values("M04")["last_ratio"], measured_values("M08")["minimum"])),
]  # fmt: skip


TABLE = {
    "README.md": README,
    "docs/results.md": RESULTS,
    "docs/claims.md": CLAIMS,
    "docs/optimizers.md": OPTIMIZERS_TEXT,
    "docs/proximal-results.md": PROXIMAL,
    "docs/use-dgd.md": GUIDE,
    "docs/lectures.md": LECTURES,
    "docs/geometry.md": GEOMETRY,
}


def difference(text: str, sentence: str, numbers: Iterable[object]) -> str:
    """What a text says in place of a sentence with these numbers; empty if it says just that.

    Args:
        text: with single spaces.
        sentence: with a format field for each number.
        numbers: as many.
    """
    numbers = list(numbers)
    parts = [(re.escape(part), name is not None) for part, name, *_ in Formatter().parse(sentence)]
    fields = sum(field for _, field in parts)
    assert len(numbers) == fields, f"{len(numbers)} numbers for {fields} fields of {sentence!r}"
    expected = sentence.format(*numbers)
    if expected in text:
        return ""
    found = re.search("".join(part + r"\S+(?: \S+){0,4}?" * field for part, field in parts), text)
    return f"says\n  {found.group(0) if found else 'nothing like it'}\nand what is stored gives\n  {expected}"


@pytest.mark.parametrize("file", TABLE)
def test_what_is_stated_is_what_is_stored(file):
    text = " ".join((ROOT / file).read_text().split())  # lines may be broken anywhere
    found = [difference(text, sentence, numbers()) for sentence, numbers in TABLE[file]]
    assert not any(found), "\n".join(f"{file} {told}" for told in found if told)


def test_another_number_and_another_sentence_are_noticed():
    sentence = "{} of {:.1f} runs, by epoch {}"
    assert difference("3 of 4.1 runs, by epoch never.", sentence, (3, 4.06, "never")) == ""
    told = difference("3 of 4.1 runs, by epoch never.", sentence, (3, 4.0, "never"))
    assert told == "says\n  3 of 4.1 runs, by epoch never.\nand what is stored gives\n  3 of 4.0 runs, by epoch never"
    assert "says\n  nothing like it" in difference("3 of all runs end by epoch 5", sentence, (3, 4.1, 5))
