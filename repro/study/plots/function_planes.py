"""Paths of methods in the plane of parameters, in the plane of functions, and their losses."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro.demonstrations.geometry.function_plane import Toy
from repro.study.plots.landscapes import landscape, path
from repro.study.plots.style import METHODS

MARGIN = 0.12
"""Around paths, of their extent."""
FLOOR = 1e-12
"""Smaller losses are not drawn."""


def toy_panels(toy: Toy, labels: Mapping[str, str] | None = None, every: int = 8) -> Figure:
    """Three panels: parameters, functions, loss; the legend is below. Parameters that are zero give the target.

    Args:
        toy: the paths; a method is drawn as :data:`repro.study.plots.style.METHODS` says.
        labels: of methods, in place of those.
        every: of so many iterates one gets a marker.
    """
    figure, (parameters, functions, losses) = plt.subplots(1, 3, figsize=(9.6, 3.5))
    plane, names = toy.plane, dict(labels or {})

    def of_parameters(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return plane.loss_at(plane.values(np.stack([first, second], axis=-1)))

    def of_functions(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return plane.loss_at(np.stack([first, second], axis=-1))

    levels = toy.losses[next(iter(toy.losses))][0] * np.array([0.003, 0.02, 0.07, 0.16, 0.3, 0.5, 0.75, 1.05, 1.5])
    landscape(parameters, of_parameters, *_ranges(toy.parameters), levels=levels)
    landscape(functions, of_functions, *_ranges(toy.functions), levels=levels)
    for name, theta in toy.parameters.items():
        label = names.get(name, METHODS[name].label)
        path(parameters, theta, name, label, every)
        path(functions, toy.functions[name], name, label, every)
        loss_curve(losses, toy.losses[name], name, label)
    first, solution = next(iter(toy.functions.values()))[0], np.zeros(2)
    for axis, place in ((parameters, solution), (functions, plane.target)):
        axis.plot(*place, "*", color="black", markersize=9, label="target")
    functions.plot(
        *np.stack([first, plane.target], axis=1), color="0.5", linestyle=":", linewidth=1.0, label="straight line"
    )
    for axis, titles in ((parameters, (r"$\theta_1$", r"$\theta_2$")), (functions, ("part of 1", "part of the sine"))):
        axis.set_xlabel(titles[0])
        axis.set_ylabel(titles[1])
    losses.set_xlabel("step")
    losses.set_ylabel("loss")
    figure.legend(*functions.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    for axis, title in ((parameters, "parameters"), (functions, "functions"), (losses, "loss")):
        axis.set_title(title)
    return figure


def loss_curve(axis: Axes, losses: np.ndarray, method: str, label: str | None = None, markers: int = 10) -> None:
    """A loss against the step, in logarithms, drawn as its method is; losses below :data:`FLOOR` are left out."""
    look = METHODS[method]
    shown = np.where((losses > FLOOR) & np.isfinite(losses), losses, np.nan)
    axis.semilogy(
        shown,
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markersize=3.5,
        markevery=max(1, len(losses) // markers),
        label=look.label if label is None else label,
    )


def table_of(toy: Toy) -> pd.DataFrame:
    """The numbers drawn: parameters, functions and loss by method and step."""
    frames = [
        pd.DataFrame(
            {"method": name, "step": np.arange(len(theta)), "theta_1": theta[:, 0], "theta_2": theta[:, 1]}
            | {"v_1": toy.functions[name][:, 0], "v_2": toy.functions[name][:, 1], "loss": toy.losses[name]}
        )
        for name, theta in toy.parameters.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _ranges(paths: Mapping[str, np.ndarray]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of all points, with a margin; as wide as high if one would be much smaller."""
    points = np.concatenate([*paths.values(), np.zeros((1, 2))])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = np.maximum(high - low, 0.3 * (high - low).max())
    middle = 0.5 * (low + high)
    first, second = (
        (float(m - (0.5 + MARGIN) * e), float(m + (0.5 + MARGIN) * e)) for m, e in zip(middle, extent, strict=True)
    )
    return first, second
