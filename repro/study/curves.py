"""Summaries of curves."""

from __future__ import annotations

import numpy as np
import pandas as pd


def log_binned(epochs: pd.Series, values: pd.Series, per_decade: int = 12) -> pd.DataFrame:
    """Median and central 68 % band of ``values`` in bins of equal width in log(epoch).

    Args:
        epochs: positive, increasing.
        values: of the same length.
        per_decade: bins in a factor of ten.

    Returns:
        One row for each bin that holds something: ``epoch`` (geometric mean), ``median``, ``low``, ``high``, ``count``.
    """
    # Closed on the right, so that the last epoch of a run, often a power of ten, does not make a bin of its own.
    groups = np.ceil(np.log10(epochs.to_numpy()) * per_decade - 1e-9).astype(int)
    frame = pd.DataFrame({"log": np.log(epochs.to_numpy()), "value": values.to_numpy(), "group": groups})
    binned = frame.groupby("group")
    quantile = binned["value"].quantile
    return pd.DataFrame(
        {
            "epoch": np.exp(binned["log"].mean()),
            "median": binned["value"].median(),
            "low": quantile(0.16),
            "high": quantile(0.84),
            "count": binned.size(),
        }
    ).reset_index(drop=True)
