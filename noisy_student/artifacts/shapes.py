"""Checks a JSON value against the type that documents its file."""

import types
import typing
from typing import Any

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def problem(value: Any, kind: Any, name: str = "") -> str:
    """Returns the first mismatch of a JSON value with a type, as "seconds is not a number", or "".

    Args:
        value: as `json.loads` returns it.
        kind: a TypedDict, `Any`, None, bool, int, float, str, a Literal, or lists, dictionaries
            and unions of such types. A TypedDict may have further keys.
        name: of the value within the file; "": the file as a whole.
    """
    name = name or "it"
    if kind is Any:
        return ""
    if typing.is_typeddict(kind):
        return _dictionary_problem(value, kind, name)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        found = [problem(value, inner, name) for inner in arguments]
        return "" if "" in found else found[0]
    if origin is typing.Literal:
        return (
            "" if value in arguments else f"{name} is not one of {', '.join(map(str, arguments))}"
        )
    if origin is list:
        if not isinstance(value, list):
            return f"{name} is not a list"
        pairs = ((f"{name}[{index}]", item, arguments[0]) for index, item in enumerate(value))
    elif origin is dict:
        if not isinstance(value, dict):
            return f"{name} is not an object"
        pairs = ((f"{name}.{key}", item, arguments[1]) for key, item in value.items())
    elif kind in (None, types.NoneType):
        return "" if value is None else f"{name} is not null"
    else:
        allowed = (int, float) if kind is float else kind
        fits = isinstance(value, allowed) and isinstance(value, bool) == (kind is bool)
        return "" if fits else f"{name} is not {_NAMES[kind]}"
    return next(filter(None, (problem(item, inner, place) for place, item, inner in pairs)), "")


def _dictionary_problem(value: Any, kind: Any, name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} is not an object"
    prefix = "" if name == "it" else f"{name}."
    if missing := sorted(kind.__required_keys__ - value.keys()):
        return f"{prefix}{missing[0]} is missing"
    hints = typing.get_type_hints(kind)
    pairs = ((f"{prefix}{key}", value[key], inner) for key, inner in hints.items() if key in value)
    return next(filter(None, (problem(item, inner, place) for place, item, inner in pairs)), "")
