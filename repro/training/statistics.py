"""Statistics of correlated samples, by ArviZ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EnergyEstimate:
    """A final energy.

    Attributes:
        energy: mean over all walkers and batches.
        error: standard error of the mean, standard deviation / sqrt(ess).
        rhat: split R-hat over the walkers (Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4).
        ess: effective sample size, from the autocorrelation along each walker.
        variance: of the local energy.
    """

    energy: float
    error: float
    rhat: float
    ess: float
    variance: float


def estimate_energy(samples: np.ndarray) -> EnergyEstimate:
    """Mean and autocorrelation-aware error of local energies.

    Args:
        samples: shape ``(batches, walkers)``; each walker is one chain, at least 4 batches.

    Raises:
        ValueError: if a sample is not finite.
    """
    from arviz_stats.base import array_stats

    if not np.all(np.isfinite(samples)):
        raise ValueError("local energies that are not finite have no mean")
    chains = np.asarray(samples, np.float64).T
    variance = float(np.var(chains, ddof=1))
    if variance <= 1e-20 * max(1.0, float(np.mean(chains)) ** 2):
        # An exact eigenstate: every sample is the energy, and there is no variance to correlate.
        return EnergyEstimate(float(np.mean(chains)), 0.0, 1.0, float(chains.size), variance)
    # Between far-apart batches the estimate scatters about the number of samples; never claim better than independence.
    ess = min(float(array_stats.ess(chains, method="mean")), float(chains.size))
    return EnergyEstimate(
        energy=float(np.mean(chains)),
        error=float(np.sqrt(variance / ess)),
        rhat=float(array_stats.rhat(chains, method="split")),
        ess=ess,
        variance=variance,
    )
