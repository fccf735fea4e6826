"""Classifies images: prints the most likely classes and their probabilities.

python -m noisy_student.predict --model=lite0.keras photo.jpg
python -m noisy_student.predict --model=lite0.keras --top_k=3 photo.jpg holiday/
python -m noisy_student.predict --model=runs/mnist5k/round2/student/model.keras --top_k=1 digits/
python -m noisy_student.predict --model=lite0.keras --output=csv holiday/ > holiday.csv
"""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import tensorflow as tf

from data import pipeline
from data.examples import UNKNOWN_LABEL, WHOLE_FILE, EncodedExamples, Examples
from data.preprocess import PreprocessSpec
from data.sources import folders, image_check
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.config import schema
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices, make_devices


def run(
    model_path: str | Path, images: Sequence[str | Path], devices: Devices, batch_size: int = 32
) -> tuple[list[str], np.ndarray, model_file.Card]:
    """Classifies images in files, and all images of folders.

    Returns:
        The files [N], probabilities float32 [N, C], and the model's card.

    Raises:
        ValueError: A file is missing or is not an image; the message names it.
    """
    files = _files(images)
    with devices.prediction_scope():
        model, card = model_file.load_model(model_path)
    step = devices.spread(inference.predict_step(model, devices.jit_compile))
    return files, probabilities(step, image_files(files), card["preprocess"], batch_size), card


def image_files(files: Sequence[str]) -> EncodedExamples:
    """Returns image files as examples without labels, in their order."""
    return EncodedExamples(
        ids=np.array(files, object),
        labels=np.full(len(files), UNKNOWN_LABEL, np.int32),
        class_names=(),
        files=np.array(files, object),
        offsets=np.full(len(files), WHOLE_FILE),
    )


def probabilities(
    step: Callable[..., tf.Tensor], examples: Examples, spec: PreprocessSpec, batch_size: int
) -> np.ndarray:
    """Classifies examples by `inference.predict_step`; returns float32 [N, C].

    Raises:
        ValueError: The batch size is no whole number from 1.
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be a whole number of at least 1.")
    batch_size = min(batch_size, len(examples))
    batches = pipeline.evaluation_batches(examples, spec, batch_size=batch_size)
    return inference.predict_all(step, batches, len(examples))[1]


def check_file(path: str | Path) -> None:
    """Refuses a file that is missing or no image; the ValueError names it."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist.")
    if problem := folders.name_problem(path) or image_check.file_problem(path):
        raise ValueError(f"{path} {problem}. Supported formats: {', '.join(image_check.FORMATS)}.")


def _files(images: Sequence[str | Path]) -> list[str]:
    for path in images:
        if not Path(path).is_dir():
            check_file(path)
    return folders.expand(images)


class Guess(TypedDict):
    """One of the most likely classes of an image."""

    label: int  # its number, from 0
    class_name: str
    title: str  # longer name, or ""
    probability: float  # 0..1


def guesses(probabilities: np.ndarray, card: model_file.Card, top_k: int) -> list[Guess]:
    """Returns the most likely classes of an image, float32 [C], the first one first."""
    titles = card.get("class_titles") or [""] * len(probabilities)
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        {
            "label": int(label),
            "class_name": card["class_names"][label],
            "title": titles[label],
            "probability": round(float(probabilities[label]), 6),
        }
        for label in best
    ]


def to_text(files: Sequence[str], found: Sequence[Sequence[Guess]]) -> str:
    """Returns each file and, below it, a line for each class."""
    lines = []
    for file, classes in zip(files, found, strict=True):
        lines.append(file)
        for each in classes:
            name = f"{each['class_name']} {each['title']}".rstrip()
            lines.append(f"  {100 * each['probability']:5.1f}%  {name}")
    return "\n".join([*lines, ""])


def to_csv(files: Sequence[str], found: Sequence[Sequence[Guess]]) -> str:
    """Returns a row for each class of each file, with its rank from 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "rank", *Guess.__annotations__])
    for file, classes in zip(files, found, strict=True):
        for rank, each in enumerate(classes, 1):
            writer.writerow([file, rank, *each.values()])
    return text.getvalue()


def to_json(files: Sequence[str], found: Sequence[Sequence[Guess]]) -> str:
    """Returns a list with an object for each file."""
    pairs = zip(files, found, strict=True)
    content = [{"file": file, "classes": classes} for file, classes in pairs]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FORMATS = {"text": to_text, "csv": to_csv, "json": to_json}


def _main(settings: config.Config, arguments: list[str]) -> None:
    model_path = model_file.find("model", settings.required("model"))
    if not arguments:
        raise ValueError("no images given: python -m noisy_student.predict --model=FILE IMAGES...")
    devices = make_devices(**dataclasses.asdict(settings.device))
    batch_size = min(settings.log.eval_batch_size, 32)
    files, table, card = run(model_path, arguments, devices, batch_size)
    given = settings.group(schema.PredictCommandConfig)
    found = [guesses(probabilities, card, given.top_k) for probabilities in table]
    print(FORMATS[given.output](files, found), end="")


if __name__ == "__main__":
    config.run(_main, schema.PredictCommandConfig, schema.DeviceConfig, takes_arguments=True)
