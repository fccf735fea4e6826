"""What the page opens with: the answer, its numbers and what they rest on."""

from collections.abc import Mapping
from html import escape
from typing import Any

from noisy_student.report import markup, results


def section(measured: Mapping[str, Any]) -> str:
    """Headline, large numbers, what they rest on, and what is missing."""
    where = ["Noisy Student Training", results.dataset(measured)]
    where += [] if measured["seed"] is None else [f"seed {measured['seed']}"]
    parts = [
        f'<p class="over">{escape(" · ".join(where))}</p>',
        f"<h1>{escape(results.headline(measured))}</h1>",
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
