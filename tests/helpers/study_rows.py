"""Rows of studies with values chosen by a test."""

from collections.abc import Mapping, Sequence

from noisy_student.ablate.results import Row

FACTS = {
    "validation_top1": 91.25,
    "steps": 1000,
    "images_seen": 80000,
    "seconds": 100.5,
    "chain_seconds": 300.0,
    "study_seconds": 5400.0,
    "changed": "student1: --hard_labels",
    "versions": "python 3.12, tensorflow 2.21.0",
    "code": "abc123",
}
TOP1 = {
    "from scratch": (90.0, 92.0, 94.0),
    "from the teacher": (88.0, 89.0, 90.0),
}  # differences 2, 3, 4
BASELINE = "supervised, equal total compute"


def study_rows(
    study: str, values: Mapping[str, Sequence[float]], metric: str = "clean.top1"
) -> list[Row]:
    """Returns the rows of one metric, for arm -> value by seed."""
    return [
        Row("mnist5k", study, arm, seed, metric, value, **FACTS)
        for arm, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
