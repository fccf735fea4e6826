"""Errors of a model under corruptions, ours beside those of the package imagecorruptions.

Both corrupt the same clean images at the model's resolution; a corruption's error is the mean over
its five severities, in percent. Install the package (distribution imagecorruptions-imaug) into an
environment of its own that also has this repository's requirements.

    python -m benchmarks.corruption_errors --model=lite0.keras --test_dir=imagenet_sample
"""

import importlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
from absl import app, flags

from data import corruptions

_MODEL = flags.DEFINE_string("model", None, "A saved model (.keras).", required=True)
_FOLDER = flags.DEFINE_string("test_dir", None, "One sub-folder per class.", required=True)
_NAMES = flags.DEFINE_list("corruptions", list(corruptions.CORRUPTIONS), "Which ones.")
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "That corrupt images.", 1)
_BATCH = 50


def clean_images(spec) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The test images as the model sees them, uint8 [N, S, S, 3], labels and class names."""
    from data import folders, pipeline

    examples = folders.read_labeled(_FOLDER.value)
    batches = list(pipeline.evaluation_batches(examples, spec, _BATCH))
    real = np.concatenate([batch["index"].numpy() for batch in batches]) >= 0
    images = np.concatenate([batch["images"].numpy() for batch in batches])[real]
    labels = np.concatenate([batch["labels"].numpy() for batch in batches])[real]
    return images, labels, examples.class_names


def corrupt(job: tuple[str, str, int, np.ndarray, int]) -> np.ndarray:
    """Runs in a process of its own: the package draws from NumPy's global state."""
    arm, name, severity, image, seed = job
    cv2.setNumThreads(1)
    if arm == "ours":
        return corruptions.corrupt(image, name, severity, seed)
    np.random.seed(seed)
    package = importlib.import_module("imagecorruptions")
    return package.corrupt(image, severity=severity, corruption_name=name)


def wrong(step, labels: np.ndarray, images: Iterator[np.ndarray]) -> np.ndarray:
    """Which images the model gets wrong: bool [N]."""
    guesses = []
    for start in range(0, len(labels), _BATCH):
        batch = np.stack([next(images) for _ in labels[start : start + _BATCH]])
        guesses.append(step(batch).numpy().argmax(1))
    return np.concatenate(guesses) != labels


def main(_: list[str]) -> None:
    """Prints a row for every corruption."""
    importlib.import_module("imagecorruptions")
    pool = ProcessPoolExecutor(_PROCESSES.value, multiprocessing.get_context("spawn"))
    from noisy_student import checkpoint, inference

    model, card = checkpoint.load_model(_MODEL.value)
    images, labels, classes = clean_images(card["preprocess"])
    step = inference.predict_step(inference.for_classes(model, card["class_names"], classes))
    print(f"clean error {100 * wrong(step, labels, iter(images)).mean():.1f}")
    print(f"{'error in percent':20} {'ours':>6} {'package':>8} {'difference':>11} {'+-':>5}")
    for name in _NAMES.value:
        start, rows = time.perf_counter(), {}
        for arm in ("ours", "package"):
            jobs = (
                (arm, name, severity, image, number)
                for severity in corruptions.SEVERITIES
                for number, image in enumerate(images)
            )
            made = pool.map(corrupt, jobs, chunksize=25)
            rows[arm] = np.mean([wrong(step, labels, made) for _ in corruptions.SEVERITIES], axis=0)
        ours, theirs = (100 * rows[arm] for arm in ("ours", "package"))
        error = (ours - theirs).std(ddof=1) / np.sqrt(len(labels))
        print(
            f"{name:20} {ours.mean():6.1f} {theirs.mean():8.1f} {(ours - theirs).mean():+11.2f} "
            f"{error:5.2f}   ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
