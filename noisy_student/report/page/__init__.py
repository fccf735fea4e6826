"""The report as one HTML file: sections, tables and words around the charts of ``figures``.

Nothing is loaded from elsewhere: style, charts and pictures stand in the file. The sections answer:
did it work, how did training go, how good were the pseudo labels, how robust is the result, what
do the models see, what did the paper get, how is it made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from noisy_student.report import results as report_results
from noisy_student.report.page import labels, pictures, robust, training
from noisy_student.report.page import provenance as origin
from noisy_student.report.page import summary as opening


def render(
    results: Mapping[str, Any],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    gallery: Mapping[str, Any] | None,
    robust_gallery: Mapping[str, Any] | None,
    noise: Mapping[str, Any] | None,
    samples: Mapping[str, Any] | None,
) -> str:
    """The whole page.

    Args:
        results: what ``noisy_student.report`` writes as results.json.
        histories: model name -> rows of its training log.
        gallery: images whose prediction changed, or None.
        robust_gallery: images of robustness benchmarks whose prediction changed, or None.
        noise: images as they are and as the student sees them, or None.
        samples: images that were kept and dropped, or None.
    """
    measured, provenance = results["figures"], results["provenance"]
    sections = (
        opening.section(measured),
        training.accuracy(measured, provenance["seconds"]),
        training.progress(measured["models"], histories),
        labels.section(measured["pseudo_labels"]),
        pictures.samples(samples),
        robust.section(measured),
        pictures.robust(robust_gallery, measured),
        pictures.changes(gallery),
        pictures.noise(noise),
        origin.paper(measured),
        origin.again(measured, provenance),
    )
    return document(report_results.headline(measured), sections)


def document(title: str, sections: Iterable[str]) -> str:
    """A complete HTML file with the report's style; empty sections are left out."""
    body = "\n".join(filter(None, sections))
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
