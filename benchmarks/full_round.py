"""A round of 100 000 unlabeled images through every path: records and index, NumPy and Beam.

    python -m benchmarks.full_round --data_dir=TFDS --folder=/tmp/round [--python_beam=FILE]

CIFAR-10's training images, each stored --repeats times under ids of its own, are labeled by a
teacher of --teacher_steps steps in four shards, selected as records, as an index and, with an
interpreter that has Apache Beam, on DirectRunner; a student of --student_steps steps is trained on
the records and another on the index. The decisions, and the students, must be the same bytes.
Every stage is the command that a user would give; one that is done is not done again.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from data import record_schema

ROOT = Path(__file__).resolve().parents[1]
SHARDS = 4


def write_records(data_dir: str, repeats: int, folder: Path) -> None:
    """Labeled, test and unlabeled images as TFRecord files, the JPEGs as the data set has them."""
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


def run(what: str, *command: str) -> None:
    """Runs a command and prints how long it took."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    last = done.stdout.strip().splitlines()[-1:]
    print(f"{what:28} {time.perf_counter() - start:6.0f} s   {''.join(last)}", flush=True)


def same_files(first: Path, second: Path, pattern: str) -> str:
    """Says so; refuses other bytes."""
    names = sorted(path.name for path in first.glob(pattern))
    for name in names:
        if (first / name).read_bytes() != (second / name).read_bytes():
            raise RuntimeError(f"{first / name} and {second / name} differ")
    if not names:
        raise RuntimeError(f"{first} has no {pattern}")
    return f"{len(names)} file{'s' * (len(names) > 1)} {pattern} the same"


def main() -> None:
    """Runs the stages and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--teacher_steps", type=int, default=600)
    parser.add_argument("--student_steps", type=int, default=100)
    parser.add_argument("--per_class", type=int, default=4333)  # 130 000 / 300 000 of 10 000
    # Of a teacher of some hundred steps no label is sure.
    parser.add_argument("--min_confidence", type=float, default=0.15)
    parser.add_argument("--python_beam")
    options = parser.parse_args()
    folder = options.folder
    write_records(options.data_dir, options.repeats, folder)
    common = [
        f"--flagfile={ROOT / 'recipes' / 'cifar10.flags'}",
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
    python = (sys.executable, "-m")
    labels = f"--predictions_dir={folder / 'labels'}"
    train = (*python, "noisy_student.train", *common)
    run("teacher", *train, "--role=teacher", f"--output_dir={folder / 'teacher'}")
    for shard in range(SHARDS):
        run(
            f"label shard {shard}",
            *python,
            "noisy_student.pseudo_label",
            *common,
            f"--model={folder / 'teacher' / 'model.keras'}",
            f"--shard_index={shard}",
            f"--output_dir={folder / 'labels'}",
        )
    for kind, flags in (("records", ()), ("index", ("--index_only",))):
        run(
            f"select {kind}",
            *python,
            "noisy_student.selection",
            *common,
            labels,
            *flags,
            f"--output_dir={folder / kind}",
        )
    if options.python_beam:
        run(
            "decide on Beam",
            options.python_beam,
            "-m",
            "noisy_student.selection.beam",
            labels,
            f"--output_dir={folder / 'beam'}",
            f"--min_confidence={options.min_confidence}",
            f"--images_per_class={options.per_class}",
        )
        print(same_files(folder / "records", folder / "beam", "chosen*"))
    for kind in ("records", "index"):
        run(
            f"student of {kind}",
            *train,
            "--role=student",
            f"--selected_dir={folder / kind}",
            f"--output_dir={folder / ('student_' + kind)}",
        )
    print(same_files(folder / "student_records", folder / "student_index", "model.keras"))


if __name__ == "__main__":
    tf.config.set_visible_devices([], "GPU")
    main()
