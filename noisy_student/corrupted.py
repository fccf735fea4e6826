"""Errors under common corruptions (Hendrycks and Dietterich, ICLR 2019; paper, section 3.5).

Either on corruptions made here of any clean images, or on the stored images of a published
benchmark. Every setting, a corruption at one severity, has a file of its own, so that an
interrupted evaluation goes on with the next.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data import corruptions, pipeline, seeds
from data.examples import Examples
from data.robustness_sets import CorruptedImages
from noisy_student import inference, manifest, robustness
from noisy_student.subject import Subject, made_ahead, whole_image

Setting = tuple[str, int]
Measure = Callable[[str, int], tuple[np.ndarray, np.ndarray]]


def made(
    subject: Subject,
    examples: Examples,
    names: Sequence[str],
    severities: Sequence[int],
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Corrupts clean images at the model's resolution, and counts the errors.

    Args:
        subject: the model.
        examples: labeled clean images.
        names: of corruptions.
        severities: of 1..5.
        folder: receives a file for each setting.
        request: what the result depends on besides; settings of another request are done anew.

    Returns:
        Figures as `_figures`, with "clean_error", 0..1, and where the images come from.
    """
    size = subject.spec.image_size
    native_size = corruptions.nearest_native_size(size, size)
    clean = subject.clean_batches(examples)

    def measure(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        labels, table = [], []
        for truth, images in _corrupted(subject, clean, examples, name, severity, native_size):
            labels.append(truth)
            table.append(subject.probabilities(images))
        return np.concatenate(labels), np.concatenate(table)

    settings = [(name, severity) for name in names for severity in severities]
    errors = _all_settings(settings, measure, folder, request, "corruptions")
    labels, table = inference.predict_all(subject.predict, clean, len(examples))
    return {
        "num_examples": len(examples),
        "image_size": size,
        "native_size": native_size,
        "provenance": f"made from clean images at {size} pixels, constants of {native_size}",
        "clean_error": 1 - inference.top_k_accuracy(table, labels) / 100,
        **_figures(errors),
    }


def corrupted_image(
    image: np.ndarray, example_id: str, name: str, severity: int, seed: int
) -> np.ndarray:
    """What `made` shows the model for one clean image uint8 [S, S, 3]."""
    native_size = corruptions.nearest_native_size(*image.shape[:2])
    drawn = int(_seeds(seed, np.array([example_id], object))[0])
    return corruptions.corrupt(image, name, severity, drawn, native_size)


def stored(
    subject: Subject, images: CorruptedImages, folder: Path, request: dict[str, Any]
) -> dict[str, Any]:
    """Measures a published benchmark on what is there of it.

    Arguments as for `made`; the images on disk are resized to the model's resolution, not cropped.

    Returns:
        Figures as `_figures`, the settings that are missing and the files that are none, and,
        where nothing is missing, "mce" in percent, AlexNet being 100.
    """
    spec = whole_image(subject.spec)

    def measure(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        examples = images.examples(name, severity, subject.class_names)
        batches = pipeline.evaluation_batches(examples, spec, batch_size=subject.batch_size)
        return inference.predict_all(subject.predict, batches, len(examples))

    tested = [s for s in images.settings if s[0] in corruptions.TEST_CORRUPTIONS]
    if not tested:
        raise ValueError("none of the 15 test corruptions is there.")
    errors = _all_settings(tested, measure, folder, request, "stored corruptions")
    count = len(images.examples(*tested[0], subject.class_names))
    return _figures(errors) | {
        "num_examples": count,
        "missing": [f"{name} {severity}" for name, severity in images.missing],
        "unknown": list(images.unknown),
    }


def _corrupted(
    subject: Subject, clean: Any, examples: Examples, name: str, severity: int, native_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of labels int32 [b] and corrupted images uint8 [b, S, S, 3]."""
    drawn = _seeds(subject.seed, examples.ids)
    labels: list[np.ndarray] = []

    def items() -> Iterator[list[tuple[np.ndarray, int]]]:
        for batch in clean:
            index = batch["index"].numpy()
            real = index >= 0
            labels.append(batch["labels"].numpy()[real])
            yield list(zip(batch["images"].numpy()[real], drawn[index[real]], strict=True))

    def corrupt(item: tuple[np.ndarray, int]) -> np.ndarray:
        image, seed = item
        return corruptions.corrupt(image, name, severity, int(seed), native_size)

    for number, images in enumerate(made_ahead(corrupt, items())):
        yield labels[number], np.stack(images)


def _seeds(seed: int, ids: np.ndarray) -> np.ndarray:
    """One seed for each image: uint64 [N]."""
    return seeds.hash_ids(np.array([f"{seed}/{name}" for name in ids], object))


def _all_settings(
    settings: Sequence[Setting], measure: Measure, folder: Path, request: dict[str, Any], what: str
) -> dict[str, dict[str, float]]:
    """Measures the settings whose files are not there yet: name -> severity -> error, 0..1."""
    errors: dict[str, dict[str, float]] = {}
    with tqdm(settings, what, unit="setting", disable=None, dynamic_ncols=True) as bar:
        for name, severity in bar:
            bar.set_postfix_str(f"{name} {severity}")
            path = folder / f"{name}-{severity}.json"
            if not path.exists() or manifest.read_json(path)["request"] != request:
                labels, table = measure(name, severity)
                folder.mkdir(parents=True, exist_ok=True)
                np.savez(path.with_suffix(".npz"), labels=table.argmax(1), confidences=table.max(1))
                error = float(np.mean(table.argmax(1) != labels))
                manifest.write_json(path, {"request": request, "error": error})
            error = manifest.read_json(path)["error"]
            errors.setdefault(name, {})[str(severity)] = error
    return errors


def _figures(errors: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The errors, and in percent their mean over severities and corruptions."""
    means = [np.mean(list(by_severity.values())) for by_severity in errors.values()]
    return {"errors": errors, "mean_error": 100 * float(np.mean(means))}


def mean_corruption_error(errors: dict[str, dict[str, float]]) -> float | None:
    """MCE of stored ImageNet-C in percent, AlexNet being 100; None where any part is missing."""
    names = corruptions.TEST_CORRUPTIONS
    if any(len(errors.get(name, {})) != 5 for name in names):
        return None
    rows = {name: [errors[name][str(level)] for level in range(1, 6)] for name in names}
    return robustness.mean_corruption_error(rows)
