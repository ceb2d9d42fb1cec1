"""Imports a network that was trained elsewhere: a run can begin with the one that the study's authors stored.

Their file is an archive of PyTorch's: a zip whose records ``data/0``, ``data/1``, ... are the raw bytes of the tensors,
little end first, in the order in which they were saved. The sizes alone tell what belongs to what; the pickle beside
them, which could execute anything, is never read.

Each weight of theirs is the transpose of ours. With L hidden layers of H units and A particles their sizes are

    2 H, H,  then L - 1 times  2 H H, H,  then  A H, A  (orbitals)  and  A  (envelope).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from repro.config import RunConfig
from repro.errors import InputError
from repro.reading import read_bytes, told
from repro.training.archives import header_of, read_arrays
from repro.training.files import write_atomic
from repro.training.state import TrainState
from repro.vmc.sampling.metropolis import WIDTH_BOUNDS

PRETRAINED = "pretrained.npz"
HEADER = "imported"
LARGEST_BYTES = 200_000_000
MOST_PARTICLES, MOST_LAYERS = 20, 8
FEWEST_WALKERS = 100
SPREAD = (0.2, 5.0)
"""Walkers have standard deviations between these, in oscillator lengths; moments of Adam are far smaller."""


@dataclass(frozen=True)
class ImportedNetwork:
    """A network with its walkers, in double precision.

    Attributes:
        params: by module and name, as the ansatz has them.
        walkers: positions, shape ``(W, A)``.
        width: of the proposal, in oscillator lengths.
    """

    params: dict[str, dict[str, np.ndarray]]
    walkers: np.ndarray
    width: float

    @property
    def named(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        flat = {f"{module}/{name}": leaf for module, leaves in self.params.items() for name, leaf in leaves.items()}
        return flat | {"walkers": self.walkers, "width": np.asarray(self.width, float)}

    @property
    def content_hash(self) -> str:
        """SHA-256 of names, shapes and bytes, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, array in sorted(self.named.items()):
            digest.update(f"{name} {list(array.shape)}\n".encode())
            digest.update(np.ascontiguousarray(array, "<f8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def size(self) -> tuple[int, int, int]:
        """Particles, hidden layers and units."""
        hidden = self.params["ansatz/equivariant_1"]["b"].shape[0]
        return self.walkers.shape[1], len(self.params) - 1, hidden

    def begin(self, state: TrainState) -> TrainState:
        """``state`` with these parameters and the first of these walkers, in the precision of the state."""
        kind = state.data.walkers.dtype
        count = state.data.walkers.shape[0]
        params = jax.tree.map(lambda like, leaf: jax.numpy.asarray(leaf, like.dtype), state.params, self.params)
        walkers = jax.numpy.asarray(self.walkers[:count], kind)
        return state._replace(
            params=params,
            data=state.data._replace(walkers=walkers, width=jax.numpy.asarray(self.width, kind)),
        )

    def refuse_other(self, config: RunConfig, source: Path) -> None:
        """Raises InputError unless this is the network that a configuration begins with, with walkers enough."""
        if self.content_hash != config.pretraining.network:
            raise InputError(
                f"pretrained = {source}: holds network {self.content_hash}, not {config.pretraining.network}"
            )
        ansatz = config.ansatz
        wanted = (config.system.particles, ansatz.layers, ansatz.hidden)
        if self.size != wanted or ansatz.determinants != 1:
            names = ("particles", "layers", "hidden")
            told = ", ".join(f"{name} = {value}" for name, value in zip(names, self.size, strict=True))
            raise InputError(f"pretrained = {source}: its network has {told}, determinants = 1; ask for the same")
        if config.sampling.walkers > len(self.walkers):
            raise InputError(
                f"walkers = {config.sampling.walkers}: {source} holds {len(self.walkers)}; ask for as many at most"
            )


def save_imported(network: ImportedNetwork, folder: Path, source: Path) -> Path:
    """Writes ``pretrained.npz`` into a new or empty folder; the source's name and checksum stand beside the arrays.

    Raises:
        InputError: if the folder holds something.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"out = {folder}: is not empty; choose another directory")
        header = {
            "network": network.content_hash,
            "source": source.name,
            "source_sha256": hashlib.sha256(read_bytes(source)).hexdigest(),
        }
        buffer = io.BytesIO()
        text = np.frombuffer(json.dumps(header).encode(), np.uint8)
        arrays: Mapping[str, Any] = {HEADER: text, **network.named}
        np.savez(buffer, **arrays)
        write_atomic(folder / PRETRAINED, buffer.getvalue())
    except OSError as error:
        raise InputError(f"out = {folder}: cannot be written ({error.strerror}); choose another directory") from error
    return folder / PRETRAINED


def is_imported(folder: Path) -> bool:
    """Whether a folder holds a network that :func:`save_imported` left there, and not a run."""
    return (folder / PRETRAINED).exists() and not (folder / "config.json").exists()


def load_imported(folder: Path) -> ImportedNetwork:
    """Reads what :func:`save_imported` wrote.

    Raises:
        InputError: if it is not there, damaged or altered.
    """
    path = folder / PRETRAINED
    arrays = read_arrays(path)
    try:
        stated = header_of(arrays, HEADER, path)["network"]
        del arrays[HEADER]
        walkers, width = arrays.pop("walkers"), float(arrays.pop("width").item())
        params: dict[str, dict[str, np.ndarray]] = {}
        for name, leaf in arrays.items():
            module, _, last = name.rpartition("/")
            params.setdefault(module, {})[last] = leaf
        network = ImportedNetwork(params, walkers, width)
        found, tensors = network.content_hash, _tensors(params)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not an imported network ({error!r}); import it again") from error
    if found != stated:
        raise InputError(f"{path}: was altered (network {found}, stated is {stated}); import it again")
    return _network(tensors, walkers, width, str(path))


def read_published(path: Path, walkers_record: int | None = None) -> ImportedNetwork:
    """The authors' network from their own checkpoint (``.pt``), or from its tensors by name (``.npz``).

    Args:
        path: of the file.
        walkers_record: which record of a checkpoint holds the walkers; found by their spread when left out.

    Raises:
        InputError: for a file that is neither, or whose tensors are not those of such a network.
    """
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        weights = [leaf for name, leaf in arrays.items() if name not in ("x", "sigma")]
        if "x" not in arrays:
            raise InputError(f"{path}: holds no walkers (x); known are {', '.join(arrays)}")
        return _network(weights, arrays["x"], _width(arrays.get("sigma", np.ones(()))), str(path))
    records = _records(path)
    layout = _layout(records, str(path))
    kind = np.dtype(f"<f{layout.item}")
    tensors = [np.frombuffer(records[number], kind).astype(float) for number in layout.numbers]
    chosen = _walkers_among(records, layout, kind, walkers_record, str(path))
    walkers = np.frombuffer(records[chosen], kind).astype(float).reshape(-1, layout.particles)
    beside = records.get(chosen + 1, b"")
    width = _width(np.frombuffer(beside, kind) if len(beside) == kind.itemsize else np.zeros(0))
    weights = [tensor.reshape(shape) for tensor, shape in zip(tensors, layout.shapes, strict=True)]
    return _network(weights, walkers, width, str(path))


def _width(stored: np.ndarray) -> float:
    """The proposal width if one number is stored beside the walkers that can be it; 1 to begin with if not."""
    value = float(stored.item()) if stored.size == 1 else 1.0
    return value if WIDTH_BOUNDS[0] <= value <= WIDTH_BOUNDS[1] else 1.0


def _tensors(params: Mapping[str, Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    """PyTorch's tensors in their order, from our parameters."""
    layers = [params[f"ansatz/equivariant_{number}"] for number in range(1, len(params))]
    orbitals = params["ansatz/orbitals"]
    pairs = [leaf for layer in (*layers, orbitals) for leaf in (layer["w"].T, layer["b"])]
    return [*pairs, orbitals["envelope"][:, None]]


def _network(weights: list[np.ndarray], walkers: np.ndarray, width: float, source: str) -> ImportedNetwork:
    """From PyTorch's tensors in their order: weight and bias of each layer, the orbitals', the envelope's."""
    pairs = list(zip(weights[:-1:2], weights[1:-1:2], strict=False))
    known = len(pairs) > 1 and walkers.ndim == 2 and pairs[0][1].ndim == 1
    expected = _shapes(walkers.shape[-1], len(pairs) - 1, len(pairs[0][1])) if known else []
    finite = np.isfinite(width) and all(np.isfinite(leaf).all() for leaf in (*weights, walkers))
    if not known or [leaf.shape for leaf in weights] != expected or not finite:
        raise InputError(f"{source}: its tensors are not those of such a network, or not finite")
    envelope = weights[-1]
    params = {
        f"ansatz/equivariant_{number}": {"w": weight.T.astype(float), "b": bias.astype(float)}
        for number, (weight, bias) in enumerate(pairs[:-1], start=1)
    }
    weight, bias = pairs[-1]
    orbitals = {"w": weight.T.astype(float), "b": bias.astype(float), "envelope": envelope[:, 0].astype(float)}
    return ImportedNetwork(params | {"ansatz/orbitals": orbitals}, walkers.astype(float), width)


def _shapes(particles: int, layers: int, hidden: int) -> list[tuple[int, ...]]:
    """Of PyTorch's tensors, in their order."""
    deeper: list[tuple[int, ...]] = [(hidden, 2 * hidden), (hidden,)] * (layers - 1)
    return [(hidden, 2), (hidden,), *deeper, (particles, hidden), (particles,), (particles, 1)]


def _records(path: Path) -> dict[int, bytes]:
    """The raw tensors of a PyTorch checkpoint by the numbers of their records."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if "/data/" in entry.filename]
            if (total := sum(entry.file_size for entry in entries)) > LARGEST_BYTES:
                raise InputError(f"{path}: holds {total:,} bytes of tensors; at most {LARGEST_BYTES:,} are read")
            for name in archive.namelist():
                if name.endswith("/byteorder") and archive.read(name).strip() != b"little":
                    raise InputError(f"{path}: its tensors begin with their large ends; save it on another machine")
            named = {entry.filename.rpartition("/")[2]: entry for entry in entries}
            return {int(name): archive.read(entry) for name, entry in named.items() if name.isdecimal()}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except InputError:
        raise
    except Exception as error:  # of zip and zlib, which have many
        raise InputError(f"{path}: neither an .npz nor a checkpoint of PyTorch's ({told(error)})") from error


class _Layout(NamedTuple):
    """Which records are the network's; ``item`` is the size of a number in bytes."""

    numbers: list[int]
    shapes: list[tuple[int, ...]]
    item: int
    particles: int


def _layout(records: Mapping[int, bytes], source: str) -> _Layout:
    """The first records in a row whose sizes are those of a network."""
    numbers = sorted(records)
    sizes = [len(records[number]) for number in numbers]
    for begin in range(len(sizes)):
        for item in (8, 4):
            for layers in range(1, MOST_LAYERS + 1):
                count = 2 * layers + 3
                window = sizes[begin : begin + count]
                if len(window) < count or not window[1] or not window[-1]:
                    continue
                shapes = _shapes(window[-1] // item, layers, window[1] // item)
                if window[-1] // item <= MOST_PARTICLES and window == [item * int(np.prod(s)) for s in shapes]:
                    return _Layout(numbers[begin : begin + count], shapes, item, window[-1] // item)
    raise InputError(f"{source}: no records in a row have the sizes of a network with one determinant")


def _walkers_among(
    records: Mapping[int, bytes], layout: _Layout, kind: np.dtype[Any], asked: int | None, source: str
) -> int:
    """The record that holds the walkers."""

    def fits(number: int) -> bool:
        content = records[number]
        if number in layout.numbers or len(content) % (layout.particles * kind.itemsize):
            return False
        values = np.frombuffer(content, kind)
        if len(values) < FEWEST_WALKERS * layout.particles or not np.isfinite(values).all():
            return False
        spread = float(np.std(values))
        return SPREAD[0] <= spread <= SPREAD[1] and abs(float(np.mean(values))) < spread

    found = [number for number in sorted(records) if fits(number)]
    if asked is not None:
        if asked not in found:
            raise InputError(f"walkers_record = {asked}: cannot hold walkers; in {source} these can: {found}")
        return asked
    if len(found) != 1:
        raise InputError(f"{source}: records that can hold the walkers: {found}; name one with --walkers-record")
    return found[0]
