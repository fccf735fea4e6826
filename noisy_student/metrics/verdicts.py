"""Comparison of two models on each robustness benchmark, with 95% intervals.

Works on the content of ``evaluation/<model>/<benchmark>.json``. "More robust" is claimed no further
than three things allow: the interval of the mean difference, the leader at each epsilon of an
attack, and the difference on clean images.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from noisy_student.metrics import intervals
from noisy_student.metrics.benchmarks import (
    ACCURACIES,
    ATTACKS,
    BENCHMARKS,
    CORRUPTED,
    PERTURBED,
    TEST_SETS,
)
from noisy_student.metrics.compare import STRENGTH, Result, same_images


class Lead(TypedDict):
    """Comparison of a student with a baseline at one epsilon of an attack."""

    epsilon: float  # largest change of a pixel, 0..255
    points: float  # top-1 of the student minus that of the baseline, percentage points
    interval: list[float]  # 95% interval of ``points``


class Verdict(TypedDict):
    """Comparison of a student with a baseline on one benchmark."""

    benchmark: str  # one of `BENCHMARKS`
    over: str  # the settings in the average, such as "10 settings"; empty for a single value
    # Whether the interval comes from differences image by image. If not, it assumes independent
    # test images.
    paired: bool
    before: float  # error, flip probability or accuracy of the baseline, percent
    after: float  # the student's
    points: float  # by how much the student is better, in percentage points
    interval: list[float]  # 95% interval of ``points``
    # "more" or "less" robust; "level" where the interval holds 0; "mixed" where the leader changes
    # with epsilon; "clean" where the difference is one of accuracy: on clean images it has the same
    # sign and is at least as large.
    verdict: str
    # By how much the student is better on clean images, percentage points.
    clean_points: NotRequired[float]
    # Percentage points that corruption adds to the clean error of baseline and student.
    cost: NotRequired[list[float]]
    # The comparison at each epsilon of an attack above 0, in rising order.
    by_epsilon: NotRequired[list[Lead]]


def verdicts(
    contents: Mapping[str, Mapping[str, Result]], baseline: str, student: str
) -> list[Verdict]:
    """Compares two models on each benchmark that has both.

    `contents` are benchmark -> model -> content of its file.
    """
    answers = []
    for benchmark in BENCHMARKS:
        models = contents.get(benchmark, {})
        if baseline in models and student in models:
            answer = _verdict(benchmark, models[baseline], models[student])
            answers += [answer] if answer else []
    return answers


def is_significant(bounds: Sequence[float]) -> bool:
    """Returns True for an interval, low and high, that does not hold 0."""
    low, high = bounds
    return low > 0 or high < 0


def _verdict(benchmark: str, before: Result, after: Result) -> Verdict | None:
    """Compares two results; None if they share no setting or differ in their images."""
    weights = _weights(benchmark, before, after)
    if not weights or not same_images(before, after):
        return None
    values = [_average(_by_setting(benchmark, content), weights) for content in (before, after)]
    points, interval, paired = _difference(benchmark, before, after, weights)
    answer: Verdict = {
        "benchmark": benchmark,
        "over": _over(benchmark, weights),
        "paired": paired,
        "before": round(values[0], 4),
        "after": round(values[1], 4),
        "points": points,
        "interval": interval,
        "verdict": "level",
    }
    if benchmark in CORRUPTED and all("clean_error" in content for content in (before, after)):
        clean = [100 * content["clean_error"] for content in (before, after)]
        answer["cost"] = [
            round(value - error, 4) for value, error in zip(values, clean, strict=True)
        ]
        answer["clean_points"] = round(clean[0] - clean[1], 4)
    if benchmark in ATTACKS:
        answer["by_epsilon"] = _leads(benchmark, before, after, weights)
        clean = [top1[0] for top1 in map(_top1_by_epsilon, (before, after)) if 0 in top1]
        if len(clean) == 2:
            answer["clean_points"] = round(clean[1] - clean[0], 4)
    answer["verdict"] = _judge(answer)
    return answer


def _judge(answer: Verdict) -> str:
    """Returns the strongest verdict that mean, epsilons and clean images allow."""
    points, leads = answer["points"], answer.get("by_epsilon", [])
    significant = {lead["points"] > 0 for lead in leads if is_significant(lead["interval"])}
    if len(significant) == 2:
        return "mixed"
    if not is_significant(answer["interval"]):
        return "level"
    if any(lead["points"] * points < 0 for lead in leads):
        return "mixed"
    clean = answer.get("clean_points", 0.0)
    if clean * points > 0 and abs(clean) >= abs(points):
        return "clean"
    return "more" if points > 0 else "less"


def _leads(
    benchmark: str, before: Result, after: Result, weights: Mapping[str, float]
) -> list[Lead]:
    leads: list[Lead] = []
    for setting in sorted(weights, key=float):
        points, interval, _ = _difference(benchmark, before, after, {setting: 1.0})
        leads.append({"epsilon": float(setting), "points": points, "interval": interval})
    return leads


def _difference(
    benchmark: str, before: Result, after: Result, weights: Mapping[str, float]
) -> tuple[float, list[float], bool]:
    """Returns points by which the second result is better, their interval, and if it is paired."""
    first, second = (
        _average(_by_setting(benchmark, content), weights) for content in (before, after)
    )
    points = second - first if benchmark in ACCURACIES else first - second
    interval = intervals.paired_interval(
        before.get("by_image", {}), after.get("by_image", {}), weights
    )
    paired = interval is not None
    if interval is None:
        counts = before["num_examples"], after["num_examples"]
        interval = intervals.unpaired_interval(points, (first, second), counts)
    return round(points, 4), [round(bound, 4) for bound in interval], paired


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
        return {f"{size:g}": top1 for size, top1 in _top1_by_epsilon(content).items() if size > 0}
    return {"top1": content["top1"]}


def _top1_by_epsilon(content: Result) -> dict[float, float]:
    return dict(zip(content["epsilons"], content["top1"], strict=True))


def _weights(benchmark: str, before: Result, after: Result) -> dict[str, float]:
    """Returns weights of the shared settings: equal by corruption, then equal by severity."""
    if any(before.get(key) != after.get(key) for key in STRENGTH):
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
