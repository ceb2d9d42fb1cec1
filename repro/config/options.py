"""What an option is: a field of a configuration that also says its name on the command line, its meaning and bounds.

An option is spelled once, as a field of a dataclass in :mod:`repro.config.optimizers`. Checks, the command line, the
keys of a grid file, and the signatures and docstrings of the optimisers' functions are made from that.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from repro.config.checks import LARGEST_INTEGER, OPTIONAL, SMALLEST, choice, fraction, integer, real, shown, suggestion
from repro.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
Check = Callable[[Any, str, str], None]
"""(configuration, attribute, name of the option) -> raises an ``InputError`` for a value out of bounds."""


class Bounds(NamedTuple):
    """What values an option may have, in words and as a check."""

    told: str
    check: Check


def _between(least: float | None, most: float | None, wanted: str, excluded: bool = False) -> Check:
    def check(part: Any, attribute: str, name: str) -> None:
        real(part, attribute, name=name)
        value = getattr(part, attribute)
        low = least is not None and value < least
        high = most is not None and (value >= most if excluded else value > most)
        if low or high:
            raise InputError(f"{name} = {value:g}: must {wanted}")

    return check


def one_of(words: tuple[str, ...]) -> Bounds:
    """One word of a list."""
    return Bounds(
        f"one of {', '.join(words)}", lambda part, attribute, name: choice(name, getattr(part, attribute), words)
    )


REAL = Bounds("any number", lambda part, attribute, name: real(part, attribute, name=name))
POSITIVE = Bounds("above 0", lambda part, attribute, name: real(part, attribute, positive=True, name=name))
NOT_NEGATIVE = Bounds("0 or above", _between(0.0, None, "not be negative"))
FRACTION = Bounds("above 0 and below 1", fraction)
BELOW_ONE = Bounds("at least 0 and below 1", _between(0.0, 1.0, "be at least 0 and below 1", excluded=True))
PART = Bounds("above 0, at most 1", _between(SMALLEST, 1.0, "be above 0 and at most 1"))
FROM_0_TO_1 = Bounds("between 0 and 1", _between(0.0, 1.0, "be between 0 and 1"))


def whole(least: int, most: int = LARGEST_INTEGER, told: str = "") -> Bounds:
    """A whole number; ``told`` adds what a number of special meaning does."""
    bounds = f"a whole number of at least {least}" if most == LARGEST_INTEGER else f"from {least} to {most}"
    return Bounds(
        bounds + (f"; {told}" if told else ""),
        lambda part, attribute, name: integer(name, getattr(part, attribute), least, most),
    )


COUNT = whole(1)


class Option(NamedTuple):
    """What a field says of the option that it is.

    Attributes:
        name: of the option; with hyphens, on the command line.
        meaning: in words; begins with the symbol that the papers have for it, if there is one.
        unit: "1" for a pure number; "" for a word.
        bounds: of its values.
        group: heading of the command line's help.
        reference: where it is from.
        unset: what takes its place where it is None; "" if it cannot be None.
    """

    name: str
    meaning: str
    unit: str
    bounds: Bounds
    group: str
    reference: str
    unset: str = ""


_OPTION = "option"


def option(
    default: Any,
    name: str,
    meaning: str,
    *,
    unit: str,
    bounds: Bounds,
    group: str,
    reference: str,
    unset: str = "",
    later: bool = False,
) -> Any:
    """A field of a dataclass that is an option; arguments as the attributes of :class:`Option`.

    An option that came ``later`` than stored configurations is left out of plain data where it has its default, so that
    they keep their content hash.
    """
    said = Option(name, meaning, unit, bounds, group, reference, unset)
    return dataclasses.field(default=default, metadata={_OPTION: said, **(OPTIONAL if later else {})})


def check_options(part: Any) -> None:
    """Checks the values of all options that a configuration holds itself.

    Raises:
        InputError: for the first that is out of its bounds.
    """
    for entry in dataclasses.fields(part):
        said = entry.metadata.get(_OPTION)
        if said is not None and not (said.unset and getattr(part, entry.name) is None):
            said.bounds.check(part, entry.name, said.name)


class Place(NamedTuple):
    """An option as one optimiser has it: a row of the table of options.

    Attributes:
        option: its name, meaning, unit, bounds and reference.
        kind: type of its values, as ``float`` or ``float | None``.
        path: attributes that lead to it from the optimiser's configuration, as ``("damping", "initial")``.
        default: this optimiser's.
    """

    option: Option
    kind: Any
    path: tuple[str, ...]
    default: Any

    @property
    def shown_default(self) -> str:
        """The default in words."""
        if self.default is None:
            return self.option.unset
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default) or "none"


@cache
def _hints(config: type) -> dict[str, Any]:
    """The types of a configuration's attributes; to find out what their names stand for takes long."""
    return get_type_hints(config)


def parts_of(config: type) -> dict[str, tuple[type, bool]]:
    """Attributes of a configuration that are configurations, their class, and whether they may be None."""
    found: dict[str, tuple[type, bool]] = {}
    for name, hint in _hints(config).items():
        kinds: list[Any] = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
        if kinds:
            found[name] = (kinds[0], type(None) in get_args(hint))
    return found


def places(config: type, parts: Iterable[str]) -> list[Place]:
    """The options of a configuration with those of its parts, in the order of the fields.

    Args:
        config: the configuration's class.
        parts: attributes of it that are configurations, and are there.
    """
    known = parts_of(config)
    found = _own(config, ())
    for part in parts:
        found += _own(known[part][0], (part,))
    return found


def _own(config: type, path: tuple[str, ...]) -> list[Place]:
    hints = _hints(config)
    return [
        Place(entry.metadata[_OPTION], hints[entry.name], (*path, entry.name), entry.default)
        for entry in dataclasses.fields(config)
        if _OPTION in entry.metadata
    ]


Table = dict[str, dict[str, Place]]
"""Flat name of an option -> whose it is -> its place, default, unit, bounds and reference."""


def table_of(rows: Mapping[str, Mapping[str, Place]]) -> Table:
    """The options of several optimisers, or of several problems, by the options' names."""
    table: Table = {}
    for owner, places_of_owner in rows.items():
        for flat, place in places_of_owner.items():
            table.setdefault(flat, {})[owner] = place
    return table


def table_parameters(table: Table) -> list[inspect.Parameter]:
    """Every option of a table as a keyword argument that is None where it is left out."""
    return [parameter(flat, next(iter(rows.values())).kind | None, None) for flat, rows in table.items()]


def chosen(owner: str, options: Mapping[str, Any], table: Table) -> dict[tuple[str, ...], Any]:
    """The values of all options of an optimiser or a problem by their paths; defaults for those left out or None.

    Raises:
        InputError: for an option that it does not have.
    """
    own = {flat: rows[owner] for flat, rows in table.items() if owner in rows}
    given = {flat: value for flat, value in options.items() if value is not None}
    for flat, value in given.items():
        if flat not in own:
            has = f"takes {', '.join(own) or 'none'}"
            if flat in table:
                raise InputError(f"{flat} = {shown(value)}: has no effect on {owner}, which {has}")
            raise InputError(f"{flat} = {shown(value)}: unknown; {suggestion(flat, tuple(own))}{owner} {has}")
    return {place.path: given.get(flat, place.default) for flat, place in own.items()}


def parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    """A keyword argument."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def takes(parameters: Iterable[inspect.Parameter], first: bool = False) -> Callable[[Function], Function]:
    """Lets a function that takes ``**options`` show what they are in its signature and annotations.

    Args:
        parameters: the keyword arguments that ``**options`` stands for.
        first: whether they come before the function's own.
    """

    def shown(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        own = [known for known in signature.parameters.values() if known.kind is not known.VAR_KEYWORD]
        every = [*parameters, *own] if first else [*own, *parameters]
        function.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
        function.__annotations__ = {known.name: known.annotation for known in every} | {
            "return": signature.return_annotation
        }
        return function

    return shown


def nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Values by their paths as nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = value
    return tree
