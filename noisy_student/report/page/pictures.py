"""Images: where the models differ, and what a student sees in training."""

from collections.abc import Mapping
from html import escape
from itertools import groupby
from typing import Any

from noisy_student.metrics.benchmarks import TITLES
from noisy_student.report import charts, markup

_HEADINGS = TITLES | {
    "corruptions": "Corrupted images",
    "perturbations": "Frames of perturbation sequences",
}


def changes(gallery: Mapping[str, Any] | None) -> str:
    """Test images on which the last student and the first teacher differ."""
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


def samples(sheets: Mapping[str, Any] | None) -> str:
    """Images that the selection kept and dropped, a row for each class; empty without any."""
    if not sheets or not sheets["sheets"]:
        return ""
    parts = [
        "<p>Of each class some images that its teacher is surest of, some that were just kept, and"
        " some that were just dropped, in the last round. Under each image the confidence, how"
        " often it was written if more than once, and, where known and another,"
        ' <b class="wrong">the true class</b>.</p>'
    ]
    for name, group in groupby(sheets["sheets"], key=lambda sheet: sheet["class"]):
        parts.append(f"<h3>{escape(str(name))}</h3>")
        for sheet in group:
            images = sheet["images"]
            style = "tiles" if markup.is_small(images[0]["png_base64"]) else "tiles photos"
            tiles = "".join(_sample(image, str(name)) for image in images)
            parts.append(f"<p><small>{escape(sheet['kind'])}</small></p>")
            parts.append(f'<div class="{style}">{tiles}</div>')
    return markup.section("What was kept and dropped", *parts)


def _sample(image: Mapping[str, Any], name: str) -> str:
    """One image with its confidence."""
    lines = f"<span>{image['confidence']:.0%}"
    lines += f" <small>{image['copies']} times</small></span>" if image["copies"] > 1 else "</span>"
    if image["true"] not in (None, name):
        lines += f'<span class="wrong">{escape(str(image["true"]))}</span>'
    picture = markup.picture(image["png_base64"], str(image["id"]))
    title = escape(str(image["id"]))
    return f'<figure title="{title}">{picture}<figcaption>{lines}</figcaption></figure>'


def robust(gallery: Mapping[str, Any] | None, measured: Mapping[str, Any]) -> str:
    """Images of robustness benchmarks in the paper's style; empty where there are none."""
    if not gallery or not gallery["images"]:
        return ""
    labels = {model["name"]: model["label"] for model in measured["models"]}
    before, after = (
        escape(labels.get(gallery[which], gallery[which])) for which in ("before", "after")
    )
    parts = [
        "<p>Under each image: what was done to it, the true label in bold,"
        f' <span class="wrong">what {before} says in red</span>,'
        f' <span class="now">and what {after} says in black</span>.</p>'
    ]
    for benchmark, heading in _HEADINGS.items():
        images = [image for image in gallery["images"] if image["benchmark"] == benchmark]
        if images:
            style = "tiles" if markup.is_small(images[0]["png_base64"]) else "tiles photos"
            parts.append(f"<h3>{heading}</h3>")
            parts.append(f'<div class="{style}">{"".join(map(_robust_tile, images))}</div>')
    return markup.section("What robustness looks like", *parts)


def _robust_tile(image: Mapping[str, Any]) -> str:
    """One image with its true label, the prediction before in red and after in black."""
    setting = charts.in_words(str(image["setting"]))
    identity = f"{image['id']}, {setting}, label {image['true']}"
    lines = (
        f"<small>{escape(setting)}</small>",
        f"<span><b>{escape(str(image['true']))}</b></span>",
        f'<span class="wrong">{escape(str(image["before"]))}</span>',
        f"<span>{escape(str(image['after']))}</span>",
    )
    picture = markup.picture(image["png_base64"], identity)
    caption = f"<figcaption>{''.join(lines)}</figcaption>"
    return f'<figure title="{escape(identity)}">{picture}{caption}</figure>'


def noise(noise: Mapping[str, Any] | None) -> str:
    """Images as they are beside their noisy versions."""
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
