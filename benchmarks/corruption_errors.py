"""Errors of a model under the corruptions of the package imagecorruptions, beside those under ours.

The package corrupts the same clean images at the model's resolution; ours are in what
`noisy_student.evaluate --benchmarks=corruptions` has written for them. A corruption's error is the
mean over its five severities, in percent. Install the package (distribution imagecorruptions-imaug)
into an environment of its own that also has this repository's requirements.
--package_constants=published gives its frost and elastic transform the constants and photographs
of ImageNet-C, so that what still differs is the code.

    python -m benchmarks.corruption_errors --model=lite0.keras --test_dir=imagenet_sample \
        --evaluation=lite0/corruptions.json
"""

import importlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from absl import app, flags

from benchmarks import package_constants
from data import corruptions

_MODEL = flags.DEFINE_string("model", None, "A saved model (.keras).", required=True)
_FOLDER = flags.DEFINE_string("test_dir", None, "One sub-folder per class.", required=True)
_EVALUATION = flags.DEFINE_string("evaluation", None, "corruptions.json of it.", required=True)
_NAMES = flags.DEFINE_list("corruptions", list(corruptions.TEST_CORRUPTIONS), "Which ones.")
_CONSTANTS = flags.DEFINE_enum(
    "package_constants", "own", ["own", "published"], "Of its frost and elastic transform."
)
_PROCESSES = flags.DEFINE_integer("processes", os.cpu_count(), "That corrupt images.", 1)
_BATCH = 50


def prepare(published: bool) -> None:
    """Runs first in each of the processes that corrupt."""
    package = importlib.import_module("imagecorruptions")
    if published:
        package_constants.set_published(package)


def corrupt(job: tuple[str, int, np.ndarray, int]) -> np.ndarray:
    """Runs in a process of its own: the package draws from NumPy's global state."""
    name, severity, image, seed = job
    cv2.setNumThreads(1)
    np.random.seed(seed)
    package = importlib.import_module("imagecorruptions")
    return package.corrupt(image, severity=severity, corruption_name=name)


def main(_: list[str]) -> None:
    """Prints a row for every corruption."""
    importlib.import_module("imagecorruptions")
    pool = ProcessPoolExecutor(
        _PROCESSES.value,
        multiprocessing.get_context("spawn"),
        prepare,
        (_CONSTANTS.value == "published",),
    )
    from data import pipeline
    from data.sources import folders
    from noisy_student.artifacts import model_file
    from noisy_student.runtime import inference

    ours = json.loads(Path(_EVALUATION.value).read_text())["errors"]
    model, card = model_file.load_model(_MODEL.value)
    examples = folders.read_labeled(_FOLDER.value)
    batches = list(pipeline.evaluation_batches(examples, card["preprocess"], batch_size=_BATCH))
    images = np.concatenate([batch["images"].numpy() for batch in batches])[: len(examples)]
    decide = inference.for_classes(model, card["class_names"], examples.class_names)
    step = inference.predict_step(decide)
    print(f"{'error in percent':20} {'ours':>6} {'package':>8} {'difference':>11}")
    for name in _NAMES.value:
        start, errors = time.perf_counter(), []
        for severity in corruptions.SEVERITIES:
            jobs = ((name, severity, image, number) for number, image in enumerate(images))
            made = pool.map(corrupt, jobs, chunksize=25)
            guesses = []
            for first in range(0, len(images), _BATCH):
                batch = [next(made) for _ in images[first : first + _BATCH]]
                guesses.append(step(np.stack(batch)).numpy().argmax(1))
            errors.append(np.mean(np.concatenate(guesses) != examples.labels))
        own = 100 * np.array([ours[name][str(severity)] for severity in corruptions.SEVERITIES])
        theirs = 100 * np.array(errors)
        seconds = time.perf_counter() - start
        difference = (own - theirs).mean()
        print(f"{name:20} {own.mean():6.1f} {theirs.mean():8.1f} {difference:+11.2f}", end="")
        levels = ", ".join(f"{a:.1f} / {b:.1f}" for a, b in zip(own, theirs, strict=True))
        print(f"   by severity {levels}   ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    app.run(main)
