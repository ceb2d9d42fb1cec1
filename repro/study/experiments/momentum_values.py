"""What the claims on momentum in function space rest on: the series (M10, M11), the layer (M12, M13), a map (M14).

All of it is read from the table of ``repro bench momentum``, see :mod:`repro.study.experiments.momentum_table`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from repro.demonstrations.base import Values
from repro.errors import InputError
from repro.study.experiments.momentum_table import (
    BATCHES,
    FEWER_POINTS,
    LAYER,
    LAYER_MAP,
    LAYERS,
    MAP_DAMPINGS,
    MAP_EPS,
    MAP_MOMENTA,
    PROXIMAL,
    SERIES,
    SERIES_MAP,
    STOCHASTIC,
    TABLE,
    UNTUNED,
    Chosen,
    best_tuned,
    chosen,
    median_steps,
    methods_of,
)
from repro.study.runs.store import STORED_RUNS, project_path

FIRST_ORDER = ("gradient descent", "momentum", "Adam", "Muon", "L-BFGS")
UNDERDAMPED = 1e-8
"""The damping at which momentum is looked at where natural gradient descent alone is poor."""
PARAMETERS = 61
"""Of both networks."""
MINIBATCH_METHODS = ("NGD", "NGD, search", "LM", "SPRING")


@dataclass(frozen=True)
class MomentumTable:
    """The table with the values of an item.

    Attributes:
        table: all rows.
        values: see :class:`repro.demonstrations.base.Demonstration`.
    """

    table: pd.DataFrame
    values: Values


def stored_table(path: Path | None = None) -> pd.DataFrame:
    """The table.

    Raises:
        InputError: if it is not there.
    """
    path = path or project_path(STORED_RUNS) / TABLE
    if not path.exists():
        raise InputError(f"{path}: missing; `repro bench momentum --out {path}` makes it")
    return pd.read_csv(path)


def _ratio(above: float, below: float) -> dict[str, float]:
    """By the name "ratio"; where both are infinite there is none, and nothing is judged."""
    return {} if math.isinf(above) and math.isinf(below) else {"ratio": above / below}


def _steps(table: pd.DataFrame, part: str, batch: int = 0, eps: float = 0.0) -> dict[str, float]:
    return {method: chosen(table, part, method, batch, eps).steps for method in methods_of(table, part)}


def series(table: pd.DataFrame | None = None) -> MomentumTable:
    """M10: steps to a loss of 5e-5 on the series, with all samples in each step."""
    table = stored_table() if table is None else table
    steps = _steps(table, SERIES)
    searched, second = steps["NGD, search"], {name: steps[name] for name in steps if name not in FIRST_ORDER}
    tuned = min(value for name, value in second.items() if name not in UNTUNED)
    values: Values = {
        "steps_to_5e-5": steps,
        "steps_of_ngd_with_search": searched,
        "ngd_with_search_over": {
            name: ratio for name in ("LM", "FD", "LG", "Nesterov") for ratio in _ratio(searched, steps[name]).values()
        },
        "fd_gain": _ratio(searched, steps["FD"]),
        "lm_gain": _ratio(searched, steps["LM"]),
        "lg_gain": _ratio(searched, steps["LG"]),
        "lm_over_tuned_ngd": _ratio(steps["NGD"], steps["LM"]),
        "first_order_over_ngd": min(steps[name] for name in FIRST_ORDER) / steps["NGD"],
        "best_tuned_over_proximal": _ratio(tuned, steps[PROXIMAL]),
        "proximal_over_levenberg_marquardt": _ratio(steps["Levenberg-Marquardt"], steps[PROXIMAL]),
        "reached": {name: _reached(chosen(table, SERIES, name)) for name in steps},
    }
    return MomentumTable(table, values)


def _reached(found: Chosen) -> float:
    """The share of the seeds that came to the level."""
    return float(found.rows["steps"].notna().mean())


def minibatches(table: pd.DataFrame | None = None) -> MomentumTable:
    """M11: steps to a loss of 5e-5 of all samples, against the samples of a step."""
    table = stored_table() if table is None else table
    steps = {batch: _steps(table, STOCHASTIC, batch) for batch in BATCHES}
    small = [batch for batch in BATCHES if batch < PARAMETERS]
    values: Values = {
        **{
            f"steps_{method}": {f"m = {batch}": steps[batch][method] for batch in BATCHES}
            for method in (*MINIBATCH_METHODS, PROXIMAL)
        },
        "spring_gain_at_20": _ratio(steps[20]["NGD"], steps[20]["SPRING"]),
        "spring_gain_over_search_at_20": _ratio(steps[20]["NGD, search"], steps[20]["SPRING"]),
        "untuned_proximal_gain_at_20": _ratio(steps[20]["NGD"], steps[20][PROXIMAL]),
        "spring_gain_of_small_batches": {
            f"m = {batch}": ratio
            for batch in small
            for ratio in _ratio(steps[batch]["NGD"], steps[batch]["SPRING"]).values()
        },
        "transported_gain_at_20": _ratio(steps[20]["NGD"], steps[20]["LM"]),
    }
    return MomentumTable(table, values)


def layer(table: pd.DataFrame | None = None) -> MomentumTable:
    """M12: errors of the boundary layer against the exact solution."""
    table = stored_table() if table is None else table
    errors, largest = {}, {}
    for eps in LAYERS:
        for method in methods_of(table, LAYER):
            rows = chosen(table, LAYER, method, 0, eps).rows
            known = rows["h1_error"].fillna(math.inf)
            errors[f"eps = {eps:g}, {method}"] = float(np.median(known))
            if method == PROXIMAL:
                largest[f"eps = {eps:g}"] = float(known.max())
    few = {method: chosen(table, FEWER_POINTS, method, 10, 1.0).steps for method in ("NGD", "LM", "FD", "LG")}
    values: Values = {
        "error_h1": errors,
        "largest_h1_of_proximal": largest,
        "largest_h1_at_0.1": largest["eps = 0.1"],
        "largest_h1_at_0.03": largest["eps = 0.03"],
        "adam_over_proximal": {
            f"eps = {eps:g}": errors[f"eps = {eps:g}, Adam"] / errors[f"eps = {eps:g}, {PROXIMAL}"] for eps in LAYERS
        },
        "steps_with_10_points": few,
        "steps_of_lm_with_10_points": few["LM"],
        "steps_of_lg_with_10_points": few["LG"],
        "fd_over_lm_with_10_points": _ratio(few["FD"], few["LM"]),
        "ngd_over_lm_with_10_points": _ratio(few["NGD"], few["LM"]),
    }
    return MomentumTable(table, values)


def success(table: pd.DataFrame | None = None) -> MomentumTable:
    """M13: how often and how soon a loss of 1e-3 is reached; and the proximal step beside the best tuned method."""
    table = stored_table() if table is None else table
    methods = methods_of(table, LAYER)
    rates = {
        f"eps = {eps:g}, {method}": _reached(chosen(table, LAYER, method, 0, eps))
        for eps in LAYERS
        for method in methods
    }
    steps = {
        f"eps = {eps:g}, {method}": value for eps in LAYERS for method, value in _steps(table, LAYER, 0, eps).items()
    }
    ratios = dict(_places(table))
    values: Values = {
        "success": rates,
        "steps_to_1e-3": steps,
        "least_success_of_proximal": min(rates[f"eps = {eps:g}, {PROXIMAL}"] for eps in LAYERS),
        "success_of_proximal_less_best": {
            f"eps = {eps:g}": rates[f"eps = {eps:g}, {PROXIMAL}"]
            - max(rates[f"eps = {eps:g}, {method}"] for method in methods if method not in UNTUNED)
            for eps in LAYERS
        },
        "best_tuned_over_proximal": ratios,
        "median_best_tuned_over_proximal": float(np.median(list(ratios.values()))),
    }
    return MomentumTable(table, values)


def _places(table: pd.DataFrame) -> Iterable[tuple[str, float]]:
    """In each place where one arrives: the steps of the best tuned method over those of the proximal step."""
    found = [("series", SERIES, 0, 0.0)]
    found += [(f"series, m = {batch}", STOCHASTIC, batch, 0.0) for batch in BATCHES]
    found += [(f"layer, eps = {eps:g}", LAYER, 0, eps) for eps in LAYERS]
    for name, part, batch, eps in found:
        tuned = [method for method in methods_of(table, part) if method not in UNTUNED]
        best = best_tuned(table, part, batch, eps, tuned)
        for ratio in _ratio(best, chosen(table, part, PROXIMAL, batch, eps).steps).values():
            yield name, ratio


def map_of(table: pd.DataFrame, part: str) -> np.ndarray:
    """Medians of the steps, shape (dampings, momenta); infinite where most seeds never arrive."""
    own = table[table["part"] == part]
    return np.array(
        [
            [
                median_steps(own[np.isclose(own["damping"], damping) & np.isclose(own["momentum"], beta)])
                for beta in MAP_MOMENTA
            ]
            for damping in MAP_DAMPINGS
        ]
    )


def damping_or_momentum(table: pd.DataFrame | None = None) -> MomentumTable:
    """M14: what momentum gains where the damping is poor, and where it is the best."""
    table = stored_table() if table is None else table
    poor = int(np.argmin(np.abs(np.log(np.array(MAP_DAMPINGS) / UNDERDAMPED))))
    values: Values = {}
    for name, part in (("series", SERIES_MAP), ("layer", LAYER_MAP)):
        steps = map_of(table, part)
        without, best = steps[:, 0], steps.min()
        values |= {
            f"{name}_least_steps": float(best),
            f"{name}_least_steps_without_momentum": float(without.min()),
            f"{name}_best_damping_without_momentum": float(MAP_DAMPINGS[int(without.argmin())]),
            f"{name}_gain_underdamped": _ratio(float(steps[poor, 0]), float(steps[poor].min())),
            f"{name}_gain_at_the_best_damping": _ratio(float(without.min()), float(best)),
        }
    values["eps"] = MAP_EPS
    return MomentumTable(table, values)
