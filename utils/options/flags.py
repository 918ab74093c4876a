"""Flags from frozen dataclasses: a field's name is its flag (`batch_size` is `--batch-size` or `--batch_size`), its type
and default are the flag's, and its help stands beside it.
"""

import argparse
import ast
import dataclasses
import math
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import InputError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OptionsT = TypeVar("OptionsT", bound="DataclassInstance")


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    positional: bool = False,
    resumable: bool = False,
    names: Sequence[str] = (),
    pattern: tuple[str, str] | None = None,
    path: bool = False,
) -> Any:
    """A dataclass field that is a flag.

    Args:
        default: value where neither the command line nor the recipe has one; `...` makes the flag required.
        help: one line, for `--help` and docs/flags.md.
        choices: the values allowed.
        low, high: inclusive range of a number, or of each number of a tuple.
        positional: for a required tuple: its values stand on the command line without a flag.
        resumable: whether the option may change when a run is resumed, as places may, and what the weights do not depend on.
        names: of the numbers of a tuple, which then may be given as NAME=NUMBER. Those behind the default's may be left out.
        pattern: for text: a regular expression that all of it matches, and what that means in words.
        path: whether it is, or can be, the path of something that a run reads.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    metadata |= {"positional": positional, "resumable": resumable, "names": names, "pattern": pattern, "path": path}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def check_ranges(options: Any) -> None:
    """Raises InputError for the first value that is not of its field's type, range or choices."""
    for f in dataclasses.fields(options):
        (kind, count), flag, value = value_type(f.type), spelling(f), getattr(options, f.name)
        if isinstance(count, int) and isinstance(value, tuple) and len(value) != count:
            raise InputError(f"{flag} takes {count} values, got {len(value)}")
        names, default = f.metadata["names"], f.default
        if isinstance(default, tuple) and names and not len(default) <= len(value) <= len(names):
            raise InputError(f"{flag} takes {len(names)} values ({', '.join(names)}), got {len(value)}")
        if count and not isinstance(value, tuple):
            raise InputError(f"{flag} takes several values, got {value!r}")
        for v in value if count else (value,):
            if not isinstance(v, (int, float) if kind is float else kind):
                raise InputError(f"{flag} takes {kind.__name__}, got {v!r}")
            if kind in (int, float) and isinstance(v, int | float):
                check_number(flag, v, f.metadata["low"], f.metadata["high"])
        if f.metadata["choices"] and value not in f.metadata["choices"]:
            raise InputError(f"{flag} must be one of {', '.join(f.metadata['choices'])}, got {value!r}")
        if f.metadata["pattern"] and not re.fullmatch(f.metadata["pattern"][0], value):
            raise InputError(f"{flag} must be {f.metadata['pattern'][1]}, got {value!r}")
        if f.name == "name" and (value in (".", "..") or "/" in value or "\\" in value or value == "" != f.default):
            raise InputError(f"--name must be a plain name without slashes, got {value!r}")


def check_number(flag: str, number: float, low: float | None, high: float | None) -> None:
    """Raises InputError for a number that is not finite or outside [low, high]."""
    try:
        if not math.isfinite(number):
            raise InputError(f"{flag} must be a finite number, got {number}")
    except OverflowError as error:
        raise InputError(f"{flag} must be a number of reasonable size") from error
    if low is not None and number < low:
        raise InputError(f"{flag} must be at least {low}, got {number}")
    if high is not None and number > high:
        raise InputError(f"{flag} must be at most {high}, got {number}")


def flag_name(field_name: str) -> str:
    """The flag of a field as help and README spell it."""
    return "--" + field_name.replace("_", "-")


def spelling(f: dataclasses.Field) -> str:
    """What stands for a field on the command line: its flag, or `IMAGE` for values without one."""
    return f.name.upper() if f.metadata["positional"] else flag_name(f.name)


MEMORY_SAVERS = {
    "grad_checkpoint": "--grad-checkpoint",
    "update_in_backward": "--update-in-backward",
    "accum": "a larger --accum",
    "amp": "--amp bf16",
    "batch_size": "a smaller --batch-size",
    "infer_size": "a smaller --infer-size",
}
"""What to try where memory runs out, by option."""


def memory_advice(cls: type) -> str:
    """What a command can be told to take less memory: first what may change at a resume, then what needs a new run."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    at_once, anew = (
        [
            words
            for name, words in MEMORY_SAVERS.items()
            if name in fields and fields[name].metadata["resumable"] == resumable
        ]
        for resumable in (True, False)
    )
    if not at_once:
        return f"try {' or '.join(anew)}" if anew else "try smaller images"
    later = f"; or start a new run with {' or '.join(anew)}" if anew else ""
    return f"add {' or '.join(at_once)}, which a run may be resumed with{later}"


class Parser(argparse.ArgumentParser):
    """Raises InputError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a line it does not understand."""
        raise InputError(f"{message} (see --help)")


def build_parser(cls: type, program: str, description: str | None, known: Collection[str] = ()) -> Parser:
    """A parser with one flag per field; flags not given leave no trace, so that recipes can tell.

    `known` names fields that have a value already, so that none of their flags is required.
    """
    parser = Parser(prog=program, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for f in dataclasses.fields(cls):
        required = f.default is dataclasses.MISSING and f.name not in known
        text = f.metadata["help"].replace("%", "%%")
        if f.type is bool:
            parser.add_argument(flag_name(f.name), dest=f.name, action="store_true", help=text)
            continue
        kind, count = value_type(f.type)
        if f.metadata["names"]:
            kind = str
        if f.metadata["positional"]:
            parser.add_argument(f.name, metavar=f.name.upper(), type=kind, nargs=count, help=text)
            continue
        shown = "" if f.default in ("", (), dataclasses.MISSING) else f" (default: {show(f.default)})"
        extra = {"choices": f.metadata["choices"]} if f.metadata["choices"] else {"metavar": f.name.upper()}
        parser.add_argument(
            flag_name(f.name), dest=f.name, type=kind, nargs=count, required=required, help=text + shown, **extra
        )
    parser.epilog = "--debug shows the traceback of an error."
    return parser


def value_type(annotation: Any) -> tuple[type, int | str | None]:
    """(type of one value, argparse's nargs) of a field's annotation."""
    if typing.get_origin(annotation) is tuple:
        kinds = typing.get_args(annotation)
        return kinds[0], "+" if kinds[-1] is Ellipsis else len(kinds)
    return annotation, None


def show(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, tuple):
        return " ".join(show(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parse_options(
    cls: type[OptionsT],
    args: Iterable[str],
    program: str,
    description: str | None,
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
) -> OptionsT:
    """Options from a command line.

    Args:
        cls: one of the dataclasses above.
        args: the command line without the program.
        program, description: for `--help`.
        defaults: what a recipe puts in place of the fields' defaults.

    Raises:
        InputError: a flag is unknown, missing or out of range.
    """
    given = vars(build_parser(cls, program, description, defaults).parse_args([dashed(arg) for arg in args]))
    named = [f for f in dataclasses.fields(cls) if f.metadata["names"]]
    for f in named:
        if f.name in given:
            given[f.name] = named_numbers(f, given[f.name], defaults.get(f.name, f.default))
    return make_options(cls, {**defaults, **given})


def named_numbers(f: dataclasses.Field, texts: Sequence[str], base: Sequence[float]) -> tuple[float, ...]:
    """Numbers in the order of their names, from `1 0.5` or from `NAME=0.5`, which changes that one of the base.

    Raises:
        InputError: a name is unknown, or something is no number.
    """
    flag, names = flag_name(f.name), f.metadata["names"]
    if not any("=" in text for text in texts):
        return tuple(number(flag, text) for text in texts)
    numbers = [*base, *[0.0] * (len(names) - len(base))]
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{flag} takes {len(names)} numbers, or NAME=NUMBER of some, not both: {text!r}")
        if name not in names:
            raise InputError(f"{flag} knows no {name!r}: its names are {', '.join(names)}{did_you_mean(name, names)}")
        numbers[names.index(name)] = number(flag, value)
    return tuple(numbers)


def number(flag: str, text: str) -> float:
    """A number from a command line."""
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{flag} takes numbers, got {text!r}") from error


def dashed(arg: str) -> str:
    """`--batch_size=4` -> `--batch-size=4`: both spellings of a flag are one."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value


def make_options(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Options from plain values, lists made tuples."""
    return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def assignments(flag: str, texts: Sequence[str]) -> dict[str, Any]:
    """Values by name, from NAME=VALUE.

    Raises:
        InputError: a text is none, or a name is set twice.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in values:
            raise InputError(f"{flag} takes NAME=VALUE, each name once, got {text!r}")
        try:
            values[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            values[name] = value  # a word
    return values
