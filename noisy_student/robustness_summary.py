"""What a run found out about robustness: figures by benchmark, and teacher against student.

Works on the content of ``evaluation/<model>/<benchmark>.json``. Where the baseline is the run's own
teacher, figures are computed here, over what both models were measured on, and carry that in their
name: mCE and mFR are names of the complete published benchmarks alone.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from noisy_student import robustness, uncertainty

CORRUPTED = ("corruptions", "imagenet_c", "cifar10_c")
PERTURBED = ("perturbations", "imagenet_p", "cifar10_p")
ATTACKS = ("fgsm", "pgd")
BENCHMARKS = (*CORRUPTED, *PERTURBED, "imagenet_a", *ATTACKS)
TITLES = {
    "corruptions": "Corruptions made from the test images",
    "imagenet_c": "ImageNet-C",
    "cifar10_c": "CIFAR-10-C",
    "perturbations": "Perturbations made from the test images",
    "imagenet_p": "ImageNet-P",
    "cifar10_p": "CIFAR-10-P",
    "imagenet_a": "ImageNet-A",
    "fgsm": "FGSM",
    "pgd": "PGD",
}
# Of a file, what depends on the weights and the images alone.
_KEYS = {
    **dict.fromkeys(
        CORRUPTED,
        ("num_examples", "image_size", "native_size", "provenance", "clean_error", "errors",
         "mean_error", "mce", "missing"),
    ),
    **dict.fromkeys(
        PERTURBED,
        ("num_examples", "image_size", "native_size", "provenance", "flip_probability",
         "top5_distance", "mean_flip_probability", "mfr", "missing"),
    ),
    "imagenet_a": ("num_examples", "num_classes", "top1", "top1_all_classes"),
    "fgsm": ("num_examples", "epsilons", "top1"),
    "pgd": ("num_examples", "epsilons", "top1", "steps", "step_size", "random_start", "restarts"),
}  # fmt: skip
RIGHT_IS_GOOD = ("imagenet_a", *ATTACKS)  # accuracies; the others measure errors or flips
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
        relative = _relative_flips if benchmark in PERTURBED else _relative_error
        if benchmark in (*CORRUPTED, *PERTURBED) and teacher in contents:
            baseline = contents[teacher]
            for content in found[benchmark].values():
                same = _same_images(content, baseline)
                content["relative_to_teacher"] = relative(content, baseline) if same else None
    return found


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
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]], teacher: str, student: str
) -> list[dict[str, Any]]:
    """Is the student more robust than the teacher? One answer for each benchmark both have.

    Args:
        figures: from `figures`.
        teacher: a model; also a control may be put here.
        student: another.

    Returns:
        For each: ``before`` and ``after``, percent: the error, flip probability or accuracy,
        averaged ``over`` the settings that both models have; the ``points`` by which the student is
        better, with their 95% ``interval``, too wide rather than too narrow; the ``verdict`` more,
        less or level; and for corruptions what they ``cost`` either model, in points over its error
        on clean images.
    """
    answers = []
    for benchmark, models in figures.items():
        if teacher not in models or student not in models:
            continue
        pair = models[teacher], models[student]
        values, over = _compared(benchmark, *pair)
        if not values or not _same_images(*pair):
            continue
        before, after = values
        better = after - before if benchmark in RIGHT_IS_GOOD else before - after
        half = uncertainty.DEVIATES * math.hypot(
            *(
                uncertainty.standard_error(value, content["num_examples"])
                for value, content in zip(values, pair, strict=True)
            )
        )
        answer = {
            "benchmark": benchmark, "over": over,
            "before": round(before, 4), "after": round(after, 4), "points": round(better, 4),
            "interval": [round(better - half, 4), round(better + half, 4)],
            "verdict": "more" if better > half else "less" if better < -half else "level",
        }  # fmt: skip
        if benchmark in CORRUPTED and all("clean_error" in content for content in pair):
            answer["cost"] = [
                round(value - 100 * content["clean_error"], 4)
                for value, content in zip(values, pair, strict=True)
            ]
        answers.append(answer)
    return answers


def in_words(verdict: Mapping[str, Any], student: str) -> str:
    """As in "Under FGSM Student 2 is more robust than the teacher: right on ... instead of ...".

    Args:
        verdict: one of `verdicts`.
        student: label of the student.
    """
    low, high = verdict["interval"]
    form = _RIGHT if verdict["benchmark"] in RIGHT_IS_GOOD else _WRONG
    form = _FLIPS if verdict["benchmark"] in PERTURBED else form
    share = form.format(f"{verdict['after']:.1f}%", f"{verdict['before']:.1f}%")
    average = f", on average over {verdict['over']}" if verdict["over"] else ""
    text = (
        f"{_ON[verdict['benchmark']]} {student} is {_claim(verdict, 'the teacher')}:"
        f" {share}{average} ({_better(verdict['points'])}; 95% interval {low:+.1f} to {high:+.1f})."
    )
    if "cost" in verdict:
        before, after = verdict["cost"]
        text += (
            f" Corruption adds {before:.1f} points to the teacher's error on clean images and"
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
    content: Mapping[str, Any], baseline: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Mean corruption error with the teacher's as 100, over what both have."""
    models = shared_errors({"model": content, "teacher": baseline})
    # The mean over the shared severities stands for all five: the ratio of sums is the same.
    means = {
        model: {
            name: [_mean(rate for _, rate in rates)] * robustness.SEVERITIES
            for name, rates in corruptions.items()
        }
        for model, corruptions in models.items()
    }
    present = [name for name in robustness.CORRUPTIONS if name in means["teacher"]]
    if not present or not all(means["teacher"][name][0] > 0 for name in present):
        return None
    mean = robustness.partial_corruption_error(means["model"], means["teacher"])
    all_severities = all(len(models["model"][name]) == robustness.SEVERITIES for name in present)
    return _relative("corruption error", mean, "corruptions", all_severities)


def _relative_flips(
    content: Mapping[str, Any], baseline: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Mean flip rate with the teacher's as 100, over what both have."""
    names = content["flip_probability"].keys() & baseline["flip_probability"].keys()
    flips, reference = ({name: c["flip_probability"][name] for name in names}
                        for c in (content, baseline))  # fmt: skip
    counted = names & {*robustness.PERTURBATIONS, *robustness.SMALL_PERTURBATIONS}
    if not counted or not all(reference[name] > 0 for name in counted):
        return None
    return _relative("flip rate", robustness.partial_flip_rate(flips, reference), "perturbations")


def _relative(
    what: str, mean: robustness.PartialMean, kind: str, all_severities: bool = True
) -> dict[str, Any]:
    name = f"mean {what} relative to the teacher = 100"
    if mean.missing:
        whole = len(mean.present) + len(mean.missing)
        name += f", over {len(mean.present)} of {whole} {kind}"
    if not all_severities:
        name += ", not at all severities"
    return {
        "percent": round(mean.percent, 4), "name": name,
        "over": list(mean.present), "missing": list(mean.missing),
    }  # fmt: skip


def _compared(
    benchmark: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[tuple[float, ...], str]:
    """Two percents, none where the models share no setting, and over what they were averaged."""
    if benchmark in CORRUPTED:
        errors = shared_errors({"before": before, "after": after})
        means = [
            [_mean(rate for _, rate in rates) for rates in errors[which].values()]
            for which in ("before", "after")
        ]
        if not means[0]:
            return (), ""
        settings = sum(map(len, errors["before"].values()))
        return tuple(100 * _mean(values) for values in means), _count(settings, "setting")
    if benchmark in PERTURBED:
        flips = [content["flip_probability"] for content in (before, after)]
        names = sorted(flips[0].keys() & flips[1].keys())
        if not names:
            return (), ""
        values = tuple(100 * _mean(one[name] for name in names) for one in flips)
        return values, _count(len(names), "perturbation")
    if benchmark == "imagenet_a":
        return (before["top1"], after["top1"]), ""
    sweeps = [dict(zip(sweep["epsilons"], sweep["top1"], strict=True)) for sweep in (before, after)]
    sizes = sorted(size for size in sweeps[0].keys() & sweeps[1].keys() if size > 0)
    if not sizes or any(before.get(key) != after.get(key) for key in _STRENGTH):
        return (), ""  # nothing shared, or two different attacks
    listed = ", ".join(f"{size:g}" for size in sizes)
    return tuple(_mean(sweep[size] for size in sizes) for sweep in sweeps), f"epsilon {listed}"


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
