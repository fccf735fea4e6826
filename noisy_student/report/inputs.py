"""The JSON files of a work directory, and the names of its models.

Every file may be absent; the expected ones that are absent are listed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noisy_student.artifacts import integrity
from noisy_student.artifacts.files import damaged, read_json
from noisy_student.artifacts.json_files import (
    Changes,
    NoisyViews,
    RobustGallery,
    RunConfig,
    Samples,
    SelectionReport,
    Timed,
    TrainSummary,
    evaluation_type,
)
from noisy_student.config import schema
from noisy_student.config.option import named
from noisy_student.metrics.benchmarks import BENCHMARKS

BASELINES = {
    "control_student": "Baseline (equal compute)",
    "control_chain": "Baseline (equal total compute)",
}
_ROLES = ("teacher", "student", "fixres")  # in the order of a round


@dataclass(frozen=True)
class Inputs:
    """The JSON files of a work directory."""

    settings: dict[str, Any]  # config.json
    trainings: dict[str, dict[str, Any]]  # model -> train.json
    evaluations: dict[str, dict[str, dict[str, Any]]]  # benchmark -> model -> content of its file
    selections: dict[int, dict[str, Any]]  # round -> selection.json
    samples: dict[str, Any] | None  # samples.json of the last round that has it
    gallery: dict[str, Any] | None  # evaluation/gallery.json
    robust_gallery: dict[str, Any] | None  # evaluation/robust_gallery.json
    noise: dict[str, Any] | None  # evaluation/noise.json
    seconds: dict[str, float]  # stage -> seconds, in the order of the method
    # Training -> those of its seconds that went into compilation, if known.
    compile_seconds: dict[str, float]
    missing: list[str]  # expected files that are absent
    operations: list[str]  # operations of RandAugment that the user registered, of all trainings
    is_run: bool  # False for a folder of evaluations alone, which lacks nothing


def read(workdir: Path) -> Inputs:
    """Reads the files of a run.

    Raises:
        ValueError: ``workdir`` is not a directory, or a file is damaged.
    """
    if not workdir.is_dir():
        raise ValueError(f"{workdir} is not a directory: --workdir and --compare name runs.")
    evaluation = workdir / "evaluation"
    sheets = sorted(_of_rounds(workdir, "selected/samples.json"), key=_round_of)
    settings = _read(workdir / "config.json", RunConfig) or {}
    trainings = {
        _model_name(path.parent.relative_to(workdir)): _read(path, TrainSummary)
        for path in _trainings(workdir)
    }
    evaluations = _evaluations(evaluation)
    selections = {
        _round_of(path): _read(path, SelectionReport)
        for path in _of_rounds(workdir, "selected/selection.json")
    }
    flags = settings.get("flags", {})
    models = [*trainings, *evaluations["clean"]]
    rounds = max([int(flags.get("rounds", 0)), *selections, *(order(name)[1] for name in models)])
    benchmarks = flags.get("benchmarks", ["clean", "fgsm"])
    is_run = bool(settings or trainings) or not any(evaluations.values())
    expected = _expected(rounds, sorted_names(trainings), benchmarks) if is_run else []
    return Inputs(
        settings,
        trainings,
        evaluations,
        selections,
        _read(sheets[-1], Samples) if sheets else None,
        _read(evaluation / "gallery.json", Changes),
        _read(evaluation / "robust_gallery.json", RobustGallery),
        _read(evaluation / "noise.json", NoisyViews),
        _seconds(workdir),
        _seconds(workdir, "compile_seconds"),
        [path for path in expected if not (workdir / path).exists()],
        _operations(workdir),
        is_run,
    )


def _operations(workdir: Path) -> list[str]:
    """Returns the operations of RandAugment that the user registered, of finished trainings."""
    done = [path.with_name("done.json") for path in _trainings(workdir)]
    requests = [read_json(path).get("request", {}) for path in done if path.exists()]
    return sorted({name for request in requests for name in request.get("operations", ())})


def _evaluations(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Returns benchmark -> model -> content of its file.

    A baseline of ``evaluate --baseline_model`` is a further model. Where its weights are those of a
    model with a folder of its own, its results fill in what that one lacks.
    """
    found: dict[str, dict[str, Any]] = {
        benchmark: {
            path.parent.name: _evaluation(path, benchmark)
            for path in evaluation.glob(f"*/{benchmark}.json")
        }
        for benchmark in ("clean", *BENCHMARKS)
    }
    weights = {
        content["request"].get("weights"): name
        for contents in found.values()
        for name, content in contents.items()
    }
    for folder in sorted(evaluation.glob("*/baseline")):
        paths = {name: folder / f"{name}.json" for name in found}
        contents = {name: _evaluation(p, name) for name, p in paths.items() if p.exists()}
        for benchmark, content in contents.items():
            title, key = content["model"], content["request"].get("weights", str(folder))
            name = f"{title} (baseline)"
            if title == "baseline" or name in weights.values():
                name = f"baseline of {folder.parent.name}"
            found[benchmark].setdefault(weights.setdefault(key, name), content)
    return found


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


def _seconds(
    workdir: Path, kind: Literal["seconds", "compile_seconds"] = "seconds"
) -> dict[str, float]:
    """Returns the seconds of every finished stage that has them, in the order of the method."""
    stages: list[tuple[tuple[int, int, int], str, Path]] = []
    for path in _trainings(workdir):
        name = _model_name(path.parent.relative_to(workdir))
        stages.append(((*order(name)[:2], 2), f"train {name}", path))
    for position, (folder, verb) in enumerate((("pseudo_labels", "label"), ("selected", "select"))):
        for path in _of_rounds(workdir, f"{folder}/done.json"):
            number = _round_of(path)
            stages.append(((0, number, position), f"{verb} round{number}", path))
        for path in workdir.glob(f"selection/{folder}/done.json"):
            stages.append(((0, 1, position - 2), f"{verb} once", path))
    evaluation = workdir / "evaluation"
    for path in (*evaluation.glob("*/*.json"), *evaluation.glob("*/baseline/*.json")):
        if path.stem not in ("clean", *BENCHMARKS):  # not ours
            continue
        stages.append(
            ((2, 0, 0), f"evaluate {path.parent.relative_to(evaluation)} {path.stem}", path)
        )
    contents = {name: read_json(path, Timed) for _, name, path in sorted(stages)}
    return {name: content[kind] for name, content in contents.items() if kind in content}


def default_flags() -> dict[str, Any]:
    """Returns the flags of a run with their defaults, in the form of ``config.json``."""
    return {each.name: each.to_json(each.default) for each in named(schema.RUN).values()}


def file_of(name: str) -> str:
    """Returns the file of a model, such as round1_student's, relative to the work directory."""
    place = name if name.startswith("control") else name.replace("_", "/", 1)
    return f"{place}/model.keras"


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
    return BASELINES.get(name, name)


def _round_of(path: Path) -> int:
    """Returns the round of a file such as round2/selected/selection.json."""
    return int(path.parts[-3].removeprefix("round"))


def _model_name(folder: Path) -> str:
    return "_".join(folder.parts)


def _of_rounds(workdir: Path, pattern: str) -> list[Path]:
    """Returns files below the folders of rounds; others, such as round1x, are not ours."""
    found = workdir.glob(f"round*/{pattern}")
    return [p for p in found if re.fullmatch(r"round\d+", p.relative_to(workdir).parts[0])]


def _trainings(workdir: Path) -> list[Path]:
    return [*_of_rounds(workdir, "*/train.json"), *workdir.glob("control_*/train.json")]


def _evaluation(path: Path, benchmark: str) -> Any:
    content, name = _read(path, evaluation_type(benchmark)), path.parent.name
    if content["model"] != name and (path.parents[1] / content["model"]).is_dir():
        raise damaged(path, f"is of model {content['model']}")
    return content


def _read(path: Path, kind: Any) -> Any:
    """Reads a file that may be absent; one of a finished stage must be the one it finished with."""
    if not path.exists():
        return None
    integrity.check_output(path)
    return read_json(path, kind)
