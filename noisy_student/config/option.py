"""An option: a dataclass field whose metadata holds its bounds, choices, help and meaning.

The field's name, annotation and default complete it. Flags, ``--help`` and the checks of values
given from Python all derive from it.
"""

import csv
import dataclasses
import difflib
import functools
import math
import os
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

_METADATA = "option"
MAX_INT = 2**31 - 1  # TensorFlow counts steps and images in int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One option."""

    name: str  # name of the flag and of the Python argument
    default: Any  # typed value; None means unset
    help: str  # what it does, for ``--help``
    kind: type  # type of the value or of each item: bool, int, float or str
    is_list: bool = False  # whether the value is a tuple of items, comma-separated in a flag
    low: float | None = None  # smallest number allowed
    # Largest number allowed; of whole numbers by default the largest int32.
    high: float | None = None
    below: float | None = None  # number that must not be reached
    # Strings or numbers allowed. An int option may have a word instead.
    choices: tuple[Any, ...] = ()
    per_round: bool = False  # whether the items belong to rounds 1, 2, ..., the last one repeated
    # Whether results depend on it. Otherwise a study reuses results that were computed with another
    # value.
    changes_result: bool = True
    substitute: str | None = None  # option that scales the same quantity while this one is unset
    # Whether text may be an address such as gs://bucket; paths are local otherwise.
    remote: bool = False

    def parse(self, value: Any) -> Any:
        """Returns the checked value in its type.

        Args:
            value: Text as on a command line, or a Python value. A list option takes one item, too.

        Raises:
            ValueError: The value is not allowed. Names the option, the value and what is allowed.
        """
        if value is None or (value == "" and self.kind is str and not self.is_list):
            if self.default is None:
                return None
            raise ValueError(f"--{self.name} cannot be unset: must be {self.allowed}.")
        if not self.is_list:
            return self._item(value)
        if isinstance(value, str):
            value = next(csv.reader([value]), [])
        elif not isinstance(value, Iterable):
            value = [value]
        items = tuple(map(self._item, value))
        if not items and self.default:
            raise ValueError(f"--{self.name}=: give at least one value.")
        return items

    def to_flag(self, value: Any) -> str:
        """Returns the flag that sets a value. Studies hash it: its form must not change."""
        if self.kind is bool:
            return f"--{'' if value else 'no'}{self.name}"
        text = ",".join(map(_short, value)) if self.is_list else str(value)
        return f"--{self.name}={text}"

    def to_json(self, value: Any) -> Any:
        """Returns a value as ``config.json`` records it: items of lists, and words, as text."""
        if value is None:
            return None
        if self.is_list:
            return list(map(_short, value))
        return str(value) if self.kind is int and self.choices else value

    @property
    def allowed(self) -> str:
        """Description of the values allowed."""
        if self.kind is bool:
            return "true or false"
        if self.choices and (self.kind is not int or self.low is None):
            return f"one of {', '.join(map(str, self.choices))}"
        if self.kind is str:
            return "text"
        number = "a whole number" if self.kind is int else "a number"
        bounds = [
            f"{word} {bound:,}" if abs(bound) > 9999 else f"{word} {bound:g}"
            for word, bound in (
                ("at least", self.low),
                ("at most", self.high),
                ("below", self.below),
            )
            if bound is not None
        ]
        words = [*map(str, self.choices), f"{number} {' and '.join(bounds)}".rstrip()]
        return " or ".join(words)

    def _item(self, value: Any) -> Any:
        try:
            item = self._convert(value)
        except (TypeError, ValueError):
            item = None
        if item is None or not self._is_allowed(item):
            raise ValueError(f"--{self.name}={value}: must be {self.allowed}.")
        if self.kind is str and (problem := self._text_problem(item)):
            raise ValueError(f"--{self.name}={value}: {problem}.")
        return item

    def _text_problem(self, text: str) -> str:
        """Returns what is wrong with a text that would be taken as it is, or ""."""
        if not self.remote and "://" in text:
            return "URLs are not supported. Give a local path, for example of a mounted bucket"
        if not self.is_list and len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            return "the quotes would become part of the value: leave them out"
        variables = re.findall(r"\$\{?(\w+)", text)
        if found := [name for name in variables if name in os.environ]:
            return f"${found[0]} is not expanded here, only by a shell: write out its value"
        return ""

    def _convert(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip() if self.is_list or self.kind is not str else value
            if self.kind is bool:
                return _BOOLEANS[value.lower()] if value.lower() in _BOOLEANS else None
            if self.kind is int and value in self.choices:
                return value
            return _at_home(value) if self.kind is str else self.kind(value)
        if self.kind is str:
            return _at_home(os.fspath(value))
        value = value.item() if hasattr(value, "item") else value  # NumPy's numbers
        if isinstance(value, bool) != (self.kind is bool) or self.kind(value) != value:
            return None
        return self.kind(value)

    def _is_allowed(self, item: Any) -> bool:
        if item in self.choices or self.kind is bool:
            return True
        if isinstance(item, str) or (self.choices and self.low is None):
            return not self.choices
        return (
            math.isfinite(item)
            and (self.low is None or item >= self.low)
            and (self.high is None or item <= self.high)
            and (self.below is None or item < self.below)
        )


def _at_home(text: str) -> str:
    """Returns a path with the home directory in place of ~, which shells leave after a flag's =."""
    return os.path.expanduser(text) if text == "~" or text.startswith("~/") else text


_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def option(default: Any, help: str, *, name: str | None = None, **meaning: Any) -> Any:
    """Declares a dataclass field as an option.

    Args:
        default: Its value unless given.
        help: What it does; begins with a noun or a verb.
        name: Name of the flag; None: the field's.
        **meaning: Further attributes of `Option`.
    """
    metadata = {"name": name, "help": help, **meaning}
    return dataclasses.field(default=default, metadata={_METADATA: metadata})


@functools.cache
def options_of(group: type) -> dict[str, Option]:
    """Returns the options that a dataclass declares, by the names of its fields."""
    hints, found = typing.get_type_hints(group), {}
    for field in dataclasses.fields(group):
        if _METADATA in field.metadata:
            metadata = dict(field.metadata[_METADATA])
            metadata["name"] = metadata["name"] or field.name
            kind, is_list = _kind(hints[field.name])
            if kind is int and "low" in metadata:
                metadata.setdefault("high", MAX_INT)
            found[field.name] = Option(
                default=field.default, kind=kind, is_list=is_list, **metadata
            )
    return found


def named(groups: Iterable[type]) -> dict[str, Option]:
    """Returns the options of several groups by the names of their flags."""
    return {option.name: option for group in groups for option in options_of(group).values()}


def unknown(name: str, known: Iterable[str]) -> ValueError:
    """Returns the error for an option that does not exist; it suggests the most similar one."""
    similar = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean --{similar[0]}?" if similar else " --help lists the options."
    return ValueError(f"--{name}: no such option.{hint}")


def _kind(annotation: Any) -> tuple[type, bool]:
    """Returns the type of a value or its items, and whether it is a list."""
    if isinstance(annotation, types.UnionType):  # int | str is an int or one of the choices
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _short(item: Any) -> str:
    """Returns an item of a list in its usual notation: 4, not 4.0."""
    return repr(item).removesuffix(".0") if isinstance(item, float) else str(item)
