"""Metrics of the robustness benchmarks, and means relative to another model.

Works on the content of ``evaluation/<model>/<benchmark>.json``. Where the baseline is the run's own
teacher, the mean is computed here over the settings that both models share, and its name says so:
mCE and mFR are the names of the complete published benchmarks alone.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from noisy_student import robustness
from noisy_student.metrics.benchmarks import BENCHMARKS, CORRUPTED, PERTURBED, TEST_SETS

Result = Mapping[str, Any]  # the content of an evaluation's file, or the metrics in it

# Keys of an evaluation's file that depend on the weights and the images alone.
_GENERATED = ("num_examples", "image_size", "native_size", "provenance")
_ERROR_KEYS = (
    *("clean_error", "errors", "mean_error", "mce", "relative_mce", "relative_to_alexnet"),
    "missing",
)
_FLIP_KEYS = (
    "flip_probability",
    "top5_distance",
    "mean_flip_probability",
    "mean_top5_distance",
    "mfr",
    "missing",
)
_ACCURACY_KEYS = (
    *("num_examples", "num_classes", "num_published_classes"),
    *("top1", "top5", "top1_all_classes"),
)
# Settings of PGD and of the Square attack.
STRENGTH = ("steps", "step_size", "random_start", "restarts", "num_queries")
_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CORRUPTED, (*_GENERATED, *_ERROR_KEYS)),
    **dict.fromkeys(PERTURBED, (*_GENERATED, *_FLIP_KEYS)),
    **dict.fromkeys(TEST_SETS, _ACCURACY_KEYS),
    "fgsm": ("num_examples", "epsilons", "top1"),
    **dict.fromkeys(("pgd", "square"), ("num_examples", "epsilons", "top1", *STRENGTH)),
}


class Relative(TypedDict):
    """Mean corruption error or flip rate of a model in percent of a baseline's."""

    percent: float  # the mean; the baseline has 100
    name: str  # the measure, the baseline, and what the mean covers
    over: list[str]  # corruptions or perturbations in the mean
    missing: list[str]  # those of the published benchmark that are not in the mean


def benchmark_metrics(
    evaluations: Mapping[str, Mapping[str, Result]], teacher: str | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns benchmark -> model -> metrics, in the order of `BENCHMARKS`.

    Takes benchmark -> model -> content of its file. Beside mean errors and mean flip probabilities
    stands ``relative_to_teacher``: a `Relative` to `teacher`, which has 100, or None.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for benchmark in BENCHMARKS:
        contents = evaluations.get(benchmark, {})
        found[benchmark] = {
            name: {key: content[key] for key in _KEYS[benchmark] if key in content}
            for name, content in contents.items()
        }
        if teacher is not None and teacher in contents and benchmark in (*CORRUPTED, *PERTURBED):
            for name, metrics in found[benchmark].items():
                metrics["relative_to_teacher"] = relative(
                    benchmark, contents[name], contents[teacher], "the teacher"
                )
    return found


def relative(benchmark: str, content: Result, baseline: Result, name: str) -> Relative | None:
    """Returns the mean corruption error or flip rate in percent of a baseline's, called `name`.

    The mean is over the settings that both models share. Returns None if there are none, if the
    test images differ, or if a rate of the baseline is 0.
    """
    if not same_images(content, baseline):
        return None
    mean = _relative_flips if benchmark in PERTURBED else _relative_error
    return mean(content, baseline, name)


def shared_errors(contents: Mapping[str, Result]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Returns errors on the corruptions and severities that all models share.

    Args:
        contents: model -> metrics with ``errors``: corruption -> severity -> error rate.

    Returns:
        model -> corruption -> pairs of severity and error rate 0..1, by severity; corruptions in
        the published order, then any other. A corruption without a shared severity is left out.
    """
    errors = [content["errors"] for content in contents.values()]
    names = set.intersection(*(set(rates) for rates in errors)) if errors else set()
    shared = {
        name: sorted(set.intersection(*(set(rates[name]) for rates in errors)), key=int)
        for name in published_order(names)
    }
    return {
        model: {
            name: [(int(severity), content["errors"][name][severity]) for severity in severities]
            for name, severities in shared.items()
            if severities
        }
        for model, content in contents.items()
    }


def settings(content: Result) -> list[Any]:
    """Returns the settings in a result's mean: corruptions with severities, or perturbations."""
    errors = content.get("errors", {})
    corrupted = [(name, sorted(errors[name])) for name in sorted(errors)]
    return [*corrupted, *sorted(content.get("flip_probability", {}))]


def published_order(names: set[str]) -> list[str]:
    """Sorts names of corruptions or perturbations: published ones as published, then others."""
    published = (*robustness.CORRUPTIONS, *robustness.SMALL_PERTURBATIONS)
    known = list(dict.fromkeys((*published, *robustness.PERTURBATIONS)))
    return [name for name in known if name in names] + sorted(names - set(known))


def same_images(first: Result, second: Result) -> bool:
    """Compares the fingerprints of the test images, or their numbers where one has none."""
    prints = [content.get("request", {}).get("examples") for content in (first, second)]
    if None not in prints:
        return prints[0] == prints[1]
    return first.get("num_examples") == second.get("num_examples")


def _relative_error(content: Result, baseline: Result, name: str) -> Relative | None:
    models = shared_errors({"model": content, "baseline": baseline})
    # Use the mean over the shared severities instead of all five: the ratio of sums is the same.
    means = {
        model: {
            name: [_mean(rate for _, rate in rates)] * robustness.SEVERITIES
            for name, rates in corruptions.items()
        }
        for model, corruptions in models.items()
    }
    present = [name for name in robustness.CORRUPTIONS if name in means["baseline"]]
    if not present or not all(means["baseline"][name][0] > 0 for name in present):
        return None
    mean = robustness.partial_corruption_error(means["model"], means["baseline"])
    all_severities = all(len(models["model"][name]) == robustness.SEVERITIES for name in present)
    return _named(f"corruption error relative to {name}", mean, "corruptions", all_severities)


def _relative_flips(content: Result, baseline: Result, name: str) -> Relative | None:
    names = content["flip_probability"].keys() & baseline["flip_probability"].keys()
    flips, reference = (
        {name: c["flip_probability"][name] for name in names} for c in (content, baseline)
    )
    counted = names & {*robustness.PERTURBATIONS, *robustness.SMALL_PERTURBATIONS}
    if not counted or not all(reference[name] > 0 for name in counted):
        return None
    mean = robustness.partial_flip_rate(flips, reference)
    return _named(f"flip rate relative to {name}", mean, "perturbations")


def _named(
    measure: str, mean: robustness.PartialMean, kind: str, all_severities: bool = True
) -> Relative:
    name = f"mean {measure} = 100"
    if mean.missing:
        whole = len(mean.present) + len(mean.missing)
        name += f", over {len(mean.present)} of {whole} {kind}"
    if not all_severities:
        name += ", not at all severities"
    return {
        "percent": round(mean.percent, 4),
        "name": name,
        "over": list(mean.present),
        "missing": list(mean.missing),
    }


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
