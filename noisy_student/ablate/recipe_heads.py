"""The heads of recipes, comments in a fixed form, as a table.

A head is a title, then the fields Data, Model, Hardware, Time, Expected and Measured.
"""

import itertools
import os
import re
from pathlib import Path

from noisy_student.report.text import markdown_table

_FIELD = re.compile(r"^# ([A-Z][a-z]+): +(.+)$", re.MULTILINE)
_WORD = re.compile(r"\d+ h \d+ min|\S+")
_HEADER = ("recipe", "title", "hardware", "time", "expected top-1", "measured here")


def read(path: Path) -> dict[str, str]:
    """Returns the title, as "Title", and the fields of a recipe's head by name."""
    text = path.read_text(encoding="utf-8-sig")
    return {"Title": text.partition("\n")[0].removeprefix("# "), **dict(_FIELD.findall(text))}


def table(folder: Path) -> str:
    """Returns a Markdown table of the recipes of a folder, with one row for a numbered series."""
    paths = sorted(folder.glob("*.flags"), key=lambda path: path.stem)
    series = itertools.groupby(paths, key=lambda path: path.stem.rstrip("0123456789"))
    return "\n".join(markdown_table(_HEADER, [_row(list(recipes)) for _, recipes in series]))


def _row(paths: list[Path]) -> list[str]:
    heads = [read(path) for path in paths]
    fields = ("Title", "Hardware", "Time", "Expected", "Measured")
    values = [_span([head[field] for head in heads]) for field in fields]
    values[2] = values[2].replace(" by python -m noisy_student.plan", " (estimate)")
    values[4] = values[4].partition(",")[0]
    return [_span([f"`{path.stem}`" for path in paths]), *values]


def _span(values: list[str]) -> str:
    """Returns the first and the last text of a series, without repeating the words they share."""
    first, last = _WORD.findall(values[0]), _WORD.findall(values[-1])
    if first == last:
        return values[0]
    before = len(os.path.commonprefix([first, last]))
    after = len(os.path.commonprefix([first[before:][::-1], last[before:][::-1]]))
    middle = [*first[before : len(first) - after], "...", *last[before:]]
    return " ".join([*first[:before], *middle])
