r"""Errors of a model under the corruptions of the package imagecorruptions, beside ours.

The package corrupts the same clean images at the model's resolution. The errors under this
repository's corruptions are read from the output of
`noisy_student.evaluate --benchmarks=corruptions`. A corruption's error is the mean over its five
severities, in percent. Install the package (distribution imagecorruptions-imaug) into an
environment of its own, together with this repository's requirements.

--package_constants=published gives the package's frost and elastic transform the constants and
photographs of ImageNet-C, so that only the code still differs.

    python -m benchmarks.corruption_errors --model=lite0.keras --test_dir=imagenet_sample \
        --evaluation=lite0/corruptions.json
"""

import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks import harness, package_constants
from data import corruptions

_BATCH = 50
Job = tuple[str, int, np.ndarray, int]


def prepare(published: bool) -> None:
    """Initializes each of the corrupting processes."""
    package = importlib.import_module("imagecorruptions")
    if published:
        package_constants.set_published(package)


def corrupt(job: Job) -> np.ndarray:
    """Corrupts an image in a process of its own: the package uses NumPy's global generator."""
    name, severity, image, seed = job
    cv2.setNumThreads(1)
    np.random.seed(seed)
    package = importlib.import_module("imagecorruptions")
    return package.corrupt(image, severity=severity, corruption_name=name)


def _classifier(
    model_path: str, folder: str
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """Returns the function from images to probabilities, the clean images, and their labels."""
    # Imported here: the corrupting processes import this module and need no TensorFlow.
    from data import pipeline
    from data.sources import folders
    from noisy_student.artifacts import model_file
    from noisy_student.runtime import inference

    model, card = model_file.load_model(model_path)
    examples = folders.read_labeled(folder)
    batches = pipeline.evaluation_batches(examples, card["preprocess"], batch_size=_BATCH)
    images = np.concatenate([batch["images"].numpy() for batch in batches])[: len(examples)]
    classify = inference.for_classes(model, card["class_names"], examples.class_names)
    step = inference.predict_step(classify)
    return lambda batch: step(batch).numpy(), images, examples.labels


def main() -> None:
    """Prints a row per corruption."""
    options = harness.parser(
        __doc__,
        model=(str, "Saved model (.keras)."),
        test_dir=(str, "Folder with one sub-folder per class."),
        evaluation=(str, "The model's corruptions.json."),
        corruptions=(list(corruptions.TEST_CORRUPTIONS), "Corruptions to compare."),
        package_constants=("own", "Constants of frost and elastic transform: own or published."),
        processes=(os.cpu_count() or 1, "Processes that corrupt images."),
    ).parse_args()
    importlib.import_module("imagecorruptions")
    pool = ProcessPoolExecutor(
        options.processes,
        multiprocessing.get_context("spawn"),
        prepare,
        (options.package_constants == "published",),
    )
    errors = json.loads(Path(options.evaluation).read_text())["errors"]
    classify, images, labels = _classifier(options.model, options.test_dir)
    print(f"{'error in percent':20} {'ours':>6} {'package':>8} {'difference':>11}")
    for name in options.corruptions:
        start, package_errors = time.perf_counter(), []
        for severity in corruptions.SEVERITIES:
            jobs = ((name, severity, image, number) for number, image in enumerate(images))
            corrupted = pool.map(corrupt, jobs, chunksize=25)
            guesses = []
            for first in range(0, len(images), _BATCH):
                batch = [next(corrupted) for _ in images[first : first + _BATCH]]
                guesses.append(classify(np.stack(batch)).argmax(1))
            package_errors.append(np.mean(np.concatenate(guesses) != labels))
        ours = 100 * np.array([errors[name][str(each)] for each in corruptions.SEVERITIES])
        theirs = 100 * np.array(package_errors)
        levels = ", ".join(f"{a:.1f} / {b:.1f}" for a, b in zip(ours, theirs, strict=True))
        print(
            f"{name:20} {ours.mean():6.1f} {theirs.mean():8.1f} {(ours - theirs).mean():+11.2f}"
            f"   by severity {levels}   ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
