"""The results of a run as one dictionary, the content of ``results.json``."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from noisy_student.metrics import calibration, compare, intervals, verdicts
from noisy_student.report import side_by_side
from noisy_student.report.choice import choose
from noisy_student.report.inputs import Inputs, label, order, sorted_names

Model = dict[str, Any]
_TRAINING_KEYS = (
    "model_name",
    "width",
    "depth",
    "parameters",
    "image_size",
    "num_steps",
    "images_seen",
    "labeled_batch_size",
    "unlabeled_batch_size",
    "final_loss",
    "validation_top1",
)


class Difference(TypedDict):
    """Difference of two models in top-1 accuracy on clean test images."""

    before: str  # name of the first model
    after: str  # name of the second model
    points: float  # accuracy of the second minus that of the first, percentage points
    standard_error: float  # of ``points``
    interval: list[float]  # 95% interval of ``points``
    # Whether the models were compared image by image. If not, the interval assumes independent test
    # images and is wider.
    paired: bool


def build(inputs: Inputs) -> dict[str, Any]:
    """Returns the content of ``results.json``.

    Returns:
        "figures", which are equal for two runs with one seed on one machine, and "provenance":
        command, flags, versions, device and seconds.
    """
    return {"figures": _figures(inputs), "provenance": _provenance(inputs)}


def compare_students(first: Inputs, other: Inputs) -> dict[str, Any]:
    """Compares the last students of two runs on the test images that both saw.

    Returns:
        "gain" (a `Difference` or None) and "verdicts" (`metrics.verdicts.Verdict`). Comparisons
        that are not paired are left out.
    """
    students = [
        _last_student([_model(name, run) for name in sorted_names(run.evaluations["clean"])])
        for run in (first, other)
    ]
    before, after = students
    if before is None or after is None:
        return {"gain": None, "verdicts": []}
    contents = {
        benchmark: {
            which: run.evaluations[benchmark][student["name"]]
            for which, run, student in (("first", first, before), ("other", other, after))
            if student["name"] in run.evaluations[benchmark]
        }
        for benchmark in first.evaluations
    }
    gain = _difference(before, after, contents["clean"]["first"], contents["clean"]["other"])
    found = verdicts.verdicts(contents, "first", "other")
    return {
        "gain": gain if gain and gain["paired"] else None,
        "verdicts": [verdict for verdict in found if verdict["paired"]],
    }


def _figures(inputs: Inputs) -> dict[str, Any]:
    """Returns everything measured, without times."""
    evaluated = {name for models in inputs.evaluations.values() for name in models}
    names = sorted_names({*inputs.trainings, *evaluated})
    models = [_model(name, inputs) for name in names]
    teacher, student, baselines = _roles(models, None)
    evaluations = {
        benchmark: {name: contents[name] for name in names if name in contents}
        for benchmark, contents in inputs.evaluations.items()
    }

    def difference(before: Model | None, after: Model | None) -> Difference | None:
        if before is None or after is None:
            return None
        pair = (evaluations["clean"].get(model["name"], {}) for model in (before, after))
        return _difference(before, after, *pair)

    compared = None
    if models and not inputs.is_run and all(model["role"] == "" for model in models):
        compared = side_by_side.compare(models, difference)
    trained = [model for model in models if model["name"] in inputs.trainings]
    num_validation = (inputs.settings.get("split_sizes") or {}).get("validation", 0)
    choice = choose(models, list(inputs.trainings), num_validation)
    return {
        "dataset": inputs.settings.get("dataset"),
        "seed": inputs.settings.get("seed"),
        "split_sizes": inputs.settings.get("split_sizes"),
        "models": models,
        "side_by_side": compared,
        "choice": choice,
        "behind": choice and _behind(choice["model"], trained, difference),
        "gain": difference(teacher, student),
        "over_controls": [difference(model, student) for model in baselines],
        "changes": inputs.gallery
        and {
            key: inputs.gallery[key] for key in ("before", "after", "count_fixed", "count_broken")
        },
        "pseudo_labels": [
            _pseudo_labels(number, selection)
            for number, selection in sorted(inputs.selections.items())
        ],
        "by_class": {
            name: content["by_class"]
            for name, content in evaluations["clean"].items()
            if "by_class" in content
        },
        "is_imagenet": _is_imagenet(inputs),
        **compare.benchmark_metrics(evaluations, teacher["name"] if teacher else None),
        "robustness": _robustness(evaluations, *_roles(models, compared)),
        "missing": inputs.missing,
    }


def _behind(
    chosen: str, trained: list[Model], difference: Callable[[Model, Model], Difference | None]
) -> Difference | None:
    """Compares the model to use with its teacher, then with the best other trained model.

    Returns:
        The first difference whose interval lies below 0 on the test images; None without one.
    """
    after = next(model for model in trained if model["name"] == chosen)
    others = [model for model in trained if model is not after and model["top1"] is not None]
    best = sorted(others, key=lambda model: model["top1"])[-1:]
    for before in [*(model for model in others if model["role"] == "teacher"), *best]:
        found = difference(before, after)
        if found and found["interval"][1] < 0:
            return found
    return None


def _provenance(inputs: Inputs) -> dict[str, Any]:
    """Returns command, flags, versions, device, seed, operations, and seconds by stage.

    "excluded" counts images excluded as near duplicates of test images; None: not searched for.
    """
    keys = ("command", "flags", "versions", "device", "seed")
    excluded = (inputs.settings.get("split_info") or {}).get("excluded")
    return {
        **{key: inputs.settings.get(key) for key in keys},
        "excluded": excluded and excluded["count"],
        "operations": inputs.operations,
        "seconds": inputs.seconds,
        "compile_seconds": inputs.compile_seconds,
    }


def _pseudo_labels(number: int, selection: Mapping[str, Any]) -> dict[str, Any]:
    error = calibration.error(selection["reliability"])
    rounded = None if error is None else round(error, 4)
    return {"round": number, "calibration_error": rounded, **selection}


def _model(name: str, inputs: Inputs) -> Model:
    """Returns one model's numbers; None for those that are absent."""
    training, clean = inputs.trainings.get(name, {}), inputs.evaluations["clean"].get(name, {})
    top1, count = clean.get("top1"), clean.get("num_examples")
    error = interval = None
    if top1 is not None and count is not None:
        error = round(intervals.standard_error(top1, count), 4)
        interval = intervals.accuracy_interval(top1, count)
    return {
        "name": name,
        "label": label(name),
        "role": _role(name),
        **{key: training.get(key) for key in _TRAINING_KEYS},
        "num_examples": count,
        "top1": top1,
        "top5": clean.get("top5") if _has_top5(clean, inputs) else None,
        "calibration_error": clean.get("calibration_error"),
        "standard_error": error,
        "top1_interval": interval,
    }


def _has_top5(clean: Mapping[str, Any], inputs: Inputs) -> bool:
    """Returns False for five classes or fewer, of which the top five are all."""
    names = clean.get("by_class", {}).get("names") or inputs.settings.get("class_names")
    return not names or len(names) > 5


def _role(name: str) -> str:
    """Returns "teacher", "student", "fixres" or "control"; "" for a model of no run."""
    kind = order(name)[0]
    return ("" if kind else name.partition("_")[2]) if kind != 1 else "control"


def _difference(
    before: Model, after: Model, clean_before: Mapping[str, Any], clean_after: Mapping[str, Any]
) -> Difference | None:
    """Compares two models on clean test images; None if one was not evaluated on them."""
    if before["top1"] is None or after["top1"] is None:
        return None
    points, interval, paired = intervals.accuracy_difference(clean_before, clean_after)
    return {
        "before": before["name"],
        "after": after["name"],
        "points": round(points, 4),
        "standard_error": round(intervals.interval_error(interval), 4),
        "interval": [round(bound, 4) for bound in interval],
        "paired": paired,
    }


def _roles(
    models: list[Model], compared: side_by_side.SideBySide | None
) -> tuple[Model | None, Model | None, list[Model]]:
    """Returns the teacher, the last student and the baselines.

    Of models that are of no run: the second best, the best, and all others.
    """
    if compared and compared["differences"]:
        by_name = {model["name"]: model for model in models}
        first, *others = [by_name[found["before"]] for found in compared["differences"]]
        return first, by_name[str(compared["best"])], others
    teacher = next((model for model in models if model["role"] == "teacher"), None)
    return teacher, _last_student(models), [m for m in models if m["role"] == "control"]


def _robustness(
    evaluations: Mapping[str, Mapping[str, Any]],
    teacher: Model | None,
    student: Model | None,
    baselines: list[Model],
) -> dict[str, Any] | None:
    """Compares the last student with the teacher and the baselines on each benchmark."""
    if teacher is None or student is None:
        return None
    after = student["name"]
    return {
        "before": teacher["name"],
        "after": after,
        "verdicts": verdicts.verdicts(evaluations, teacher["name"], after),
        "over_controls": {
            model["name"]: verdicts.verdicts(evaluations, model["name"], after)
            for model in baselines
        },
    }


def _is_imagenet(inputs: Inputs) -> bool:
    """Returns True if the classes are ImageNet's, so that the paper's numbers have a meaning."""
    names = inputs.settings.get("class_names") or []
    return (
        "imagenet" in (inputs.settings.get("dataset") or "").lower()
        or (bool(names) and all(re.fullmatch(r"n\d{8}", name) for name in names))
        or any(found for name, found in inputs.evaluations.items() if name.startswith("imagenet"))
    )


def _last_student(models: list[Model]) -> Model | None:
    """Returns the last student of the rounds; baselines and other models are none."""
    chain = [model for model in models if order(model["name"])[0] == 0]
    return chain[-1] if chain and chain[-1]["role"] != "teacher" else None
