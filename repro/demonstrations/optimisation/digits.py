"""All 1797 digits of scikit-learn, 8 x 8 pixels each: the data of the demonstrations that need dense matrices."""

from __future__ import annotations

import numpy as np

from repro.datasets import load_images


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels between 0 and 1, shape ``(1797, 64)``, float64, and classes, shape ``(1797,)``.

    Raises:
        InputError: if scikit-learn is not installed.
    """
    images = load_images("digits")
    assert images.training_labels is not None
    assert images.test_labels is not None
    pixels = np.concatenate([images.training, images.test]).astype(np.float64)
    return pixels, np.concatenate([images.training_labels, images.test_labels])
