"""The tasks that are timed in each package, and the states for which walks and metrics are compared."""

from repro.study.runs.profiles import PROFILES

OURS = "this package"
NESTED = "nested derivatives"
TASKS = {
    "laplacian": (OURS, "folx", NESTED),
    "natural gradient": (OURS, "netket, SR", "netket, minSR"),
}
"""The codes of each task; a package's name is what comes before the comma, and its version follows in tables."""
PEERS = tuple((task, code) for task, codes in TASKS.items() for code in codes if code not in (OURS, NESTED))
PEER_PARTICLES = (2, 4, 6)

WALKED = ((2, -10.0), (3, 20.0), (4, -20.0), (5, -20.0), (6, 10.0))
"""Particles and couplings of the states whose energy is measured by walks of several lengths."""
STUDIED_SWEEPS = PROFILES["paper"].sweeps

SMALL_STATES = 15
"""Seeds of the states whose Fisher metric is compared with Kronecker factors."""
