"""The report as one HTML file: sections, tables and words around the charts of ``figures``.

Nothing is loaded from elsewhere: style, charts and pictures stand in the file. The sections answer:
did it work, how did training go, how good were the pseudo labels, how robust is the result, what
do the models see, what did the paper get, how is it made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from noisy_student import figures, markup, summary

markup.NONE = "-"  # a number that is not there

# Published numbers, in percent: measure, who stands before, before, Noisy Student. Xie et al., CVPR
# 2020, but for SVHN, which is the example of the paper's public code.
_PAPER = (
    ("ImageNet top-1", "EfficientNet-L2, supervised", 85.5, 88.4),
    ("ImageNet top-1 after the second and third L2 round", "after the first", 87.6, 88.4),
    ("SVHN top-1, EfficientNet-B0", "supervised", 97.9, 98.6),
    ("ImageNet-A top-1", "best published before", 61.0, 83.7),
    ("ImageNet-C mean corruption error, less is better", "best published before", 45.7, 28.3),
    ("ImageNet-P mean flip rate, less is better", "best published before", 27.8, 12.2),
    ("ImageNet top-1 under PGD, 10 steps, size 16", "EfficientNet-L2, supervised", 1.1, 4.4),
)
_CURVES = {
    "validation_top1": "Validation top-1",
    "labeled_loss": "Loss on labeled images",
    "unlabeled_loss": "Loss on pseudo-labeled images",
    "learning_rate": "Learning rate",
}


def render(
    results: Mapping[str, Any],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    gallery: Mapping[str, Any] | None,
    noise: Mapping[str, Any] | None,
) -> str:
    """The whole page.

    Args:
        results: what ``noisy_student.report`` writes as results.json.
        histories: model name -> rows of its training log.
        gallery: images whose prediction changed, or None.
        noise: images as they are and as the student sees them, or None.
    """
    measured, provenance = results["figures"], results["provenance"]
    sections = (
        _opening(measured),
        _accuracy(measured, provenance["seconds"]),
        _training(measured["models"], histories),
        _pseudo_labels(measured["pseudo_labels"]),
        _attack(measured),
        _gallery(gallery),
        _noise(noise),
        _paper(measured),
        _again(measured, provenance),
    )
    body = "\n".join(sections)
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(summary.headline(measured))}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def pseudo_label_rows(
    selections: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the table of pseudo labels, one row a round."""
    right = "of them right"
    headers = ["round", "labeled", right, "kept", right, "written", right, "calibration error"]
    rows = [
        [
            str(selection["round"]),
            f"{selection['num_records']:,}",
            markup.number(selection["accuracy_all"], ".1%"),
            f"{selection['num_kept']:,}",
            markup.number(selection["accuracy_kept"], ".1%"),
            f"{selection['num_written']:,}",
            markup.number(selection["accuracy_written"], ".1%"),
            markup.number(selection["calibration_error"], ".3f"),
        ]
        for selection in selections
    ]
    return headers, rows


def _opening(measured: Mapping[str, Any]) -> str:
    where = ["Noisy Student Training", summary.dataset(measured)]
    where += [] if measured["seed"] is None else [f"seed {measured['seed']}"]
    parts = [
        f'<p class="over">{escape(" · ".join(where))}</p>',
        f"<h1>{escape(summary.headline(measured))}</h1>",
    ]
    if measured["gain"]:
        parts += [_cards(measured), _lead(measured)]
    if measured["missing"]:
        files = ", ".join(f"<code>{escape(path)}</code>" for path in measured["missing"])
        parts.append(f'<p class="missing">This run is not complete. Not there: {files}.</p>')
    return f"<header>{''.join(parts)}</header>"


def _cards(measured: Mapping[str, Any]) -> str:
    """Teacher, student, difference and controls, each as one large number."""
    gain = measured["gain"]
    models = {model["name"]: model for model in measured["models"]}

    def card(name: str, note: str | None = None, style: str = "") -> str:
        model = models[name]
        note = note or markup.span(model["top1_interval"])
        return markup.card(model["label"], f"{model['top1']:.1f}%", note, style)

    cards = [
        card(gain["before"]),
        card(gain["after"], style="best"),
        markup.card(
            "Difference", markup.signed(gain["points"]), markup.span(gain["interval"], sign=True)
        ),
    ]
    for over in filter(None, measured["over_controls"]):
        lead, interval = markup.signed(over["points"]), markup.span(over["interval"], sign=True)
        cards.append(card(over["before"], f"student {lead} ({interval})"))
    return f'<div class="cards">{"".join(cards)}</div>'


def _lead(measured: Mapping[str, Any]) -> str:
    """What the headline rests on, and what it does not show."""
    student = next(m for m in measured["models"] if m["name"] == measured["gain"]["after"])
    sizes = measured["split_sizes"] or {}
    text = f"Top-1 accuracy on {student['num_examples']:,} test images."
    if sizes:
        text += (
            f" The teacher learned from {sizes['labeled']:,} labeled images; the students from the"
            f" same and from {sizes['unlabeled']:,} images without labels, which the model before"
            " had labeled."
        )
    paired = " (for the difference: from the images on which the two models disagree)"
    text += (
        " Small figures are 95% intervals from the number of test images"
        f"{paired if measured['gain']['paired'] else ''}; what another seed would change is not"
        " in them."
    )
    return f'<p class="lead">{escape(text)} {escape(_on_controls(measured))}</p>'


def _on_controls(measured: Mapping[str, Any]) -> str:
    """What the supervised controls say of the gain."""
    labels = {model["name"]: model["label"] for model in measured["models"]}
    verdicts = []
    for over in filter(None, measured["over_controls"]):
        low, high = over["interval"]
        verdict = "ahead" if low > 0 else "behind" if high < 0 else "level within the interval"
        kind = labels[over["before"]].removeprefix("Control, ")
        verdicts.append(f"{verdict} ({kind})")
    if not verdicts:
        return (
            "No supervised control was run, so how much of the gain is the pseudo labels' doing,"
            " and how much longer training's, is open (--controls=student,chain)."
        )
    return (
        "A control is the last student's network and noise, trained on the labeled images alone:"
        " what it reaches is not the pseudo labels' doing. Against it the student is"
        f" {', '.join(verdicts)}."
    )


def _accuracy(measured: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
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


def _training(
    models: Sequence[Mapping[str, Any]], histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
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
        "How training went", _legend(shown, palette), markup.grid(charts, "two"), f"<p>{note}</p>"
    )


def _with_key(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], key: str
) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The logs that hold a quantity anywhere, and hold anything but zeros."""
    return {name: rows for name, rows in histories.items() if any(row.get(key) for row in rows)}


def _pseudo_labels(selections: Sequence[Mapping[str, Any]]) -> str:
    title = "How good the pseudo labels were"
    if not selections:
        return markup.section(title, markup.absent("selected pseudo labels"))
    headers, rows = pseudo_label_rows(selections)
    parts = [markup.table([header.capitalize() for header in headers], rows)]
    parts.append(
        "<p>What is right is known from true labels that training never sees. Written counts an"
        " image as often as it was duplicated to balance the classes. The calibration error is the"
        " mean distance of confidence and accuracy.</p>"
    )
    legend = markup.keys({figures.GREY: "all labels", figures.BLUE: "kept; after balancing"})
    parts.append(legend)
    for selection in selections:
        charts = [
            markup.figure("Confidence of the labels", figures.confidence_histogram(selection)),
            markup.figure("Images per class", figures.class_balance(selection)),
        ]
        if selection["calibration_error"] is not None:
            charts.insert(
                1, markup.figure("Accuracy by confidence", figures.reliability(selection))
            )
        empty = selection["empty_classes"]
        parts.append(f"<h3>Round {selection['round']}</h3>{markup.grid(charts, 'three')}")
        if empty:
            names = ", ".join(escape(str(name)) for name in empty)
            parts.append(f'<p class="missing">Classes without any pseudo label: {names}.</p>')
    return markup.section(title, *parts)


def _attack(measured: Mapping[str, Any]) -> str:
    sweeps, title = measured["fgsm"], "Under attack"
    if not sweeps:
        return markup.section(title, markup.absent("an FGSM sweep"))
    models = [model for model in measured["models"] if model["name"] in sweeps]
    palette = figures.colors(measured["models"])
    sizes = sorted({size for sweep in sweeps.values() for size in sweep["epsilons"]})
    rows = []
    for model in models:
        sweep = sweeps[model["name"]]
        values = dict(zip(sweep["epsilons"], sweep["top1"], strict=True))
        label = f"{markup.swatch(palette[model['name']])}{escape(model['label'])}"
        rows.append([label, *(markup.number(values.get(size), ".1f") for size in sizes)])
    count = max(sweep["num_examples"] for sweep in sweeps.values())
    note = (
        f"FGSM: every pixel of a test image moves one step along the sign of the loss's gradient."
        f" {count:,} images; at step 0 the image is as it was. No model was trained for it."
    )
    chart = markup.figure("Top-1 after one adversarial step", figures.fgsm(sweeps, palette))
    values = markup.table(["Model", *(f"{size:g}" for size in sizes)], rows)
    return markup.section(
        title, f'<div class="beside">{chart}<div>{values}<p>{note}</p></div></div>'
    )


def _gallery(gallery: Mapping[str, Any] | None) -> str:
    title = "Where student and teacher differ"
    if not gallery:
        return markup.section(title, markup.absent("a gallery of changed predictions"))
    fixed, broken = gallery["count_fixed"], gallery["count_broken"]
    parts = [
        f"<p>The last student is right on <b>{fixed:,}</b> test images that the first teacher gets"
        f" wrong, and wrong on <b>{broken:,}</b> that the teacher gets right. Under each image:"
        " what the teacher says, then what the student says, each with its confidence; mistakes in"
        ' <b class="wrong">red</b>. Shown are the changes of which the student is surest.</p>'
    ]
    for kind, heading, count in (("fixed", "Now right", fixed), ("broken", "Now wrong", broken)):
        images = [image for image in gallery["images"] if image["kind"] == kind]
        if images:
            tiles = "".join(map(_tile, images))
            shown = f"{len(images)} of {count:,}"
            style = "tiles" if markup.is_small(images[0]["png_base64"]) else "tiles photos"
            parts.append(f"<h3>{heading} <small>{shown}</small></h3>")
            parts.append(f'<div class="{style}">{tiles}</div>')
    return markup.section(title, *parts)


def _tile(image: Mapping[str, Any]) -> str:
    """One image of the gallery with both predictions, the wrong one in red."""
    lines = []
    for which in ("before", "after"):
        style = "" if image[which] == image["true"] else ' class="wrong"'
        confidence = f"<small>{image[f'{which}_confidence']:.0%}</small>"
        lines.append(f"<span{style}>{escape(str(image[which]))} {confidence}</span>")
    identity = f"{image['id']}, label {image['true']}"
    picture = markup.picture(image["png_base64"], identity)
    caption = f"<figcaption>{''.join(lines)}</figcaption>"
    return f'<figure title="{escape(identity)}">{picture}{caption}</figure>'


def _noise(noise: Mapping[str, Any] | None) -> str:
    title = "What the student sees"
    if not noise:
        return markup.section(title, markup.absent("pictures of the student's input"))
    rows = [
        f'<div class="views">{markup.picture(clean, "as it is", "clean")}'
        f"{''.join(markup.picture(view, 'with noise') for view in views)}</div>"
        for clean, views in zip(noise["clean"], noise["noisy"], strict=True)
    ]
    text = (
        "In each row an image as it is, framed, and as the student gets it: never twice the same."
        " The teacher labels the clean image; the student has to give the same answer to these,"
        " with dropout and stochastic depth inside the network besides."
    )
    return markup.section(title, f"<p>{text}</p>", f'<div class="noise">{"".join(rows)}</div>')


def _paper(measured: Mapping[str, Any]) -> str:
    gain, rows = measured["gain"], []
    if gain:
        models = {model["name"]: model for model in measured["models"]}
        before, after = models[gain["before"]], models[gain["after"]]
        name = f"<b>This run: {escape(summary.dataset(measured))} top-1</b>"
        values = [f"<b>{before['top1']:.1f}</b>", f"<b>{after['top1']:.1f}</b>"]
        values.append(f"<b>{markup.signed(gain['points'])}</b>")
        rows.append([name, escape(before["label"].lower()), *values])
    rows += [
        [
            escape(name),
            escape(baseline),
            f"{before:.1f}",
            f"{after:.1f}",
            markup.signed(after - before),
        ]
        for name, baseline, before, after in _PAPER
    ]
    headers = ["Measure, percent", "Compared with", "Before", "Noisy Student", "Points"]
    text = (
        "Published numbers for orientation only. They are of other data, other networks and another"
        " scale (up to 130 million pseudo-labeled images a round), and compare with this run's in"
        " direction, not in size."
    )
    source = (
        "Xie, Luong, Hovy, Le: Self-training with Noisy Student improves ImageNet classification,"
        " CVPR 2020, arXiv:1911.04252; SVHN: the public code's example."
    )
    return markup.section(
        "The paper's numbers",
        f"<p>{text}</p>",
        markup.table(headers, rows, "two-texts"),
        f"<p>{source}</p>",
    )


def _again(measured: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    parts = []
    if provenance["command"]:
        parts.append(f"<pre><code>{escape(provenance['command'])}</code></pre>")
    facts = {"seed": provenance["seed"], "device": provenance["device"]}
    sizes = measured["split_sizes"] or {}
    facts |= {f"{part} images": size for part, size in sizes.items()}
    facts |= provenance["versions"] or {}
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_fact(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None
    )
    parts.append(f"<dl>{listed}</dl>" if listed else markup.absent("config.json"))
    seconds = provenance["seconds"]
    if seconds:
        rows = [[escape(stage), f"{value:,.1f}"] for stage, value in seconds.items()]
        rows.append(["<b>in all</b>", f"<b>{sum(seconds.values()):,.1f}</b>"])
        parts.append(markup.details("Seconds per stage", markup.table(["Stage", "Seconds"], rows)))
    flags = provenance["flags"]
    if flags:
        lines = "\n".join(
            f"--{name}={_flag(value)}" for name, value in sorted(flags.items()) if value is not None
        )
        parts.append(markup.details("All flags", f"<pre><code>{escape(lines)}</code></pre>"))
    return markup.section("How to make these numbers again", *parts)


def _legend(models: Iterable[Mapping[str, Any]], palette: Mapping[str, str]) -> str:
    return markup.keys({palette[model["name"]]: model["label"] for model in models})


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


def _fact(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
