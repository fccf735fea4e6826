"""Charts of accuracy, training and pseudo labels, each with a title and a text alternative."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from noisy_student.report import charts

_CURVES = {
    "validation_top1": ("Validation top-1", "{:.1f}%"),
    "labeled_loss": ("Loss on labeled images", "{:.2f}"),
    "unlabeled_loss": ("Loss on pseudo-labeled images", "{:.2f}"),
    "learning_rate": ("Learning rate", "{:.2g}"),
}
# Colors of charts that follow the page's light or dark style.
_VARIABLES = {
    charts.INK: "var(--ink)",
    charts.MUTED: "var(--muted)",
    charts.RULE: "var(--rule)",
    charts.GREY: "var(--grey)",
    charts.BLUE: "var(--blue)",
    "#ffffff": "var(--paper)",
}


@dataclass(frozen=True)
class Chart:
    """A chart."""

    title: str  # stands above it
    svg: Markup  # the <svg> element
    alt: str  # text alternative: what the chart shows, in a sentence


def chart(title: str, svg: str, alt: str) -> Chart:
    """Returns a chart whose neutral colors follow the style of the page."""
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return Chart(title, Markup(svg), alt)


def accuracy(models: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Returns top-1 of all evaluated models; None if there are none."""
    evaluated = [model for model in models if model["top1"] is not None]
    if not evaluated:
        return None
    values = ", ".join(f"{model['label']} {model['top1']:.1f}%" for model in evaluated)
    title = "Top-1 on test images with its 95% interval"
    if any(model["validation_top1"] is not None for model in evaluated):
        title += "; small ring: on validation images"
    return chart(title, charts.accuracy(models), f"Top-1 on test images: {values}.")


def training_curves(
    models: Sequence[Mapping[str, Any]],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    palette: Mapping[str, str],
) -> list[Chart]:
    """Returns a chart for each logged quantity that is not zero throughout.

    `histories` are the rows of the training logs by model.
    """
    labels = {model["name"]: model["label"] for model in models}
    found = []
    for key, (title, form) in _CURVES.items():
        curves = {
            model["name"]: _curve(model, histories[model["name"]], key)
            for model in models
            if any(row.get(key) for row in histories.get(model["name"], ()))
        }
        if curves:
            is_accuracy = key == "validation_top1"
            scale = charts.Scale(
                "thousand images seen", 2.6, percent=is_accuracy, from_zero=not is_accuracy
            )
            last = ", ".join(
                f"{labels[name]} {form.format(curve[max(curve)])}" for name, curve in curves.items()
            )
            alt = f"{title} by images seen. At the end: {last}."
            found.append(chart(title, charts.lines(curves, palette, scale), alt))
    return found


def pseudo_labels(selection: Mapping[str, Any]) -> list[Chart]:
    """Returns the charts of a round's pseudo labels."""
    histogram, classes = selection["confidence_histogram"], selection["per_class"]
    total = max(1, sum(histogram["all"]))
    most_confident = f"{histogram['all'][-1] / total:.0%} have at least {histogram['edges'][-2]:g}"
    found = [
        chart(
            "Confidence of the labels",
            charts.confidence_histogram(selection),
            f"Histogram of the teacher's confidence: {most_confident}.",
        )
    ]
    if selection["calibration_error"] is not None:
        error = f"{selection['calibration_error']:.3f}"
        alt = f"Accuracy of the labels by confidence; calibration error {error}."
        found.append(chart("Accuracy by confidence", charts.reliability(selection), alt))
    alt = (
        f"Images of {len(classes['names'])} classes: {_range(classes['before'])} each before the"
        f" selection, {_range(classes['after'])} after."
    )
    return [*found, chart("Images per class", charts.class_balance(selection), alt)]


def networks(models: Iterable[Mapping[str, Any]]) -> str:
    """Describes networks, as in "efficientnet-b0, width 0.5, 32 px: Teacher, Student 1"."""
    users: dict[str, list[str]] = {}
    for model in models:
        parts = [model["model_name"] or "not known"]
        parts += [f"{key} {model[key]:g}" for key in ("width", "depth") if model[key] is not None]
        parts += [f"{model['image_size']} px"] if model["image_size"] else []
        users.setdefault(", ".join(parts), []).append(model["label"])
    return "; ".join(f"{network}: {', '.join(labels)}" for network, labels in users.items())


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _curve(
    model: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], key: str
) -> dict[float, float]:
    """Returns thousand images seen -> logged value."""
    step = model["labeled_batch_size"] + model["unlabeled_batch_size"]
    return {row["step"] * step / 1000: row[key] for row in rows if row.get(key) is not None}
