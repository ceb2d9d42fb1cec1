"""Gauss-Hermite quadrature for functions that carry their own Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_hermite

from repro.vmc.physics.oscillator import oscillator_orbitals

Reals = NDArray[np.float64]


def gauss_hermite(count: int) -> tuple[Reals, Reals]:
    """Nodes t and weights w with sum_i w_i f(t_i) = integral f.

    Exact for f = exp(-t^2) times a polynomial of degree below 2 count, count at most 700. The usual weights exp(t^2)
    times smaller underflow from about 370 nodes on; these do not: with phi the normalised oscillator functions, w_i =
    1 / (count phi_{count-1}(t_i)^2).
    """
    nodes = np.asarray(roots_hermite(count)[0], np.float64)
    last = oscillator_orbitals(nodes, count)[..., -1]
    return nodes, 1.0 / (count * last**2)
