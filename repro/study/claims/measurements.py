"""The numbers that claims are judged by, each with its label and the runs it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from repro.config import ALL_OPTIMIZERS, AUTO, BEYOND, PROXIMAL_PARTS, RunConfig
from repro.errors import InputError, ReproError
from repro.references import stored_reference
from repro.study.benchmarks.growth import WHOLE
from repro.study.benchmarks.tasks import PEER_PARTICLES, PEERS, SMALL_STATES, STUDIED_SWEEPS, WALKED
from repro.study.claims.statements import Claim, load_claims
from repro.study.experiments import published
from repro.study.experiments.ablation import ablation_configs, ablation_table, losses
from repro.study.experiments.many_particles import OPTIMIZERS as LARGE_OPTIMIZERS
from repro.study.experiments.many_particles import OWN, STUDIED, excess_left, large_runs
from repro.study.runs import convergence
from repro.study.runs.cases import CASES, PARTICLES, SEEDS, case_label, exact_energy
from repro.study.runs.observables import observables_of
from repro.study.runs.profiles import PROFILES, configure, study_run
from repro.study.runs.store import STORED_RUNS, Run, RunSource, project_path
from repro.study.runs.timing import BENCHMARKS

BENCHMARK = f"{BENCHMARKS}/T01.csv"
COMPARED_COSTS = (("qn-kfac", "kfac"), ("qn-mr-kfac", "kfac"))
COMPARED_PARTICLES = (2, 4, 6)
SCALING = f"{STORED_RUNS}/growth/F15.csv"
BESIDE_PEERS = f"{STORED_RUNS}/growth/peers.csv"
WALKS = f"{STORED_RUNS}/growth/sweeps.csv"
KRONECKER = f"{STORED_RUNS}/kronecker/F12.csv"
REFERENCES = f"{STORED_RUNS}/references/energies.csv"
TIMING, GROWING, MEETING_PEERS, WALKING, FACTORING = (
    f"repro bench {name}" for name in ("epoch", "parts", "peers", "sweeps", "kronecker")
)
MADE_BY = {
    BENCHMARK: TIMING,
    SCALING: GROWING,
    BESIDE_PEERS: MEETING_PEERS,
    WALKS: WALKING,
    KRONECKER: FACTORING,
    REFERENCES: "repro references",
    published.CURVE: "the authors' stored curve, in blocks",
}
"""The stored tables that figures are made of, each with the command that makes it."""
GROWN_PARTICLES = (4, 6, 10, 16, 20)
"""Growth from two particles on is compared for these."""
BUNCHED, CRYSTAL = -20.0, 20.0
VARIATIONAL = "sigma_below_exact"
"""The quantity of the claim that is about every state."""


@dataclass(frozen=True)
class Item:
    """One number.

    Attributes:
        label: what it belongs to, such as "A = 2, V0 = -10, seed 0".
        value: the number; infinite for a miss.
        group: of the groups that are judged apart, or "".
        runs: names of the runs it came from.
    """

    label: str
    value: float
    group: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a claim has to go by.

    Attributes:
        items: the numbers, in the order of cases and seeds.
        wanted: how many there would be if every run were made, without those that are silent.
        missing: the configurations of the runs that are not there.
        silent: what was run and decides nothing, such as a pair of misses; its values are not numbers.
    """

    items: tuple[Item, ...]
    wanted: int
    missing: tuple[RunConfig, ...] = ()
    silent: tuple[Item, ...] = ()

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs used."""
        return tuple(sorted({name for item in (*self.items, *self.silent) for name in item.runs}))


def _damping_range(run: Run, exact: float) -> float:
    del exact
    damping = run.curve["lambda"]
    return float(damping.max() / damping.min())


RUN_QUANTITIES: dict[str, Callable[[Run, float], float]] = {
    "fluctuation": convergence.fluctuation,
    "excursion": convergence.excursion,
    "departure": convergence.departure,
    "final_error": convergence.final_error,
    **{convergence.epochs_column(level): partial(convergence.epochs_to, level=level) for level in convergence.LEVELS},
    **{convergence.seconds_column(level): partial(convergence.seconds_to, level=level) for level in convergence.LEVELS},
    "damping_range": _damping_range,
}
"""Numbers of one run, given the exact energy."""


def run_label(run: Run) -> str:
    """Such as "dgd, A = 2, V0 = -10, seed 0"; the number of walkers is named where it is not the laptop profile's."""
    walkers = run.config.sampling.walkers
    size = "" if walkers == PROFILES["laptop"].walkers else f", {walkers} walkers"
    return f"{run.config.optimizer.name}, {case_label(run.config.system, run.config.seed)}{size}"


def ratio(first: float, second: float) -> float:
    """First / second, where a miss is infinitely worse than any number; two misses, or two zeros, have no ratio."""
    if second == 0.0:
        return math.inf if first else math.nan
    return first / second


def configs_of(claim: Claim) -> list[RunConfig]:
    """The runs that a claim is about, or that its numbers are made of."""
    return COMPUTED[claim.quantity].configs() if claim.quantity in COMPUTED else claim.configs


def gather(claim: Claim, source: RunSource) -> Evidence:
    """The evidence for a claim that the runs at hand give.

    Raises:
        InputError: for a quantity that is not known.
    """
    if claim.quantity in COMPUTED:
        computed, configs = COMPUTED[claim.quantity], configs_of(claim)
        at_hand = source.available(configs)
        there = {run.config.content_hash for run in at_hand}
        missing = tuple(config for config in configs if config.content_hash not in there)
        wanted = len(configs) if computed.wanted is None else computed.wanted
        return _evidence(computed.items(at_hand), wanted, missing)
    if claim.quantity != "kind" and claim.quantity not in RUN_QUANTITIES:
        known = ", ".join(("kind", *RUN_QUANTITIES, *COMPUTED))
        raise InputError(f"claim {claim.id}: quantity = {claim.quantity!r}: unknown; known are {known}")
    runs = {run.config.content_hash: run for run in source.available(claim.configs)}
    missing = tuple(config for config in claim.configs if config.content_hash not in runs)
    if claim.quantity == "kind":
        ended = [
            Item(run_label(run), 0.0, f"{run.config.optimizer.name}: {how}", (run.path.name,))
            for run in runs.values()
            for how in [convergence.kind(run, exact_energy(run.config.system))]
        ]
        return _evidence(ended, len(claim.configs), missing)
    measure, found = RUN_QUANTITIES[claim.quantity], []
    for group in claim.compared:
        if any(config.content_hash not in runs for config in group):
            continue
        used = [runs[config.content_hash] for config in group]
        system = used[0].config.system
        values = [measure(run, exact_energy(system)) for run in used]
        if any(math.isnan(value) for value in values):  # as where there is no benchmark
            continue
        label = case_label(system, used[0].config.seed) if claim.to else run_label(used[0])
        found.append(
            Item(
                label,
                ratio(*values) if claim.to else values[0],
                f"V0 = {system.v0:g}" if claim.groups == "v0" else "",
                tuple(run.path.name for run in used),
            )
        )
    return _evidence(found, len(claim.compared), missing)


def _evidence(found: Sequence[Item], wanted: int, missing: tuple[RunConfig, ...]) -> Evidence:
    """Items whose values are not numbers are silent."""
    silent = tuple(item for item in found if math.isnan(item.value))
    spoken = tuple(item for item in found if not math.isnan(item.value))
    return Evidence(spoken, wanted - len(silent), missing, silent)


@contextmanager
def _reading(table: str, made_by: str) -> Iterator[None]:
    """Says of a stored table that cannot be used how to make it again."""
    try:
        yield
    except (OSError, KeyError, ValueError) as error:
        raise ReproError(f"{table}: cannot be used ({error}); make it again with `{made_by}`") from error


def cost_ratios(runs: Sequence[Run]) -> list[Item]:
    """Seconds of an epoch of an improvement over those of what it improves, from the stored benchmark."""
    del runs
    with _reading(BENCHMARK, TIMING):
        table = pd.read_csv(project_path(BENCHMARK)).set_index(["optimizer", "particles"])["seconds_per_epoch"]
        return [
            Item(f"{name} / {base}, A = {count}", float(table[name, count] / table[base, count]))
            for name, base in COMPARED_COSTS
            for count in COMPARED_PARTICLES
        ]


def growth_ratios(runs: Sequence[Run]) -> list[Item]:
    """Growth of the seconds of a DGD epoch from two particles on, over that of KFAC's, from the stored benchmark."""
    del runs
    with _reading(SCALING, GROWING):
        table = scaling_table()
        first = table.iloc[0]
        chosen = table[(table["walkers"] == first["walkers"]) & (table["hidden"] == first["hidden"])]
        seconds = chosen[chosen["part"] == WHOLE].set_index(["optimizer", "particles"])["seconds"]
        return [
            Item(
                f"A = {count}",
                float(seconds["dgd", count] / seconds["dgd", 2] * seconds["kfac", 2] / seconds["kfac", count]),
            )
            for count in GROWN_PARTICLES
        ]


def scaling_table() -> pd.DataFrame:
    """The stored table of ``repro bench parts``."""
    return pd.read_csv(project_path(SCALING))


def peers_table() -> pd.DataFrame:
    """The stored table of ``repro bench peers``, ``code`` without the versions, which are in ``version``."""
    table = pd.read_csv(project_path(BESIDE_PEERS))
    found = table["code"].str.extract(r"^(?P<code>.*?)(?: (?P<version>\d\S*))?$")
    return table.assign(code=found["code"], version=found["version"].fillna(""))


def peer_ratios(runs: Sequence[Run]) -> list[Item]:
    """Seconds of other packages over those of this one for the same task, from the stored benchmark."""
    del runs
    with _reading(BESIDE_PEERS, MEETING_PEERS):
        ratios = peers_table().set_index(["task", "code", "particles"])["over_ours"]
        return [
            Item(f"{task}, {code}, A = {count}", float(ratios[task, code, count]))
            for task, code in PEERS
            for count in PEER_PARTICLES
        ]


def sweeps_table() -> pd.DataFrame:
    """The stored table of ``repro bench sweeps``."""
    return pd.read_csv(project_path(WALKS), dtype={"asked": str})


def _by_walk() -> Iterator[tuple[str, pd.DataFrame]]:
    """Of each state, its name and what was measured by walks of each length."""
    with _reading(WALKS, WALKING):
        states = sweeps_table().set_index("asked").groupby(["particles", "v0"])
        for count, v0 in WALKED:
            yield f"A = {count}, V0 = {v0:g}", states.get_group((count, v0)).loc[[AUTO, str(STUDIED_SWEEPS)]]


def sweep_shifts(runs: Sequence[Run]) -> list[Item]:
    """Difference of the energies by walks of their own length and of the study's, in standard errors."""
    del runs
    return [Item(name, float(abs(np.diff(rows["energy"])[0]) / np.hypot(*rows["error"]))) for name, rows in _by_walk()]


def sweep_gains(runs: Sequence[Run]) -> list[Item]:
    """Independent samples a second by walks of their own length over those by the study's."""
    del runs
    speeds = ((name, rows["independent_a_second"]) for name, rows in _by_walk())
    return [Item(name, float(speed[AUTO] / speed[str(STUDIED_SWEEPS)])) for name, speed in speeds]


def ci_excesses(runs: Sequence[Run]) -> list[Item]:
    """How far 20-mode configuration interaction lies above the exact energy, relative."""
    del runs
    items = []
    for system in CASES:
        exact, truncated = exact_energy(system), stored_reference("ci", system)
        if truncated is None:
            raise ReproError(f"{case_label(system)}: no configuration interaction stored; see `repro references`")
        items.append(Item(case_label(system), (truncated.energy - exact) / abs(exact), f"V0 = {system.v0:g}"))
    return items


def kronecker_table() -> pd.DataFrame:
    """The stored table of ``repro bench kronecker``."""
    return pd.read_csv(project_path(KRONECKER))


def kronecker_quality(column: str) -> Callable[[Sequence[Run]], list[Item]]:
    """A number of :class:`~repro.study.experiments.fisher_images.FisherMatrices` by seed, from the stored table."""

    def items(runs: Sequence[Run]) -> list[Item]:
        del runs
        with _reading(KRONECKER, FACTORING):
            values = kronecker_table().set_index("seed")[column]
            return [Item(f"seed {seed}", float(values[seed])) for seed in range(SMALL_STATES)]

    return items


def density_run(particles: int, v0: float) -> RunConfig:
    """The state whose densities the study of observables uses."""
    return configure(particles=particles, v0=v0, optimizer="dgd", epochs=300, start="aligned", damping=10.0)


def density_runs(v0: float) -> list[RunConfig]:
    """Those of all numbers of particles."""
    return [density_run(count, v0) for count in PARTICLES]


def maxima(density: np.ndarray, error: np.ndarray) -> int:
    """Maxima of a sampled density that stand out of its noise.

    Args:
        density: in bins.
        error: its standard error.

    Returns:
        The number of maxima higher than a tenth of the highest and more prominent than five standard errors of the
        difference of two bins.
    """
    from scipy.signal import find_peaks

    found, _ = find_peaks(density, height=0.1 * density.max(), prominence=5.0 * math.sqrt(2.0) * float(error.max()))
    return len(found)


def _maxima_of(expected: Callable[[int], int]) -> Callable[[Sequence[Run]], list[Item]]:
    def items(runs: Sequence[Run]) -> list[Item]:
        found = []
        for run in runs:
            if not run.complete:
                continue
            table = observables_of(run).density
            count = maxima(table["n"].to_numpy(), table["error"].to_numpy())
            system = run.config.system
            value = float(abs(count - expected(system.particles)))
            found.append(Item(f"{case_label(system)}: {count}", value, "", (run.path.name,)))
        return found

    return items


def ablation_losses(runs: Sequence[Run]) -> list[Item]:
    """How many times the epochs proximal DGD needs without each of its parts, where that hurts most."""
    exact = {run.config.system: exact_energy(run.config.system) for run in runs}
    found = losses(ablation_table(runs, exact))
    return [Item(f"without {part}", value, "", names) for part, (value, names) in found.items()]


def _of_each(measure: Callable[[Run, float], float]) -> Callable[[Sequence[Run]], list[Item]]:
    """A number of each run."""

    def items(runs: Sequence[Run]) -> list[Item]:
        return [
            Item(run_label(run), measure(run, exact_energy(run.config.system)), "", (run.path.name,)) for run in runs
        ]

    return items


def judged_states() -> list[RunConfig]:
    """The runs whose final energies must not lie below the exact ones, each once.

    All optimisers in the 25 cases with the seeds that are drawn of them, those of the large systems, and whatever
    another claim is about.
    """
    seeds = {name: SEEDS if name in ("dgd", *BEYOND) else SEEDS[:1] for name in ALL_OPTIMIZERS}
    drawn = [study_run(name, system, seed) for name in ALL_OPTIMIZERS for system in CASES for seed in seeds[name]]
    others = [claim for claim in load_claims() if claim.quantity != VARIATIONAL]
    claimed = [config for claim in others for config in configs_of(claim)]
    configs = (*drawn, *large_runs(LARGE_OPTIMIZERS), *claimed)
    return list({config.content_hash: config for config in configs}.values())


def published_distances(runs: Sequence[Run]) -> list[Item]:
    """Distances of the blocks of DGD from the authors' network to those of their curve, see ``published.distances``."""
    return [
        Item(f"epochs {row.first_epoch} to {row.last_epoch}", float(distance), "", (run.path.name,))
        for run in runs
        for row, distance in zip(
            published.published_blocks().itertuples(), published.distances(run.curve), strict=False
        )
    ]


def start_ratios(runs: Sequence[Run]) -> list[Item]:
    """Epochs to 1 % from a network of our own over those from the authors' network, seed by seed."""
    there = {run.config.content_hash: run for run in runs}
    items = []
    for seed in published.SEEDS:
        pair = [
            there.get(make(seed).content_hash) for make in (published.from_our_network, published.from_their_network)
        ]
        if None in pair:
            continue
        ours, theirs = (run for run in pair if run is not None)
        exact = exact_energy(published.CASE)
        value = ratio(convergence.epochs_to(ours, exact), convergence.epochs_to(theirs, exact))
        items.append(Item(f"seed {seed}", value, "", (ours.path.name, theirs.path.name)))
    return items


class Computed(NamedTuple):
    """Numbers that do not come from curves as they are.

    Attributes:
        items: the numbers, given those of the runs that are at hand.
        wanted: how many there should be; None for one of each run.
        configs: of the runs they are made of.
    """

    items: Callable[[Sequence[Run]], Sequence[Item]]
    wanted: int | None
    configs: Callable[[], list[RunConfig]] = list


COMPUTED = {
    "cost_ratio": Computed(cost_ratios, len(COMPARED_COSTS) * len(COMPARED_PARTICLES)),
    "growth_ratio": Computed(growth_ratios, len(GROWN_PARTICLES)),
    "peer_ratio": Computed(peer_ratios, len(PEERS) * len(PEER_PARTICLES)),
    "sweep_shift": Computed(sweep_shifts, len(WALKED)),
    "sweep_gain": Computed(sweep_gains, len(WALKED)),
    "ablation_loss": Computed(ablation_losses, len(PROXIMAL_PARTS), ablation_configs),
    "excess_left": Computed(_of_each(excess_left), None, lambda: large_runs(STUDIED)),
    "large_error": Computed(_of_each(convergence.final_error), None, lambda: large_runs([OWN])),
    VARIATIONAL: Computed(_of_each(convergence.sigma_below), None, judged_states),
    "published_distance": Computed(
        published_distances, published.BLOCKS, lambda: [published.from_their_network(published.SEEDS[0])]
    ),
    "start_ratio": Computed(start_ratios, len(published.SEEDS), published.starts),
    "ci_excess": Computed(ci_excesses, len(CASES)),
    "kronecker_distance": Computed(kronecker_quality("distance"), SMALL_STATES),
    "kronecker_gain": Computed(kronecker_quality("gain"), SMALL_STATES),
    "surplus_maxima_bunched": Computed(_maxima_of(lambda _: 1), len(PARTICLES), lambda: density_runs(BUNCHED)),
    "missing_maxima_crystal": Computed(
        _maxima_of(lambda particles: particles), len(PARTICLES), lambda: density_runs(CRYSTAL)
    ),
}
"""By the name of the quantity."""
SIDES = {VARIATIONAL: 1, "sweep_shift": 2}
"""Of the quantities in standard errors: on how many sides noise alone takes one beyond a bound."""
