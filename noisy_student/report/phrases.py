"""Sentences of the report, no stronger than the intervals of their numbers allow."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from noisy_student.metrics.benchmarks import ACCURACIES, BENCHMARKS, PERTURBED, TITLES
from noisy_student.metrics.formatting import interval
from noisy_student.metrics.verdicts import Lead, Verdict, is_significant
from noisy_student.report import side_by_side
from noisy_student.report.inputs import file_of
from noisy_student.report.results import Difference

_ON = {
    **{name: f"On {TITLES[name]}" for name in BENCHMARKS},
    "corruptions": "On corrupted test images",
    "perturbations": "On perturbed test images",
    "fgsm": "Under FGSM",
    "pgd": "Under PGD",
    "square": "Under the Square attack",
}


def headline(figures: Mapping[str, Any]) -> str:
    """Says in one line whether the student beats its teacher, or which of other models is best."""
    gain = figures["gain"]
    if figures.get("side_by_side"):
        return side_by_side.headline(figures)
    if not gain:
        return f"Noisy Student Training on {dataset(figures)}"
    points, (low, high) = abs(gain["points"]), gain["interval"]
    if low > 0:
        return f"The student beats its teacher by {points:.1f} points"
    if high < 0:
        return f"The student falls {points:.1f} points behind its teacher"
    if gain["points"] > 0:
        return f"The student is {points:.1f} points ahead, but not significantly"
    return "The student does not beat its teacher"


def dataset(figures: Mapping[str, Any]) -> str:
    """Returns the name of the data set."""
    return figures["dataset"] or "an unnamed data set"


def describe_difference(figures: Mapping[str, Any], difference: Difference) -> str:
    """Describes a difference, as in "Teacher 89.8% -> Student 2 93.6%: +3.8 points ..."."""
    models = {model["name"]: model for model in figures["models"]}
    before, after = models[difference["before"]], models[difference["after"]]
    return (
        f"{before['label']} {before['top1']:.1f}% -> {after['label']} {after['top1']:.1f}%:"
        f" {difference['points']:+.1f} points"
        f" (95% interval {interval(difference['interval'], '+.1f')})."
    )


def describe_baselines(figures: Mapping[str, Any]) -> str:
    """Describes how the student compares with the supervised baselines.

    Returns "" if there are neither baselines nor a gain to explain.
    """
    labels = {model["name"]: model["label"] for model in figures["models"]}
    verdicts = []
    for difference in filter(None, figures["over_controls"]):
        low, high = difference["interval"]
        verdict = "better than" if low > 0 else "worse than" if high < 0 else "level with"
        verdicts.append(f"{verdict} the {_lower(labels[difference['before']])}")
    if not verdicts:
        if not figures["gain"] or figures["gain"]["points"] <= 0:
            return ""
        return (
            "This run has no supervised baseline (--controls=student,chain), so the gain may come"
            " from longer training rather than from the pseudo labels."
        )
    return (
        "A baseline is the last student's network, trained with the same noise on labeled images"
        f" only. The student is {', '.join(verdicts)}."
    )


def describe_choice(figures: Mapping[str, Any]) -> str:
    """Recommends a model file and gives the reason; "" if the run trained none.

    Does not recommend a model that is significantly worse on the test images than its teacher or
    the best other model: names both files instead.
    """
    choice, behind = figures["choice"], figures["behind"]
    if not choice:
        return ""
    labels = {model["name"]: model["label"] for model in figures["models"]}
    chosen = f"{choice['file']} ({labels[choice['model']]})"
    if not choice["is_best"]:
        why = "Without validation images, no model is known to be best."
        return _warn(figures, behind) + why if behind else f"Use {chosen}: the last model. {why}"
    reason = (
        f"the best on {choice['num_validation']:,} validation images, with"
        f" {choice['validation_top1']:.1f}% (95% interval {interval(choice['interval'])})."
    )
    if choice["level"]:
        reason += f" Also within that interval: {', '.join(labels[n] for n in choice['level'])}."
    if behind:
        return f"{_warn(figures, behind)}{labels[choice['model']]} is {reason}"
    return f"Use {chosen}: {reason}"


def _warn(figures: Mapping[str, Any], behind: Difference) -> str:
    """Says that a model is worse than another, by how much, and names both files."""
    models = {model["name"]: model for model in figures["models"]}
    before, after = models[behind["before"]], models[behind["after"]]
    is_student = before["role"] in ("student", "fixres")
    other = before["label"] if is_student else f"the {_lower(before['label'])}"
    text = (
        f"{after['label']} is worse than {other} on the test images, by"
        f" {-behind['points']:.1f} points (95% interval {interval(behind['interval'], '+.1f')})."
        f" Their files: {file_of(before['name'])} ({before['label']}) and"
        f" {file_of(after['name'])} ({after['label']}). "
    )
    if before["role"] == "teacher" and after["role"] != "control":
        text += (
            'For likely causes, see "My student is not better than its teacher" in docs/FAQ.md. '
        )
    return text


def describe_robustness(figures: Mapping[str, Any]) -> list[str]:
    """Returns a summary of all benchmarks and a sentence on each; empty if there are none."""
    compared = figures["robustness"]
    if not compared or not compared["verdicts"]:
        return []
    labels = {model["name"]: model["label"] for model in figures["models"]}
    student, verdicts = labels[compared["after"]], compared["verdicts"]

    def within(name: str) -> str:
        return labels[name] if figures["side_by_side"] else f"the {_lower(labels[name])}"

    before = within(compared["before"])
    return [
        summarize(verdicts, student, before),
        *(describe(verdict, student, before) for verdict in verdicts),
        *(
            summarize(over, student, within(baseline))
            for baseline, over in compared["over_controls"].items()
            if over
        ),
    ]


def describe_intervals(verdicts: Sequence[Verdict]) -> str:
    """Describes what the intervals of verdicts measure."""
    unpaired = [TITLES[verdict["benchmark"]] for verdict in verdicts if not verdict["paired"]]
    text = "The intervals reflect the number of test images."
    if len(unpaired) < len(verdicts):
        text += " They are paired: the models are compared image by image."
    if unpaired:
        text += f" Not paired, and therefore wider: {', '.join(unpaired)}."
    return text


def describe(verdict: Verdict, student: str, baseline: str = "the teacher") -> str:
    """Describes one verdict, as in "On ImageNet-C, Student 2 is more robust than the teacher: ...".

    Of attacks it describes the leader by epsilon, and the mean beside the gain on clean images.
    """
    if "by_epsilon" in verdict:
        return _describe_attack(verdict, student, baseline)
    before, after = f"{verdict['before']:.1f}%", f"{verdict['after']:.1f}%"
    points = verdict["points"]
    if verdict["benchmark"] in PERTURBED:
        measure = f"flip probability {after} vs. {before}"
    elif verdict["benchmark"] in ACCURACIES:
        measure = f"accuracy {after} vs. {before}"
    else:
        measure = f"error {after} vs. {before}"
    average = f", averaged over {verdict['over']}" if verdict["over"] else ""
    text = (
        f"{_ON[verdict['benchmark']]}, {student} is {_claim(verdict, baseline)}:"
        f" {measure}{average} ({abs(points):.1f} points {'better' if points >= 0 else 'worse'};"
        f" 95% interval {interval(verdict['interval'], '+.1f')})."
    )
    if "cost" in verdict:
        first, second = verdict["cost"]
        text += (
            f" Corruption adds {first:.1f} points to the clean error of {baseline} and"
            f" {second:.1f} points to that of {student}."
        )
    return text


def summarize(verdicts: Sequence[Verdict], student: str, baseline: str) -> str:
    """Summarizes all verdicts in one sentence; returns "" if there are none."""
    if not verdicts:
        return ""
    if len(verdicts) == 1:
        if verdicts[0]["verdict"] == "level":
            between = f"between {student} and {baseline}"
            return f"On the only robustness benchmark, the difference {between} is not significant."
        claim = _claim(verdicts[0], baseline)
        return f"On the only robustness benchmark, {student} is {claim}."
    kinds = [verdict["verdict"] for verdict in verdicts]
    text = (
        f"{student} is more robust than {baseline} on {kinds.count('more')} of {len(kinds)}"
        " benchmarks"
    )
    if "clean" in kinds:
        text += f"; on {kinds.count('clean')} the difference is no larger than on clean images"
    if "mixed" in kinds:
        text += f"; on {kinds.count('mixed')} the leader changes with epsilon"
    if "level" in kinds:
        text += f"; on {kinds.count('level')} the difference is not significant"
    if "less" in kinds:
        text += f"; on {kinds.count('less')} it is less robust"
    return f"{text}."


def describe_pgd(sweeps: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Describes the settings of PGD, such as "10 steps of size 0.5, from a random start".

    Names the models where their settings differ: `sweeps` are the metrics of PGD by model.
    """
    users: dict[str, list[str]] = {}
    for name, sweep in sweeps.items():
        steps, size = sweep["steps"], sweep.get("step_size")
        text = f"{steps} step{'' if steps == 1 else 's'} of size"
        text += f" {f'2.5 epsilon / {steps}' if size is None else size}"
        text += ", from a random start" if sweep.get("random_start") else ", from the image itself"
        if sweep.get("restarts", 1) > 1:
            text += f", the worst of {sweep['restarts']} restarts"
        users.setdefault(text, []).append(labels[name])
    if len(users) == 1:
        return f"{next(iter(users))}."
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in users.items()) + "."


def _claim(verdict: Verdict, baseline: str) -> str:
    """Phrases the verdict no more strongly than its interval allows."""
    kind = verdict["verdict"]
    if kind in ("more", "less"):
        return f"{kind} robust than {baseline}"
    if kind == "mixed":
        return f"ahead of {baseline} at some epsilons and behind at others"
    side = "ahead of" if verdict["points"] > 0 else "behind"
    if kind == "clean":
        return f"{side} {baseline} by no more than on clean images"
    if verdict["points"] == 0:
        return f"as robust as {baseline}"
    return f"{side} {baseline}, but not significantly"


def _describe_attack(verdict: Verdict, student: str, baseline: str) -> str:
    """Says which model leads from which epsilon on, and what the mean difference implies."""
    leads, points = verdict["by_epsilon"], verdict["points"]
    significant = [is_significant(lead["interval"]) for lead in leads]
    if not any(significant) and verdict["verdict"] == "level":
        return f"No significant difference {_lower(_ON[verdict['benchmark']])}."
    by_epsilon = ", ".join(f"{lead['points']:+.1f} at {lead['epsilon']:g}" for lead in leads)
    by_epsilon = by_epsilon.replace(" at", " points at", 1)
    text = f"{_ON[verdict['benchmark']]}, {_leaders(leads, student, baseline)}: {by_epsilon}"
    unclear = [
        f"{lead['epsilon']:g}" for lead, clear in zip(leads, significant, strict=True) if not clear
    ]
    if len(unclear) == len(leads):
        text += ", none of them significant"
    elif unclear:
        text += f", not significant at {', '.join(unclear)}"
    text += (
        f". The mean difference is {points:+.1f} points"
        f" (95% interval {interval(verdict['interval'], '+.1f')}"
    )
    if "clean_points" in verdict:
        text += f"; {verdict['clean_points']:+.1f} on clean images"
    return f"{text}): {_attack_claim(verdict, student)}."


def _attack_claim(verdict: Verdict, student: str) -> str:
    kind = verdict["verdict"]
    if kind in ("more", "less"):
        return f"{student} is {kind} robust"
    if kind == "mixed":
        return "neither is more robust at every epsilon"
    return "a difference in accuracy, not in robustness" if kind == "clean" else "not significant"


def _leaders(leads: Sequence[Lead], student: str, baseline: str) -> str:
    """Names the leader by epsilon: "Student 2 leads up to epsilon 8, the teacher from 16 on"."""
    names = {1: student, 0: "neither", -1: baseline}
    spans = []
    for sign, members in groupby(leads, lambda lead: (lead["points"] > 0) - (lead["points"] < 0)):
        sizes = [f"{lead['epsilon']:g}" for lead in members]
        spans.append((names[sign], sizes[0], sizes[-1]))
    (first, _, end), *others = spans
    if not others:
        return f"{first} leads at {'any' if first == 'neither' else 'every'} epsilon"
    parts = [f"{first} leads up to epsilon {end}"]
    parts += [
        f"{name} at {low}" if low == high else f"{name} from {low} to {high}"
        for name, low, high in others[:-1]
    ]
    name, low, _ = others[-1]
    return ", ".join([*parts, f"{name} from {low} on"])


def _lower(label: str) -> str:
    """Returns a label for use within a sentence."""
    return label[:1].lower() + label[1:]
