"""The cases of the study."""

from __future__ import annotations

from itertools import product

from repro.config import SystemConfig
from repro.errors import ReproError
from repro.references import known_energy

PARTICLES = (2, 3, 4, 5, 6)
STRENGTHS = (-20.0, -10.0, 0.0, 10.0, 20.0)
BETWEEN = (-15.0, -5.0, 5.0, 15.0)
"""Further strengths for which references are kept."""

CASES = tuple(SystemConfig(particles, v0) for particles, v0 in product(PARTICLES, STRENGTHS))
"""The 25 cases."""
PAPER_CASES = tuple(case for case in CASES if case.particles <= 4)
"""Those in which optimisers beyond the study were run at its own size, too."""
HELD_OUT = (
    *(SystemConfig(3, -10.0, sigma0) for sigma0 in (0.3, 1.0)),
    *(SystemConfig(particles, v0) for particles, v0 in product(PARTICLES, BETWEEN)),
)
"""Cases on which nothing was shaped or tuned: ``paper_runs/grids/held_out.toml``."""
NAMED = {"all": CASES, "held-out": HELD_OUT}
"""Sets of cases by the name that a claim may give."""
SEEDS = (0, 1, 2)
"""Of the comparison with optimisers beyond the study."""


def exact_energy(system: SystemConfig) -> float:
    """The exact energy of a case, known at once.

    Raises:
        ReproError: if it is not.
    """
    found = known_energy(system)
    if found is None:
        raise ReproError(f"{case_label(system)}: no exact energy stored; see `repro references`")
    return found


def case_label(system: SystemConfig, seed: int | None = None) -> str:
    """Such as "A = 2, V0 = -10, seed 0"; the width of the interaction is named where it is not the study's."""
    width = "" if system.sigma0 == SystemConfig.sigma0 else f", sigma0 = {system.sigma0:g}"
    return f"A = {system.particles}, V0 = {system.v0:g}{width}" + ("" if seed is None else f", seed {seed}")
