"""What the figures share: bins over seeds, limits, rows, what is said of runs; nothing breaks without runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from repro.config import SystemConfig
from repro.study.plots import comparison, curves, panels
from repro.study.plots import run_selection as selection
from repro.study.plots import tables as wording
from repro.study.runs.cases import CASES, exact_energy
from repro.study.runs.convergence import LEVELS, epochs_to, seconds_column
from repro.study.runs.profiles import study_run
from repro.study.runs.store import Run, RunSource

CASE = SystemConfig(2, -10.0)
EXACT = exact_energy(CASE)


def run(energies, optimizer="dgd", seed=0, system=CASE, status="complete"):
    """A run of the study with the given energies."""
    config = replace(study_run(optimizer, system, seed), epochs=max(1, len(energies)))
    curve = pd.DataFrame({"epoch": np.arange(1, len(energies) + 1), "energy": energies, "seconds": 1.0})
    result = {"status": status, "energy": energies[-1], "energy_error": 0.001, "epoch": len(energies) + 1}
    return Run(Path(f"{optimizer}-{seed}"), config, result, curve, False)


@pytest.fixture
def axis():
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


def test_bins_have_the_same_number_in_every_run():
    """A shorter run has fewer bins, not others."""
    whole, cut = (curves.error_bins(run([EXACT * 1.1] * count)) for count in (1000, 300))
    assert list(cut.index) == list(whole.index[: len(cut)])
    assert whole["median"].to_numpy() == pytest.approx(0.1)


def test_bands_over_seeds_by_hand():
    """The median of the seeds' medians, between the lowest and the highest; the others go on where one has ended."""
    seeds = [
        run([EXACT * (1 + error)] * count, seed=n) for n, (error, count) in enumerate([(0.1, 50), (0.3, 50), (0.7, 20)])
    ]
    found = curves.group_bins(seeds)
    assert found["median"].iloc[0] == pytest.approx(0.3)
    assert (found["low"].iloc[0], found["high"].iloc[0]) == (pytest.approx(0.1), pytest.approx(0.7))
    assert found["median"].iloc[-1] == pytest.approx(0.2)
    assert found["high"].iloc[-1] == pytest.approx(0.3)


def test_seconds_are_those_of_the_benchmark(monkeypatch):
    monkeypatch.setattr(curves, "seconds_per_epoch", lambda config: 0.5)
    found = curves.error_bins(run([EXACT * 1.1] * 100), "seconds")
    assert found["seconds"].iloc[-1] == pytest.approx(50.0, rel=0.1)
    monkeypatch.setattr(curves, "seconds_per_epoch", lambda config: None)
    assert curves.error_bins(run([EXACT * 1.1] * 100), "seconds").empty


def test_energy_limits_by_hand():
    """From where the runs begin, three tenths below the exact energy and eight fifths above."""
    found = curves.energy_limits([run([EXACT + 1.0] * 20 + [EXACT] * 80)], EXACT)
    assert found == (pytest.approx(EXACT - 0.3), pytest.approx(EXACT + 1.6))
    far = curves.energy_limits([run([EXACT + 1.0] * 20 + [EXACT + 9.0] * 80)], EXACT)
    assert far[1] == pytest.approx(EXACT + 4.0)
    assert curves.energy_limits([], EXACT)[0] < EXACT < curves.energy_limits([], EXACT)[1]


def test_medians_are_told_with_their_interval():
    runs = [run([EXACT * 1.5] * 10 + [EXACT] * count, seed=count) for count in (100, 101, 102)]
    assert wording.median_told(runs, epochs_to) == "40 [40, 40]"
    assert wording.median_told(runs[:1], epochs_to) == "40"
    assert wording.median_told([], epochs_to) == "no run"
    assert wording.median_told([run([EXACT * 1.5] * 50)], epochs_to) == "never"
    assert wording.median_told(runs, lambda *_: math.nan) == "no benchmark"


def test_rows_of_a_comparison():
    configs = [study_run(name, CASE, seed) for name in ("ngd", "dgd") for seed in (0, 1)]
    runs = [run([EXACT] * 50, "dgd", seed) for seed in (0, 1)]
    (row,) = comparison.comparison_rows(configs, runs, [], "laptop")
    assert row.title.endswith("seeds: DGD: 2")
    assert len(row.groups) == 1
    (empty,) = comparison.comparison_rows(configs, [], [], "laptop")
    assert empty.groups == ()
    assert len(comparison.comparison_rows(configs, runs, runs[:1], "laptop")) == 2


def test_the_runs_of_a_figure():
    """F06 shows five seeds of two optimisers at one case; its claim about all cases is the grid's."""
    assert len(selection.wanted_configs("F06", "laptop")) == 10
    assert len(selection.wanted_configs("F06", "laptop", grid=True)) == 50
    assert {config.sampling.walkers for config in selection.wanted_configs("F06", "paper")} == {4096}


def test_seeds_that_lack_a_case_are_not_counted(capsys):
    whole = [run([EXACT], "dgd", 0, system) for system in CASES]
    cut = [run([EXACT], "dgd", 1, system) for system in CASES[1:]]
    assert selection.whole_grids([*cut, *whole]) == whole
    assert capsys.readouterr().out == "DGD, seed 1: 24 of 25 cases; not counted\n"
    assert selection.whole_grids([]) == []


def test_counts_depend_on_when_runs_end(capsys):
    late = run([2.0 * EXACT] * 60 + [EXACT] * 40)
    lost = run([EXACT] * 70, status="diverged")
    wording.print_counts_by_length([late, lost], (50, 80, 100))
    assert "converged 1 after 50, 1 after 80, 1 after 100 epochs, of 2 runs" in capsys.readouterr().out
    wording.print_counts_by_length([late, lost], (70, 71))
    assert "converged 2 after 70, 1 after 71 epochs, of 2 runs" in capsys.readouterr().out
    wording.print_counts_by_length([], ())
    assert "no run is at hand" in capsys.readouterr().out


def test_how_runs_ended_is_told(capsys):
    good, bad = run([EXACT] * 100), run([EXACT * 1.5] * 100, "kfac", status="diverged")
    table = wording.how_they_ended([good, bad])
    assert list(table["kind"]) == ["converged", "unstable"]
    assert list(table["at_0_1_percent"]) == [True, False]
    wording.print_counts([good, bad])
    printed = capsys.readouterr().out
    assert "Converged: the median over the last 5 %" in printed
    assert "DGD: converged 1 at 1 %, 1 at 0.1 %, of 1 runs at hand (25 cases)" in printed
    assert wording.how_they_ended([]).empty


def test_verdicts_are_printed(tmp_path, capsys):
    (verdict,) = wording.print_verdicts("F02", RunSource(tmp_path, tmp_path))
    printed = capsys.readouterr().out
    assert printed.startswith("UNDECIDED: The quasi-Newton model")
    assert verdict.needs in printed


def marked(axis, mark):
    """Where the marks of a kind stand: the horizontal places, and 1 for the upper edge or 0 for the lower one."""
    return [
        (place, edge)
        for line in axis.lines
        if line.get_label() == mark
        for place, edge in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_what_lies_beyond_a_panel_is_marked_and_not_drawn(axis):
    """Of energies 60 epochs above and 20 below; the curves are broken there. The end of a run is marked, too."""
    energies = [EXACT + 1.0] * 60 + [EXACT + 50.0] * 60 + [EXACT] * 20 + [EXACT - 50.0] * 20 + [EXACT] * 40
    panels.energy_panel(axis, [[run(energies), run(energies[:50], seed=1, status="diverged")]])
    assert marked(axis, panels.MEDIANS_BEYOND) == [(80, 1.0), (100, 1.0), (120, 1.0), (160, 0.0)]
    assert marked(axis, panels.EPOCHS_BEYOND) == [(n, 1.0) for n in range(61, 121)] + [
        (n, 0.0) for n in range(141, 161)
    ]
    assert marked(axis, panels.DIVERGED) == [(50, 1.0)]
    low, high = axis.get_ylim()
    assert low < EXACT < high
    curves_drawn = [line for line in axis.lines if line.get_transform().contains_branch(axis.transData)]
    epochs, medians = (np.asarray(line.get_ydata()) for line in curves_drawn[:2])
    assert np.nanmax(epochs) == EXACT + 1.0
    assert np.nanmin(epochs) == EXACT
    assert np.isnan(epochs).sum() == 80
    assert axis.get_xlim()[1] > 200
    # Medians leave the panel by a line to the first one beyond it.
    expected = [1.0, 1.0, 1.0, 50.0, math.nan, 50.0, 0.0, -50.0, 0.0, 0.0]
    np.testing.assert_allclose(medians - EXACT, expected, atol=1e-9)
    figure = axis.figure
    panels.common_legend(figure, "title")
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["DGD", "exact", panels.MEDIANS_BEYOND, panels.EPOCHS_BEYOND, panels.DIVERGED]


def test_panels_draw_what_they_say(axis, monkeypatch):
    """Errors beyond ten and the end of a run that diverged are marked at the edge; no curve and no limit is beyond."""
    wild = run([EXACT * 100] * 30, "ngd", status="diverged")
    panels.error_panel(axis, [[run([EXACT * 1.1] * 100)], [wild]])
    panels.limit_errors([axis])
    labels = axis.get_legend_handles_labels()[1]
    assert labels == ["DGD", "NGD", panels.MEDIANS_BEYOND, panels.DIVERGED]
    ((end, edge),) = marked(axis, panels.DIVERGED)
    assert (end, edge) == (pytest.approx(30.0, rel=0.1), 1.0)
    assert all(edge == 1.0 for _, edge in marked(axis, panels.MEDIANS_BEYOND))
    assert np.nanmax([np.nanmax([*line.get_ydata(), 0.0]) for line in axis.lines]) == 1.0  # the marks
    assert axis.get_ylim()[1] <= wording.LARGEST
    monkeypatch.setattr(panels, "seconds_per_epoch", lambda config: None)
    plain = plt.figure().subplots()
    panels.error_panel(plain, [[wild]], "seconds")
    assert [text.get_text() for text in plain.texts] == ["no benchmark of this size"]
    plt.close(plain.figure)


@pytest.mark.parametrize("count", [0, 1, len(CASES)])
def test_a_grid_of_any_number_of_cases(count):
    runs = [run([exact_energy(system)] * 50, system=system) for system in CASES[:count]]
    figure = comparison.case_grid(runs, ["dgd"], panels.error_panel, "title")
    shown = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert shown.count("not run yet") == len(CASES) - count
    plt.close(figure)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (math.inf, "diverged"),
        (20.0, "> 1000 %"),
        (0.123, "12 %"),
        (0.0123, "1.2 %"),
        (1e-4, "0.01 %"),
        (0.0, "< 0.001 %"),
    ],
)
def test_errors_are_told_in_per_cent(error, told):
    assert wording.error_told(error) == told


@pytest.mark.parametrize(("rounding", "told"), [(None, ""), (1e-4, ""), (0.01, " (rounding)")])
def test_a_final_energy_that_rounding_moved_is_told_to_be_so(rounding, told):
    """Beside a statistical error of 0.001; older runs do not say, and one that diverged has no final energy."""
    ended = run([1.02 * EXACT])
    assert wording.final_told(replace(ended, result=ended.result | {"rounding": rounding})) == f"2 %{told}"
    lost = {"status": "diverged", "epoch": 2}
    assert wording.final_told(replace(ended, result=lost)) == "diverged"


def test_levels_are_told_of_a_row():
    assert wording.levels_told({"epochs_to_1_percent": 57.0, "epochs_to_0.1_percent": math.inf}) == "57 / never"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [((4.28, math.inf), "4 s / never"), ((150.4, 1234.0), "150 s / 1,234 s"), ((math.nan, 2.0), "no benchmark")],
)
def test_seconds_are_told_beside_epochs(seconds, told):
    assert wording.seconds_told(dict(zip(map(seconds_column, LEVELS), seconds, strict=True))) == told


def test_a_shaded_table(axis):
    """Darker with the error, legible on dark, a dash where nothing is."""
    cells = {(0, 0): ("good", 0.0), (0, 1): ("bad", 0.5), (1, 1): ("lost", math.inf)}
    panels.shaded_table(axis, cells, ["a", "b"], ["c", "d"], "error")
    texts = {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in axis.texts}
    assert {place: text.get_text() for place, text in texts.items()} == {
        (0, 0): "good",
        (0, 1): "bad",
        (1, 0): "—",
        (1, 1): "lost",
    }
    assert [texts[place].get_color() for place in ((0, 0), (0, 1), (1, 1))] == ["black", "white", "white"]
    shade = axis.images[0].get_array()
    assert shade[0, 0] < shade[0, 1] < shade[1, 1]
    assert np.ma.is_masked(shade[1, 0]) or math.isnan(shade[1, 0])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
