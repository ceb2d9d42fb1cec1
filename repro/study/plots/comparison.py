"""Figures of many panels that several notebooks share: comparisons case by case, and the grid of all cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt

from repro.config import RunConfig, SystemConfig
from repro.study.plots.curves import BLOCK, TIMES
from repro.study.plots.panels import common_legend, empty_panel, energy_panel, error_panel, limit_errors
from repro.study.plots.run_selection import exact_of, grouped, names_of
from repro.study.plots.style import LARGEST, LOOKS
from repro.study.plots.tables import case_title, speeds_told
from repro.study.runs.cases import CASES, PARTICLES, STRENGTHS
from repro.study.runs.convergence import epochs_to, kind, seconds_to
from repro.study.runs.store import Run


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


def comparison_figure(rows: Sequence[Row], log_epochs: bool = False, speeds: bool = False) -> Any:
    """A figure with a row of three panels for each case: energy, relative error against epoch and against seconds.

    Args:
        rows: as from :func:`comparison_rows`.
        log_epochs: whether the first panel's epochs are logarithmic as well.
        speeds: whether to note when 1 % was reached.
    """
    figure, axes = plt.subplots(len(rows), 3, figsize=(11.0, 3.3 * len(rows) + 0.5), squeeze=False)
    for row, panels in zip(rows, axes, strict=True):
        panels[0].set_title(row.title, loc="left", pad=12.0)
        if not row.groups:
            for axis in panels:
                empty_panel(axis)
            continue
        energy_panel(panels[0], row.groups, log_epochs)
        for axis, time, measure in zip(panels[1:], TIMES, (epochs_to, seconds_to), strict=True):
            error_panel(axis, row.groups, time)
            if speeds:
                told = f"{time if time == 'seconds' else 'epochs'} to 1 %: median [90 % interval]"
                axis.set_title(f"{told}\n{speeds_told(row.groups, measure)}", loc="left", fontsize=7, pad=12.0)
        limit_errors(panels[1:])
    medians = "binned medians" if log_epochs else f"medians of {BLOCK}"
    common_legend(
        figure,
        f"left: single epochs (thin), {medians} (thick); "
        "middle, right: binned medians of single epochs, median and range of the seeds\n"
        f"(of one seed: 68 % of its epochs), up to {LARGEST:g}; dotted: 1 % and 0.1 %",
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
        axis.set_title(title, loc="left", fontsize=7.5, pad=12.0)
    if sharey:
        limit_errors(axes.flat)
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
