"""What a run found, as one dictionary: the JSON files of a work directory and their statistics.

Every file may be absent: its numbers are then None or left out, and the file is named as missing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisy_student.artifacts.files import read_json
from noisy_student.metrics import calibration, compare, intervals
from noisy_student.metrics.benchmarks import BENCHMARKS
from noisy_student.report import phrases

_CONTROL_LABELS = {
    "control_student": "Control, equal images",
    "control_chain": "Control, whole chain",
}
_ROLES = ("teacher", "student", "fixres")  # in the order in which a round makes them
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


@dataclass(frozen=True)
class Inputs:
    """The JSON files of a work directory, by model name (``round1_student``) or round."""

    settings: dict[str, Any]
    trainings: dict[str, dict[str, Any]]
    evaluations: dict[str, dict[str, dict[str, Any]]]  # by benchmark first
    selections: dict[int, dict[str, Any]]
    samples: dict[str, Any] | None  # of the last round that has them
    gallery: dict[str, Any] | None
    robust_gallery: dict[str, Any] | None
    noise: dict[str, Any] | None
    seconds: dict[str, float]
    missing: list[str]


def read(workdir: Path) -> Inputs:
    """Reads whatever of the run is there, and lists what is not."""
    settings = _read(workdir / "config.json") or {}
    trainings = {
        _model_name(path.parent.relative_to(workdir)): _read(path)
        for path in [*workdir.glob("round*/*/train.json"), *workdir.glob("control_*/train.json")]
    }
    evaluation = workdir / "evaluation"
    evaluations = {
        benchmark: {
            path.parent.name: _read(path) for path in evaluation.glob(f"*/{benchmark}.json")
        }
        for benchmark in ("clean", *BENCHMARKS)
    }
    selections = {
        _round_of(path): _read(path) for path in workdir.glob("round[0-9]*/selected/selection.json")
    }
    sheets = sorted(workdir.glob("round[0-9]*/selected/samples.json"), key=_round_of)
    samples = _read(sheets[-1]) if sheets else None
    gallery, robust_gallery, noise = (
        _read(evaluation / name) for name in ("gallery.json", "robust_gallery.json", "noise.json")
    )
    flags = settings.get("flags", {})
    rounds = max(
        [
            int(flags.get("rounds", 0)),
            *selections,
            *(_order(name)[1] for name in [*trainings, *evaluations["clean"]]),
        ]
    )
    wanted = ["config.json", "round0/teacher/train.json"]
    wanted += ["evaluation/gallery.json", "evaluation/noise.json"] if rounds else []
    for number in range(1, rounds + 1):
        wanted += [f"round{number}/selected/selection.json", f"round{number}/student/train.json"]
    chain = ["round0_teacher", *(f"round{number}_student" for number in range(1, rounds + 1))]
    for name in dict.fromkeys([*chain, *_sorted(trainings)]):
        benchmarks = flags.get("benchmarks", ["clean", "fgsm"])
        wanted += [f"evaluation/{name}/{benchmark}.json" for benchmark in benchmarks]
    missing = [path for path in wanted if not (workdir / path).exists()]
    return Inputs(
        settings,
        trainings,
        evaluations,
        selections,
        samples,
        gallery,
        robust_gallery,
        noise,
        _seconds(workdir),
        missing,
    )


def measured(inputs: Inputs) -> dict[str, Any]:
    """Everything measured, without times: equal for two runs with one seed on one machine."""
    evaluated = (name for models in inputs.evaluations.values() for name in models)
    names = _sorted({*inputs.trainings, *evaluated})
    models = [_model(name, inputs) for name in names]
    teacher = next((model for model in models if model["role"] == "teacher"), None)
    student = _last_student(models)
    changes = inputs.gallery and {
        key: inputs.gallery[key] for key in ("before", "after", "count_fixed", "count_broken")
    }
    evaluations = {
        benchmark: {name: contents[name] for name in names if name in contents}
        for benchmark, contents in inputs.evaluations.items()
    }
    robust = compare.benchmark_metrics(evaluations, teacher and teacher["name"])

    def gain(before: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if not before or not student:
            return None
        pair = [evaluations["clean"].get(model["name"], {}) for model in (before, student)]
        return _difference(before, student, pair)

    return {
        "dataset": inputs.settings.get("dataset"),
        "seed": inputs.settings.get("seed"),
        "split_sizes": inputs.settings.get("split_sizes"),
        "models": models,
        "gain": gain(teacher),
        "over_controls": [gain(model) for model in models if model["role"] == "control"],
        "changes": changes,
        "pseudo_labels": [
            {
                "round": number,
                "calibration_error": calibration.error(selection["reliability"]),
                **selection,
            }
            for number, selection in sorted(inputs.selections.items())
        ],
        **robust,
        "robustness": _robustness(
            evaluations, teacher, student, [m["name"] for m in models if m["role"] == "control"]
        ),
        "missing": inputs.missing,
    }


def against(inputs: Inputs, first: Inputs) -> dict[str, Any]:
    """The last student of a run beside that of another one, as far as they saw the same images.

    Returns:
        ``gain`` (or None) and ``verdicts`` as in `measured`.
    """
    runs = first, inputs
    evaluated = [
        _last_student([_model(name, run) for name in _sorted(run.evaluations["clean"])])
        for run in runs
    ]
    if None in evaluated:
        return {"gain": None, "verdicts": []}
    names = [model["name"] for model in evaluated]
    contents = {
        benchmark: {
            which: run.evaluations[benchmark][name]
            for which, run, name in zip(("first", "this"), runs, names, strict=True)
            if name in run.evaluations[benchmark]
        }
        for benchmark in first.evaluations
    }
    gain = _difference(*evaluated, list(contents["clean"].values()))
    verdicts = compare.verdicts(contents, "first", "this")
    return {
        "gain": gain if gain["paired"] else None,
        "verdicts": [verdict for verdict in verdicts if verdict["paired"]],
    }


def provenance(inputs: Inputs) -> dict[str, Any]:
    """How the figures came about: command, flags, versions, device and seconds per stage.

    And how many images were excluded as near duplicates of test images, or None.
    """
    keys = ("command", "flags", "versions", "device", "seed")
    excluded = (inputs.settings.get("split_info") or {}).get("excluded")
    return {
        **{key: inputs.settings.get(key) for key in keys},
        "excluded": excluded and excluded["count"],
        "seconds": inputs.seconds,
    }


def headline(measured: Mapping[str, Any]) -> str:
    """Did the student beat its teacher? In one line, no stronger than the test images allow."""
    gain = measured["gain"]
    if not gain:
        return f"Noisy Student Training on {dataset(measured)}"
    points, (low, high) = abs(gain["points"]), gain["interval"]
    if low > 0:
        return f"The student beats its teacher by {points:.1f} points"
    if high < 0:
        return f"The student falls {points:.1f} points behind its teacher"
    if gain["points"] > 0:
        return f"The student is {points:.1f} points ahead, within the error of the test"
    return "The student does not beat its teacher"


def dataset(measured: Mapping[str, Any]) -> str:
    """The data set's name."""
    return measured["dataset"] or "an unnamed data set"


def difference_in_words(measured: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    """As in "Teacher 89.8% -> Student 2 93.6%: +3.8 points (95% interval +2.4 to +5.2)"."""
    models = {model["name"]: model for model in measured["models"]}
    before, after = models[difference["before"]], models[difference["after"]]
    low, high = difference["interval"]
    return (
        f"{before['label']} {before['top1']:.1f}% -> {after['label']} {after['top1']:.1f}%: "
        f"{difference['points']:+.1f} points (95% interval {low:+.1f} to {high:+.1f})"
    )


def robustness_in_words(measured: Mapping[str, Any]) -> list[str]:
    """The verdict on all benchmarks together, then on each; empty where there is none."""
    compared = measured["robustness"]
    if not compared or not compared["verdicts"]:
        return []
    labels = {model["name"]: model["label"] for model in measured["models"]}
    student, verdicts = labels[compared["after"]], compared["verdicts"]
    against_controls = [
        phrases.summarize(
            over, student, f"the control ({labels[control].removeprefix('Control, ')})"
        )
        for control, over in compared["over_controls"].items()
        if over
    ]
    return [
        phrases.summarize(verdicts, student, "the teacher"),
        *(phrases.describe(verdict, student) for verdict in verdicts),
        *against_controls,
    ]


def _model(name: str, inputs: Inputs) -> dict[str, Any]:
    """One model's figures; None for what is not there."""
    training, clean = inputs.trainings.get(name, {}), inputs.evaluations["clean"].get(name)
    known = clean is not None
    return {
        "name": name,
        "label": _label(name),
        "role": "control" if name.startswith("control") else name.partition("_")[2],
        **{key: training.get(key) for key in _TRAINING_KEYS},
        "num_examples": clean["num_examples"] if known else None,
        "top1": clean["top1"] if known else None,
        "top5": clean["top5"] if known else None,
        "calibration_error": clean.get("calibration_error") if known else None,
        "standard_error": (
            round(intervals.standard_error(clean["top1"], clean["num_examples"]), 4)
            if known
            else None
        ),
        "top1_interval": intervals.interval(clean["top1"], clean["num_examples"])
        if known
        else None,
    }


def _difference(
    before: Mapping[str, Any], after: Mapping[str, Any], clean: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Points from one model to another, with the interval that the test images leave.

    Where it is known which images each model got right, they are compared image by image. Otherwise
    the two are taken for independent, which overstates the interval.
    """
    if before["top1"] is None or after["top1"] is None:
        return None
    points = after["top1"] - before["top1"]
    pair = before["name"], after["name"]
    records = (content.get("by_image", {}) for content in clean)
    interval = intervals.paired_interval(*records, {"top1": 1.0})
    paired = interval is not None
    if not paired:
        accuracies = before["top1"], after["top1"]
        counts = before["num_examples"], after["num_examples"]
        interval = intervals.unpaired_interval(points, accuracies, counts)
    low, high = interval
    return {
        "before": pair[0],
        "after": pair[1],
        "points": round(points, 4),
        "standard_error": round((high - low) / 2 / intervals.DEVIATES, 4),
        "interval": [round(low, 4), round(high, 4)],
        "paired": paired,
    }


def _robustness(
    evaluations: Mapping[str, Mapping[str, Any]],
    teacher: Mapping[str, Any] | None,
    student: Mapping[str, Any] | None,
    controls: Iterable[str],
) -> dict[str, Any] | None:
    """Whether the last student is more robust than teacher and controls, by benchmark."""
    if not teacher or not student:
        return None

    def over(name: str) -> list[dict[str, Any]]:
        return compare.verdicts(evaluations, name, student["name"])

    return {
        "before": teacher["name"],
        "after": student["name"],
        "verdicts": over(teacher["name"]),
        "over_controls": {name: over(name) for name in controls},
    }


def _seconds(workdir: Path) -> dict[str, float]:
    """Seconds of every finished stage, in the order of the method."""
    trainings = {path.parent: path for path in workdir.glob("round*/*/train.json")}
    trainings |= {path.parent: path for path in workdir.glob("control_*/train.json")}
    stages: list[tuple[tuple, str, Path]] = []
    for folder, path in trainings.items():
        name = _model_name(folder.relative_to(workdir))
        stages.append(((*_order(name)[:2], 2), f"train {name}", path))
    for position, (folder, verb) in enumerate(
        {"pseudo_labels": "label", "selected": "select"}.items()
    ):
        for path in workdir.glob(f"round[0-9]*/{folder}/done.json"):
            number = _round_of(path)
            stages.append(((0, number, position), f"{verb} round{number}", path))
    for path in workdir.glob("evaluation/*/*.json"):
        stages.append(((2, 0, 0), f"evaluate {path.parent.name} {path.stem}", path))
    contents = ((name, _read(path)) for _, name, path in sorted(stages))
    return {name: content["seconds"] for name, content in contents if "seconds" in content}


def _round_of(path: Path) -> int:
    """The round of a file such as round2/selected/selection.json."""
    return int(path.parts[-3].removeprefix("round"))


def _model_name(folder: Path) -> str:
    return "_".join(folder.parts)


def _last_student(models: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the chain; controls and models of other names are none."""
    chain = [model for model in models if _order(model["name"])[0] == 0]
    return chain[-1] if chain and chain[-1]["role"] != "teacher" else None


def _order(name: str) -> tuple[int, int, int, str]:
    """Key that sorts model names: by round and role, then the controls, then any other."""
    match = re.fullmatch(r"round(\d+)_(\w+)", name)
    if match and match[2] in _ROLES:
        return 0, int(match[1]), _ROLES.index(match[2]), name
    if name in _CONTROL_LABELS:
        return 1, 0, list(_CONTROL_LABELS).index(name), name
    return 2, 0, 0, name


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=_order)


def _label(name: str) -> str:
    """What the report calls a model: "Teacher", "Student 2", "Control, equal images"."""
    kind, number, role, _ = _order(name)
    if kind == 0:
        return ("Teacher", f"Student {number}", f"Student {number}, fine-tuned")[role]
    return _CONTROL_LABELS.get(name, name.replace("_", " ").capitalize())


def _read(path: Path) -> Any:
    return read_json(path) if path.exists() else None
