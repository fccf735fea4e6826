"""The results of a run as plain text, Markdown and CSV."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noisy_student.metrics.benchmarks import ATTACKS, CORRUPTED, PERTURBED, TITLES
from noisy_student.report import label_notes, phrases, scores, side_by_side, tables
from noisy_student.report.tables import Table

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def terminal(results: Mapping[str, Any]) -> str:
    """Returns the results as plain text."""
    table = tables.accuracy(results)
    rows = [table.headers, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_findings(results["figures"])])


def markdown(results: Mapping[str, Any]) -> str:
    """Returns the results as a Markdown page."""
    figures, command = results["figures"], results["provenance"]["command"]
    whose = "the" if figures["side_by_side"] else "this run's"
    headline, compared = phrases.headline(figures), figures["side_by_side"]
    title = side_by_side.title(compared) if compared else headline
    lines = [f"# {markdown_text(title)}", ""]
    if title != headline:
        lines += [f"**{markdown_text(headline)}**", ""]
    for finding in _findings(figures):
        lines += [f"- {markdown_text(finding)}"]
    lines += ["", "## Accuracy", "", *_table(tables.accuracy(results))]
    for title, table in (
        ("Accuracy by class, percent", tables.classes(figures)),
        (tables.confusion_title(figures), tables.confusion(figures)),
    ):
        if table:
            lines += [f"## {title}", "", *_table(table)]
    for title, found in (
        (f"Robustness on {whose} test images", scores.own_scores(figures)),
        ("Robustness on published benchmarks", scores.published_scores(figures)),
    ):
        if found:
            table, columns = found
            notes = " ".join(scores.column_notes(figures, columns))
            lines += [f"## {title}", "", *_table(table), markdown_text(notes), ""]
    for benchmark in (*CORRUPTED, *PERTURBED):
        if figures[benchmark]:
            measure = "error" if benchmark in CORRUPTED else "flip probability"
            lines += [f"## {TITLES[benchmark]}: {measure}, percent", ""]
            lines += _table(tables.settings(figures, benchmark))
    for attack in ATTACKS:
        if figures[attack]:
            lines += [f"## Top-1 under {TITLES[attack]}, by epsilon", ""]
            lines += _table(tables.attack(figures, attack))
    if figures["pgd"]:
        labels = {model["name"]: model["label"] for model in figures["models"]}
        lines += [f"PGD: {markdown_text(phrases.describe_pgd(figures['pgd'], labels))}", ""]
    if figures["pseudo_labels"]:
        lines += ["## Pseudo labels", "", *_table(tables.pseudo_labels(figures["pseudo_labels"]))]
        for sentence in label_notes.notes(figures["pseudo_labels"]):
            lines += [markdown_text(sentence), ""]
    if command:
        code = [f"    {line}" for line in command.splitlines()]
        lines += ["## Command", "", *code, ""]
    return "\n".join(lines)


def to_csv(figures: Mapping[str, Any]) -> str:
    """Returns one row for each model and one column for each number; empty: not measured."""
    rows = scores.model_numbers(figures)
    keys = sorted(dict.fromkeys(key for row in rows.values() for key in row), key=scores.key_order)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "label", *map(csv_text, keys)])
    for model in figures["models"]:
        row = rows[model["name"]]
        numbers = (f"{row[key]:.6g}" if key in row else "" for key in keys)
        writer.writerow([csv_text(model["name"]), csv_text(model["label"]), *numbers])
    return text.getvalue()


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table, with columns of numbers aligned to the right.

    Escapes ``|`` and ``<`` in the cells.
    """
    cells = [[markdown_text(cell) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True)) or [() for _ in headers]
    rule = ["---:" if all(map(_is_number, column)) else "---" for column in columns]
    lines = [[markdown_text(header) for header in headers], rule, *cells]
    return [f"| {' | '.join(line)} |" for line in lines]


def _is_number(cell: str) -> bool:
    """Returns True for text that begins with a number, and for cells without a value."""
    return not re.sub(r"^(&lt;|[-+*±])*[\d.,]+.*|-|n/a", "", cell)


def markdown_text(text: str) -> str:
    """Escapes text so that Markdown shows it in one line, as text instead of a tag or a cell."""
    return re.sub(r"\s+", " ", text.replace("|", r"\|").replace("<", "&lt;"))


def csv_text(text: str) -> str:
    """Prefixes text that a spreadsheet would run as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_name(cell: str) -> str:
    """Returns the text of a cell that `csv_text` made."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def _findings(figures: Mapping[str, Any]) -> list[str]:
    compared = figures["side_by_side"] or {"differences": []}
    differences = [figures["gain"], *figures["over_controls"], *compared["differences"]]
    lines = [phrases.describe_difference(figures, gain) for gain in differences if gain]
    if choice := phrases.describe_choice(figures):
        lines.append(choice)
    lines += phrases.describe_robustness(figures)
    if figures["missing"]:
        lines.append(f"Missing: {', '.join(figures['missing'])}.")
    return lines


def _table(table: Table) -> list[str]:
    groups = table.groups or [""] * len(table.headers)
    headers = [
        f"{group}: {header}" if group else header
        for group, header in zip(groups, table.headers, strict=True)
    ]
    return [*markdown_table(headers, table.rows), ""]
