"""Definitions of the words in figures: what "converged" means, how speed and fluctuations are measured."""

from __future__ import annotations

from collections.abc import Iterable

from repro.study.runs.convergence import DEFINITION, KINDS, LEVELS, SMOOTHING, SPEED, epochs_column, seconds_column

FLUCTUATION = (
    "Fluctuation: half the central 68 % range of the relative error over the last fifth of the epochs; infinite for a "
    "run that diverged."
)
EXCURSION = (
    "Excursion: the largest distance of an energy of the last fifth of the epochs from their median, over |E_exact|; "
    "infinite for a run that diverged."
)
DEPARTURE = (
    f"Departure: the largest median relative error of {SMOOTHING} epochs in a row, in modulus, once 1 % was reached; "
    "infinite for a run that diverged or whose excursion is larger than 10 %."
)
SIGMA_BELOW = (
    "Standard errors below the exact energy: of the final energy. One whose standard error is larger than |E_exact| "
    "cannot be judged and counts as infinitely many; a run that diverged has no final energy and decides nothing."
)
FINAL_ERROR = (
    "Final error: |E - E_exact| / |E_exact| of the energy that is measured at the end with many batches at fixed "
    "parameters, at least its standard error; infinite for a run that diverged."
)
SECONDS = "Seconds: epochs times the seconds of an epoch, which a benchmark of the same size gave on an idle machine."

OF_QUANTITY = {
    "kind": (DEFINITION, KINDS),
    **{epochs_column(level): (SPEED,) for level in LEVELS},
    **{seconds_column(level): (SPEED, SECONDS) for level in LEVELS},
    "ablation_loss": (SPEED,),
    "fluctuation": (FLUCTUATION,),
    "excursion": (EXCURSION,),
    "departure": (SPEED, DEPARTURE, EXCURSION),
    "sigma_below_exact": (SIGMA_BELOW,),
    "final_error": (FINAL_ERROR,),
    "large_error": (FINAL_ERROR,),
}
"""By the quantity of a claim; the other quantities are told by their claims."""


def definitions_of(quantities: Iterable[str], printed: str) -> list[str]:
    """The definitions that a figure uses, each once, in the order of :data:`OF_QUANTITY`.

    Args:
        quantities: of its claims.
        printed: what its notebook has printed, definitions among it: a picture may tell how runs ended that no claim
            counts.
    """
    measured = set(quantities)
    used = {sentence for quantity in measured for sentence in OF_QUANTITY.get(quantity, ())}
    every = dict.fromkeys(sentence for sentences in OF_QUANTITY.values() for sentence in sentences)
    return [sentence for sentence in every if sentence in used or sentence in printed]
