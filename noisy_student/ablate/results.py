"""What arms came to: rows of figures, as CSV and from it.

A file holds one study on one recipe, one row for every arm, seed and metric, and all that a reader
needs to make it again.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from noisy_student.ablate.spec import Study


@dataclass(frozen=True)
class Row:
    """One figure of one model.

    Attributes:
        recipe: name of the flag file.
        study: name.
        arm: name.
        seed: of the run.
        metric: a benchmark and what was measured on test images, such as clean.top1, in percent.
        value: of the metric.
        validation_top1: of the model's last step, in percent.
        steps: of the model's training.
        images_seen: likewise, labeled and unlabeled ones.
        seconds: likewise.
        chain_seconds: of all jobs that led to the figure, shared ones too.
        study_seconds: of all jobs of the study in this file, each once.
        changed: flags that are not the recipe's, stage by stage.
        versions: of packages.
        code: commit of the code that trained the model, "+" where files differed from it.
    """

    recipe: str
    study: str
    arm: str
    seed: int
    metric: str
    value: float
    validation_top1: float
    steps: int
    images_seen: int
    seconds: float
    chain_seconds: float
    study_seconds: float
    changed: str
    versions: str
    code: str


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in asdict(row).items()
            }
        )
    return text.getvalue()


def read(path: Path, study: Study) -> list[Row]:
    """The rows of a file.

    Raises:
        ValueError: naming the file and what it has that the study has not.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = [field.name for field in fields(Row)]
        if reader.fieldnames != names:
            raise ValueError(f"{path} has the columns {reader.fieldnames}, not {names}.")
        try:
            rows = [
                Row(**{field.name: field.type(line[field.name]) for field in fields(Row)})
                for line in reader
            ]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}.") from None
    known = {arm.name for arm in study.arms}
    for row in rows:
        if row.study != study.name or row.arm not in known:
            raise ValueError(
                f"{path} has the arm {row.arm!r} of {row.study}, which the study {study.name} has "
                "not: run it again."
            )
    return rows
