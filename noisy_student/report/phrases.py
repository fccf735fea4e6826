"""What a run found out about robustness: figures by benchmark, and teacher against student.

Works on the content of ``evaluation/<model>/<benchmark>.json``. Where the baseline is the run's own
teacher, figures are computed here, over what both models were measured on, and carry that in their
name: mCE and mFR are names of the complete published benchmarks alone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from noisy_student import robustness
from noisy_student.metrics import intervals

CORRUPTED = ("corruptions", "imagenet_c", "cifar10_c")
PERTURBED = ("perturbations", "imagenet_p", "cifar10_p")
OTHER_IMAGES = ("imagenet_a", "imagenet_r", "imagenet_v2")
ATTACKS = ("fgsm", "pgd")
BENCHMARKS = (*CORRUPTED, *PERTURBED, *OTHER_IMAGES, *ATTACKS)
TITLES = {
    "corruptions": "Corruptions made from the test images",
    "imagenet_c": "ImageNet-C",
    "cifar10_c": "CIFAR-10-C",
    "perturbations": "Perturbations made from the test images",
    "imagenet_p": "ImageNet-P",
    "cifar10_p": "CIFAR-10-P",
    "imagenet_a": "ImageNet-A",
    "imagenet_r": "ImageNet-R",
    "imagenet_v2": "ImageNetV2",
    "fgsm": "FGSM",
    "pgd": "PGD",
}
# Of a file, what depends on the weights and the images alone.
_KEYS = {
    **dict.fromkeys(
        CORRUPTED,
        (
            "num_examples",
            "image_size",
            "native_size",
            "provenance",
            "clean_error",
            "errors",
            "mean_error",
            "mce",
            "relative_mce",
            "missing",
        ),
    ),
    **dict.fromkeys(
        PERTURBED,
        (
            "num_examples",
            "image_size",
            "native_size",
            "provenance",
            "flip_probability",
            "top5_distance",
            "mean_flip_probability",
            "mean_top5_distance",
            "mfr",
            "missing",
        ),
    ),
    **dict.fromkeys(OTHER_IMAGES, ("num_examples", "num_classes", "top1", "top1_all_classes")),
    "fgsm": ("num_examples", "epsilons", "top1"),
    "pgd": ("num_examples", "epsilons", "top1", "steps", "step_size", "random_start", "restarts"),
}
RIGHT_IS_GOOD = (*OTHER_IMAGES, *ATTACKS)  # accuracies; the others measure errors or flips
_STRENGTH = ("steps", "step_size", "random_start", "restarts")  # of PGD

_ON = {
    **{name: f"On {TITLES[name]}" for name in BENCHMARKS},
    "corruptions": "On corruptions made from the test images",
    "perturbations": "On perturbations made from the test images",
    "fgsm": "Under FGSM",
    "pgd": "Under PGD",
}
_RIGHT = "right on {} instead of {} of the images"
_WRONG = "wrong on {} instead of {} of the images"
_FLIPS = "its answer changes at {} instead of {} of the frames"


def figures(
    evaluations: Mapping[str, Mapping[str, Mapping[str, Any]]], teacher: str | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of every benchmark, in the order of `BENCHMARKS`.

    Args:
        evaluations: benchmark -> model -> content of its file.
        teacher: the model relative to which figures are given, or None.

    Returns:
        benchmark -> model -> figures, with ``relative_to_teacher`` beside mean errors and mean flip
        probabilities: ``percent``, ``name``, ``over`` and ``missing``, or None.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for benchmark in BENCHMARKS:
        contents = evaluations.get(benchmark, {})
        found[benchmark] = {
            name: {key: content[key] for key in _KEYS[benchmark] if key in content}
            for name, content in contents.items()
        }
        if benchmark in (*CORRUPTED, *PERTURBED) and teacher in contents:
            for content in found[benchmark].values():
                content["relative_to_teacher"] = relative(
                    benchmark, content, contents[teacher], "the teacher"
                )
    return found


def relative(
    benchmark: str, content: Mapping[str, Any], baseline: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    """Mean corruption error or flip rate with those of another model as 100, over what both have.

    Args:
        benchmark: one of corruptions or perturbations.
        content: figures with ``errors`` or ``flip_probability``.
        baseline: those of the other model.
        name: of the other model, as in "the teacher".

    Returns:
        ``percent``, the figure's ``name``, and what it is ``over`` and ``missing``; None where
        there is nothing to compare or to divide by.
    """
    if not _same_images(content, baseline):
        return None
    mean = _relative_flips if benchmark in PERTURBED else _relative_error
    return mean(content, baseline, name)


def shared_errors(
    contents: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Errors on the settings on which all of several models were measured.

    Args:
        contents: model -> figures with ``errors``: corruption -> severity -> error rate.

    Returns:
        model -> corruption -> pairs of severity and error rate 0..1, by severity; corruptions in
        the published order, then any other. A corruption without a shared severity is left out.
    """
    errors = [content["errors"] for content in contents.values()]
    names = set.intersection(*(set(rates) for rates in errors)) if errors else set()
    shared = {
        name: sorted(set.intersection(*(set(rates[name]) for rates in errors)), key=int)
        for name in in_order(names)
    }
    return {
        model: {
            name: [(int(severity), content["errors"][name][severity]) for severity in severities]
            for name, severities in shared.items()
            if severities
        }
        for model, content in contents.items()
    }


def settings(content: Mapping[str, Any]) -> list:
    """Corruptions with their severities or perturbations: what a result's mean is the mean of."""
    errors = content.get("errors", {})
    corrupted = [(name, sorted(errors[name])) for name in sorted(errors)]
    return [*corrupted, *sorted(content.get("flip_probability", {}))]


def in_order(names: set[str]) -> list[str]:
    """Names of corruptions or perturbations: as published, then any other."""
    published = (*robustness.CORRUPTIONS, *robustness.SMALL_PERTURBATIONS)
    known = list(dict.fromkeys((*published, *robustness.PERTURBATIONS)))
    return [name for name in known if name in names] + sorted(names - set(known))


def verdicts(
    contents: Mapping[str, Mapping[str, Mapping[str, Any]]], teacher: str, student: str
) -> list[dict[str, Any]]:
    """Is the student more robust than the teacher? One answer for each benchmark both have.

    Args:
        contents: benchmark -> model -> content of its file.
        teacher: a model; also a control may be put here.
        student: another.

    Returns:
        For each: ``before`` and ``after``, percent: the error, flip probability or accuracy,
        averaged ``over`` the settings that both models have; the ``points`` by which the student is
        better, with their 95% ``interval``; whether that is ``paired``, from the differences image
        by image, or else too wide rather than too narrow; the ``verdict`` more, less or level; and
        for corruptions what they ``cost`` either model, in points over its error on clean images.
    """
    answers = []
    for benchmark in BENCHMARKS:
        models = contents.get(benchmark, {})
        if teacher in models and student in models:
            answer = _verdict(benchmark, models[teacher], models[student])
            answers += [answer] if answer else []
    return answers


def _verdict(
    benchmark: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One of `verdicts`; None where the models share nothing."""
    pair = before, after
    weights = _weights(benchmark, *pair)
    if not weights or not _same_images(*pair):
        return None
    values = [_average(_by_setting(benchmark, content), weights) for content in pair]
    better = values[1] - values[0] if benchmark in RIGHT_IS_GOOD else values[0] - values[1]
    interval = intervals.paired_interval(*(c.get("by_image", {}) for c in pair), weights)
    paired = interval is not None
    if not paired:
        counts = [content["num_examples"] for content in pair]
        interval = intervals.unpaired_interval(better, values, counts)
    low, high = interval
    answer = {
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


def in_words(verdict: Mapping[str, Any], student: str, other: str = "the teacher") -> str:
    """As in "Under FGSM Student 2 is more robust than the teacher: right on ... instead of ...".

    Args:
        verdict: one of `verdicts`.
        student: label of the student.
        other: what the student was compared with.
    """
    low, high = verdict["interval"]
    form = _RIGHT if verdict["benchmark"] in RIGHT_IS_GOOD else _WRONG
    form = _FLIPS if verdict["benchmark"] in PERTURBED else form
    share = form.format(f"{verdict['after']:.1f}%", f"{verdict['before']:.1f}%")
    average = f", on average over {verdict['over']}" if verdict["over"] else ""
    text = (
        f"{_ON[verdict['benchmark']]} {student} is {_claim(verdict, other)}:"
        f" {share}{average} ({_better(verdict['points'])}; 95% interval {low:+.1f} to {high:+.1f})."
    )
    if "cost" in verdict:
        before, after = verdict["cost"]
        text += (
            f" Corruption adds {before:.1f} points to {other}'s error on clean images and"
            f" {after:.1f} to the student's."
        )
    return text


def summary_in_words(verdicts: list[Mapping[str, Any]], student: str, other: str) -> str:
    """One sentence on all benchmarks together; empty where there are none.

    Args:
        verdicts: from `verdicts`.
        student: label of the student.
        other: what the student was compared with, as in "the teacher".
    """
    if not verdicts:
        return ""
    if len(verdicts) == 1:
        return f"{student} is {_claim(verdicts[0], other)} in the one test that both took."
    kinds = [verdict["verdict"] for verdict in verdicts]
    text = f"{student} is more robust than {other} in {kinds.count('more')} of {len(kinds)} tests"
    if "level" in kinds:
        text += f", level within the error of the test in {kinds.count('level')}"
    if "less" in kinds:
        text += f", less robust in {kinds.count('less')}"
    return f"{text}."


def pgd_in_words(sweeps: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """As in "10 steps of 2.5 epsilon / 10, from a random start."; by model where they differ.

    Args:
        sweeps: model -> figures of PGD.
        labels: model -> what reports call it.
    """
    users: dict[str, list[str]] = {}
    for name, sweep in sweeps.items():
        steps, size = sweep["steps"], sweep.get("step_size")
        text = f"{_count(steps, 'step')} of {f'2.5 epsilon / {steps}' if size is None else size}"
        text += ", from a random start" if sweep.get("random_start") else ", from the image itself"
        if sweep.get("restarts", 1) > 1:
            text += f", the worst of {sweep['restarts']} attempts"
        users.setdefault(text, []).append(labels[name])
    if len(users) == 1:
        return f"{next(iter(users))}."
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in users.items()) + "."


def _relative_error(
    content: Mapping[str, Any], baseline: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
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
    return _relative(f"corruption error relative to {name}", mean, "corruptions", all_severities)


def _relative_flips(
    content: Mapping[str, Any], baseline: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    names = content["flip_probability"].keys() & baseline["flip_probability"].keys()
    flips, reference = (
        {name: c["flip_probability"][name] for name in names} for c in (content, baseline)
    )
    counted = names & {*robustness.PERTURBATIONS, *robustness.SMALL_PERTURBATIONS}
    if not counted or not all(reference[name] > 0 for name in counted):
        return None
    mean = robustness.partial_flip_rate(flips, reference)
    return _relative(f"flip rate relative to {name}", mean, "perturbations")


def _relative(
    what: str, mean: robustness.PartialMean, kind: str, all_severities: bool = True
) -> dict[str, Any]:
    name = f"mean {what} = 100"
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


def _by_setting(benchmark: str, content: Mapping[str, Any]) -> dict[str, float]:
    """Percent by setting, which is called as in ``by_image``."""
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


def _weights(
    benchmark: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, float]:
    """The settings that both have, and their weights: corruptions count alike, then severities."""
    if any(before.get(key) != after.get(key) for key in _STRENGTH):
        return {}  # two different attacks
    theirs = _by_setting(benchmark, after)
    shared = [setting for setting in _by_setting(benchmark, before) if setting in theirs]
    groups = Counter(map(_group, shared))
    return {setting: 1 / len(groups) / groups[_group(setting)] for setting in shared}


def _group(setting: str) -> str:
    """The corruption of "fog 3"; perturbations and step sizes stand alone."""
    return setting.partition(" ")[0]


def _average(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return math.fsum(weight * values[setting] for setting, weight in weights.items())


def _over(benchmark: str, weights: Mapping[str, float]) -> str:
    """What an average is of, in words; empty for a single figure."""
    if benchmark in OTHER_IMAGES:
        return ""
    if benchmark in ATTACKS:
        return f"epsilon {', '.join(sorted(weights, key=float))}"
    return _count(len(weights), "setting" if benchmark in CORRUPTED else "perturbation")


def _same_images(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """As far as their number tells: evaluations of a part take the first images."""
    return first.get("num_examples") == second.get("num_examples")


def _claim(verdict: Mapping[str, Any], other: str) -> str:
    """No stronger than the interval allows."""
    if verdict["verdict"] != "level":
        return f"{verdict['verdict']} robust than {other}"
    if verdict["points"] == 0:
        return f"level with {other}"
    side = "ahead of" if verdict["points"] > 0 else "behind"
    return f"{side} {other}, but within the error of the test"


def _better(points: float) -> str:
    """As in "5.1 points better"."""
    return f"{abs(points):.1f} points {'better' if points >= 0 else 'worse'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
