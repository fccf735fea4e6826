"""Command-line flags, generated from the options of `schema` by absl.

A recipe is an absl flag file (``--flagfile=recipes/mnist5k.flags``); flags after it override it.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from noisy_student.config import option, schema
from noisy_student.config.option import Option
from noisy_student.config.settings import Config


class _Parser(flags.ArgumentParser):
    """Lets absl parse by an option."""

    def __init__(self, option: Option):
        self.option = option

    def parse(self, argument: Any) -> Any:
        """Returns the typed value of an argument."""
        return self.option.parse(argument)


def parse(arguments: Sequence[str], groups: Sequence[type] = ()) -> Config:
    """Reads flags without a command, and without any effect on absl's global flags.

    Accepts the options of `schema.RUN` and of `groups`.

    Raises:
        ValueError: Names the flag or argument at fault and what is allowed.
    """
    config, rest = parse_known(arguments, groups)
    if rest:
        raise ValueError(f"{rest[0]} is not a flag: flags are written --name=value.")
    return config


def parse_known(
    arguments: Sequence[str], groups: Sequence[type] = (), values: flags.FlagValues | None = None
) -> tuple[Config, list[str]]:
    """Reads flags; returns the configuration and the arguments that are no flags.

    Accepts the options of `schema.RUN` and of `groups`, and adds their flags to `values`.

    Raises:
        ValueError: Names the flag at fault and what is allowed.
    """
    values = flags.FlagValues() if values is None else values
    known = option.named((*schema.RUN, *groups))
    for each in known.values():
        flag = flags.Flag(
            _Parser(each), None, each.name, each.default, each.help, boolean=each.kind is bool
        )
        flags.DEFINE_flag(flag, values)
    try:
        _, *rest = values(["", *_expanded(arguments)])
    except flags.UnrecognizedFlagError as error:
        raise option.unknown(error.flagname, known) from None
    except flags.Error as error:
        # Absl names the flag in front of an error of ours that names it.
        text = str(error).removeprefix("flag ")
        raise ValueError(text[text.find(": --") + 2 :] if ": --" in text else text) from None
    return Config(**{name: values[name].value for name in known if values[name].present}), rest


def _expanded(arguments: Sequence[str], inside: tuple[Path, ...] = ()) -> Iterator[str]:
    """Yields the arguments with the lines of flag files in their place.

    Absl would read them, too, but takes a byte order mark for a part of the first flag.
    """
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if argument == "--":
            yield argument
            yield from rest
        elif name.lstrip("-") != "flagfile" or not name.startswith("-"):
            yield argument
        else:
            path = Path(value or next(rest, "")).expanduser()
            if path in inside:
                raise ValueError(f"--flagfile={path}: the file includes itself.")
            yield from _expanded(_lines(path), (*inside, path))


def _lines(path: Path) -> list[str]:
    """Returns the flags of a flag file: its lines but comments and empty ones."""
    try:
        content = path.read_bytes()
        is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_utf16 else "utf-8").replace("\ufeff", "")
    except OSError as error:
        raise ValueError(f"--flagfile={path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ValueError(f"--flagfile={path}: not a UTF-8 text file.") from None
    lines = map(str.strip, text.splitlines())
    kept = [line for line in lines if line and not line.startswith(("#", "//"))]
    if commented := [line for line in kept if re.search(r"\s#", line)]:
        raise ValueError(
            f"--flagfile={path}: {commented[0]!r}: a comment needs a line of its own; give a value "
            "with # on the command line."
        )
    return kept
