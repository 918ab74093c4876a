"""Command-line flags from frozen dataclasses: each field is a flag (`batch_size` is `--batch-size` or `--batch_size`) with
the field's type, default and help.
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
        default: the value if neither command line nor recipe sets one; `...` makes the flag required.
        help: one line, for `--help` and docs/flags.md.
        choices: the allowed values.
        low, high: inclusive range of a number, or of each number of a tuple.
        positional: the values (of a required tuple) are given without a flag.
        resumable: whether the option may change when a run is resumed: paths, and options that do not affect the weights.
        names: names of a tuple's numbers, which may then be given as NAME=NUMBER; numbers beyond the default's are optional.
        pattern: for text: a regular expression that must match all of it, and its meaning in words.
        path: whether the value may be the path of a file or folder that a run reads.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    metadata |= {"positional": positional, "resumable": resumable, "names": names, "pattern": pattern, "path": path}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def check_ranges(options: Any) -> None:
    """Raises InputError for the first value with a wrong type, number of values, range, choice or pattern."""
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
            if f.metadata["choices"] and v not in f.metadata["choices"]:
                raise InputError(f"{flag} must be one of {', '.join(f.metadata['choices'])}, got {v!r}")
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
    """The flag of a field: `batch_size` -> `--batch-size`."""
    return "--" + field_name.replace("_", "-")


def spelling(f: dataclasses.Field) -> str:
    """A field's name in messages: its flag, or for positional values their upper-case name, such as `IMAGE`."""
    return f.name.upper() if f.metadata["positional"] else flag_name(f.name)


MEMORY_SAVERS = {
    "grad_checkpoint": "--grad-checkpoint",
    "update_in_backward": "--update-in-backward",
    "accum": "a larger --accum",
    "amp": "--amp bf16",
    "batch_size": "a smaller --batch-size",
    "infer_size": "a smaller --infer-size",
}
"""Flags that save memory, by option."""


def memory_advice(cls: type) -> str:
    """Advice on a command's flags that save memory: first those that may change at a resume, then those of a new run."""
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
    """An ArgumentParser that raises InputError instead of printing its usage and exiting, and suggests flags."""

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Called by argparse for every line."""
        self.unknown = [name for arg in args or () if (name := arg.partition("=")[0]) not in self._option_string_actions]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for an invalid command line."""
        known: Iterable[str] = ()
        if message.startswith("unrecognized arguments"):
            known = self._option_string_actions
        elif message.startswith("the following arguments are required"):  # perhaps one of them is there, misspelt
            known = [flag for flag in self._option_string_actions if flag in re.split(r"[:, ]+", message)]
        meant = (f"{name}{near}" for name in self.unknown if name.startswith("--") and (near := did_you_mean(name, known)))
        raise InputError(f"{'; '.join((message, *meant))} (see --help)")


def build_parser(cls: type, program: str, description: str | None, known: Collection[str] = ()) -> Parser:
    """A parser with one flag per field. Its result holds only the flags that were given, so that recipes can set the others.

    Args:
        cls: the dataclass.
        program, description: for `--help`.
        known: fields that already have a value, so that their flags are not required.
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
        if f.metadata["choices"] and count:  # `--export coco --export labelme` means both
            extra["action"] = "extend"
        parser.add_argument(
            flag_name(f.name), dest=f.name, type=kind, nargs=count, required=required, help=text + shown, **extra
        )
    parser.epilog = "--debug shows the traceback of an error."
    return parser


def value_type(annotation: Any) -> tuple[type, int | str | None]:
    """From a field's annotation, the type of one value and argparse's `nargs`: `+`, a number, or None for a single value."""
    if typing.get_origin(annotation) is tuple:
        kinds = typing.get_args(annotation)
        return kinds[0], "+" if kinds[-1] is Ellipsis else len(kinds)
    return annotation, None


def show(value: Any) -> str:
    """A value as it is written on a command line."""
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
        cls: a dataclass whose fields are `option`s.
        args: the command line without the program.
        program, description: for `--help`.
        defaults: values that replace the fields' defaults, such as those of a recipe.

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
    """Numbers in the order of their names, from `1 0.5` or `NAME=0.5`.

    Args:
        f: the field, whose `names` are those of the numbers.
        texts: the flag's values on the command line.
        base: the values that NAME=NUMBER changes.

    Raises:
        InputError: a name is unknown, or a value is no number.
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
    """Normalises the spelling of a flag: `--batch_size=4` -> `--batch-size=4`."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value


def make_options(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Options from plain values; lists become tuples."""
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
