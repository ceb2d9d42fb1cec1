"""Reads archives of arrays (.npz) without trusting them: no pickle, no size but the file's own, every bit checked."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import InputError
from repro.reading import parse_json, told

MOST_EXPANSION = 30
"""What an archive may unpack to, in its own size; numbers that were measured hardly shrink."""
FREE_BYTES = 2**20
"""What any archive may unpack to."""
KINDS = "biuf"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive by name, each of booleans, integers or real numbers.

    The whole content of each is read, so that zip's checksums are looked at; its size is compared with what its header
    promises before anything is made of it.

    Raises:
        InputError: if the file is missing, damaged, or holds anything else.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            size = stream.seek(0, io.SEEK_END)
            if (unpacked := sum(entry.file_size for entry in entries)) > MOST_EXPANSION * size + FREE_BYTES:
                raise ValueError(f"{size:,} bytes would become {unpacked:,}")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or told(error)})") from error
    except Exception as error:  # zip, zlib, numpy and its parser of headers have dozens between them
        raise InputError(f"{path}: truncated or damaged, not an archive of arrays ({told(error)})") from error


def _array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, kind = readers[version](stream)
    if kind.kind not in KINDS:
        raise ValueError(f"an array of {kind}, which is no number")
    left = len(content) - stream.tell()
    if (stated := math.prod(shape) * kind.itemsize) != left or min(shape, default=0) < 0:
        raise ValueError(f"an array of {kind}{list(shape)} in {left:,} bytes")
    values = np.frombuffer(content, kind, offset=stream.tell()) if stated else np.zeros(0, kind)
    return values.reshape(shape, order="F" if fortran else "C").copy()


def header_of(arrays: dict[str, np.ndarray], name: str, source: Path) -> dict[str, Any]:
    """The JSON object that an archive keeps as bytes beside its arrays.

    Raises:
        InputError: if there is none.
    """
    array = arrays.get(name)
    if array is None or array.dtype != np.uint8:
        raise InputError(f"{source}: not a checkpoint or network of this package (no {name})")
    document = parse_json(array.tobytes().decode("utf-8", "replace"), f"{source}, {name}")
    if not isinstance(document, dict):
        raise InputError(f"{source}: not a checkpoint or network of this package ({name} is no object)")
    return document
