"""Writes what a run found: ``results.json``, ``results.md`` and a single-file ``report.html``.

    python -m noisy_student.report --workdir=runs/mnist5k

Reads the JSON files of a work directory and nothing else. Every one of them may be absent: what is
there is shown, what is not is named.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisy_student import config, manifest, markup, page, summary


def run(workdir: str | Path) -> dict[str, Any]:
    """Reads a work directory and writes ``report/`` into it.

    Args:
        workdir: where ``noisy_student.iterate`` worked.

    Returns:
        The content of ``results.json``: what was measured under "figures", the same for every run
        with one seed on one machine, and commands, versions and seconds under "provenance".

    Raises:
        ValueError: where ``workdir`` is not a directory, or a file in it is damaged.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise ValueError(f"--workdir={workdir} is not a directory.")
    inputs = summary.read(workdir)
    results = {"figures": summary.measured(inputs), "provenance": summary.provenance(inputs)}
    histories = {name: inputs.trainings[name].get("history", []) for name in inputs.trainings}
    html = page.render(results, histories, inputs.gallery, inputs.noise)
    manifest.write_json(workdir / "report" / "results.json", results)
    (workdir / "report" / "results.md").write_text(markdown(results), encoding="utf-8")
    (workdir / "report" / "report.html").write_text(html, encoding="utf-8")
    return results


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
    lines += _markdown_table(_HEADERS, _rows(results))
    if figures["fgsm"]:
        sizes = next(iter(figures["fgsm"].values()))["epsilons"]
        labels = {model["name"]: model["label"] for model in figures["models"]}
        lines += ["## Top-1 under FGSM, by step size", ""]
        lines += _markdown_table(
            ["", *(f"{size:g}" for size in sizes)],
            [
                [labels[name], *(f"{value:.1f}" for value in sweep["top1"])]
                for name, sweep in figures["fgsm"].items()
            ],
        )
    if figures["pseudo_labels"]:
        lines += ["## Pseudo labels", ""]
        lines += _markdown_table(*page.pseudo_label_rows(figures["pseudo_labels"]))
    if provenance["command"]:
        lines += ["## Command", "", f"    {provenance['command']}", ""]
    return "\n".join(lines)


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
    if figures["missing"]:
        lines.append(f"Not there: {', '.join(figures['missing'])}.")
    return lines


def _markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headers, ["---", *("---:" for _ in headers[1:])], *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _main(_: config.Config) -> None:
    workdir = Path(config.FLAGS.workdir)
    print(f"{table(run(workdir))}\nreport: {workdir / 'report' / 'report.html'}")


if __name__ == "__main__":
    config.run(_main, ["workdir"])
