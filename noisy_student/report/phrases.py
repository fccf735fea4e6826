"""Sentences of the report about robustness: verdicts of `metrics.compare` in plain English."""

from collections.abc import Mapping, Sequence
from typing import Any

from noisy_student.metrics.benchmarks import ACCURACIES, BENCHMARKS, PERTURBED, TITLES
from noisy_student.metrics.compare import Verdict

_ON = {
    **{name: f"On {TITLES[name]}" for name in BENCHMARKS},
    "corruptions": "On corrupted test images",
    "perturbations": "On perturbed test images",
    "fgsm": "Under FGSM",
    "pgd": "Under PGD",
}


def describe(verdict: Verdict, student: str, baseline: str = "the teacher") -> str:
    """Describes one verdict, as in "Under FGSM, Student 2 is more robust than the teacher: ...".

    Args:
        verdict: from `metrics.compare.verdicts`.
        student: label of the student.
        baseline: what the student was compared with.
    """
    before, after = f"{verdict['before']:.1f}%", f"{verdict['after']:.1f}%"
    if verdict["benchmark"] in PERTURBED:
        measure = f"its prediction changes in {after} of the frames (baseline {before})"
    elif verdict["benchmark"] in ACCURACIES:
        measure = f"accuracy {after} vs. {before}"
    else:
        measure = f"error {after} vs. {before}"
    average = f", averaged over {verdict['over']}" if verdict["over"] else ""
    low, high = verdict["interval"]
    text = (
        f"{_ON[verdict['benchmark']]}, {student} is {_claim(verdict, baseline)}:"
        f" {measure}{average} ({_better(verdict['points'])};"
        f" 95% interval {low:+.1f} to {high:+.1f})."
    )
    if "cost" in verdict:
        first, second = verdict["cost"]
        text += (
            f" Corruption adds {first:.1f} points to the clean error of {baseline} and"
            f" {second:.1f} points to that of {student}."
        )
    return text


def summarize(verdicts: Sequence[Verdict], student: str, baseline: str) -> str:
    """Summarizes all verdicts in one sentence; returns "" if there are none.

    Args:
        verdicts: from `metrics.compare.verdicts`.
        student: label of the student.
        baseline: what the student was compared with, as in "the teacher".
    """
    if not verdicts:
        return ""
    if len(verdicts) == 1:
        return f"{student} is {_claim(verdicts[0], baseline)} on the one benchmark that both ran."
    kinds = [verdict["verdict"] for verdict in verdicts]
    text = (
        f"{student} is more robust than {baseline} on {kinds.count('more')} of {len(kinds)}"
        " benchmarks"
    )
    if "level" in kinds:
        text += f"; on {kinds.count('level')} the difference is not significant"
    if "less" in kinds:
        text += f"; on {kinds.count('less')} it is less robust"
    return f"{text}."


def describe_pgd(sweeps: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Describes the settings of PGD, such as "10 steps of size 0.5, from a random start".

    Names the models where their settings differ.

    Args:
        sweeps: model -> metrics of PGD.
        labels: model -> its label in reports.
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
    """Words the verdict no stronger than its interval allows."""
    if verdict["verdict"] != "level":
        return f"{verdict['verdict']} robust than {baseline}"
    if verdict["points"] == 0:
        return f"as robust as {baseline}"
    side = "ahead of" if verdict["points"] > 0 else "behind"
    return f"{side} {baseline}, but not significantly"


def _better(points: float) -> str:
    return f"{abs(points):.1f} points {'better' if points >= 0 else 'worse'}"
