"""Comparison of two models on the robustness benchmarks: relative means and verdicts.

Works on the content of ``evaluation/<model>/<benchmark>.json``. Where the baseline is the run's own
teacher, the mean is computed here over the settings that both models share, and its name says so:
mCE and mFR are the names of the complete published benchmarks alone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NotRequired, TypedDict

from noisy_student import robustness
from noisy_student.metrics import intervals
from noisy_student.metrics.benchmarks import (
    ACCURACIES,
    ATTACKS,
    BENCHMARKS,
    CORRUPTED,
    PERTURBED,
    TEST_SETS,
)

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
# Of PGD and of the Square attack.
_STRENGTH = ("steps", "step_size", "random_start", "restarts", "num_queries")
_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(CORRUPTED, (*_GENERATED, *_ERROR_KEYS)),
    **dict.fromkeys(PERTURBED, (*_GENERATED, *_FLIP_KEYS)),
    **dict.fromkeys(TEST_SETS, _ACCURACY_KEYS),
    "fgsm": ("num_examples", "epsilons", "top1"),
    **dict.fromkeys(("pgd", "square"), ("num_examples", "epsilons", "top1", *_STRENGTH)),
}


class Relative(TypedDict):
    """Mean corruption error or flip rate of a model in percent of a baseline's.

    Attributes:
        percent: the mean; the baseline has 100.
        name: the measure, the baseline, and what the mean covers.
        over: corruptions or perturbations in the mean.
        missing: those of the published benchmark that are not in the mean.
    """

    percent: float
    name: str
    over: list[str]
    missing: list[str]


class Verdict(TypedDict):
    """Comparison of a student with a baseline on one benchmark.

    Attributes:
        benchmark: one of `BENCHMARKS`.
        over: the settings in the average, such as "10 settings"; empty for a single value.
        paired: whether the interval comes from differences image by image. If not, it assumes
            independent test images.
        before: error, flip probability or accuracy of the baseline, percent.
        after: the student's.
        points: by how much the student is better, in percentage points.
        interval: 95% interval of ``points``.
        verdict: "more" or "less" robust, or "level" where the interval holds 0.
        cost: percentage points that corruption adds to the clean error of baseline and student.
    """

    benchmark: str
    over: str
    paired: bool
    before: float
    after: float
    points: float
    interval: list[float]
    verdict: str
    cost: NotRequired[list[float]]


def benchmark_metrics(
    evaluations: Mapping[str, Mapping[str, Result]], teacher: str | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the metrics of every benchmark, in the order of `BENCHMARKS`.

    Args:
        evaluations: benchmark -> model -> content of its file.
        teacher: the model that relative means have as 100, or None.

    Returns:
        benchmark -> model -> metrics. Beside mean errors and mean flip probabilities stands
        ``relative_to_teacher``: a `Relative` or None.
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
    """Returns the mean corruption error or flip rate in percent of a baseline's.

    Args:
        benchmark: one of `CORRUPTED` or `PERTURBED`.
        content: the model's file, with ``errors`` or ``flip_probability``.
        baseline: the baseline's file.
        name: what to call the baseline, such as "the teacher".

    Returns:
        The mean over the settings that both models share. None if there are none, if the test
        images differ, or if a rate of the baseline is 0.
    """
    if not _same_images(content, baseline):
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


def verdicts(
    contents: Mapping[str, Mapping[str, Result]], baseline: str, student: str
) -> list[Verdict]:
    """Compares two models on each benchmark that has both.

    Args:
        contents: benchmark -> model -> content of its file.
        baseline: the model to compare with: a teacher, or a supervised baseline.
        student: the other model.
    """
    answers = []
    for benchmark in BENCHMARKS:
        models = contents.get(benchmark, {})
        if baseline in models and student in models:
            answer = _verdict(benchmark, models[baseline], models[student])
            answers += [answer] if answer else []
    return answers


def _verdict(benchmark: str, before: Result, after: Result) -> Verdict | None:
    """Compares two results; None if they share no setting or differ in their images."""
    pair = before, after
    weights = _weights(benchmark, *pair)
    if not weights or not _same_images(*pair):
        return None
    values = [_average(_by_setting(benchmark, content), weights) for content in pair]
    better = values[1] - values[0] if benchmark in ACCURACIES else values[0] - values[1]
    interval = intervals.paired_interval(
        before.get("by_image", {}), after.get("by_image", {}), weights
    )
    paired = interval is not None
    if interval is None:
        counts = [content["num_examples"] for content in pair]
        interval = intervals.unpaired_interval(better, values, counts)
    low, high = interval
    answer: Verdict = {
        "benchmark": benchmark,
        "over": _over(benchmark, weights),
        "paired": paired,
        "before": round(values[0], 4),
        "after": round(values[1], 4),
        "points": round(better, 4),
        "interval": [round(low, 4), round(high, 4)],
        "verdict": "more" if low > 0 else "less" if high < 0 else "level",
    }
    if benchmark in CORRUPTED and all("clean_error" in content for content in pair):
        answer["cost"] = [
            round(value - 100 * content["clean_error"], 4)
            for value, content in zip(values, pair, strict=True)
        ]
    return answer


def _relative_error(content: Result, baseline: Result, name: str) -> Relative | None:
    models = shared_errors({"model": content, "baseline": baseline})
    # The mean over the shared severities stands for all five: the ratio of sums is the same.
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


def _by_setting(benchmark: str, content: Result) -> dict[str, float]:
    """Returns percent by setting; settings are named as in ``by_image``."""
    if benchmark in CORRUPTED:
        return {
            f"{name} {severity}": 100 * rate
            for name, rates in content["errors"].items()
            for severity, rate in rates.items()
        }
    if benchmark in PERTURBED:
        return {name: 100 * flips for name, flips in content["flip_probability"].items()}
    if benchmark in ATTACKS:
        pairs = zip(content["epsilons"], content["top1"], strict=True)
        return {f"{size:g}": top1 for size, top1 in pairs if size > 0}
    return {"top1": content["top1"]}


def _weights(benchmark: str, before: Result, after: Result) -> dict[str, float]:
    """Returns weights of the shared settings: equal by corruption, then equal by severity."""
    if any(before.get(key) != after.get(key) for key in _STRENGTH):
        return {}  # two different attacks
    theirs = _by_setting(benchmark, after)
    shared = [setting for setting in _by_setting(benchmark, before) if setting in theirs]
    groups = Counter(map(_group, shared))
    return {setting: 1 / len(groups) / groups[_group(setting)] for setting in shared}


def _group(setting: str) -> str:
    """Returns the corruption of "fog 3"; a perturbation or an epsilon is its own group."""
    return setting.partition(" ")[0]


def _average(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return math.fsum(weight * values[setting] for setting, weight in weights.items())


def _over(benchmark: str, weights: Mapping[str, float]) -> str:
    """Describes the settings of an average; empty for a single value."""
    if benchmark in TEST_SETS:
        return ""
    if benchmark in ATTACKS:
        return f"epsilon {', '.join(sorted(weights, key=float))}"
    noun = "setting" if benchmark in CORRUPTED else "perturbation"
    return f"{len(weights)} {noun}{'' if len(weights) == 1 else 's'}"


def _same_images(first: Result, second: Result) -> bool:
    """Compares the fingerprints of the test images, or their numbers where one has none."""
    prints = [content.get("request", {}).get("examples") for content in (first, second)]
    if None not in prints:
        return prints[0] == prints[1]
    return first.get("num_examples") == second.get("num_examples")


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
