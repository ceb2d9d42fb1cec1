"""What is timed beside other packages, and by whom."""

OURS = "this package"
NESTED = "nested derivatives"
TASKS = {
    "laplacian": (OURS, "folx", NESTED),
    "natural gradient": (OURS, "netket, SR", "netket, minSR"),
}
"""The codes of each task; a package's name is what comes before the comma, and its version follows in tables."""
PEERS = tuple((task, code) for task, codes in TASKS.items() for code in codes if code not in (OURS, NESTED))
PEER_PARTICLES = (2, 4, 6)
