"""Warnings about the pseudo labels of each round."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_MOST_COPIES = 5  # of one image, without a warning


def notes(selections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns deviations from the paper, and rounds that repeat few images often."""
    return [*deviations(selections), *filter(None, map(_repeats, selections))]


def deviations(selections: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns deviations of the pseudo labels from the paper."""
    noised = [str(s["round"]) for s in selections if s.get("noised_labels")]
    if not noised:
        return []
    rounds = f"round{'s' if len(noised) > 1 else ''} {', '.join(noised)}"
    return [
        f"Noised teacher ({rounds}): it labeled augmented images with dropout and stochastic depth"
        " on. In the paper, the teacher has no noise."
    ]


def _repeats(selection: Mapping[str, Any]) -> str:
    """Warns where images are repeated often, on average or in a class; else returns ""."""
    classes = selection["per_class"]
    copies = {
        name: after / distinct
        for name, distinct, after in zip(
            classes["names"], classes["distinct"], classes["after"], strict=True
        )
        if distinct
    }
    mean = selection["num_written"] / max(1, selection["num_kept"])
    worst = max(copies, key=lambda name: copies[name], default="")
    most = math.ceil(copies.get(worst, 0))
    if max(mean, most) <= _MOST_COPIES:
        return ""
    return (
        f"Round {selection['round']} repeats each kept image {mean:.1f} times on average, and some"
        f" of class {worst} up to {most:,} times: the student sees few distinct images there. To"
        " limit the copies, set --max_copies or lower --images_per_class."
    )
