"""Options of the optimisers: spelled once, and the same in signatures, docstrings, on the command line and in grids."""

from __future__ import annotations

import inspect
import math
import re

import pytest
from typer.main import get_command

import repro.optimizers
from repro.cli import app
from repro.cli.options import optimizer_help
from repro.config import (
    ALL_OPTIMIZERS,
    BEYOND,
    KNOWN_OPTIMIZERS,
    OPTIMIZERS,
    OPTIONS,
    PARTS_OF,
    REGISTRY,
    optimizer_config,
    options_of,
)
from repro.errors import InputError
from repro.optimizers.presets import BUILDERS
from repro.study.runs.grid import KEYS
from repro.study.runs.profiles import configure


def function_of(name):
    return getattr(repro.optimizers, name.replace("-", "_"))


def flags_of_train():
    return {flag.name: flag for flag in get_command(app).commands["train"].params}


def test_what_the_study_compares_stays():
    assert OPTIMIZERS == ("adam", "kfac", "qn-kfac", "qn-mr-kfac", "ngd", "dgd")
    assert BEYOND == ("proximal-dgd", "minsr", "spring")
    assert ALL_OPTIMIZERS == OPTIMIZERS + BEYOND
    assert set(KNOWN_OPTIMIZERS) - set(ALL_OPTIMIZERS) == {
        *("sgd", "gauss-newton", "hessian-free"),
        *("proximal", "levenberg-marquardt", "natural-momentum", "lbfgs", "muon", "unit-fisher"),
    }
    assert PARTS_OF["dgd"] == ("minres", "start")


def test_every_known_optimizer_has_a_builder_and_a_function():
    assert {known.config for known in REGISTRY.values()} == set(BUILDERS)
    for name in KNOWN_OPTIMIZERS:
        assert function_of(name).__name__ in repro.optimizers.__all__


@pytest.mark.parametrize("name", KNOWN_OPTIMIZERS)
def test_signature_table_command_line_and_grid_agree(name):
    function, rows, flags = function_of(name), options_of(name), flags_of_train()
    signature = inspect.signature(function)
    shown = {key: kind for key, kind in signature.parameters.items() if key not in ("problem", "walker_chunk")}
    assert list(shown) == list(rows)
    config = optimizer_config(name)
    keywords = inspect.signature(configure).parameters
    for flat, parameter in shown.items():
        place = rows[flat]
        value = config
        for attribute in place.path:
            value = getattr(value, attribute)
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == value == place.default
        assert type(parameter.default) is type(value)
        assert parameter.annotation == function.__annotations__[flat] == place.kind
        assert isinstance(value, place.kind)
        assert flat in KEYS
        assert keywords[flat].annotation == place.kind | None
        assert keywords[flat].default is None
        assert flags[flat].opts == [f"--{flat.replace('_', '-')}"]
        assert flags[flat].default is None
        assert flags[flat].help == optimizer_help(flat)
    assert optimizer_config(name, **{flat: kind.default for flat, kind in shown.items()}) == config


@pytest.mark.parametrize("name", KNOWN_OPTIMIZERS)
def test_docstrings_say_meaning_bounds_unit_default_and_reference(name):
    told = re.sub(r"\s+", " ", inspect.getdoc(function_of(name)))
    assert REGISTRY[name].summary in told
    assert REGISTRY[name].reference in told
    for flat, place in options_of(name).items():
        entry = told.split(f" {flat}: ")[1]
        assert place.option.meaning
        for said in (place.option.meaning, place.option.bounds.told, place.option.unit, place.option.reference):
            assert said in entry
        assert f"Default: {place.shown_default}. " in entry


def test_the_command_line_has_no_further_options_of_optimizers():
    flags = set(flags_of_train())
    own = {"out", "device", "walker_chunk", "checkpoint_seconds", "pretrained", "resume", "overwrite", "help"}
    assert flags - own == set(KEYS)
    assert set(OPTIONS) < set(KEYS)


def test_help_names_the_default_of_every_optimizer():
    told = optimizer_help("damping")
    assert "kfac, qn-kfac, qn-mr-kfac, ngd, dgd: 1000" in told
    assert "minsr: 0.001" in told
    assert "spring: 0.1" in told
    assert "spring: 0.99" in optimizer_help("momentum")
    assert "gauss-newton: 0.95; hessian-free: 0.666667]" in optimizer_help("damping_factor")
    assert "[default: 0.25]" in optimizer_help("ratio_low")


def test_help_has_headings_in_a_readable_order():
    command = get_command(app).commands["train"]
    told = command.get_help(command.make_context("train", [], resilient_parsing=True))
    headings = re.findall(r"^(\S.*):$", told, re.MULTILINE)
    assert [heading.split(" (")[0] for heading in headings] == [
        *("Run", "Sizes", "Model and data of a problem", "Learning rate", "Protocol", "Damping lambda"),
        *("Kronecker factors", "MINRES", "Start of MINRES", "Ablation", "Walkers' space", "Conjugate gradients"),
        *("Least squares", "Helmholtz machines", "Machine and files"),
    ]
    assert "Walkers' space (minsr, spring)" in headings
    assert told.count("--damping ") == 1


@pytest.mark.parametrize("name", KNOWN_OPTIMIZERS)
def test_unknown_options_are_refused_by_name_with_a_suggestion(name):
    nearest = next(iter(options_of(name)))
    with pytest.raises(InputError, match=rf"^{nearest}x = 3: unknown; did you mean {nearest}\? {name} takes "):
        function_of(name)(lambda params, x: 0.0, **{f"{nearest}x": 3})


@pytest.mark.parametrize(("flat", "name"), [(flat, name) for flat, rows in OPTIONS.items() for name in rows])
def test_wrong_values_are_refused_by_the_name_of_the_option(flat, name):
    for value in (math.nan, [1]):
        with pytest.raises(InputError, match=rf"^{flat} = ") as caught:
            optimizer_config(name, **{flat: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content_hash"),
    [
        ("adam", "05358dca8ed18433"),
        ("kfac", "ea6410f8b6b9fa7c"),
        ("qn-kfac", "f0afc50714409191"),
        ("qn-mr-kfac", "abc07fde3a6ada8a"),
        ("ngd", "efd4c99d9e61ccae"),
        ("dgd", "70b74f2ddd213620"),
        ("proximal-dgd", "9ca7a18d8511f818"),
        ("minsr", "624489ce0b88809e"),
        ("spring", "369e98e688bc3823"),
    ],
)
def test_defaults_have_the_content_hash_of_stored_runs(name, content_hash):
    assert configure(particles=2, v0=-10.0, optimizer=name).content_hash == content_hash
