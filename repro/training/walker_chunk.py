"""How many walkers are differentiated at once."""

from __future__ import annotations

from repro.config import RunConfig
from repro.errors import InputError
from repro.numerics.batching import largest_divisor

WIDEST_JET = {"cpu": 2**18, "gpu": 2**26}
"""Numbers in the widest array that a chunk of walkers is differentiated with, by platform.

Few enough for a processor's cache, which makes the local energy at A = 6 twice as fast as memory would; on a GPU, where
such a chunk is too little work, as many as leave room for a batch of runs.
"""


def resolve_walker_chunk(config: RunConfig, wanted: int | None = None, platform: str = "cpu") -> int:
    """How many walkers to differentiate at once.

    Args:
        config: the run.
        wanted: a choice to check, or None for the largest divisor of the number of walkers whose widest jet, (A + 2)
            A H numbers a walker, stays within :data:`WIDEST_JET` numbers.
        platform: of the device, "cpu" or "gpu".

    Raises:
        InputError: if ``wanted`` does not divide the number of walkers.
    """
    walkers, particles = config.sampling.walkers, config.system.particles
    if wanted is None:
        jet = (particles + 2) * particles * config.ansatz.hidden
        return largest_divisor(walkers, max(1, WIDEST_JET[platform] // jet))
    if wanted < 1 or walkers % wanted:
        raise InputError(
            f"walker_chunk = {wanted}: must divide the number of walkers, {walkers}, and be at least 1; leave it out "
            "for a value chosen from the memory needed"
        )
    return wanted
