"""The report as one HTML file that loads nothing: style, charts and images are inside.

The text is in the templates next to this file; `page.captioned` and `page.robustness` compute the
charts and tables that they show.
"""

import base64
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jinja2

from noisy_student.metrics.benchmarks import BENCHMARKS, TITLES
from noisy_student.metrics.formatting import duration, interval
from noisy_student.report import charts, label_notes, phrases, scores, side_by_side, tables
from noisy_student.report.comparison import NOTE, Comparison
from noisy_student.report.inputs import Inputs, default_flags
from noisy_student.report.page import captioned, robustness

_GALLERIES = TITLES | {
    "corruptions": "Corrupted images",
    "perturbations": "Frames of perturbation sequences",
}


class Section(NamedTuple):
    """A section of the page."""

    anchor: str  # its address within the page, and the name of its template
    title: str
    is_shown: bool = True  # False leaves it out


def render(results: Mapping[str, Any], inputs: Inputs) -> str:
    """Returns the page of a run, with the logs and images of its files."""
    figures, provenance = results["figures"], results["provenance"]
    models, gallery = figures["models"], inputs.robust_gallery
    palette = charts.colors(models)
    histories = {name: log.get("history", []) for name, log in inputs.trainings.items()}
    has_robustness = any(figures[benchmark] for benchmark in BENCHMARKS)
    paper = tables.paper_gains(figures, phrases.dataset(figures))
    curves = captioned.training_curves(models, histories, palette)
    is_run, compared = inputs.is_run, figures["side_by_side"]
    has_origin = is_run or bool(provenance["seconds"])
    sections = [
        Section("accuracy", "Accuracy" if compared else "Accuracy by round"),
        Section("classes", "Accuracy by class", bool(figures["by_class"])),
        Section("training", "Training curves", is_run or bool(curves)),
        Section("pseudo_labels", "Pseudo labels", is_run or bool(figures["pseudo_labels"])),
        Section("samples", "Images kept and dropped", bool((inputs.samples or {}).get("sheets"))),
        Section("robustness", "Robustness", has_robustness),
        Section("robust_gallery", "Examples of robustness", bool(gallery and gallery["images"])),
        Section("changes", "Where student and teacher differ", is_run or bool(inputs.gallery)),
        Section("noise", "Input of the student", is_run or bool(inputs.noise)),
        Section("paper", "Results of the paper", paper is not None),
        Section("provenance", "How to reproduce this run" if is_run else "Time", has_origin),
    ]
    return _ENVIRONMENT.get_template("report.html").render(
        title=side_by_side.title(compared) if compared else phrases.headline(figures),
        headline=phrases.headline(figures),
        sections=[section for section in sections if section.is_shown],
        results=results,
        figures=figures,
        provenance=provenance,
        inputs=inputs,
        models={model["name"]: model for model in models},
        colors={model["label"]: palette[model["name"]] for model in models},
        accuracy_chart=captioned.accuracy(models),
        curves=curves,
        networks=captioned.networks(models) if any(m["model_name"] for m in models) else "",
        labels_charts=list(map(captioned.pseudo_labels, figures["pseudo_labels"])),
        benchmarks=robustness.benchmarks(figures, palette) if has_robustness else [],
        paper=paper,
        facts=_facts(figures, provenance),
        flags=_flags(provenance["flags"] or {}),
    )


def render_comparison(compared: Comparison) -> str:
    """Returns the page of a comparison of runs."""
    template = _ENVIRONMENT.get_template("comparison.html")
    return template.render(title=compared.title, compared=compared, note=NOTE)


def _facts(figures: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the known facts: seed, device, numbers of images and versions."""
    facts = {"seed": provenance["seed"], "device": provenance["device"]}
    sizes = figures["split_sizes"] or {}
    facts |= {f"{part} images": f"{size:,}" for part, size in sizes.items()}
    if sizes:
        excluded = provenance["excluded"]
        facts["near duplicates of test images"] = (
            "not searched for (python -m data.leakage)"
            if excluded is None
            else f"{excluded:,} excluded (--exclude)"
        )
    if added := provenance["operations"]:
        facts["RandAugment operations registered by the user"] = ", ".join(added)
    facts |= provenance["versions"] or {}
    return {name: value for name, value in facts.items() if value is not None}


def _flags(flags: Mapping[str, Any]) -> list[str]:
    """Returns the flags of the run that differ from the defaults, as one would type them."""
    defaults = default_flags()
    return [
        f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in sorted(flags.items())
        if value is not None and value != defaults.get(name)
    ]


def _is_small(png_base64: str) -> bool:
    """Returns True for a PNG of at most 64 pixels' width, from bytes 16 to 19 of its header."""
    return int.from_bytes(base64.b64decode(png_base64[:32])[16:20]) <= 64


def _capitalized(text: str) -> str:
    """Capitalizes the first letter, except in mCE and mFR."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("noisy_student.report", "page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters |= {
    "capitalized": _capitalized,
    "duration": duration,
    "interval": interval,
    "signed": "{:+.1f}".format,
    "signed_interval": functools.partial(interval, form="+.1f"),
    "title_of": tables.title,
}
_ENVIRONMENT.tests["small"] = _is_small
_ENVIRONMENT.globals |= {
    "label_notes": label_notes,
    "phrases": phrases,
    "scores": scores,
    "tables": tables,
    "galleries": _GALLERIES,
}
