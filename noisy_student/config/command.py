"""Runs a command: reads its flags, shows its help, and reports bad input in one line."""

import errno
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from absl import app, logging
from absl import flags as absl_flags

from noisy_student import _compile_cache
from noisy_student._output import lenient_output
from noisy_student.config import flags, option, process, schema
from noisy_student.config.settings import Config

_AGAIN = "run the same command again to continue."
_WAYS_OUT = {
    errno.ENOSPC: f"Free some space, then {_AGAIN}",
    errno.EDQUOT: f"Free some space, then {_AGAIN}",
    errno.EFBIG: f"Allow larger files (ulimit -f), then {_AGAIN}",
    errno.EIO: f"Check the disk, then {_AGAIN}",
    errno.EROFS: "Choose a writable directory.",
    errno.EACCES: "Change its permissions, or choose another directory.",
    errno.EPERM: "Change its permissions, or choose another directory.",
    errno.ENOTDIR: "There is a file where a directory should be: choose another directory.",
    errno.EEXIST: "There is a file where a directory should be: choose another directory.",
}
_MEMORY = (
    "a batch does not fit in memory. Give a smaller --eval_batch_size or "
    f"--precision=mixed_bfloat16, then {_AGAIN}"
)
# What TensorFlow's error about an image says that a pipeline cannot decode (`data.preprocess`).
_UNDECODABLE = re.compile(r"(?:assertion failed: \[|data: b')(.+: cannot be decoded as an image)")
_HELP = {"--help", "-help", "--helpshort", "-h", "-?"}


def run(
    main: Callable[..., None], *groups: type[Any], takes_arguments: bool = False, **defaults: Any
) -> None:
    """Runs a command. Bad input is printed in one line and exits with 2.

    Every command accepts the options of `schema.RUN`, so that one recipe serves all, and those of
    its own groups. ``--help`` shows its groups, ``--helpfull`` all options.

    Args:
        main: Called with the configuration. The docstring of its module describes the command.
        *groups: Dataclasses of `schema` whose options the command uses.
        takes_arguments: Whether `main` also receives the list of positional arguments.
        **defaults: Defaults of this command that differ from the schema's.
    """

    def parse(argv: list[str]) -> tuple[Config, list[str]]:
        if _HELP.intersection(argv):
            print(help_text(sys.modules[main.__module__].__doc__, groups, defaults))
            sys.exit(0)
        if "--helpfull" in argv:
            print(help_text(sys.modules[main.__module__].__doc__, schema.RUN, defaults))
            sys.exit(0)
        try:
            config, rest = flags.parse_known(argv[1:], groups, absl_flags.FLAGS)
            if rest and not takes_arguments:
                raise ValueError(f"{rest[0]} is not a flag: flags are written --name=value.")
            return config.replace(**(defaults | config.given)), rest
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    def guarded(parsed: tuple[Config, list[str]]) -> None:
        config, rest = parsed
        if not absl_flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        process.verify = config.options["verify"]
        if config.options["auto"] and schema.SizingConfig not in groups:
            logging.warning(
                "--auto only applies to whole runs (bash run.sh, noisy-student run). This command "
                "uses the defaults of flags not given; pass it the values that a run prints."
            )
        place = config.options["output_dir"] or config.options["workdir"]
        try:
            _compile_cache.enable(config.options["compile_cache"])
            main(config, rest) if takes_arguments else main(config)
        except Exception as error:
            undecodable = _UNDECODABLE.search(str(error))
            line = undecodable[1] if undecodable else disk_problem(error, place)
            line = str(error) if isinstance(error, ValueError) else line
            if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
                line = line or _MEMORY
            if config.options["debug"] or not line:
                raise
            print(f"error: {line}\n(--debug shows the traceback)", file=sys.stderr)
            sys.exit(2)

    with lenient_output():
        app.run(guarded, flags_parser=parse)


def disk_problem(error: Exception, place: str) -> str:
    """Returns a one-line message for a disk error raised by Python or a library; "" for others.

    Names `place` where the error names no file.
    """
    text = " ".join(str(error).split())
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    for code, way_out in _WAYS_OUT.items():
        if getattr(error, "errno", None) == code or os.strerror(code) in text:
            return (
                f"{file or (text[:300] if '/' in text else place)}: {os.strerror(code)}. {way_out}"
            )
    if isinstance(error, OSError) and file:
        return f"{file}: {error.strerror or text}."
    return ""


def help_text(doc: str | None, groups: Iterable[type], defaults: dict[str, Any]) -> str:
    """Returns the help of a command: description and examples, then the options by group.

    The description is the docstring of the command's module up to the end of its first examples.
    `defaults` are those that differ from the schema's.
    """

    def is_example(text: str) -> bool:
        return text.lstrip().startswith("python -m ")

    paragraphs = inspect.cleandoc(doc or "").split("\n\n")
    last = max((i for i, text in enumerate(paragraphs[:3]) if is_example(text)), default=0)
    lines, shown = ["\n\n".join(paragraphs[: last + 1])], set()
    for group in groups:
        options = [o for o in option.options_of(group).values() if o.name not in shown]
        if options:
            lines += ["", f"{(group.__doc__ or '').splitlines()[0].rstrip('.')}:"]
        for each in options:
            shown.add(each.name)
            lines += _describe(each, defaults.get(each.name, each.default))
    return "\n".join(lines)


def _describe(option: option.Option, default: Any) -> list[str]:
    name = f"--[no]{option.name}" if option.kind is bool else f"--{option.name}"
    value = "unset" if default in (None, ()) else option.to_flag(default).split("=", 1)[-1]
    if option.kind is bool:
        value = "on" if default else "off"
    text = option.help
    if option.choices:
        allowed = option.allowed.replace("one of ", "") if option.is_list else option.allowed
        text += f" Allowed: {allowed}."
    if option.per_round:
        text += " One value per round; the last one repeats."
    indent = " " * 6
    wrapped = textwrap.wrap(text, 96, initial_indent=indent, subsequent_indent=indent)
    return [f"  {name} (default: {value})", *wrapped]
