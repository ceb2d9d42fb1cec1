"""What a data set of images is: pixels between 0 and 1, one part to train on and one to test on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPLIT_SEED = 0


@dataclass(frozen=True)
class Images:
    """Images as rows of numbers.

    Attributes:
        name: of the data set.
        told: what was used, in one line: where it is from, how much of it, how it was split.
        height: of an image, in pixels.
        width: of an image, in pixels.
        training: pixels between 0 and 1, shape ``(S, height * width)``, float32.
        test: those to test on, shape ``(T, height * width)``.
        training_labels: the class of each, shape ``(S,)``, int32; None where images have no class.
        test_labels: of those to test on, shape ``(T,)``.
    """

    name: str
    told: str
    height: int
    width: int
    training: np.ndarray
    test: np.ndarray
    training_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None

    @property
    def pixels(self) -> int:
        """Of an image."""
        return self.height * self.width


def split_images(
    name: str, told: str, pictures: np.ndarray, labels: np.ndarray | None, training: int, largest: float
) -> Images:
    """Images in one array as a data set: a fixed permutation, the first rows of which are trained on.

    Args:
        name: of the data set.
        told: where it is from.
        pictures: shape ``(S, height, width)``.
        labels: of each, shape ``(S,)``, or None.
        training: how many to train on; the others are for the test.
        largest: value of a white pixel.
    """
    count, height, width = pictures.shape
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    rows = (pictures.reshape(count, -1)[order] / largest).astype(np.float32)
    classes = None if labels is None else labels[order].astype(np.int32)
    said = f"{told}; {training} images to train on and {count - training} to test on, by RandomState({SPLIT_SEED})"
    first = (rows[:training], rows[training:])
    second = (None, None) if classes is None else (classes[:training], classes[training:])
    return Images(name, said, height, width, *first, *second)
