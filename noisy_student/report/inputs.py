"""The JSON files of a work directory, and the names of its models.

Every file may be absent; the expected ones that are absent are listed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisy_student.artifacts.files import read_json
from noisy_student.metrics.benchmarks import BENCHMARKS

BASELINES = {
    "control_student": "Baseline (equal compute)",
    "control_chain": "Baseline (equal total compute)",
}
_ROLES = ("teacher", "student", "fixres")  # in the order of a round


@dataclass(frozen=True)
class Inputs:
    """The JSON files of a work directory.

    Attributes:
        settings: config.json.
        trainings: model -> train.json.
        evaluations: benchmark -> model -> content of its file.
        selections: round -> selection.json.
        samples: samples.json of the last round that has it.
        gallery: evaluation/gallery.json.
        robust_gallery: evaluation/robust_gallery.json.
        noise: evaluation/noise.json.
        seconds: stage -> seconds, in the order of the method.
        missing: expected files that are absent.
    """

    settings: dict[str, Any]
    trainings: dict[str, dict[str, Any]]
    evaluations: dict[str, dict[str, dict[str, Any]]]
    selections: dict[int, dict[str, Any]]
    samples: dict[str, Any] | None
    gallery: dict[str, Any] | None
    robust_gallery: dict[str, Any] | None
    noise: dict[str, Any] | None
    seconds: dict[str, float]
    missing: list[str]


def read(workdir: Path) -> Inputs:
    """Reads the files of a run.

    Raises:
        ValueError: ``workdir`` is not a directory, or a file is damaged.
    """
    if not workdir.is_dir():
        raise ValueError(f"{workdir} is not a directory: --workdir and --compare name runs.")
    evaluation = workdir / "evaluation"
    sheets = sorted(workdir.glob("round[0-9]*/selected/samples.json"), key=_round_of)
    settings = _read(workdir / "config.json") or {}
    trainings = {
        _model_name(path.parent.relative_to(workdir)): read_json(path)
        for path in [*workdir.glob("round*/*/train.json"), *workdir.glob("control_*/train.json")]
    }
    evaluations = {
        benchmark: {
            path.parent.name: read_json(path) for path in evaluation.glob(f"*/{benchmark}.json")
        }
        for benchmark in ("clean", *BENCHMARKS)
    }
    selections = {
        _round_of(path): read_json(path)
        for path in workdir.glob("round[0-9]*/selected/selection.json")
    }
    flags = settings.get("flags", {})
    models = [*trainings, *evaluations["clean"]]
    rounds = max([int(flags.get("rounds", 0)), *selections, *(order(name)[1] for name in models)])
    benchmarks = flags.get("benchmarks", ["clean", "fgsm"])
    expected = _expected(rounds, sorted_names(trainings), benchmarks)
    return Inputs(
        settings,
        trainings,
        evaluations,
        selections,
        read_json(sheets[-1]) if sheets else None,
        _read(evaluation / "gallery.json"),
        _read(evaluation / "robust_gallery.json"),
        _read(evaluation / "noise.json"),
        _seconds(workdir),
        [path for path in expected if not (workdir / path).exists()],
    )


def _expected(rounds: int, trained: Iterable[str], benchmarks: Iterable[str]) -> list[str]:
    """Returns the files that a finished run of so many rounds has."""
    files = ["config.json", "round0/teacher/train.json"]
    files += ["evaluation/gallery.json", "evaluation/noise.json"] if rounds else []
    models = ["round0_teacher"]
    for number in range(1, rounds + 1):
        files += [f"round{number}/selected/selection.json", f"round{number}/student/train.json"]
        models.append(f"round{number}_student")
    for name in dict.fromkeys([*models, *trained]):
        files += [f"evaluation/{name}/{benchmark}.json" for benchmark in benchmarks]
    return files


def _seconds(workdir: Path) -> dict[str, float]:
    """Returns the seconds of every finished stage, in the order of the method."""
    stages: list[tuple[tuple[int, int, int], str, Path]] = []
    for path in [*workdir.glob("round*/*/train.json"), *workdir.glob("control_*/train.json")]:
        name = _model_name(path.parent.relative_to(workdir))
        stages.append(((*order(name)[:2], 2), f"train {name}", path))
    for position, (folder, verb) in enumerate((("pseudo_labels", "label"), ("selected", "select"))):
        for path in workdir.glob(f"round[0-9]*/{folder}/done.json"):
            number = _round_of(path)
            stages.append(((0, number, position), f"{verb} round{number}", path))
        for path in workdir.glob(f"selection/{folder}/done.json"):
            stages.append(((0, 1, position - 2), f"{verb} once", path))
    for path in workdir.glob("evaluation/*/*.json"):
        stages.append(((2, 0, 0), f"evaluate {path.parent.name} {path.stem}", path))
    contents = {name: read_json(path) for _, name, path in sorted(stages)}
    return {name: content["seconds"] for name, content in contents.items() if "seconds" in content}


def order(name: str) -> tuple[int, int, int, str]:
    """Returns the sort key of a model name: rounds and roles, then baselines, then others."""
    match = re.fullmatch(r"round(\d+)_(\w+)", name)
    if match and match[2] in _ROLES:
        return 0, int(match[1]), _ROLES.index(match[2]), name
    if name in BASELINES:
        return 1, 0, list(BASELINES).index(name), name
    return 2, 0, 0, name


def sorted_names(names: Iterable[str]) -> list[str]:
    """Sorts names of models in the order of the report."""
    return sorted(names, key=order)


def label(name: str) -> str:
    """Returns a model's name in reports, such as "Teacher" or "Student 2"."""
    kind, number, role, _ = order(name)
    if kind == 0:
        return ("Teacher", f"Student {number}", f"Student {number}, fine-tuned")[role]
    return BASELINES.get(name, name.replace("_", " ").capitalize())


def _round_of(path: Path) -> int:
    """Returns the round of a file such as round2/selected/selection.json."""
    return int(path.parts[-3].removeprefix("round"))


def _model_name(folder: Path) -> str:
    return "_".join(folder.parts)


def _read(path: Path) -> Any:
    return read_json(path) if path.exists() else None
