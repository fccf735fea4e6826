r"""Labels images with a teacher: eval mode, averaged weights, clean images (paper, algorithm 1).

    python -m noisy_student.pseudo_label --flagfile=recipes/mnist5k.flags \
        --model=runs/teacher/model.keras --output_dir=runs/labels
    python -m noisy_student.pseudo_label --model=b0.keras --dataset=folder \
        --unlabeled_dir=photos/unlabeled --output_dir=runs/labels --num_shards=8 --shard_index=0
    python -m noisy_student.pseudo_label --flagfile=recipes/mnist5k.flags \
        --model=runs/student/model.keras --reassign_dir=runs/selected --output_dir=runs/relabeled

Finished shards are kept, and several processes can share the work by shard. --calibrate first fits
the temperature of the probabilities on the validation images. --noised_labels adds noise to the
images and the teacher, an ablation in the paper. --reassign_dir relabels the images of an earlier
selection with a new teacher.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import sources
from noisy_student import config
from noisy_student.artifacts import disk, model_file, predictions, student_set
from noisy_student.artifacts.files import file_hash, read_json
from noisy_student.artifacts.json_files import Done
from noisy_student.artifacts.stage import open_stage, read_done
from noisy_student.config import derived, schema
from noisy_student.pseudo_label import relabel, shards
from noisy_student.pseudo_label.teacher import CALIBRATION, Teacher
from noisy_student.runtime.devices import make_devices


def run(
    teacher: Teacher,
    examples: sources.Examples,
    output_dir: str | Path,
    *,
    num_shards: int = 1,
    shard_index: int | None = None,
    skipped: Sequence[str] = (),
) -> Done | None:
    """Labels all examples or one shard of them; returns at once if finished.

    Args:
        teacher: the model.
        examples: images to label. Their true labels are also stored, only to measure accuracy.
        output_dir: directory for this stage only; receives `predictions-*.parquet` and
            `done.json`.
        num_shards: number of files.
        shard_index: the single shard to write, from 0; None: all missing shards.
        skipped: files or records of the source that are not images; listed in `done.json`.

    Returns:
        The content of `done.json`; None while shards of other processes are missing.

    Raises:
        ValueError: the model file is invalid, shard_index is out of range, there are no images to
            calibrate on, or output_dir holds the labels of another request.
    """
    request = {
        "stage": "pseudo_label",
        "num_shards": num_shards,
        "inputs": teacher.inputs(examples),
        "stored": dataclasses.asdict(teacher.settings),
    }
    stage = open_stage(output_dir, request)
    if stage.done:
        return stage.done
    labeler = teacher.labeler(examples, output_dir)
    shards.write(labeler, examples, output_dir, num_shards, shard_index)
    files = [predictions.shard_path(output_dir, shard, num_shards) for shard in range(num_shards)]
    if not all(file.exists() for file in files):
        return None
    result: dict[str, Any] = {"predictions": {file.name: file_hash(file) for file in files}}
    if teacher.settings.calibrate:
        result["calibration"] = read_json(Path(output_dir) / CALIBRATION, dict[str, Any])
    result |= {"num_records": len(examples), "num_skipped": len(skipped), "skipped": list(skipped)}
    return stage.finish([*files, CALIBRATION], **result)


def _main(settings: config.Config) -> None:
    given = settings.group(schema.LabelCommandConfig)
    devices = make_devices(**dataclasses.asdict(settings.device))
    splits = derived.load_splits(settings.data, given.splits_file)
    model = model_file.find("model", settings.required("model"))
    num_shards = settings.selection.num_shards
    output_dir, shard_index = settings.required("output_dir"), given.shard_index
    disk.check_writable("output_dir", output_dir)
    if shard_index is not None and shard_index >= num_shards:
        raise ValueError(f"--shard_index={shard_index}: must be below --num_shards={num_shards}.")
    card = model_file.check_classes("model", model, splits.class_names)
    teacher = Teacher(
        model, devices, settings.log.eval_batch_size, settings.labels, splits.validation
    )
    teacher.inputs(splits.unlabeled)
    if given.reassign_dir:
        read_done(given.reassign_dir, "records_hash")
        student_set.check_classes(given.reassign_dir, splits.class_names)
    if given.dry_run:
        print(
            f"{model}: {len(splits.unlabeled)} unlabeled images in {num_shards} shards, "
            f"{len(card['class_names'])} classes, {card['preprocess']}"
        )
        return
    if given.reassign_dir:
        report = relabel.reassign(
            teacher,
            given.reassign_dir,
            splits.unlabeled,
            output_dir,
            hard_labels=settings.selection.hard_labels,
        )
        counts = report["reassigned"]
        print(f"{counts['changed']} of {counts['images']} labels changed: {output_dir}")
        return
    done = run(
        teacher,
        splits.unlabeled,
        output_dir,
        num_shards=num_shards,
        shard_index=shard_index,
        skipped=splits.info["skipped"],
    )
    state = (
        f"{done['num_records']} images labeled"
        if done
        else "shard written, other shards are still missing"
    )
    print(f"{state}: {output_dir}")


def command() -> None:
    """Runs ``python -m noisy_student.pseudo_label``."""
    config.run(
        _main,
        schema.LabelCommandConfig,
        *schema.LABELS,
        schema.DataConfig,
        schema.NoiseConfig,
        schema.SelectionConfig,
        schema.DeviceConfig,
        schema.LogConfig,
    )
