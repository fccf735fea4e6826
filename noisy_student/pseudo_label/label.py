r"""Lets a teacher label images: eval mode, averaged weights, clean images (paper, section 2).

    python -m noisy_student.pseudo_label --model=runs/teacher/model.keras --output_dir=runs/labels \
        --num_shards=8 --shard_index=0

Shards that are there already are not computed again, and several processes may share the shards.
With --calibrate the temperature that fits validation images best makes confidences honest first.
With --noised_labels images and teacher are noised, as in an ablation of the paper. With
--reassign_dir a better teacher labels the images of an earlier selection again.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import sources
from noisy_student import config
from noisy_student.artifacts import (
    model_file,
    predictions,
    sample_sheets,
    selection_report,
    stage,
    student_set,
)
from noisy_student.artifacts.files import file_hash, files_hash, read_json, write_json
from noisy_student.config import derived, settings
from noisy_student.pseudo_label import shards
from noisy_student.runtime.devices import Devices, make_devices


def run(
    model_path: str | Path,
    examples: sources.Examples,
    output_dir: str | Path,
    devices: Devices,
    *,
    batch_size: int,
    num_shards: int = 1,
    shard_index: int | None = None,
    stored: settings.LabelConfig | None = None,
    validation: sources.Examples | None = None,
    skipped: Sequence[str] = (),
) -> dict[str, Any]:
    """Labels all examples, or one shard of them, or returns at once where all is done.

    Args:
        model_path: the teacher, as saved by `train` or converted.
        examples: images to label; their own labels are kept beside, for measuring only. A teacher
            that knows more than their classes decides among these alone.
        output_dir: of this stage alone; receives `predictions-*.parquet` and `done.json`.
        devices: from `strategy.make`.
        batch_size: images at a time.
        num_shards: files to split the examples over.
        shard_index: the only shard to write, from 0; None: all that are not there.
        stored: what of the probabilities is stored, whether they are calibrated, and the noise of
            a noised teacher.
        validation: labeled images that calibration fits.
        skipped: files or records of the source that are no images, for the record.

    Returns:
        The content of `done.json`; {} as long as shards of other processes are missing.

    Raises:
        ValueError: a model that is missing or has no card; an output_dir made to another request,
            or a shard_index out of range; nothing to calibrate with.
    """
    stored = stored or settings.LabelConfig()
    inputs = _inputs(model_path, examples, stored, validation)
    request = {"stage": "pseudo_label", "num_shards": num_shards, "inputs": inputs}
    request["stored"] = dataclasses.asdict(stored)
    done = stage.begin(output_dir, request)
    if done:
        return done
    start = time.perf_counter()
    shards.label_shards(
        model_path,
        examples,
        output_dir,
        devices,
        batch_size=batch_size,
        num_shards=num_shards,
        shard_index=shard_index,
        stored=stored,
        validation=validation,
    )
    files = [predictions.shard_path(output_dir, shard, num_shards) for shard in range(num_shards)]
    if not all(file.exists() for file in files):
        return {}
    result = {"predictions": {file.name: file_hash(file) for file in files}}
    if stored.calibrate:
        result["calibration"] = read_json(Path(output_dir) / shards.CALIBRATION)
    result |= {"num_records": len(examples), "num_skipped": len(skipped), "skipped": list(skipped)}
    return stage.finish(output_dir, request, time.perf_counter() - start, **result)


def reassign(
    model_path: str | Path,
    selected_dir: str | Path,
    examples: sources.Examples,
    output_dir: str | Path,
    devices: Devices,
    *,
    batch_size: int,
    hard_labels: bool = False,
    stored: settings.LabelConfig | None = None,
    validation: sources.Examples | None = None,
) -> dict[str, Any]:
    """Labels the images of a selected set again, without selecting anew (paper's public code).

    The new set has the same images, copies, order, shards and form (records or index). Each image
    is labeled once.

    Args:
        model_path: the better teacher.
        selected_dir: output of `selection`, or of this function.
        examples: the images that were selected from.
        output_dir: of this stage alone; receives what `selected_dir` has, with new labels.
        devices: from `strategy.make`.
        batch_size: images at a time.
        hard_labels: store one-hot probabilities.
        stored: as of `run`.
        validation: likewise.

    Returns:
        The content of `selection.json`, with "reassigned": of how many images the label changed.

    Raises:
        ValueError: as `run`; an unfinished selected_dir, or one of other images.
    """
    stored, output_dir = stored or settings.LabelConfig(), Path(output_dir)
    selected = stage.read_done(selected_dir)
    inputs = _inputs(model_path, examples, stored, validation)
    inputs["selected"] = selected["records_hash"]
    request = {"stage": "reassign", "inputs": inputs, "hard_labels": hard_labels}
    request["stored"] = dataclasses.asdict(stored)
    if stage.begin(output_dir, request):
        return read_json(output_dir / "selection.json")
    start = time.perf_counter()
    files = student_set.files_of(selected_dir)
    old = student_set.read_set(files, examples)
    kept = examples.take(old.images)
    shards.label_shards(
        model_path,
        kept,
        output_dir,
        devices,
        batch_size=batch_size,
        num_shards=len(files),
        stored=stored,
        validation=validation,
    )
    labeled = predictions.shard_files(output_dir)
    rows = student_set.arranged(
        labeled, kept, old.copies, old.places, output_dir, hard_labels=hard_labels
    )
    written = student_set.write(
        rows,
        kept,
        old.copies,
        len(examples.class_names),
        output_dir,
        len(files),
        student_set.is_index(files),
        part_of=(examples, old.images),
    )
    report = read_json(Path(selected_dir) / "selection.json")
    sheets = sample_sheets.Sheets(len(examples.class_names))
    report = _reassigned(report, labeled, old, sheets)
    sheets.write(output_dir / "samples.json", kept)
    write_json(output_dir / "selection.json", report)
    seconds = time.perf_counter() - start
    stage.finish(output_dir, request, seconds, records_hash=files_hash(written))
    return read_json(output_dir / "selection.json")


def _reassigned(
    report: dict[str, Any],
    labeled: list[Path],
    old: student_set.SelectedSet,
    sheets: sample_sheets.Sheets,
) -> dict[str, Any]:
    """The report of a selection with the new labels of its images, which `sheets` sees too."""
    class_names = report["per_class"]["names"]
    counts, changed = selection_report.Tally(len(class_names), report["min_confidence"]), 0
    names = ["label", "confidence", "true_label", "index", "id_hash"]
    for columns in predictions.read(labeled, names):
        copies = old.copies[columns["index"]]
        changed += int(np.count_nonzero(columns["label"] != old.labels[columns["index"]]))
        counts.add(*(columns[name] for name in names[:3]), copies)
        sheets.add(columns, copies)
    new = counts.report(class_names, report["images_per_class"])
    new["noised_labels"] = predictions.are_noised(labeled[0])
    return report | new | {"reassigned": {"images": len(old.images), "changed": changed}}


def _inputs(
    model_path: str | Path,
    examples: sources.Examples,
    stored: settings.LabelConfig,
    validation: sources.Examples | None,
) -> dict[str, str]:
    """Hashes of what labels are made from."""
    model_file.read_card(model_path)  # refuses what is no model
    inputs = {"model": file_hash(model_path), "examples": examples.fingerprint()}
    if stored.calibrate:
        if validation is None or not len(validation):
            raise ValueError("--calibrate needs validation images, and there are none.")
        inputs["validation"] = validation.fingerprint()
    return inputs


def _main(given: settings.Config) -> None:
    flags = config.FLAGS
    devices = make_devices(**dataclasses.asdict(given.device))
    splits = derived.load_splits(given.data, flags.splits_file)
    model, num_shards = config.required("model"), given.selection.num_shards
    if flags.dry_run:
        card = model_file.read_card(model)
        print(
            f"{model}: {len(splits.unlabeled)} unlabeled images in {num_shards} shards, "
            f"{len(card['class_names'])} classes, {card['preprocess']}"
        )
        return
    output_dir = config.required("output_dir")
    shared = {
        "batch_size": given.log.eval_batch_size,
        "stored": given.labels,
        "validation": splits.validation,
    }
    if flags.reassign_dir:
        report = reassign(
            model,
            flags.reassign_dir,
            splits.unlabeled,
            output_dir,
            devices,
            hard_labels=given.selection.hard_labels,
            **shared,
        )
        counts = report["reassigned"]
        print(f"{counts['changed']} of {counts['images']} labels changed: {output_dir}")
        return
    done = run(
        model,
        splits.unlabeled,
        output_dir,
        devices,
        num_shards=num_shards,
        shard_index=flags.shard_index,
        skipped=splits.info["skipped"],
        **shared,
    )
    state = f"{done['num_records']} images labeled" if done else "other shards are still missing"
    print(f"{state}: {output_dir}")


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "model",
            "output_dir",
            "num_shards",
            "shard_index",
            "store_top_k",
            "probabilities_dtype",
            "calibrate",
            "noised_labels",
            "reassign_dir",
            "splits_file",
            "dataset",
            "data_dir",
            "labeled_dir",
            "unlabeled_dir",
            "unlabeled_fraction",
            "unlabeled_skew",
            "num_labeled",
            "seed",
            "eval_batch_size",
            "dry_run",
        ],
    )
