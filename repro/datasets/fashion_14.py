"""Fashion-MNIST in 14 x 14 black and white pixels: 11,000 pictures in 275 kB, or all of them from the reader's files.

A pixel is the mean of 2 x 2 pixels of the original, and is white where that is above 127. The packed pictures are the
first 10,000 of the training images and the first 1000 of the test images. ``pack_fashion_14`` made the file from
Debian's package dataset-fashion-mnist. (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747; MIT licence, in
``data/fashion_14.LICENSE``.)
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

import numpy as np

from repro.errors import InputError
from repro.reading import unpacked

PACKED = "fashion_14.bits.gz"
PACKED_SHA256 = "7675c59567eb7e3f2d3551ac20e89c9c4e9a675c80e0b7fb8f6ab49379f56e23"
"""Of the file without gzip."""
SIDE, TRAINING, TEST = 14, 10_000, 1000
THRESHOLD = 127


def in_black_and_white(pictures: np.ndarray) -> np.ndarray:
    """Pictures of 28 x 28 bytes as rows of 196 zeros and ones, bytes too.

    Args:
        pictures: shape ``(S, 28, 28)``.
    """
    blocks = pictures.reshape(len(pictures), SIDE, 2, SIDE, 2).astype(np.uint16)
    return (blocks.sum(axis=(2, 4)) > 4 * THRESHOLD).astype(np.uint8).reshape(len(pictures), SIDE * SIDE)


def pack_fashion_14(training: np.ndarray, test: np.ndarray) -> bytes:
    """The content of the packed file, from the arrays of the original's IDX files; 25 bytes a picture, then gzip.

    Args:
        training: shape ``(60000, 28, 28)``.
        test: shape ``(10000, 28, 28)``.
    """
    rows = np.concatenate([in_black_and_white(training[:TRAINING]), in_black_and_white(test[:TEST])])
    return gzip.compress(np.packbits(rows, axis=1).tobytes(), 9, mtime=0)


def packed_pictures() -> tuple[np.ndarray, np.ndarray]:
    """The packed pictures for training and test, rows of zeros and ones.

    Raises:
        InputError: if the file is not the one that belongs here.
    """
    file = resources.files(__package__).joinpath("data", PACKED)
    content = unpacked(file.read_bytes(), PACKED)
    if (digest := hashlib.sha256(content).hexdigest()) != PACKED_SHA256:
        raise InputError(f"{PACKED}: has the SHA-256 {digest}, not {PACKED_SHA256}: another file; install repro anew")
    rows = np.frombuffer(content, np.uint8).reshape(TRAINING + TEST, -1)
    pictures = np.unpackbits(rows, axis=1, count=SIDE * SIDE)
    return pictures[:TRAINING], pictures[TRAINING:]
