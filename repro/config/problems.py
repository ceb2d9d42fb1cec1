"""The configurations of the problems beside the energies, with all their options, and the registry of their names.

A further problem is a frozen dataclass whose fields are options, a row in :data:`PROBLEMS`, and a row in
:data:`repro.problems.registry.BUILDERS`. Command line, keys of a grid, checks and help follow from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from repro.config.checks import LARGEST_INTEGER, built, choice, shown, text
from repro.config.options import (
    NOT_NEGATIVE,
    POSITIVE,
    Bounds,
    Place,
    check_options,
    chosen,
    nested,
    one_of,
    option,
    places,
    table_of,
    whole,
)
from repro.errors import InputError

WIDEST, DEEPEST = 10_000, 20
"""Units of a hidden layer, and hidden layers, at most."""
GROUP = "Model and data of a problem"
DIGITS_TRAINING = 1437
"""Of the 1797 digits; the others are for the test error."""


class ProblemConfig(Protocol):
    """The configuration of a problem: a frozen dataclass, its fields options, and a name.

    Attributes:
        name: of the problem, one of :data:`PROBLEMS`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102


def widths(units: str) -> tuple[int, ...]:
    """The widths of layers that are written as "16-16"; none for "".

    Raises:
        InputError: for anything else.
    """
    text("units", units)
    parts = units.split("-") if units else []
    # One spelling for each network, so that one network has one content hash.
    sizes = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 9]
    fit = [str(size) for size in sizes] == parts and all(1 <= size <= WIDEST for size in sizes)
    if not fit or len(parts) > DEEPEST:
        raise InputError(
            f"units = {shown(units)}: must be at most {DEEPEST} whole numbers from 1 to {WIDEST}, joined by hyphens, "
            "as 16-16"
        )
    return tuple(sizes)


def _check_units(part: Any, attribute: str, name: str) -> None:
    del name
    widths(getattr(part, attribute))


UNITS = Bounds(f"whole numbers from 1 to {WIDEST}, joined by hyphens", _check_units)


def units_option(default: str, reference: str) -> Any:
    """A field with the widths of the hidden layers, see :func:`widths`."""
    meaning = "units of the hidden layers, from the inputs to the outputs"
    return option(default, "units", meaning, unit="", bounds=UNITS, group=GROUP, reference=reference)


def batch_option(default: int, reference: str, most: int = LARGEST_INTEGER) -> Any:
    """A field with the number of samples of a step, 0 for all; ``most`` are there."""
    bounds = whole(0, most)
    meaning = "samples of a step, drawn anew in each and without replacement; 0 for all"
    return option(default, "batch", meaning, unit="samples", bounds=bounds, group=GROUP, reference=reference)


def l2_option(default: float, reference: str) -> Any:
    """A field with the strength of a quadratic penalty."""
    meaning = "eta of the penalty eta / 2 |theta|^2 that is added to the loss"
    unit = "that of the loss"
    return option(default, "l2", meaning, unit=unit, bounds=NOT_NEGATIVE, group=GROUP, reference=reference)


DIGITS = "E. Alpaydin, C. Kaynak, UCI Machine Learning Repository (1998), as in scikit-learn"


@dataclass(frozen=True)
class DigitsConfig:
    """Which of ten digits is it? A network of hyperbolic tangents for pictures of 8 x 8 pixels."""

    units: str = units_option("16-16", DIGITS)
    batch: int = batch_option(256, DIGITS, DIGITS_TRAINING)
    l2: float = l2_option(0.0, DIGITS)
    name: str = "digits"

    def __post_init__(self) -> None:
        choice("problem", self.name, ("digits",))
        check_options(self)


IMAGES = ("mnist-5k", "digits", "mnist", "fashion-mnist", "curves", "fashion-14", "fashion-14-full")
"""Data sets of images, see :mod:`repro.datasets`."""
IMAGES_TOLD = (
    "the data set: 5000 images of MNIST, scikit-learn's digits, full MNIST or Fashion-MNIST from data_dir, generated "
    "pictures of curves, or 11,000 of Fashion-MNIST (fashion-14), or all from data_dir, made 14 x 14 black and white"
)
ACTIVATIONS, FIRST_WEIGHTS = ("tanh", "logistic"), ("dense", "sparse")
KRONECKER_AUTOENCODER = "J. Martens, R. Grosse, ICML 2015, section 13"
DEEP_AUTOENCODER = "G. Hinton, R. Salakhutdinov, Science 313, 504 (2006)"
SPARSE_START = "J. Martens, ICML 2010, section 5"
_autoencoder_option = partial(option, unit="", group=GROUP)


def _check_layers(part: Any, attribute: str, name: str) -> None:
    if not widths(getattr(part, attribute)):
        raise InputError(f"{name} = '': an autoencoder needs the width of its code at least, as 30")


def _check_folder(part: Any, attribute: str, name: str) -> None:
    text(name, getattr(part, attribute))


@dataclass(frozen=True)
class AutoencoderConfig:
    """A network that squeezes images through few numbers and paints them again."""

    images: str = _autoencoder_option(
        "mnist-5k",
        "images",
        IMAGES_TOLD,
        bounds=one_of(IMAGES),
        reference=DEEP_AUTOENCODER,
    )
    data_dir: str = _autoencoder_option(
        "",
        "data_dir",
        "folder with the IDX files of full MNIST or Fashion-MNIST",
        bounds=Bounds("a path; left out for the other data sets", _check_folder),
        reference=DEEP_AUTOENCODER,
    )
    units: str = _autoencoder_option(
        "250-100-30",
        "units",
        "units of the layers on the way to the code, the code last; the way back mirrors them",
        bounds=Bounds(UNITS.told, _check_layers),
        reference=DEEP_AUTOENCODER,
    )
    activation: str = _autoencoder_option(
        "tanh",
        "activation",
        "of all layers but the code, which is linear, and the last, whose numbers are the logits of pixels",
        bounds=one_of(ACTIVATIONS),
        reference=KRONECKER_AUTOENCODER,
    )
    first_weights: str = _autoencoder_option(
        "dense",
        "first_weights",
        "where a run begins: dense, normal weights of variance 1 / inputs; sparse, for each unit 15 of variance 1 and "
        "the others 0",
        bounds=one_of(FIRST_WEIGHTS),
        reference=SPARSE_START,
    )
    batch: int = batch_option(500, KRONECKER_AUTOENCODER)
    l2: float = l2_option(1e-5, KRONECKER_AUTOENCODER)
    name: str = "autoencoder"

    def __post_init__(self) -> None:
        choice("problem", self.name, ("autoencoder",))
        check_options(self)


CHAOS = "M. Mackey, L. Glass, Science 197, 287 (1977); H. Park, S. Amari, K. Fukumizu, Neural Networks 13, 755 (2000)"
CHAOS_SAMPLES = 500
"""Of the series, to train on; as many are for the test."""


@dataclass(frozen=True)
class MackeyGlassConfig:
    """What will a chaotic series be six steps ahead? A small network of tanh units, fitted by least squares."""

    units: str = units_option("10", CHAOS)
    batch: int = batch_option(0, CHAOS, CHAOS_SAMPLES)
    name: str = "mackey-glass"

    def __post_init__(self) -> None:
        choice("problem", self.name, ("mackey-glass",))
        check_options(self)


BOUNDARY_LAYER = "talk on momentum in function space, SMAI 2025; N. Schwencke, C. Furtlehner, arXiv:2412.10782"
LEAST_EPS = 1e-3
"""Below it, neither the points nor the quadrature of the errors see the boundary layer."""
PLACEMENTS = ("midpoints", "clustered")
MOST_POINTS = 100_000
_pinn_option = partial(option, group=GROUP, reference=BOUNDARY_LAYER)


def _check_eps(part: Any, attribute: str, name: str) -> None:
    POSITIVE.check(part, attribute, name)
    value = getattr(part, attribute)
    if value < LEAST_EPS:
        raise InputError(
            f"{name} = {value:g}: must be at least {LEAST_EPS:g}, for thinner boundary layers are not resolved"
        )


@dataclass(frozen=True)
class PinnConfig:
    """A differential equation with a boundary layer, -eps v'' + v' = 1, solved by a physics-informed network."""

    eps: float = _pinn_option(
        0.1,
        "eps",
        "of -eps v'' + v' = 1 on [0, 1] with v(0) = v(1) = 0; the boundary layer at 1 is as thick",
        unit="1",
        bounds=Bounds(f"at least {LEAST_EPS:g}", _check_eps),
    )
    units: str = units_option("20", BOUNDARY_LAYER)
    points: int = _pinn_option(
        200, "points", "where the equation is to hold", unit="points", bounds=whole(2, MOST_POINTS)
    )
    placement: str = _pinn_option(
        "clustered",
        "placement",
        "of the points: midpoints of equal intervals, or clustered towards the boundary layer, 1 - (1 - s)^2 of these",
        unit="",
        bounds=one_of(PLACEMENTS),
    )
    weights: float | None = _pinn_option(
        None,
        "weights",
        "standard deviation of the first weights and biases of the hidden layers",
        unit="1",
        bounds=POSITIVE,
        unset="3, and 6 for eps of at most 0.03",
    )
    batch: int = batch_option(0, BOUNDARY_LAYER, MOST_POINTS)
    name: str = "pinn"

    def __post_init__(self) -> None:
        choice("problem", self.name, ("pinn",))
        check_options(self)
        if self.batch > self.points:
            raise InputError(f"batch = {self.batch}: must be at most points, {self.points}; or 0 for all of them")


WAKE_SLEEP = "G. Hinton, P. Dayan, B. Frey, R. Neal, Science 268, 1158 (1995)"
REWEIGHTED = "J. Bornschein, Y. Bengio, ICLR 2015"
WAKE_SLEEP_METHODS = ("wake-sleep", "reweighted")
_helmholtz_option = partial(option, unit="", group=GROUP)


@dataclass(frozen=True)
class HelmholtzConfig:
    """A Helmholtz machine: a net that dreams pictures of zeros and ones, and one that recognises them.

    Pixels above 1/2 are 1.
    """

    images: str = _helmholtz_option(
        "fashion-14",
        "images",
        IMAGES_TOLD,
        bounds=one_of(IMAGES),
        reference=REWEIGHTED,
    )
    data_dir: str = _helmholtz_option(
        "",
        "data_dir",
        "folder with the IDX files of full MNIST or Fashion-MNIST",
        bounds=Bounds("a path; left out for the other data sets", _check_folder),
        reference=REWEIGHTED,
    )
    units: str = _helmholtz_option(
        "64-32-16",
        "units",
        "units of the hidden layers, from the picture up",
        bounds=Bounds(UNITS.told, _check_layers),
        reference=REWEIGHTED,
    )
    method: str = _helmholtz_option(
        "reweighted",
        "method",
        "wake-sleep, or reweighted wake-sleep, whose samples have weights p / q and teach the recognition too",
        bounds=one_of(WAKE_SLEEP_METHODS),
        reference=f"{WAKE_SLEEP}; {REWEIGHTED}",
    )
    samples: int = _helmholtz_option(
        5, "samples", "K; of the hidden units, for each picture", bounds=whole(1, 1000), reference=REWEIGHTED
    )
    batch: int = batch_option(100, REWEIGHTED)
    name: str = "helmholtz"

    def __post_init__(self) -> None:
        choice("problem", self.name, ("helmholtz",))
        check_options(self)


class KnownProblem(NamedTuple):
    """A row of the registry.

    Attributes:
        config: class of its configuration.
        summary: what it is, in a line.
        reference: where it is from.
        dtype: of its data and parameters where nothing is asked for.
    """

    config: type
    summary: str
    reference: str
    dtype: str = "float32"


PROBLEMS: dict[str, KnownProblem] = {
    "digits": KnownProblem(DigitsConfig, "Classes of scikit-learn's handwritten digits", DIGITS),
    "autoencoder": KnownProblem(
        AutoencoderConfig, "Images squeezed through a code of few numbers, and painted again", DEEP_AUTOENCODER
    ),
    "helmholtz": KnownProblem(HelmholtzConfig, "Pictures dreamt and recognised by two belief nets", WAKE_SLEEP),
    "mackey-glass": KnownProblem(MackeyGlassConfig, "A chaotic series predicted six steps ahead", CHAOS, "float64"),
    "pinn": KnownProblem(
        PinnConfig, "A differential equation with a boundary layer, by a network", BOUNDARY_LAYER, "float64"
    ),
}
"""Every problem beside the energies by its name. ``repro.problems.registry`` says what builds it."""


def problem_options_of(name: str) -> Mapping[str, Place]:
    """The options of a problem by their names.

    Args:
        name: one of :data:`PROBLEMS`.

    Raises:
        InputError: for an unknown name.
    """
    choice("problem", name, tuple(PROBLEMS))
    return MappingProxyType({place.option.name: place for place in places(PROBLEMS[name].config, ())})


PROBLEM_OPTIONS = table_of({name: problem_options_of(name) for name in PROBLEMS})
"""The table of options: name -> problem -> its place, default, unit, bounds and reference."""


def problem_config(name: str, **options: Any) -> ProblemConfig:
    """The configuration of a problem from its options; those that are None keep their defaults.

    Args:
        name: one of :data:`PROBLEMS`.
        options: by their names, see :func:`problem_options_of`.

    Raises:
        InputError: for an unknown name, an option that this problem does not have, or a value out of bounds.
    """
    choice("problem", name, tuple(PROBLEMS))
    return PROBLEMS[name].config(**nested(chosen(name, options, PROBLEM_OPTIONS)))


def built_problem(data: object) -> ProblemConfig:
    """The configuration of a problem from plain data."""
    name = data.get("name") if isinstance(data, dict) else data
    choice("problem", name, tuple(PROBLEMS))
    return built(PROBLEMS[str(name)].config, data, "problem.")
