"""A round of 100 000 unlabeled images through every path: records and index, NumPy and Beam.

    python -m benchmarks.full_round --data_dir=TFDS --folder=/tmp/round [--python_beam=FILE]

CIFAR-10's training images, each stored --repeats times with different ids, are labeled by a teacher
of --teacher_steps steps in four shards. They are selected as records, as an index and, with an
interpreter that has Apache Beam, on DirectRunner. One student of --student_steps steps is trained
on the records and one on the index. Decisions and students must be the same bytes. Every stage is
a user's command, and finished stages are not repeated.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from benchmarks import harness
from data import record_schema

SHARDS = 4


def write_records(data_dir: str, repeats: int, folder: Path) -> None:
    """Writes labeled, test and unlabeled images as TFRecords, with the data set's own JPEGs."""
    decoders = {"image": tfds.decode.SkipDecoding()}

    def load(split: str) -> list[tuple[bytes, int]]:
        options = {"data_dir": data_dir, "download": False, "decoders": decoders}
        images = tfds.load("cifar10", split=split, **options)
        return [(element["image"], int(element["label"])) for element in images.as_numpy_iterator()]

    def write(name: str, images: list[tuple[bytes, int]], shards: int, copies: int = 1) -> None:
        if (folder / name).exists():
            return
        certain = np.ones(1, np.float32)
        records = (
            record_schema.serialize(image, label, 1.0, certain, f"{name}/{number}/{copy}")
            for copy in range(copies)
            for number, (image, label) in enumerate(images)
        )
        record_schema.write_shards(records, folder / name, copies * len(images), shards)

    train = load("train")
    write("labeled", train[:9000], 1)
    write("test", load("test[:1000]"), 1)
    write("unlabeled", train, 10, repeats)


def run(title: str, module: str, *flags: str, interpreter: str = sys.executable) -> None:
    """Runs a command and prints its seconds and the last line of its output."""
    start = time.perf_counter()
    lines = harness.run_python("-m", module, *flags, interpreter=interpreter).strip().splitlines()
    print(f"{title:28} {time.perf_counter() - start:6.0f} s   {''.join(lines[-1:])}", flush=True)


def require_same_files(first: Path, second: Path, pattern: str) -> None:
    """Prints that the files of two folders are equal; raises a RuntimeError if they differ."""
    names = sorted(path.name for path in first.glob(pattern))
    if not names:
        raise RuntimeError(f"{first} has no {pattern}")
    for name in names:
        if (first / name).read_bytes() != (second / name).read_bytes():
            raise RuntimeError(f"{first / name} and {second / name} differ")
    print(f"{len(names)} file{'s' * (len(names) > 1)} {pattern} are equal")


def common_flags(options: argparse.Namespace) -> list[str]:
    """Returns the flags that all stages share."""
    folder = Path(options.folder)
    return [
        f"--flagfile={harness.ROOT / 'recipes' / 'cifar10.flags'}",
        "--dataset=records",
        f"--labeled_dir={folder / 'labeled'}",
        f"--test_dir={folder / 'test'}",
        f"--unlabeled_records={folder / 'unlabeled'}",
        f"--splits_file={folder / 'splits.json'}",
        "--teacher_width=0.5",
        "--student_width=0.5",
        "--warmup_steps=10",
        "--validate_every=100000",
        f"--teacher_steps={options.teacher_steps}",
        f"--student_steps={options.student_steps}",
        f"--min_confidence={options.min_confidence}",
        f"--num_shards={SHARDS}",
        f"--images_per_class={options.per_class}",
    ]


def main() -> None:
    """Runs the stages and compares."""
    options = harness.parser(
        __doc__,
        data_dir=(str, "Folder of tensorflow-datasets with cifar10."),
        folder=(str, "Folder to write to."),
        repeats=(2, "Copies of each unlabeled image."),
        teacher_steps=(600, "Steps of the teacher."),
        student_steps=(100, "Steps of each student."),
        per_class=(4333, "Images per class: 130 000 / 300 000 of 10 000."),
        min_confidence=(0.15, "Threshold; a teacher of some hundred steps is not confident."),
        python_beam=(None, "Interpreter with Apache Beam."),
    ).parse_args()
    tf.config.set_visible_devices([], "GPU")
    folder, common = Path(options.folder), common_flags(options)
    write_records(options.data_dir, options.repeats, folder)
    labels = f"--predictions_dir={folder / 'labels'}"
    run(
        "teacher",
        "noisy_student.train",
        *common,
        "--role=teacher",
        f"--output_dir={folder / 'teacher'}",
    )
    for shard in range(SHARDS):
        run(
            f"label shard {shard}",
            "noisy_student.pseudo_label",
            *common,
            f"--model={folder / 'teacher' / 'model.keras'}",
            f"--shard_index={shard}",
            f"--output_dir={folder / 'labels'}",
        )
    for kind, flags in (("records", ()), ("index", ("--index_only",))):
        output = f"--output_dir={folder / kind}"
        run(f"select {kind}", "noisy_student.selection", *common, labels, *flags, output)
    if options.python_beam:
        run(
            "decide on Beam",
            "noisy_student.selection.beam",
            labels,
            f"--output_dir={folder / 'beam'}",
            f"--min_confidence={options.min_confidence}",
            f"--images_per_class={options.per_class}",
            interpreter=options.python_beam,
        )
        require_same_files(folder / "records", folder / "beam", "chosen*")
    for kind in ("records", "index"):
        run(
            f"student of {kind}",
            "noisy_student.train",
            *common,
            "--role=student",
            f"--selected_dir={folder / kind}",
            f"--output_dir={folder / ('student_' + kind)}",
        )
    require_same_files(folder / "student_records", folder / "student_index", "model.keras")


if __name__ == "__main__":
    main()
