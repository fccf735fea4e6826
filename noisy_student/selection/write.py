r"""Makes a student's training set of pseudo labels: filters, balances and shuffles them.

    python -m noisy_student.selection --predictions_dir=runs/labels --output_dir=runs/selected \
        --dataset=... --min_confidence=0.3 --images_per_class=130000

Reads the predictions until the decision is found (`narrowing`), once to apply it and once more for
the distributions of what was taken (`student_set`). Writes, in an order that depends on the seed
and the images alone, TFRecords as the published code does (plus id and copy) or, with --index_only,
an index of the images, which training joins with them so that none is copied. Both train alike.
Beside them the decision (`chosen`, `decision.json`), `selection.json`, which says what was taken,
and `samples.json` with pictures of some of it.
"""

import dataclasses
import functools
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from data import sources
from noisy_student import config
from noisy_student.artifacts import (
    decision_index,
    predictions,
    sample_sheets,
    selection_report,
    stage,
    student_set,
)
from noisy_student.artifacts.files import file_hash, files_hash, read_json, write_json
from noisy_student.config import derived
from noisy_student.selection import radix
from noisy_student.selection import rule as balance
from noisy_student.selection.rule import ClassStatistics, Decision, copies_for, decide, select

__all__ = ["ClassStatistics", "Decision", "copies_for", "decide", "run", "select", "write_selected"]


def run(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    settings: config.SelectionConfig,
    decision_file: str | Path | None = None,
) -> dict[str, Any]:
    """Selects, or returns at once where `output_dir` is finished.

    Args:
        predictions_dir: finished output of `pseudo_label` for the same examples.
        output_dir: of this stage alone; receives records, `selection.json` and `done.json`.
        examples: the images.
        settings: filter, balance and files.
        decision_file: `decision.json` of a selection from a larger set that these predictions are
            a part of; it takes the place of the settings of filter and balance.

    Returns:
        The content of `selection.json`.

    Raises:
        ValueError: unfinished predictions, or those of other images; nothing reaches the
            confidence; an output_dir made to another request.
    """
    output_dir = Path(output_dir)
    inputs = {"predictions": stage.read_done(predictions_dir)["predictions"]}
    decided = None
    if decision_file:
        inputs["decision"] = file_hash(decision_file)
        decided = balance.Decision.from_dict(read_json(decision_file))
    request = {"stage": "selection", "settings": dataclasses.asdict(settings), "inputs": inputs}
    if stage.begin(output_dir, request):
        return read_json(output_dir / "selection.json")
    start = time.perf_counter()
    files = write_selected(
        predictions_dir,
        output_dir,
        examples,
        min_confidence=settings.min_confidence,
        images_per_class=settings.images_per_class,
        hard_labels=settings.hard_labels,
        num_shards=settings.num_shards,
        seed=settings.seed,
        max_copies=settings.max_copies,
        index_only=settings.index_only,
        decided=decided,
    )
    seconds = time.perf_counter() - start
    stage.finish(output_dir, request, seconds, records_hash=files_hash(files))
    report = read_json(output_dir / "selection.json")
    if empty := report["empty_classes"]:
        print(f"selection: no pseudo label of {', '.join(empty)} reaches {settings.min_confidence}")
    return report


def write_selected(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    *,
    min_confidence: float,
    images_per_class: int | str,
    hard_labels: bool = False,
    num_shards: int = 4,
    seed: int = 0,
    max_copies: int | None = None,
    index_only: bool = False,
    decided: balance.Decision | None = None,
) -> list[Path]:
    """Writes student-ready records, or an index of images, and then `selection.json`.

    Args:
        predictions_dir: with all shards of predictions.
        output_dir: of the files.
        examples: the images that the predictions are of.
        min_confidence: pseudo labels below it are dropped (paper: 0.3).
        images_per_class: target per class (paper: 130 000), or "auto": the largest class's count,
            or "none": no balance.
        hard_labels: store one-hot probabilities in place of the teacher's.
        num_shards: files of records.
        seed: of the order.
        max_copies: how often an image is written at most; None: as often as need be.
        index_only: write an index (`data.pipeline.selected_index`) in place of records.
        decided: the decision on a larger set that these predictions are a part of; takes the place
            of min_confidence, images_per_class and max_copies.

    Returns:
        The files of records or of the index.

    Raises:
        ValueError: predictions of other images; a label or confidence out of range; nothing reaches
            min_confidence; other such files are in output_dir.
    """
    files = predictions.shard_files(predictions_dir)
    class_names = _class_names(files, examples)
    num_classes = len(class_names)
    decision = decided or _decide(files, num_classes, min_confidence, images_per_class, max_copies)
    output_dir, name = Path(output_dir), "index" if index_only else "records"
    _refuse_other_files(output_dir, name, num_shards)
    copies, counts, sheets = _apply(files, decision, len(examples), output_dir)
    places = student_set.random_places(copies, seed)
    rows = student_set.arranged(
        files, examples, copies, places, output_dir, hard_labels=hard_labels
    )
    del places
    written = student_set.write(
        rows, examples, copies, num_classes, output_dir, num_shards, index_only
    )
    report = counts.report(class_names, decision.images_per_class)
    rule = {"auto": "auto: the largest class", "none": "none: no balance"}
    rule = "decision file" if decided else rule.get(str(images_per_class), "given")
    report |= {"images_per_class_rule": rule}
    report |= {"max_copies": decision.max_copies, "index_only": index_only}
    report |= {"noised_labels": predictions.are_noised(files[0])}
    sheets.write(output_dir / "samples.json", examples)
    write_json(output_dir / "decision.json", decision.to_dict())
    write_json(output_dir / "selection.json", report)
    return written


def _decide(
    files: list[Path],
    num_classes: int,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None,
) -> balance.Decision:
    """The decision on the predictions in these files; ValueError where it drops all of them."""
    read = functools.partial(predictions.decision_columns, files, num_classes)
    decision = radix.decide(read, num_classes, min_confidence, images_per_class, max_copies)
    if not decision.above.any():
        largest = max(float(confidences.max(initial=0.0)) for _, confidences, _ in read(False))
        raise ValueError(
            f"min_confidence = {min_confidence} drops all {decision.before.sum()} pseudo labels; "
            f"the largest confidence is {largest:.3f}"
        )
    return decision


def _class_names(files: list[Path], examples: sources.Examples) -> list[str]:
    """Class names of the predictions, which must all be one model's, of these examples."""
    card = predictions.read_card(files[0])
    for file in files:
        other = predictions.read_card(file)
        if other != card:
            raise ValueError(f"{file} was made by another model or of other images: {other}")
    if card["examples"] != examples.fingerprint():
        raise ValueError(f"{files[0].parent} has predictions of other images than those given")
    return card["class_names"]


def _refuse_other_files(output_dir: Path, name: str, num_shards: int) -> None:
    """Files of an earlier selection of another kind or number would be trained on too."""
    files = [*output_dir.glob("records-*"), *output_dir.glob("index-*")]
    ours = re.compile(rf"{name}-\d+-of-{num_shards:05d}\..*")
    others = sorted(file.name for file in files if not ours.fullmatch(file.name))
    if others:
        raise ValueError(f"{output_dir} has other records ({others[0]}, ...); remove them first")


def _apply(
    files: list[Path], decision: Decision, num_examples: int, output_dir: Path
) -> tuple[np.ndarray, selection_report.Tally, sample_sheets.Sheets]:
    """Writes the decision; returns copies of each example, int32 [N], counts and sheets."""
    num_classes = len(decision.above)
    counts, sheets = (
        selection_report.Tally(num_classes, decision.min_confidence),
        sample_sheets.Sheets(num_classes),
    )
    writer = decision_index.Writer(output_dir, decision)
    copies = np.zeros(num_examples, np.int32)
    names = ["label", "confidence", "id_hash", "index", "true_label"]
    for columns in predictions.read(files, names):
        labels, confidences, ids = (columns[name] for name in names[:3])
        taken = copies_for(labels, confidences, ids, decision)
        copies[columns["index"]] = taken
        writer.add(ids, labels, taken)
        counts.add(labels, confidences, columns["true_label"], taken)
        sheets.add(columns, taken)
    writer.close()
    return copies, counts, sheets


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    splits = derived.load_splits(settings.data, flags.splits_file)
    predictions_dir = config.required("predictions_dir")
    if flags.dry_run:
        files = predictions.shard_files(predictions_dir)
        print(
            f"{predictions_dir}: {len(files)} shards, {len(splits.unlabeled)} images\n"
            f"{settings.selection}"
        )
        return
    output_dir = config.required("output_dir")
    report = run(
        predictions_dir, output_dir, splits.unlabeled, settings.selection, flags.decision_file
    )
    print(
        f"{report['num_kept']} of {report['num_records']} images kept, "
        f"{report['num_written']} records written: {output_dir}"
    )


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "predictions_dir",
            "output_dir",
            "decision_file",
            "min_confidence",
            "images_per_class",
            "max_copies",
            "hard_labels",
            "index_only",
            "num_shards",
            "splits_file",
            "dataset",
            "data_dir",
            "labeled_dir",
            "unlabeled_dir",
            "unlabeled_fraction",
            "unlabeled_skew",
            "num_labeled",
            "seed",
            "dry_run",
        ],
    )
