"""Panels, tables and sentences that several figures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from repro.config import ALL_OPTIMIZERS, RunConfig, SystemConfig
from repro.study.cases import CASES, PARTICLES, STRENGTHS
from repro.study.claims import claims_of, study_run
from repro.study.convergence import (
    DEFINITION,
    KINDS,
    LEVELS,
    converged,
    epochs_column,
    epochs_to,
    final_error,
    kind,
    seconds_column,
    seconds_to,
    stopped_at,
    summary,
)
from repro.study.curves import log_binned
from repro.study.evidence import exact_energy
from repro.study.store import Run, RunSource
from repro.study.style import LOOKS
from repro.study.timing import seconds_per_epoch
from repro.study.verdicts import Verdict, bootstrap_interval, judge

BLOCK = 20
PER_DECADE = 12
LARGEST = 10.0
"""Larger relative errors are drawn there: what matters is below 1."""

ENERGY = r"energy  $E$  ($\hbar\omega$)"
RELATIVE_ERROR = r"$|E - E_{\rm exact}|\,/\,|E_{\rm exact}|$"
ERRORS_TOLD = (
    f"binned medians of single epochs and their 68 % band, larger than {LARGEST:g} drawn there; "
    "dotted: 1 % and 0.1 %; a cross: the run diverged"
)
"""What is to be said of panels of relative errors with one seed."""
SMALLEST = 1e-5
"""Smaller relative errors are not told apart in tables."""
TIMES = {"epoch": "epoch", "seconds": "seconds of training, idle machine"}


# Runs and what is to be said of them


def wanted_configs(figure: str, profile: str, grid: bool = False) -> list[RunConfig]:
    """The runs that the claims of a figure are about, each once.

    Args:
        figure: such as "F02".
        profile: size of the runs, in place of the claims' own.
        grid: whether those of the claims about all 25 cases, or those of the other claims.
    """
    claims = [claim for claim in claims_of(figure) if (claim.cases == CASES) is grid]
    return each_once([config for claim in claims for config in replace(claim, profile=profile).configs])


def each_once(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The same configurations in their order, without repetitions."""
    return list({config.content_hash: config for config in configs}.values())


def runs_at_hand(configs: Sequence[RunConfig], source: RunSource) -> list[Run]:
    """Those of the runs that are there; how many of each optimiser is printed."""
    runs = source.available(configs)
    for name in names_of(configs):
        found, wanted = of_optimizer(runs, name), sum(config.optimizer.name == name for config in configs)
        print(f"{LOOKS[name].label}: {len(found)} of {wanted} runs are there")
    return runs


def whole_grids(runs: Sequence[Run]) -> list[Run]:
    """The runs of those optimisers and seeds that have every case; how many others there are is printed.

    Were a seed counted that has some of the cases, those would count more than others.
    """
    there: dict[tuple[str, int], set[SystemConfig]] = {}
    for run in runs:
        there.setdefault((run.config.optimizer.name, run.config.seed), set()).add(run.config.system)
    cut = {key: len(systems) for key, systems in there.items() if not systems.issuperset(CASES)}
    for (name, seed), count in cut.items():
        print(f"{LOOKS[name].label}, seed {seed}: {count} of {len(CASES)} cases; not counted")
    return [run for run in runs if (run.config.optimizer.name, run.config.seed) not in cut]


def large_configs(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs of seed 0 among these, at the study's own size."""
    return [study_run(config.optimizer.name, config.system, 0, "paper") for config in configs if config.seed == 0]


def names_of(configs: Sequence[RunConfig]) -> list[str]:
    """The optimisers of some runs, in the order of the study."""
    used = {config.optimizer.name for config in configs}
    return [name for name in ALL_OPTIMIZERS if name in used]


def of_optimizer(runs: Sequence[Run], name: str) -> list[Run]:
    """The runs of one optimiser."""
    return [run for run in runs if run.config.optimizer.name == name]


def grouped(runs: Sequence[Run], names: Sequence[str], system: SystemConfig) -> list[list[Run]]:
    """The runs of one case, a list for each optimiser that has any."""
    mine = [run for run in runs if run.config.system == system]
    return [group for name in names if (group := of_optimizer(mine, name))]


def exact_of(run: Run) -> float:
    """The exact energy of a run's case."""
    return exact_energy(run.config.system)


def how_they_ended(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each run: how it ended. The definitions behind the words are printed."""
    print(DEFINITION)
    print(KINDS)
    rows = []
    for run in runs:
        exact, system = exact_of(run), run.config.system
        row = summary([run], exact).assign(kind=kind(run, exact), at_0_1_percent=converged(run, exact, LEVELS[1]))
        for place, (column, value) in enumerate((("particles", system.particles), ("v0", system.v0)), start=1):
            row.insert(place, column, value)
        rows.append(row)
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame({"optimizer": [], "kind": []})


def print_counts(runs: Sequence[Run], cases: int = len(CASES)) -> None:
    """Prints how many runs of each optimiser converged, at 1 % and at 0.1 %."""
    for name in names_of([run.config for run in runs]):
        group = of_optimizer(runs, name)
        told = [
            f"{sum(converged(run, exact_of(run), level) for run in group)} at {100 * level:g} %" for level in LEVELS
        ]
        print(f"{LOOKS[name].label}: converged {', '.join(told)}, of {len(group)} runs at hand ({cases} cases)")


def print_counts_by_length(runs: Sequence[Run], lengths: Sequence[int]) -> None:
    """Prints how many runs would count as converged had all been told to end earlier; it may hang on that."""
    if not lengths:
        print("no run is at hand that could have ended earlier")
        return
    told = [
        f"{sum(converged(stopped_at(run, epochs), exact_of(run)) for run in runs)} after {epochs}" for epochs in lengths
    ]
    print(f"had they ended earlier: converged {', '.join(told)} epochs, of {len(runs)} runs")


def print_verdicts(figure: str, source: RunSource) -> list[Verdict]:
    """Prints the verdict on each claim that a figure shows."""
    verdicts = []
    for claim in claims_of(figure):
        verdict = judge(claim, source)
        if verdict.false_alarm is None:
            rest = f"needed: {verdict.needs}"
        else:
            rest = f"probability of this verdict if the truth lay on the bound: {verdict.false_alarm:.2g}"
        print(f"{verdict.verdict.upper()}: {claim.statement}\n  {verdict.told}\n  {rest}")
        verdicts.append(verdict)
    return verdicts


def median_told(runs: Sequence[Run], measure: Callable[[Run, float], float]) -> str:
    """The median of a number of runs with its bootstrap interval, such as "310 [270, 340]"."""
    values = [measure(run, exact_of(run)) for run in runs]
    if not values:
        return "no run"
    if any(math.isnan(value) for value in values):
        return "no benchmark"
    low, high = bootstrap_interval(values)
    shown = ["never" if math.isinf(value) else f"{value:,.0f}" for value in (float(np.median(values)), low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(values) > 1 else shown[0]


def epochs_told(epochs: float) -> str:
    """A number of epochs, infinite for a miss."""
    return "never" if math.isinf(epochs) else f"{epochs:.0f}"


def levels_told(row: Mapping[str, Any]) -> str:
    """Epochs to 1 % and to 0.1 % of a row of a table that has a column for each."""
    return " / ".join(epochs_told(row[epochs_column(level)]) for level in LEVELS)


def seconds_told(row: Mapping[str, Any]) -> str:
    """Seconds to 1 % and to 0.1 % of a row of a table that has a column for each."""
    values = [row[seconds_column(level)] for level in LEVELS]
    if any(math.isnan(value) for value in values):
        return "no benchmark"
    return " / ".join("never" if math.isinf(value) else f"{value:,.0f} s" for value in values)


def error_told(error: float) -> str:
    """A relative error in per cent, infinite for a run that diverged."""
    if math.isinf(error):
        return "diverged"
    if error <= SMALLEST:
        return f"< {100.0 * SMALLEST:g} %"
    if error > LARGEST:
        return f"> {100.0 * LARGEST:g} %"
    return f"{100.0 * error:.0f} %" if error >= 0.1 else f"{100.0 * error:.2g} %"


def final_told(run: Run) -> str:
    """A run's final error in per cent, and whether rounding moved its energy by more than the statistical error."""
    told = error_told(final_error(run, exact_of(run)))
    rounded = run.complete and (run.result.get("rounding") or 0.0) > run.result["energy_error"]
    return f"{told} (rounding)" if rounded else told


def case_title(system: SystemConfig) -> str:
    """A case as it stands above a panel."""
    return f"A = {system.particles}, $V_0$ = {system.v0:g}".replace("-", "−")


# Curves


def block_median(curve: pd.DataFrame, column: str, block: int = BLOCK) -> pd.DataFrame:
    """Median of ``column`` over blocks of epochs, at the last epoch of each."""
    groups = curve.groupby((curve["epoch"] - 1) // block)
    return pd.DataFrame({"epoch": groups["epoch"].last(), column: groups[column].median()})


def error_bins(run: Run, time: str = "epoch") -> pd.DataFrame:
    """The relative error of the single epochs in bins of the logarithm of time, as from ``log_binned``.

    Args:
        run: what to bin.
        time: "epoch", or "seconds" as from :mod:`repro.study.timing`; the name of the column that replaces ``epoch``.

    Returns:
        The bins, numbered so that a bin has the same number in every run; none where there is no benchmark.
    """
    curve, exact = run.curve, exact_of(run)
    each = 1.0 if time == "epoch" else seconds_per_epoch(run.config)
    if each is None:
        return pd.DataFrame(columns=[time, "median", "low", "high", "count"], dtype=float)
    times = each * curve["epoch"]
    binned = log_binned(times, (curve["energy"] - exact).abs() / abs(exact), PER_DECADE)
    binned.index = np.ceil(np.log10(binned["epoch"].to_numpy()) * PER_DECADE - 1e-9).astype(int)
    return binned.rename(columns={"epoch": time})


def group_bins(runs: Sequence[Run], time: str = "epoch") -> pd.DataFrame:
    """As :func:`error_bins` for several seeds: medians over the seeds, ``low`` and ``high`` their range.

    Args:
        runs: of one optimiser and case. The band of a single one is the central 68 % of its epochs.
        time: "epoch" or "seconds".
    """
    if len(runs) == 1:
        return error_bins(runs[0], time)
    # Where some seeds have ended the others go on alone.
    bins = pd.concat([error_bins(run, time) for run in runs]).groupby(level=0)
    medians = bins["median"]
    return pd.DataFrame(
        {time: bins[time].median(), "median": medians.median(), "low": medians.min(), "high": medians.max()}
    )


def drawn(runs: Sequence[Run], blocks: bool = True, times: Sequence[str] = tuple(TIMES)) -> pd.DataFrame:
    """The numbers behind the thick curves, long: medians of the energy and of the relative error.

    Args:
        runs: in any number.
        blocks: whether to include the former.
        times: in bins of what to include the latter.
    """
    tables = [pd.DataFrame(columns=["particles", "v0", "optimizer", "walkers", "seed", "curve", "epoch"])]
    for run in runs:
        parts = [block_median(run.curve, "energy").assign(curve="energy, blocks")] if blocks else []
        parts += [error_bins(run, time).assign(curve=f"relative error, {time} bins") for time in times]
        config = run.config
        for part in parts:
            tables.append(
                part.assign(
                    particles=config.system.particles,
                    v0=config.system.v0,
                    optimizer=config.optimizer.name,
                    walkers=config.sampling.walkers,
                    seed=config.seed,
                )
            )
    columns = tables[0].columns
    found = pd.concat(tables[1:], ignore_index=True) if tables[1:] else tables[0]
    return found[[*columns, *(name for name in found.columns if name not in columns)]]


def energy_limits(runs: Sequence[Run], exact: float) -> tuple[float, float]:
    """Limits of the energy that show where the runs begin and where they go, but not every excursion.

    The scale is the largest distance of a run's first block from the exact energy (at least 2 % of the latter). Shown
    is from three tenths of it below the exact energy to eight fifths above, or to four times where more than 15 % of
    all blocks' medians would be cut otherwise.
    """
    medians = [block_median(run.curve, "energy")["energy"] for run in runs]
    scale = max([*(abs(values.iloc[0] - exact) for values in medians), 0.02 * abs(exact)])
    common = float(np.quantile(pd.concat(medians), 0.85)) if medians else exact
    return exact - 0.3 * scale, max(exact + 1.6 * scale, min(common, exact + 4.0 * scale))


# Panels


def energy_panel(axis: Any, groups: Sequence[Sequence[Run]], log_epochs: bool = False) -> None:
    """Energy against epoch: single epochs as thin lines, medians of every seed as thick ones, the exact energy.

    A run that diverged ends in a cross on the upper edge.

    Args:
        axis: where to draw.
        groups: runs of one case, of one optimiser each. What lies beyond :func:`energy_limits` is drawn on the edge.
        log_epochs: whether the epochs are logarithmic; then the medians are of bins of equal width there.
    """
    exact = exact_of(groups[0][0])
    low, high = energy_limits([run for runs in groups for run in runs], exact)
    for runs in groups:
        look = LOOKS[runs[0].config.optimizer.name]
        for number, run in enumerate(runs):
            curve = run.curve
            axis.plot(
                curve["epoch"], curve["energy"].clip(low, high), color=look.color, lw=0.3, alpha=0.45, rasterized=True
            )
            if log_epochs:
                median = log_binned(curve["epoch"], curve["energy"], PER_DECADE).assign(
                    energy=lambda bins: bins["median"]
                )
            else:
                median = block_median(curve, "energy")
            label = look.label if number == 0 else None
            axis.plot(
                median["epoch"], median["energy"].clip(low, high), color=look.color, linestyle=look.linestyle,
                label=label,
            )  # fmt: skip
            if not run.complete:
                axis.plot(len(curve), high, marker="x", color=look.color, markersize=8, mew=2, clip_on=False)
    axis.axhline(exact, color=LOOKS["exact"].color, linestyle="--", linewidth=1.0, label="exact")
    axis.set_ylim(low, high)
    axis.set_xscale("log" if log_epochs else "linear")
    axis.set_xlabel("epoch")
    axis.set_ylabel(ENERGY)


def error_panel(
    axis: Any, groups: Sequence[Sequence[Run]], time: str = "epoch", thin: Sequence[str] = (), markers: bool = True
) -> None:
    """Relative error against epoch or seconds, both logarithmic: binned medians, see :func:`group_bins`.

    A run that diverged ends in a cross; dotted lines are at :data:`LEVELS`; errors above :data:`LARGEST` are drawn
    there.

    Args:
        axis: where to draw.
        groups: runs of one optimiser each.
        time: "epoch" or "seconds".
        thin: optimisers drawn as thin lines without a band.
        markers: whether to mark the bins.
    """
    timed = [runs for runs in groups if time == "epoch" or seconds_per_epoch(runs[0].config) is not None]
    if not timed:
        empty_panel(axis, "no benchmark of this size")
        return
    for runs in timed:
        name = runs[0].config.optimizer.name
        look, bins = LOOKS[name], group_bins(runs, time)
        bins[["median", "low", "high"]] = bins[["median", "low", "high"]].clip(upper=LARGEST)
        style = {"color": look.color, "linestyle": look.linestyle, "label": look.label}
        if name in thin:
            axis.plot(bins[time], bins["median"], linewidth=0.8, **style)
        else:
            axis.fill_between(bins[time], bins["low"], bins["high"], color=look.color, alpha=0.2, linewidth=0)
            marker = {"marker": look.marker, "markersize": 3.0, "markevery": 2} if markers else {}
            axis.plot(bins[time], bins["median"], **style, **marker)
        for run in runs:
            if not run.complete:
                last = error_bins(run, time).iloc[-1]
                end = min(last["median"], LARGEST)
                axis.plot(last[time], end, marker="x", color=look.color, markersize=7, mew=2, clip_on=False)
    for level in LEVELS:
        axis.axhline(level, color="0.3", linestyle=":", linewidth=1.0)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(TIMES[time])
    axis.set_ylabel(RELATIVE_ERROR)


def empty_panel(axis: Any, told: str = "not run yet") -> None:
    """Says that there is nothing to draw yet."""
    axis.text(0.5, 0.5, told, color="0.5", ha="center", va="center", transform=axis.transAxes)
    axis.grid(False, which="both")
    axis.tick_params(which="both", length=0, labelbottom=False, labelleft=False)


def common_legend(figure: Any, title: str) -> None:
    """One legend above all panels, each label once, the exact energy last."""
    entries: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = [look.label for look in LOOKS.values() if look.label in entries]
    handles = [entries[label] for label in order]
    count = max(1, len(order))
    legend = figure.legend(handles, order, loc="outside upper center", ncols=count, title=title, title_fontsize=8)
    legend.get_title().set_multialignment("center")


# Figures


@dataclass(frozen=True)
class Row:
    """A row of a comparison: the runs of one case at one size, grouped by optimiser."""

    system: SystemConfig
    profile: str
    groups: tuple[tuple[Run, ...], ...]

    @property
    def title(self) -> str:
        """The case, the size and how many seeds of each optimiser."""
        if not self.groups:
            return f"{case_title(self.system)}, {self.profile} profile"
        counts = {LOOKS[runs[0].config.optimizer.name].label: len(runs) for runs in self.groups}
        seeds = ", ".join(f"{name}: {count}" for name, count in counts.items())
        walkers = self.groups[0][0].config.sampling.walkers
        return f"{case_title(self.system)}, {self.profile} profile,\n{walkers:,} walkers; seeds: {seeds}"


def comparison_rows(configs: Sequence[RunConfig], runs: Sequence[Run], large: Sequence[Run], profile: str) -> list[Row]:
    """The rows of a comparison: one for each case, then one for each case that was run at the study's own size."""
    names, systems = names_of(configs), list(dict.fromkeys(config.system for config in configs))
    rows = []
    for size, some in ((profile, runs), ("paper", large)):
        for system in systems:
            groups = tuple(tuple(group) for group in grouped(some, names, system))
            if groups or some is runs:
                rows.append(Row(system, size, groups))
    return rows


def speeds_told(groups: Sequence[Sequence[Run]], measure: Callable[[Run, float], float]) -> str:
    """When the runs of each optimiser came within 1 %: medians with intervals."""
    return "\n".join(f"{LOOKS[runs[0].config.optimizer.name].label} {median_told(runs, measure)}" for runs in groups)


def comparison_figure(rows: Sequence[Row], log_epochs: bool = False, speeds: bool = False) -> Any:
    """A figure with a row of three panels for each case: energy, relative error against epoch and against seconds.

    Args:
        rows: as from :func:`comparison_rows`.
        log_epochs: whether the first panel's epochs are logarithmic as well.
        speeds: whether to note when 1 % was reached.
    """
    figure, axes = plt.subplots(len(rows), 3, figsize=(11.0, 3.3 * len(rows) + 0.5), squeeze=False)
    for row, panels in zip(rows, axes, strict=True):
        panels[0].set_title(row.title, loc="left", pad=10.0)
        if not row.groups:
            for axis in panels:
                empty_panel(axis)
            continue
        energy_panel(panels[0], row.groups, log_epochs)
        for axis, time, measure in zip(panels[1:], TIMES, (epochs_to, seconds_to), strict=True):
            error_panel(axis, row.groups, time)
            if speeds:
                told = f"{time if time == 'seconds' else 'epochs'} to 1 %: median [90 % interval]"
                axis.set_title(f"{told}\n{speeds_told(row.groups, measure)}", loc="left", fontsize=7)
        logarithmic = [axis for axis in panels[1:] if axis.get_yscale() == "log"]  # an empty panel is not
        lows, highs = zip(*(axis.get_ylim() for axis in logarithmic), strict=True)
        for axis in logarithmic:
            axis.set_ylim(min(lows), max(highs))
    medians = "binned medians" if log_epochs else f"medians of {BLOCK}"
    common_legend(
        figure,
        f"left: single epochs (thin), {medians} (thick), cut at the panel's edges; "
        "middle, right: binned medians of single epochs, median and range of the seeds\n"
        f"(of one seed: 68 % of its epochs), larger than {LARGEST:g} drawn there; dotted: 1 % and 0.1 %; "
        "a cross: the run diverged",
    )
    return figure


def case_grid(
    runs: Sequence[Run],
    names: Sequence[str],
    panel: Callable[[Any, list[list[Run]]], None],
    legend: str,
    sharey: bool = False,
) -> Any:
    """A figure with a panel for each of the 25 cases, titled with how its runs ended.

    Args:
        runs: one at most of each optimiser and case.
        names: the optimisers shown, in the order of the titles.
        panel: draws ``(axis, groups)``.
        legend: title of the legend.
        sharey: whether all panels have the same limits.
    """
    height = 11.0 if len(names) == 1 else 11.5 + 0.6 * len(names)
    shape = (len(PARTICLES), len(STRENGTHS))
    figure, axes = plt.subplots(*shape, figsize=(11.5, height), sharex=True, sharey=sharey)
    for axis, system in zip(axes.flat, CASES, strict=True):
        groups = grouped(runs, names, system)
        if groups:
            panel(axis, groups)
        else:
            empty_panel(axis)
        axis.tick_params(labelsize=7)
        ended = [(LOOKS[group[0].config.optimizer.name].label, kind(group[0], exact_of(group[0]))) for group in groups]
        if len(names) == 1:
            title = ": ".join([case_title(system), *(how for _, how in ended)])
        else:
            title = "\n".join([case_title(system), *(f"{name}: {how}" for name, how in ended)])
        axis.set_title(title, loc="left", fontsize=7.5, pad=8.0)
    # One label for all, from a panel that has any, and the outer tick labels even where a panel is empty.
    figure.supxlabel(max(axis.get_xlabel() for axis in axes.flat), fontsize=9)
    figure.supylabel(max(axis.get_ylabel() for axis in axes.flat), fontsize=9)
    for axis in axes.flat:
        axis.set(xlabel="", ylabel="")
    if runs:
        for axis in axes[-1]:
            axis.tick_params(labelbottom=True)
        for axis in axes[:, 0] if sharey else ():
            axis.tick_params(labelleft=True)
    common_legend(figure, legend)
    return figure


def shaded_table(
    axis: Any,
    cells: Mapping[tuple[int, int], tuple[str, float]],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    shrink: float = 1.0,
) -> None:
    """A table whose cells are the darker, the larger their relative error; empty cells hold a dash.

    Args:
        axis: where to draw.
        cells: by row and column, a text and the relative error, infinite for a run that diverged.
        rows: their titles.
        columns: their titles.
        label: of the bar that tells the errors.
        shrink: of the bar.
    """
    shade = np.full((len(rows), len(columns)), np.nan)
    for place in product(range(len(rows)), range(len(columns))):
        text, error = cells.get(place, ("—", math.nan))
        ink = "0.5"
        if place in cells:
            shade[place] = np.log10(100.0 * min(max(error, SMALLEST), LARGEST))
            ink = "white" if shade[place] > 0.0 else "black"
        axis.text(*reversed(place), text, ha="center", va="center", fontsize=7.5, color=ink)
    image = axis.imshow(shade, cmap="Greys", vmin=-3.0, vmax=2.0, aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.grid(False)
    bar = axis.figure.colorbar(image, ax=axis, shrink=shrink, extend="both")
    bar.set_label(label)
    bar.set_ticks(range(-3, 3), labels=["0.001", "0.01", "0.1", "1", "10", "100"])
