"""One style for all figures: colours that can be told apart in grey, lines that can be told apart without colour."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

# Okabe and Ito's palette, safe for colour-blind readers; ordered so that luminance differs as well.
BLACK, BLUE, ORANGE, GREEN, GREY = "#000000", "#0072B2", "#E69F00", "#009E73", "#7f7f7f"
VERMILION, SKY, PURPLE = "#D55E00", "#56B4E9", "#CC79A7"
# Of P. Tol's, for what the study does not have.
WINE, OLIVE, INDIGO = "#882255", "#999933", "#332288"


@dataclass(frozen=True)
class Look:
    """How one optimiser or reference is drawn, everywhere."""

    label: str
    color: str
    linestyle: Any
    marker: str


LOOKS = {
    "adam": Look("Adam", BLUE, "-", "o"),
    "kfac": Look("KFAC", VERMILION, (0, (4, 1.5)), "v"),
    "qn-kfac": Look("QN-KFAC", SKY, "-", "D"),
    "qn-mr-kfac": Look("QN-MR-KFAC", PURPLE, (0, (6, 1.5, 1, 1.5)), "P"),
    "ngd": Look("NGD", GREY, (0, (3, 1.2)), "X"),
    "dgd": Look("DGD", GREEN, "-", "s"),
    "proximal-dgd": Look("proximal DGD", WINE, "-", "*"),
    "minsr": Look("minSR", OLIVE, (0, (1, 1)), "<"),
    "spring": Look("SPRING", INDIGO, (0, (5, 1, 1, 1, 1, 1)), ">"),
    "exact": Look("exact", BLACK, "-", ""),
    "ci": Look("CI, 20 modes", GREY, (0, (5, 2)), "D"),
    "hf": Look("Hartree-Fock", ORANGE, (0, (1, 1.2)), "^"),
}

METHODS = {
    "gradient-descent": Look("gradient descent", BLACK, "-", "d"),
    "momentum": Look("momentum", ORANGE, (0, (6, 1.5, 1, 1.5)), "^"),
    "sgd": Look("SGD with momentum", ORANGE, (0, (6, 1.5, 1, 1.5)), "^"),
    "adam": LOOKS["adam"],
    "newton": Look("Newton", VERMILION, (0, (4, 1.5)), "v"),
    "damped-newton": Look("damped Newton", PURPLE, (0, (3, 1.2)), "P"),
    "gauss-newton": Look("Gauss-Newton", SKY, (0, (5, 1, 1, 1)), "D"),
    "natural-gradient": Look("natural gradient", GREEN, "-", "s"),
    "empirical-fisher": Look("empirical Fisher", OLIVE, (0, (1, 1)), "<"),
    "hessian-free": Look("Hessian-free", GREY, (0, (5, 2)), "X"),
    "conjugate-gradients": Look("conjugate gradients", GREEN, (0, (5, 1, 1, 1, 1, 1)), "s"),
    "kfac": LOOKS["kfac"],
    "kfac-jax": Look("kfac-jax", SKY, (0, (2, 1)), "1"),
    "proximal": Look("proximal", WINE, "-", "*"),
    "spring": LOOKS["spring"],
    "natural-hessian": Look("natural gradient with $G^H$", SKY, (0, (5, 1, 1, 1)), "D"),
    "transported": Look("last momentum (LM)", VERMILION, "-", "v"),
    "function-difference": Look("function difference (FD)", BLUE, (0, (4, 1.5)), "o"),
    "last-gradient": Look("last gradient (LG)", PURPLE, (0, (1, 1)), "P"),
    "nesterov": Look("Nesterov", WINE, (0, (5, 1, 1, 1, 1, 1)), "*"),
}
"""How the methods of the lectures are drawn."""

RC: dict[str, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
}


def use_style() -> None:
    """Sets matplotlib's parameters for the process: its own defaults, whatever a matplotlibrc says, and then ours.

    Where figures are not drawn into a notebook, no window is needed.
    """
    mpl.rcdefaults()
    if "inline" not in os.environ.get("MPLBACKEND", ""):
        mpl.use("agg")
    mpl.rcParams.update(RC)  # type: ignore[arg-type]


LARGEST = 10.0
"""Larger relative errors are not drawn, only marked: what matters is below 1."""


SMALLEST = 1e-5
"""Smaller relative errors are not told apart in tables."""
