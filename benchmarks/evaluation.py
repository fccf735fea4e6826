"""Evaluation on stored data beside the bare forward pass, in images per second.

The bare arm is the compiled pass alone, on batches in memory, with results fetched. The others are
what evaluation runs for each kind of data: photographs (JPEG), corrupted images stored at the
model's resolution, videos (H.264, 31 frames), and arrays. Building a pipeline takes 0.2 s of CPU
time, so use enough images.

    python -m benchmarks.evaluation --model=lite0.keras --images=../shared/data/imagenet_sample
    python -m benchmarks.evaluation --model=runs/mnist5k/round2/student/model.keras --arrays=20000
"""

import argparse
import functools
import pathlib
import tempfile
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import tensorflow as tf

from benchmarks import harness
from data import pipeline, robustness_sets
from data.examples import DecodedExamples, Examples
from data.sources import folders
from noisy_student.artifacts import model_file
from noisy_student.evaluate import perturbations
from noisy_student.evaluate.evaluated_model import EvaluatedModel

_FRAMES = 31


def _nothing(_: int) -> None:
    """Ignores the progress."""


def _files(model: EvaluatedModel, examples: Examples, cropped: bool) -> Callable[[], int]:
    """Classifies a folder of images."""

    def arm() -> int:
        model.predictions(examples, _nothing, cropped)
        return len(examples)

    return arm


def _corrupted(model: EvaluatedModel, examples: Examples, folder: pathlib.Path) -> Examples:
    """Stores images at the model's resolution like ImageNet-C, as JPEG of quality 85."""
    batches = pipeline.evaluation_batches(examples, model.spec, batch_size=1)
    for number, batch in enumerate(batches):
        name = model.class_names[int(batch["labels"][0])]
        (folder / name).mkdir(parents=True, exist_ok=True)
        encoded = tf.io.encode_jpeg(batch["images"][0], quality=85).numpy()
        (folder / name / f"{number}.JPEG").write_bytes(encoded)
    return folders.read_labeled(str(folder), model.class_names)


def _videos(model: EvaluatedModel, examples: Examples, folder: pathlib.Path) -> Callable[[], int]:
    """Classifies every frame of some videos, stored like ImageNet-P."""
    count = max(1, len(examples) // _FRAMES)
    batch = next(iter(pipeline.evaluation_batches(examples, model.spec, batch_size=count)))
    for number, image in enumerate(batch["images"].numpy()):
        path = folder / "tilt" / "n00000000" / f"{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(30))
            stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            for shift in range(_FRAMES):
                moved = av.VideoFrame.from_ndarray(np.roll(image, shift, 1), format="rgb24")
                container.mux(stream.encode(moved))
            container.mux(stream.encode(None))
    sets = robustness_sets.imagenet_p(str(folder))

    def arm() -> int:
        with tempfile.TemporaryDirectory() as output:
            perturbations.evaluate_stored(model, sets, ["tilt"], pathlib.Path(output), {})
        return count * _FRAMES

    return arm


def _bare(model: EvaluatedModel, images: np.ndarray) -> Callable[[], int]:
    """Runs the compiled pass on batches in memory."""
    batches = [
        tf.constant(images[start : start + model.batch_size])
        for start in range(0, len(images) - model.batch_size + 1, model.batch_size)
    ]

    def arm() -> int:
        for batch in batches:
            model.predict(batch).numpy()
        return len(batches) * model.batch_size

    return arm


def _arms(
    model: EvaluatedModel, scratch: pathlib.Path, options: argparse.Namespace
) -> dict[str, Callable[[], int]]:
    """Returns arms that run once and return their number of images, the bare pass first."""
    if options.arrays:
        side = model.spec.image_size
        stored = np.random.default_rng(0).integers(
            0, 256, (options.arrays, side, side, 3), np.uint8
        )
        np.save(scratch / "images.npy", stored)
        mapped = np.load(scratch / "images.npy", mmap_mode="r")
        labels = np.zeros(len(mapped), np.int32)
        ids = np.arange(len(mapped)).astype(str).astype(object)
        examples = DecodedExamples(ids, labels, model.class_names, images=mapped)
        return {"bare pass": _bare(model, stored), "array": _files(model, examples, True)}
    examples = folders.read_labeled(options.images, model.class_names)
    spread = np.linspace(0, len(examples) - 1, min(options.count, len(examples))).astype(int)
    examples = examples.take(spread)
    batches = pipeline.evaluation_batches(examples, model.spec, batch_size=len(examples))
    images = next(iter(batches))["images"].numpy()
    corrupted = _corrupted(model, examples, scratch / "c")
    return {
        "bare pass": _bare(model, images),
        "photographs (clean)": _files(model, examples, False),
        "stored corruptions": _files(model, corrupted, True),
        "stored videos": _videos(model, examples, scratch / "p"),
    }


def main() -> None:
    """Prints images per second of every arm and their ratio to the bare pass."""
    options = harness.parser(
        __doc__,
        model=(str, "Saved model (.keras)."),
        images=(None, "Folder of JPEGs in class sub-folders."),
        count=(512, "Number of images from the folder."),
        arrays=(0, "Number of images in an array at the model's size, instead of the folder."),
        batch_size=(64, "Images per batch."),
        turns=(5, "Turns of each arm."),
    ).parse_args()
    model, card = model_file.load_model(options.model)
    evaluated = EvaluatedModel(model, card["class_names"], card["preprocess"], options.batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        arms = _arms(evaluated, pathlib.Path(scratch), options)
        measured = {name: functools.partial(harness.call_rate, arm) for name, arm in arms.items()}
        harness.take_turns(measured, 1)  # compiles and reads the files once
        rates = harness.take_turns(measured, options.turns)
    print(f"{'images/s':22} {'time':>8} {'of bare':>8} {'CPU time':>9} {'of bare':>8}")
    for name in arms:
        wall, cpu = np.median(rates[name], axis=0)
        ratios = np.median(rates[name] / rates["bare pass"], axis=0)
        print(f"{name:22} {wall:8.1f} {ratios[0]:8.2f} {cpu:9.1f} {ratios[1]:8.2f}")


if __name__ == "__main__":
    main()
