"""How good the pseudo labels were."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from noisy_student.report import charts as figures
from noisy_student.report import markup


def section(selections: Sequence[Mapping[str, Any]]) -> str:
    """Table and charts of the pseudo labels, round by round."""
    title = "How good the pseudo labels were"
    if not selections:
        return markup.section(title, markup.absent("selected pseudo labels"))
    headers, lines = rows(selections)
    parts = [markup.table([header.capitalize() for header in headers], lines)]
    parts.append(
        "<p>What is right is known from true labels that training never sees. Written counts an"
        " image as often as it was duplicated to balance the classes. The calibration error is the"
        " mean distance of confidence and accuracy.</p>"
    )
    parts += [f"<p>{line}</p>" for line in notes(selections)]
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


def notes(selections: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of the labels is not as the method has it, in sentences."""
    noised = [str(s["round"]) for s in selections if s.get("noised_labels")]
    if not noised:
        return []
    rounds = f"round{'s' if len(noised) > 1 else ''} {', '.join(noised)}"
    return [
        f"Noised teacher ({rounds}): it labeled augmented images, with dropout and stochastic depth"
        " on. The method labels without noise."
    ]


def rows(selections: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the table of pseudo labels, one row a round."""
    right = "of them right"
    headers = ["round", "labeled", right, "kept", right, "written", right, "calibration error"]
    lines = [
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
    return headers, lines
