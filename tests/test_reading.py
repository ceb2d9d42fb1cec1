"""Files that were damaged: each is read as what it was, or refused in one line; nothing else happens."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT

from repro.errors import InputError
from repro.reading import decoded, parse_json, parse_toml, read_text, unpacked
from repro.references.stored import STORED, read_references
from repro.study.claims.statements import parse_claims
from repro.study.runs.grid import read_grid
from repro.study.runs.manifest import MANIFEST, check_manifest, write_manifest
from repro.study.runs.profiles import configure
from repro.study.verification import verify
from repro.training.archives import read_arrays
from repro.training.checkpoint import Header, load_checkpoint, save_checkpoint
from repro.training.imported import ImportedNetwork, load_imported, save_imported
from repro.training.model import build_model, numerics
from repro.training.rundir import RunDirectory

CONFIG = configure(particles=2, v0=-10.0, profile="smoke", walkers=8, hidden=8, pretrain_epochs=0)
GRID = '[[runs]]\nparticles = [2, 3]\nv0 = -10\noptimizer = ["kfac", "dgd"]\ndamping = 1e2\nprofile = "smoke"\n'
RESULT = {"status": "complete", "energy": 0.6, "energy_error": 0.01, "rhat": 1.0, "ess": 99.0,
          "variance": 0.1, "rounding": None, "content_hash": CONFIG.content_hash, "git_revision": "x",
          "device": {"kind": "cpu"}}  # fmt: skip
ODD = (None, True, -1, 1e400, 10**30, 3.7, "", "x" * 5000, "\0\x1b[31m", [], [[]], {}, {"a": [1]}, [1, "2"])
"""Values of every type that a document can have."""
PROTECTED = ("checkpoint.npz", "pretrained.npz", "config.json")
OPEN = ("result.json", "grid.toml", "claims.toml", "energies.csv", "verdicts.json", MANIFEST)
SEEDS = 20
Reader = Callable[[Path], object]


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def bomb(shape: tuple[int, ...], content: bytes = b"", kind: str = "<f4") -> bytes:
    """An archive whose array's header promises more than there is."""
    buffer, array = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.npy", array.getvalue() + content)
    return buffer.getvalue()


def checked_manifest(path: Path) -> str:
    """The manifest; raises what its check would print, which goes on where one line is damaged."""
    if problems := check_manifest(path.parent):
        raise InputError(problems[0])
    return read_text(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[Path, Reader]]:
    """Good files of each kind, none of a training, each with what reads it."""
    root = tmp_path_factory.mktemp("files")
    run = RunDirectory(root / "run")
    run.path.mkdir()
    run.config.write_text(CONFIG.to_json(), encoding="utf-8")
    run.result.write_text(json.dumps(RESULT), encoding="utf-8")
    with numerics("float32", jax.devices("cpu")[0]):
        model = build_model(CONFIG, 8)
        state = jax.jit(model.initial_state)()
        save_checkpoint(run.checkpoint, Header(CONFIG.content_hash, "pretraining", 0, 8, ("x",)), state)
    template = jax.eval_shape(lambda: state)
    params = {module: {k: np.asarray(v, float) for k, v in leaf.items()} for module, leaf in state.params.items()}
    network = ImportedNetwork(params, np.random.default_rng(2).normal(size=(300, 2)), 0.7)
    imported = save_imported(network, root / "imported", run.config)
    grid = root / "grid.toml"
    grid.write_text(GRID, encoding="utf-8")
    claims = root / "claims.toml"
    claims.write_bytes((ROOT / "repro/study/claims/claims.toml").read_bytes())
    energies = root / "energies.csv"
    energies.write_bytes(STORED.read_bytes())
    stored = root / "stored"
    (stored / "folder").mkdir(parents=True)
    (stored / "folder" / "a.csv").write_text("1", encoding="utf-8")
    verdicts = stored / verify.VERDICTS
    verdicts.write_bytes((STORED.parents[1] / verify.VERDICTS).read_bytes())
    write_manifest(stored)
    return {
        "checkpoint.npz": (run.checkpoint, lambda path: load_checkpoint(path).state(template)),
        "pretrained.npz": (imported, lambda path: load_imported(path.parent)),
        "config.json": (run.config, lambda path: RunDirectory(path.parent).read_config()),
        "result.json": (run.result, lambda path: RunDirectory(path.parent).read_result()),
        "grid.toml": (grid, read_grid),
        "claims.toml": (claims, lambda path: parse_claims(read_text(path))),
        "energies.csv": (energies, read_references),
        "verdicts.json": (verdicts, lambda path: verify.read_verdicts(path.parent)),
        MANIFEST: (stored / MANIFEST, checked_manifest),
    }


def damaged(name: str, good: bytes, rng: random.Random) -> bytes:
    """One of many ways in which a file can come to harm."""
    content = bytearray(good)
    kind = rng.randrange(6)
    if kind == 0:  # bits flipped
        for _ in range(rng.choice((1, 3, 30))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 1:  # cut off
        return good[: rng.randrange(len(good))]
    elif kind == 2:  # a stretch of noise
        begin = rng.randrange(len(content))
        content[begin : begin + rng.choice((1, 40))] = rng.randbytes(20)
    elif kind == 3:  # lines lost and repeated
        lines = good.split(b"\n")
        lines[rng.randrange(len(lines))] = rng.choice([*lines, b"", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000])
        return b"\n".join(lines)
    elif name.endswith(".json"):  # another value somewhere
        document = json.loads(good)
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = rng.choice(list(keys))
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
                place = place[key]
                continue
            place[key] = rng.choice(ODD)
            return json.dumps(document).encode()
    elif name.endswith(".toml"):
        values = (
            "[]",
            "{}",
            "-1",
            "1e400",
            "nan",
            "9" * 30,
            "true",
            '"x"',
            "[[1]]",
            "1979-05-27",
            "0x7fffffffffffffff",
        )
        text = good.decode()
        found = rng.choice(list(re.finditer(r"= (.+)$", text, re.MULTILINE)))
        return (text[: found.start(1)] + rng.choice(values) + text[found.end(1) :]).encode()
    elif name.endswith(".npz"):
        arrays = dict(np.load(io.BytesIO(good)))
        victim = rng.choice(list(arrays))
        values = arrays[victim]
        arrays[victim] = rng.choice(
            [np.full_like(values, np.nan, dtype=np.float32), values[..., None], values.astype("<c8"), np.zeros(0),
             np.array([{}], dtype=object), values.astype("U9"), np.zeros((), "M8[s]"), np.array(-7)]
        )  # fmt: skip
        return npz(**arrays)
    return bytes(content)


def same(one: object, other: object) -> bool:
    """Whether two reads gave the same."""
    if isinstance(one, ImportedNetwork) and isinstance(other, ImportedNetwork):
        return one.content_hash == other.content_hash
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) if isinstance(a, jax.Array) else a == b for a, b in pairs)


@pytest.mark.parametrize("name", [*PROTECTED, *OPEN])
def test_a_damaged_file_is_refused_in_a_line_or_read(files, name):
    """What carries a hash or a checksum is read as it was, or not at all."""
    good, read = files[name]
    before, whole = good.read_bytes(), read(good)
    refused = 0
    for seed in range(SEEDS):
        good.write_bytes(damaged(name, before, random.Random(f"{name} {seed}")))
        try:
            found = read(good)
        except InputError as error:
            found, told = None, str(error)
            refused += 1
        finally:
            good.write_bytes(before)
        if found is None:
            assert "\n" not in told
            assert len(told) < 1000
        else:
            assert name in OPEN or same(found, whole), f"{name}, seed {seed}: read as something else"
    assert refused >= (SEEDS // 2 if name in PROTECTED else 3)  # a table of numbers has no checksum of its own


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "truncated or damaged"),
        (bomb((10**12,)), "in 0 bytes"),
        (bomb((2**40, 2**40)), "in 0 bytes"),
        (bomb((-2, -2), b"0" * 16), "in 16 bytes"),
        (bomb((3,), b"0" * 24, "|O"), "no number"),
        (npz(header=np.array([{}, 1], dtype=object)), "no number"),
        (npz(header=np.zeros(3, np.float32)), "no header"),
        (npz(header=np.frombuffer(b"[" * 100_000, np.uint8)), "damaged or not JSON"),
        (npz(header=np.frombuffer(b'{"epoch": 1}', np.uint8)), "its header has"),
    ],
)
def test_archives_that_promise_what_they_do_not_hold(tmp_path, content, told):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        load_checkpoint(path)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(10**7))
    with pytest.raises(InputError, match="would become 80,0"):
        read_arrays(tmp_path / "zeros.npz")


def test_a_flipped_bit_of_an_array_is_always_seen(tmp_path):
    """By zip's checksum, which numpy alone does not wait for."""
    values = np.arange(100.0)
    content = bytearray(npz(a=values))
    begin = bytes(content).index(values.tobytes())
    for offset in (0, 333, values.nbytes - 1):
        content[begin + offset] ^= 4
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(InputError, match="CRC"):
            read_arrays(tmp_path / "a.npz")
        content[begin + offset] ^= 4
    (tmp_path / "a.npz").write_bytes(content)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz")["a"], values)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (partial(parse_json, '{"a": NaN}'), "NaN is not a number"),
        (partial(parse_json, "9" * 5000), "not JSON"),
        (partial(parse_json, "[" * 100_000), "not JSON"),
        (partial(parse_toml, "a = " + "[" * 100_000), "not TOML"),
        (partial(parse_toml, "a = " + "9" * 5000), "not TOML"),
        (partial(decoded, b"\xff\xfe"), "UTF-8"),
        (partial(unpacked, b"\x1f\x8b\x08"), "damaged"),
    ],
)
def test_parsers_end_in_one_line(read, told):
    with pytest.raises(InputError, match=f"^file: .*{told}") as refused:
        read("file")
    assert "\n" not in str(refused.value)
