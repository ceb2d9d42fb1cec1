"""Checkpoints: the whole state of a run in one npz file, without pickle."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from repro.errors import InputError
from repro.reading import shortened
from repro.training.archives import header_of, read_arrays
from repro.training.files import write_atomic
from repro.training.state import TrainState

HEADER = "header"
KEPT_FINITE = (".params", ".data")
"""What is finite in every state that is saved; an optimiser may mark by infinity what it has not measured."""


FORMERLY = ".chain"
"""How checkpoints of earlier versions call ``.data``."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        content_hash: of the configuration it belongs to.
        phase: "pretraining" or "training".
        epoch: epochs of that phase done.
        walker_chunk: walkers differentiated at once, on which the rounding of sums depends; 0 where there are none.
        revisions: git revisions of the code that led to the state, the last one last.
        tables: SHA-256 of the run's tables up to this state, by phase; empty in checkpoints of earlier versions.
        arrays: SHA-256 of the state's arrays; "" before they are saved, and in checkpoints of earlier versions.
    """

    content_hash: str
    phase: str
    epoch: int
    walker_chunk: int
    revisions: tuple[str, ...]
    tables: dict[str, str] = field(default_factory=dict)
    arrays: str = ""


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named_leaves(state: TrainState) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, shapes and types."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, header: Header, state: TrainState) -> None:
    """Writes state and header atomically."""
    plain = ((name, jax.random.key_data(leaf) if _is_key(leaf) else leaf) for name, leaf in _named_leaves(state))
    arrays = {name: np.asarray(leaf) for name, leaf in plain}
    text = json.dumps(asdict(replace(header, arrays=_digest(arrays)))).encode()
    buffer = io.BytesIO()
    np.savez(buffer, **{HEADER: np.frombuffer(text, np.uint8)}, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read.

    Attributes:
        path: of its file.
        header: what it says of itself.
        arrays: the state's leaves by name.
    """

    path: Path
    header: Header
    arrays: dict[str, np.ndarray]

    def state(self, template: TrainState) -> TrainState:
        """The state, checked against the shapes and types of ``template`` (arrays or ``jax.ShapeDtypeStruct``).

        Raises:
            InputError: if the file holds another state, or parameters or walkers that are not finite.
        """
        leaves = []
        for name, wanted in _named_leaves(template):
            like = jax.eval_shape(jax.random.key_data, wanted) if _is_key(wanted) else wanted
            stored = self.arrays.get(name, self.arrays.get(name.replace(".data", FORMERLY, 1)))
            if stored is None or stored.shape != like.shape or stored.dtype != like.dtype:
                found = "nothing" if stored is None else f"{stored.dtype}{list(stored.shape)}"
                raise InputError(f"{self.path}: {name} should be {like.dtype}{list(like.shape)}, found {found}")
            if name.startswith(KEPT_FINITE) and not np.isfinite(stored).all():
                raise InputError(f"{self.path}: {name} holds numbers that are not finite; start anew with --overwrite")
            array = jax.numpy.asarray(stored)
            leaves.append(jax.random.wrap_key_data(array) if _is_key(wanted) else array)
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        InputError: if the file is missing, truncated or no checkpoint.
    """
    if not path.exists():
        raise InputError(f"{path}: no checkpoint there; start the run anew with --overwrite")
    try:
        arrays = read_arrays(path)
        header = _header(header_of(arrays, HEADER, path), path)
        saved = {name: array for name, array in arrays.items() if name != HEADER}
        if header.arrays and header.arrays != _digest(saved):
            raise InputError(f"{path}: was altered (its arrays are not those that were saved)")
        return Checkpoint(path, header, arrays)
    except InputError as error:
        raise InputError(f"{error}; start the run anew with --overwrite") from error


def _header(fields: dict[str, Any], path: Path) -> Header:
    # Checkpoints of earlier versions do not say who made them, nor have they checksums.
    fields = {"revisions": ["unknown"], "tables": {}, "arrays": ""} | fields
    kinds = {"content_hash": str, "phase": str, "epoch": int, "walker_chunk": int}
    kinds |= {"revisions": list, "tables": dict, "arrays": str}
    fits = fields.keys() == kinds.keys() and all(type(fields[name]) is kind for name, kind in kinds.items())
    if not fits or not all(isinstance(name, str) for name in (*fields["revisions"], *fields["tables"].values())):
        raise InputError(f"{path}: not a checkpoint of this package (its header has {shortened(str(fields))})")
    return Header(**fields | {"revisions": tuple(fields["revisions"])})
