"""Relabels the images of a selected set with a new teacher, as in the paper's public code.

The new set has the same images, copies, order, shards and form (records or index) as the old one.
"""

import dataclasses
from pathlib import Path

import numpy as np

from data import sources
from noisy_student.artifacts import predictions, sample_sheets, selection_report, student_set
from noisy_student.artifacts.files import files_hash, read_json, write_json
from noisy_student.artifacts.json_files import SelectionReport
from noisy_student.artifacts.stage import open_stage, read_done
from noisy_student.pseudo_label import shards
from noisy_student.pseudo_label.teacher import CALIBRATION, Teacher


def reassign(
    teacher: Teacher,
    selected_dir: str | Path,
    examples: sources.Examples,
    output_dir: str | Path,
    *,
    hard_labels: bool = False,
) -> SelectionReport:
    """Relabels the images of a selected set with a new teacher; returns at once if finished.

    Each image is labeled once, however many copies the set has.

    Args:
        teacher: the new model.
        selected_dir: output of `selection`, or of this function.
        examples: the images that the set was selected from.
        output_dir: directory for this stage only; receives the files of `selected_dir` with new
            labels.
        hard_labels: whether to store one-hot probabilities.

    Returns:
        The content of `selection.json`, with the number of changed labels under "reassigned".

    Raises:
        ValueError: see `label.run`; or `selected_dir` is not finished or has other images or
            classes.
    """
    output_dir, selected_dir = Path(output_dir), Path(selected_dir)
    inputs = teacher.inputs(examples)
    inputs["selected"] = read_done(selected_dir, "records_hash")["records_hash"]
    student_set.check_classes(selected_dir, examples.class_names)
    request = {"stage": "reassign", "inputs": inputs, "hard_labels": hard_labels}
    request["stored"] = dataclasses.asdict(teacher.settings)
    stage = open_stage(output_dir, request)
    if not stage.done:
        with stage.locked():
            files = student_set.files_of(selected_dir)
            old = student_set.read_set(files, examples)
            kept = examples.take(old.images)
            shards.write(teacher.labeler(kept, output_dir), kept, output_dir, len(files))
            labels = predictions.shard_files(output_dir)
            written = student_set.write(
                labels,
                kept,
                old.copies,
                old.positions,
                output_dir,
                student_set.form_of(files, hard_labels),
                within=(examples, old.images),
            )
            reports = _write_report(selected_dir, output_dir, kept, old)
            outputs: list[str | Path] = [*labels, *written, *reports, CALIBRATION]
            stage.finish(outputs, records_hash=files_hash(written))
    return read_json(output_dir / "selection.json", SelectionReport)


def _write_report(
    selected_dir: Path, output_dir: Path, kept: sources.Examples, old: student_set.SelectedSet
) -> list[Path]:
    """Writes samples, and the report of the old selection with the new labels of its images."""
    old_report: SelectionReport = read_json(selected_dir / "selection.json", SelectionReport)
    class_names = old_report["per_class"]["names"]
    report = selection_report.ReportBuilder(len(class_names), old_report["min_confidence"])
    sheets = sample_sheets.Sheets(len(class_names))
    shard_files = predictions.shard_files(output_dir)
    changed = 0
    for columns in predictions.read(shard_files, selection_report.COLUMNS):
        copies = old.copies[columns["index"]]
        changed += int(np.count_nonzero(columns["label"] != old.labels[columns["index"]]))
        report.add(columns, copies)
        sheets.add(columns, copies)
    sheets.write(output_dir / "samples.json", kept)
    new = report.build(class_names, old_report["images_per_class"])
    new["noised_labels"] = predictions.are_noised(shard_files[0])
    new["reassigned"] = {"images": len(old.images), "changed": changed}
    paths = [output_dir / name for name in ("selection.json", "samples.json")]
    write_json(paths[0], {**old_report, **new})
    return paths
