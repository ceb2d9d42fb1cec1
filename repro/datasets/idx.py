"""The IDX format, in which MNIST and Fashion-MNIST are given away: a header of sizes, then bytes.

Two zero bytes, a byte for the type (8: unsigned bytes, the only one read here), a byte for the number of dimensions D,
then D sizes of four bytes, the most significant first, then the values, the last index running fastest. (Y. LeCun,
C. Cortes, C. Burges, "The MNIST database of handwritten digits".)
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import numpy as np

from repro.errors import InputError
from repro.reading import read_bytes, unpacked

UNSIGNED_BYTES = 0x08
GZIP = b"\x1f\x8b"
ANEW = "fetch the file anew"


def read_idx(path: Path, shape: tuple[int, ...], sha256: str | None = None) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, packed with gzip or not.

    Args:
        path: of the file.
        shape: that the array must have.
        sha256: of the file without gzip, where it is known; any other file is refused.

    Raises:
        InputError: for a file that cannot be read or is another, or one of another type, shape or length.
    """
    content = read_bytes(path)
    if content.startswith(GZIP):
        content = unpacked(content, str(path))
    found = _parsed(content, path, shape)
    if sha256 is not None and (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(f"{path}: has the SHA-256 {digest}, not {sha256}: another file; {ANEW}")
    return found


def _parsed(content: bytes, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(f"{path}: begins with {content[:4].hex() or 'nothing'}, and an IDX file with 0000; {ANEW}")
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTES:
        raise InputError(f"{path}: type of values = {kind:#04x}: must be {UNSIGNED_BYTES:#04x}, unsigned bytes; {ANEW}")
    # As many sizes as are wanted: a file that says 255 dimensions is not believed.
    begin = 4 + 4 * len(shape)
    if dimensions != len(shape) or len(content) < begin:
        raise InputError(f"{path}: {dimensions} dimensions in {len(content)} bytes: must be {len(shape)}; {ANEW}")
    sizes = struct.unpack_from(f">{len(shape)}I", content, 4)
    if sizes != shape:
        raise InputError(f"{path}: shape = {sizes}: must be {shape}; {ANEW}")
    held, wanted = len(content) - begin, math.prod(shape)
    if held != wanted:
        fault = "is truncated" if held < wanted else "goes on after its end"
        raise InputError(f"{path}: {fault}: {held:,} values, and its shape {shape} says {wanted:,}; {ANEW}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
