"""The rows of a study from the directories of its jobs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from noisy_student.ablate.jobs import RECORD, Chain, Job
from noisy_student.ablate.results import Row
from noisy_student.ablate.spec import Study
from noisy_student.artifacts import stage
from noisy_student.artifacts.files import read_json

# Summaries of a benchmark; attacks have one figure for every step size.
_SUMMARIES = (
    *("top1", "top5", "top1_all_classes", "calibration_error", "mean_error", "mce"),
    *("mean_flip_probability", "mfr"),
)


def collect(recipe: str, study: Study, chains: Iterable[Chain], root: Path) -> list[Row]:
    """The rows of a study's arms that are done, from the files of their jobs."""
    done = [chain for chain in chains if all(job.is_done(root) for job in chain.jobs)]
    jobs = {job: seconds_of(job, root) for chain in done for job in chain.jobs}
    total = round(sum(jobs.values()), 1)
    rows = []
    for chain in done:
        model = chain.trainings[-1]
        log = read_json(root / model.name / "train.json")
        versions = stage.read_done(root / model.name)["versions"]
        facts = {
            "validation_top1": log["validation_top1"],
            "steps": log["num_steps"],
            "images_seen": log["images_seen"],
            "seconds": log["seconds"],
            "chain_seconds": round(sum(jobs[job] for job in dict.fromkeys(chain.jobs)), 1),
            "study_seconds": total,
            "changed": chain.changed,
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "code": read_json(root / model.name / RECORD)["code"],
        }
        for metric, value in _figures(chain.tests, root).items():
            rows.append(Row(recipe, study.name, chain.arm.name, chain.seed, metric, value, **facts))
    return rows


def seconds_of(job: Job, root: Path) -> float:
    """Of a job that is done; of a training that was interrupted, in all its runs."""
    seconds = read_json(root / job.name / RECORD)["seconds"]
    if job.training is None:
        return seconds
    return max(seconds, stage.read_done(root / job.name)["seconds"])


def _figures(tests: Iterable[Job], root: Path) -> dict[str, float]:
    """Metric -> value, of all benchmarks of a model."""
    figures = {}
    for job in tests:
        for file in sorted((root / job.name).glob("*.json")):
            if file.name != RECORD:
                content = read_json(file)
                summary = _summary(content).items()
                figures |= {f"{content['benchmark']}.{metric}": value for metric, value in summary}
    return figures


def _summary(content: dict[str, Any]) -> dict[str, float]:
    """The figures of a benchmark, without those of single settings."""
    if "epsilons" in content:
        pairs = zip(content["epsilons"], content["top1"], strict=True)
        return {f"top1.{size:g}": float(top1) for size, top1 in pairs}
    return {name: float(content[name]) for name in _SUMMARIES if content.get(name) is not None}
