"""Accuracy by round, and how each training went."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from noisy_student.report import charts as figures
from noisy_student.report import markup

_CURVES = {
    "validation_top1": "Validation top-1",
    "labeled_loss": "Loss on labeled images",
    "unlabeled_loss": "Loss on pseudo-labeled images",
    "learning_rate": "Learning rate",
}


def accuracy(measured: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    """Chart and table of all models; seconds by stage."""
    models = measured["models"]
    if not models:
        return markup.section("Accuracy by round", markup.absent("a trained or evaluated model"))
    headers = ["Model", "Top-1", "95% interval", "Top-5", "Validation", "Parameters", "Images seen"]
    headers += ["A step", "Seconds"]
    palette = figures.colors(models)
    rows = []
    for model in models:
        rows.append(
            [
                f"{markup.swatch(palette[model['name']])}{escape(model['label'])}",
                f"<b>{markup.number(model['top1'], '.1f')}</b>",
                markup.span(model["top1_interval"]) if model["top1_interval"] else markup.NONE,
                markup.number(model["top5"], ".1f"),
                markup.number(model["validation_top1"], ".1f"),
                markup.number(model["parameters"], ","),
                markup.number(model["images_seen"], ","),
                _batch(model),
                markup.number(seconds.get(f"train {model['name']}"), ",.0f"),
            ]
        )
    parts = []
    if any(model["top1"] is not None for model in models):
        parts.append(
            markup.figure(
                "Top-1 on test images, with its 95% interval; small ring: on validation images",
                figures.accuracy(models),
                "wide",
            )
        )
    note = (
        "Accuracies in percent. A step: labeled + pseudo-labeled images in one update. Seconds are"
        f" those of training. Networks: {escape(_networks(models))}."
    )
    return markup.section(
        "Accuracy by round", *parts, markup.table(headers, rows), f"<p>{note}</p>"
    )


def progress(
    models: Sequence[Mapping[str, Any]], histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """What the training logs show, by images seen."""
    shown = [model for model in models if histories.get(model["name"])]
    palette = figures.colors(models)
    if not shown:
        return markup.section("How training went", markup.absent("training logs"))
    ordered = {model["name"]: histories[model["name"]] for model in shown}
    step = {m["name"]: m["labeled_batch_size"] + m["unlabeled_batch_size"] for m in shown}
    charts = [
        markup.figure(title, figures.training_curve(logged, palette, step, key))
        for key, title in _CURVES.items()
        if (logged := _with_key(ordered, key))
    ]
    note = (
        "The teacher sees labeled images only. A student's loss on pseudo labels cannot reach zero:"
        " soft labels carry the doubt of the model that gave them."
    )
    return markup.section(
        "How training went",
        markup.models(shown, palette),
        markup.grid(charts, "two"),
        f"<p>{note}</p>",
    )


def _with_key(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], key: str
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The logs that hold a quantity anywhere, and hold anything but zeros."""
    return {name: rows for name, rows in histories.items() if any(row.get(key) for row in rows)}


def _batch(model: Mapping[str, Any]) -> str:
    """As in "16 + 64": labeled and pseudo-labeled images in one step."""
    labeled, unlabeled = model["labeled_batch_size"], model["unlabeled_batch_size"]
    if labeled is None:
        return markup.NONE
    return f"{labeled} + {unlabeled}" if unlabeled else str(labeled)


def _networks(models: Iterable[Mapping[str, Any]]) -> str:
    """As in "efficientnet-b0, width 0.5, depth 0.5, 32 px (Teacher, Student 1); ..."."""
    users: dict[str, list[str]] = {}
    for model in models:
        parts = [model["model_name"] or "not known"]
        parts += [f"{key} {model[key]:g}" for key in ("width", "depth") if model[key] is not None]
        parts += [f"{model['image_size']} px"] if model["image_size"] else []
        users.setdefault(", ".join(parts), []).append(model["label"])
    return "; ".join(f"{network} ({'; '.join(labels)})" for network, labels in users.items())
