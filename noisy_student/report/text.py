"""A run's results as plain text: for a terminal and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noisy_student.metrics import benchmarks
from noisy_student.report import markup, phrases, tables
from noisy_student.report import results as summary
from noisy_student.report.page import labels as pseudo_labels


def table(results: Mapping[str, Any]) -> str:
    """The results as plain text for a terminal."""
    rows = [_HEADERS, *_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_closing_lines(results)])


def markdown(results: Mapping[str, Any]) -> str:
    """The results as a Markdown page."""
    figures, provenance = results["figures"], results["provenance"]
    lines = [f"# {summary.headline(figures)}", "", *_closing_lines(results), ""]
    lines += markdown_table(_HEADERS, _rows(results))
    lines += _robustness(figures)
    if figures["pseudo_labels"]:
        lines += ["## Pseudo labels", ""]
        lines += markdown_table(*pseudo_labels.rows(figures["pseudo_labels"]))
        for note in pseudo_labels.notes(figures["pseudo_labels"]):
            lines += [note, ""]
    if provenance["command"]:
        lines += ["## Command", "", f"    {provenance['command']}", ""]
    return "\n".join(lines)


def _robustness(figures: Mapping[str, Any]) -> list[str]:
    """Models x benchmarks, then every benchmark by its settings."""
    labels = {model["name"]: model["label"] for model in figures["models"]}
    scores = {labels[name]: row for name, row in tables.of_models(figures).items()}
    lines = []
    columns = tables.own_columns(key for row in scores.values() for key in row)
    if len(columns) > 1:
        lines += ["## Robustness on this run's test images", ""]
        lines += _scores(scores, columns)
    scores = {name: row for name, row in scores.items() if tables.published_columns(row)}
    if scores:
        scores |= {f"{name} (paper)": row for name, row in tables.PAPER.items()}
        columns = tables.published_columns(key for row in scores.values() for key in row)
        lines += ["## Robustness on published benchmarks", ""]
        lines += _scores(scores, columns)
    for benchmark in (*benchmarks.CORRUPTED, *benchmarks.PERTURBED):
        if figures[benchmark]:
            names, rows = tables.by_setting(figures, benchmark)
            kind = "error" if benchmark in benchmarks.CORRUPTED else "flip probability"
            lines += [f"## {benchmarks.TITLES[benchmark]}: {kind}, percent", ""]
            lines += markdown_table(
                ["", *(labels[name] for name in figures[benchmark])],
                [
                    [name, *(markup.number(value, ".1f") for value in row)]
                    for name, row in zip(names, rows, strict=True)
                ],
            )
    for attack in benchmarks.ATTACKS:
        if figures[attack]:
            sizes, accuracies = tables.by_epsilon(figures, attack)
            lines += [f"## Top-1 under {benchmarks.TITLES[attack]}, by epsilon", ""]
            if attack == "pgd":
                lines += [phrases.describe_pgd(figures[attack], labels), ""]
            lines += markdown_table(
                ["", *(f"{size:g}" for size in sizes)],
                [
                    [labels[name], *(markup.number(value, ".1f") for value in values)]
                    for name, values in accuracies.items()
                ],
            )
    return lines


def _scores(
    scores: Mapping[str, Mapping[str, float]], columns: Sequence[tables.Column]
) -> list[str]:
    return markdown_table(
        ["", *(f"{column.group}: {column.header}" for column in columns)],
        [[name, *(column.of(row) for column in columns)] for name, row in scores.items()],
    )


_HEADERS = ["model", "top-1", "95% interval", "top-5", "validation", "parameters", "images", "s"]


def _rows(results: Mapping[str, Any]) -> list[list[str]]:
    seconds = results["provenance"]["seconds"]
    rows = []
    for model in results["figures"]["models"]:
        low_high = model["top1_interval"]
        rows.append(
            [
                model["label"],
                markup.number(model["top1"], ".1f"),
                f"{low_high[0]:.1f} to {low_high[1]:.1f}" if low_high else markup.NONE,
                markup.number(model["top5"], ".1f"),
                markup.number(model["validation_top1"], ".1f"),
                markup.number(model["parameters"], ","),
                markup.number(model["images_seen"], ","),
                markup.number(seconds.get(f"train {model['name']}"), ".0f"),
            ]
        )
    return rows


def _closing_lines(results: Mapping[str, Any]) -> list[str]:
    figures = results["figures"]
    differences = [figures["gain"], *figures["over_controls"]]
    lines = [summary.difference_in_words(figures, gain) + "." for gain in differences if gain]
    lines += summary.robustness_in_words(figures)
    if figures["missing"]:
        lines.append(f"Not there: {', '.join(figures['missing'])}.")
    return lines


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table: the first column text, the others numbers."""
    lines = [headers, ["---", *("---:" for _ in headers[1:])], *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]
