"""Lines that compare the results of two models."""

from collections.abc import Iterator, Mapping, Sequence

from noisy_student.evaluate.benchmark import Result
from noisy_student.metrics import compare as comparison
from noisy_student.metrics import intervals, verdicts
from noisy_student.metrics.benchmarks import CORRUPTED, PERTURBED, TEST_SETS, TITLES

_IMAGES = {"corruptions": "corrupted images", "perturbations": "perturbed images"}


def compare(
    results: Mapping[str, Result],
    baseline: Mapping[str, Result],
    names: tuple[str, str] = ("model", "baseline"),
) -> Iterator[str]:
    """Yields lines of a model's metrics relative to a baseline, and of their differences.

    Both are benchmark -> result; `names` are what to call the two.
    """
    if "clean" in results and "clean" in baseline:
        before, after = baseline["clean"], results["clean"]
        points, interval, _ = intervals.accuracy_difference(before, after)
        values = f"{names[0]} {after['top1']:.1f}%, {names[1]} {before['top1']:.1f}%"
        yield f"accuracy on clean images: {values}: {_points('clean', names[0], points, interval)}"
    for name in CORRUPTED + PERTURBED:
        if name in results and name in baseline:
            mean = comparison.relative(name, results[name], baseline[name], names[1])
            if mean is not None:
                yield f"{name}: {mean['name']}: {names[0]} {mean['percent']:.1f}"
    pairs = {
        name: {"model": results[name], "baseline": baseline[name]}
        for name in results
        if name in baseline
    }
    for verdict in verdicts.verdicts(pairs, "baseline", "model"):
        benchmark, points = verdict["benchmark"], verdict["points"]
        values = f"{names[0]} {verdict['after']:.1f}%, {names[1]} {verdict['before']:.1f}%"
        over = f", over {verdict['over']}" if verdict["over"] else ""
        difference = _points(benchmark, names[0], points, verdict["interval"])
        yield f"{_measure(benchmark)}: {values}{over}: {difference}"
        for lead in verdict.get("by_epsilon", []):
            difference = _points(benchmark, names[0], lead["points"], lead["interval"])
            yield f"{_measure(benchmark)} at epsilon {lead['epsilon']:g}: {difference}"


def _measure(benchmark: str) -> str:
    images = _IMAGES.get(benchmark, TITLES[benchmark])
    if benchmark in CORRUPTED:
        return f"errors on {images}"
    if benchmark in PERTURBED:
        return f"flip probability on {images}"
    return f"accuracy {'on' if benchmark in TEST_SETS else 'under'} {images}"


def _points(benchmark: str, name: str, points: float, interval: Sequence[float]) -> str:
    """Describes a difference by what is counted, as in "8.5 points more errors for small ...".

    By `points` the model of that name is better than the other one.
    """
    noun = "accuracy"
    low, high = interval
    if benchmark in CORRUPTED + PERTURBED:
        noun = "errors" if benchmark in CORRUPTED else "flips"
        points, low, high = -points, -high, -low
    less = "fewer" if noun != "accuracy" else "less"
    text = f"{abs(points):.1f} points {'more' if points >= 0 else less} {noun} for {name}"
    clear = "" if verdicts.is_significant(interval) else "not significant; "
    return f"{text} ({clear}95% interval {low:+.1f} to {high:+.1f})"
