"""Checkpoints: the whole state of a run in one npz file, without pickle."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from repro.errors import InputError, storage_error
from repro.training.files import write_atomic
from repro.training.state import TrainState

HEADER = "header"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        content_hash: of the configuration it belongs to.
        phase: "pretraining" or "training".
        epoch: epochs of that phase done.
        walker_chunk: walkers differentiated at once, on which the rounding of sums depends.
        revisions: git revisions of the code that led to the state, the last one last.
        tables: SHA-256 of the run's tables up to this state, by phase; empty in checkpoints of earlier versions.
    """

    content_hash: str
    phase: str
    epoch: int
    walker_chunk: int
    revisions: tuple[str, ...]
    tables: dict[str, str] = field(default_factory=dict)


def _named_leaves(state: TrainState) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def save_checkpoint(path: Path, header: Header, state: TrainState) -> None:
    """Writes state and header atomically."""
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(state)}
    text = json.dumps(asdict(header)).encode()
    buffer = io.BytesIO()
    np.savez(buffer, **{HEADER: np.frombuffer(text, np.uint8)}, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no checkpoint there; start the run anew with --overwrite") from error
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive can end in any error; its content has checksums of its own
        raise InputError(
            f"{path}: truncated or damaged checkpoint ({' '.join(str(error).split())}); start anew with --overwrite"
        ) from error


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
            InputError: if the file holds another state.
        """
        leaves = []
        for name, like in _named_leaves(template):
            stored = self.arrays.get(name)
            if stored is None or stored.shape != like.shape or stored.dtype != like.dtype:
                found = "nothing" if stored is None else f"{stored.dtype}{list(stored.shape)}"
                raise InputError(f"{self.path}: {name} should be {like.dtype}{list(like.shape)}, found {found}")
            leaves.append(jax.numpy.asarray(stored))
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        InputError: if the file is missing, truncated or no checkpoint.
    """
    arrays = _read(path)
    try:
        fields = json.loads(arrays[HEADER].tobytes())
        # Checkpoints of earlier versions do not say.
        revisions = tuple(fields.get("revisions", ["unknown"]))
        return Checkpoint(path, Header(**fields | {"revisions": revisions}), arrays)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a checkpoint of this package ({error!r})") from error
