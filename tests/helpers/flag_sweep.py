"""Tries absurd values for every numeric flag, and keeps the table of what is accepted.

    python -m tests.helpers.flag_sweep

writes the table into docs/RELIABILITY.md.
"""

import re
from collections import defaultdict
from pathlib import Path

from noisy_student.config import option, schema
from noisy_student.report.text import markdown_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "RELIABILITY.md"
VALUES = ["nan", "inf", "-inf", "-1", "0", "1e-30", "1e30", "9" * 20, ""]
_MARKED = re.compile(r"(?<=<!-- flags -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def numeric() -> list[option.Option]:
    """The numeric options of all commands, by name."""
    options = option.named((*schema.RUN, *schema.TOOLS))
    return [options[name] for name in sorted(options) if options[name].kind in (int, float)]


def accepted(flag: option.Option) -> tuple[str, ...]:
    """Those of `VALUES` that a flag takes."""
    taken = []
    for value in VALUES:
        try:
            flag.parse(value)
        except ValueError as error:
            assert str(error).startswith(f"--{flag.name}={value}: ")
        else:
            taken.append(value)
    return tuple(taken)


def table() -> str:
    """Markdown: the accepted values, and all flags that take them."""
    flags = defaultdict(list)
    for flag in numeric():
        flags[accepted(flag)].append(f"`{flag.name}`")
    rows = [
        [", ".join(value or "empty" for value in values) or "none", ", ".join(flags[values])]
        for values in sorted(flags)
    ]
    return "\n".join(markdown_table(["accepted", "flags"], rows))


def stored() -> str:
    """The table as the page has it."""
    return _MARKED.search(PAGE.read_text())[0]


if __name__ == "__main__":
    PAGE.write_text(_MARKED.sub(lambda _: table(), PAGE.read_text()))
