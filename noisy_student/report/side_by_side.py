"""Comparison of evaluated models that do not belong to a run: numbers and sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

Model = dict[str, Any]


class SideBySide(TypedDict):
    """Models that are of no run, compared on clean test images."""

    num_models: int  # number of models
    # Number of test images; None if it differs between models or is not known.
    num_examples: int | None
    best: str | None  # name of the most accurate model; None without accuracies
    # From each other model to the best (`results.Difference`), the closest first.
    differences: list[Any]


def compare(models: Sequence[Model], difference: Callable[[Model, Model], Any]) -> SideBySide:
    """Finds the most accurate model and compares the others with it."""
    known = [model for model in models if model["top1"] is not None]
    ranked = sorted(known, key=lambda model: -model["top1"])
    counts = {model["num_examples"] for model in models}
    return {
        "num_models": len(models),
        "num_examples": counts.pop() if len(counts) == 1 else None,
        "best": ranked[0]["name"] if ranked else None,
        "differences": [difference(model, ranked[0]) for model in ranked[1:]],
    }


def title(compared: SideBySide) -> str:
    """Returns the title of the report, as in "Comparison of 2 models on 1,000 images"."""
    count = compared["num_models"]
    text = f"Comparison of {count} models" if count != 1 else "Evaluation of 1 model"
    images = compared["num_examples"]
    return text if images is None else f"{text} on {images:,} images"


def headline(figures: Mapping[str, Any]) -> str:
    """Says in one line which model is best, and by how much."""
    compared = figures["side_by_side"]
    models = {model["name"]: model for model in figures["models"]}
    if compared["best"] is None:
        return title(compared)
    best = models[compared["best"]]
    if not compared["differences"]:
        return f"{best['label']}: {best['top1']:.1f}% top-1"
    closest = compared["differences"][0]
    other, points = models[closest["before"]]["label"], closest["points"]
    if closest["interval"][0] > 0:
        return f"{best['label']} is best, {points:.1f} points ahead of {other}"
    if points > 0:
        lead = f"{best['label']} is {points:.1f} points ahead of {other}"
        return f"{lead}, but not significantly"
    return f"{best['label']} and {other} are equally accurate"
