"""Eigenfunctions of the one-dimensional harmonic oscillator, in units hbar = m = omega = 1."""

from __future__ import annotations

import math
from typing import Any


def oscillator_orbitals(x: Any, count: int) -> Any:
    """The first ``count`` normalised eigenfunctions phi_0 ... phi_{count-1} at the points ``x``.

    The normalised functions are built by their own recurrence,

        phi_{n+1}(x) = sqrt(2 / (n + 1)) x phi_n(x) - sqrt(n / (n + 1)) phi_{n-1}(x),

    which neither overflows nor needs a factorial.

    Args:
        x: positions in oscillator lengths, any shape, a NumPy or a JAX array.
        count: how many functions, at least 1.

    Returns:
        Array of shape ``x.shape + (count,)`` and of the kind of ``x``.

    Raises:
        ValueError: if ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count = {count}: at least one oscillator orbital is needed")
    xp = x.__array_namespace__()
    orbitals = [math.pi**-0.25 * xp.exp(-0.5 * x * x)]
    if count > 1:
        orbitals.append(math.sqrt(2.0) * x * orbitals[0])
    for n in range(1, count - 1):
        orbitals.append(math.sqrt(2.0 / (n + 1)) * x * orbitals[n] - math.sqrt(n / (n + 1)) * orbitals[n - 1])
    return xp.stack(orbitals, axis=-1)
