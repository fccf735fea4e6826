"""The rows of a study: collected from finished jobs, written to CSV and read back.

A file holds one study on one recipe, with one row per arm, seed and metric, and all that a reader
needs to reproduce it.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from noisy_student.ablate.jobs import RECORD, Chain, Job
from noisy_student.ablate.spec import Study
from noisy_student.artifacts import stage
from noisy_student.artifacts.files import read_json
from noisy_student.report.text import csv_name, csv_text

# Summary metrics of benchmarks; attacks have one accuracy per step size instead.
_SUMMARIES = (
    *("top1", "top5", "top1_all_classes", "calibration_error", "mean_error", "mce"),
    "relative_to_alexnet",
    *("mean_flip_probability", "mfr"),
)


@dataclass(frozen=True)
class Row:
    """One metric of one model; the fields are the columns of the CSV file."""

    recipe: str  # name of the flag file
    study: str
    arm: str
    seed: int  # seed of the chain
    metric: str  # benchmark and measure on test images, such as clean.top1
    value: float  # of the metric, in percent
    validation_top1: float  # at the last step of the model's training, in percent
    steps: int  # of the model's training
    images_seen: int  # labeled and unlabeled images of the model's training
    seconds: float  # of the model's training
    chain_seconds: float  # of all jobs of the chain, shared ones included
    study_seconds: float  # of all jobs of the study in this file, each once
    changed: str  # flags that differ from the recipe's, stage by stage
    versions: str  # of packages
    code: str  # commit of the code that trained the model; "+" marks uncommitted changes


def collect(recipe: str, study: Study, chains: Iterable[Chain], root: Path) -> list[Row]:
    """Returns the rows of a study's finished arms.

    `chains` are its arms at each seed; `root` is the directory of their jobs.
    """
    done = [chain for chain in chains if all(job.is_done(root) for job in chain.jobs)]
    seconds = {job: seconds_of(job, root) for chain in done for job in chain.jobs}
    rows = []
    for chain in done:
        model = root / chain.trainings[-1].name
        log = read_json(model / "train.json")
        versions = stage.read_done(model)["versions"]
        facts = {
            "validation_top1": log["validation_top1"],
            "steps": log["num_steps"],
            "images_seen": log["images_seen"],
            "seconds": log["seconds"],
            "chain_seconds": round(sum(seconds[job] for job in set(chain.jobs)), 1),
            "study_seconds": round(sum(seconds.values()), 1),
            "changed": chain.changed,
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "code": read_json(model / RECORD)["code"],
        }
        for metric, value in _metrics(chain.tests, root).items():
            rows.append(Row(recipe, study.name, chain.arm.name, chain.seed, metric, value, **facts))
    return rows


def seconds_of(job: Job, root: Path) -> float:
    """Returns the seconds of a finished job; those of a resumed training cover all its runs."""
    seconds = read_json(root / job.name / RECORD)["seconds"]
    if job.training is None:
        return seconds
    return max(seconds, stage.read_done(root / job.name, checked=False)["seconds"])


def _metrics(tests: Iterable[Job], root: Path) -> dict[str, float]:
    """Returns metric -> value for all benchmarks of a model."""
    metrics = {}
    for job in tests:
        for file in sorted((root / job.name).glob("*.json")):
            if file.name != RECORD:
                content = read_json(file)
                for measure, value in _summary(content).items():
                    metrics[f"{content['benchmark']}.{measure}"] = value
    return metrics


def _summary(content: dict[str, Any]) -> dict[str, float]:
    """Returns the summary metrics of one benchmark's file."""
    if "epsilons" in content:
        pairs = zip(content["epsilons"], content["top1"], strict=True)
        return {f"top1.{size:g}": float(top1) for size, top1 in pairs}
    return {name: float(content[name]) for name in _SUMMARIES if content.get(name) is not None}


def to_csv(rows: Sequence[Row]) -> str:
    """Formats rows as CSV, with six significant digits; no cell is a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in asdict(row).items()})
    return text.getvalue()


def _cell(value: str | float | None) -> str | int | None:
    if isinstance(value, str):
        return csv_text(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def read(path: Path, study: Study) -> list[Row]:
    """Reads the rows of a CSV file.

    Raises:
        ValueError: the file is damaged or has an arm that the study does not have.
    """
    columns = Row.__annotations__
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(columns):
            raise ValueError(f"{path} has the columns {reader.fieldnames}, not {list(columns)}")
        try:
            rows = [
                Row(**{name: kind(csv_name(line[name])) for name, kind in columns.items()})
                for line in reader
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
    known = {arm.name for arm in study.arms}
    for row in rows:
        if row.study != study.name or row.arm not in known:
            raise ValueError(
                f"{path} has arm {row.arm!r} of study {row.study}, which is not in study "
                f"{study.name}: run the study again, or collect it with --collect_only"
            )
    return rows
