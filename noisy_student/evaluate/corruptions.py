"""Errors under common corruptions (Hendrycks and Dietterich, ICLR 2019; paper, section 3.5).

Either on corruptions made here of any clean images, or on the stored images of a published
benchmark. Every setting, a corruption at one severity, is a part of its own (`parts`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import corruptions, seeds
from data.examples import Examples
from data.robustness_sets import CorruptedImages
from noisy_student import robustness
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import resumable
from noisy_student.evaluate.evaluated_model import Subject, made_ahead
from noisy_student.evaluate.generated_cache import MadeCache
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image
from noisy_student.runtime import inference

Setting = tuple[str, int]


def made(
    subject: Subject,
    examples: Examples,
    names: Sequence[str],
    severities: Sequence[int],
    folder: Path,
    request: dict[str, Any],
    cache_dir: str | None = None,
) -> dict[str, Any]:
    """Corrupts clean images at the model's resolution, and counts the errors.

    Args:
        subject: the model.
        examples: labeled clean images.
        names: of corruptions.
        severities: of 1..5.
        folder: receives files for each setting.
        request: what the result depends on besides; settings of another request are done anew.
        cache_dir: where corrupted images are kept for the next model; None: nowhere.

    Returns:
        Figures as `_figures`, with "clean_error", 0..1, and where the images come from.
    """
    size = subject.spec.image_size
    native_size = corruptions.nearest_native_size(size, size)
    clean = subject.clean_batches(examples)
    drawn = _seeds(subject.seed, examples.ids)
    batch_size = min(subject.batch_size, len(examples))
    settings = [(name, severity) for name in names for severity in severities]
    cache = None
    if cache_dir:
        key, shape = _key(clean, drawn, native_size), (size, size, 3)
        files = {_file(setting): shape for setting in settings}
        cache = MadeCache(cache_dir, key, len(examples), files)

    def measure(setting: Setting, progress: Progress) -> dict[str, Any]:
        def batches() -> Iterator[np.ndarray]:
            return _corrupted(clean, drawn, *setting, native_size)

        kept = cache.batches(_file(setting), batches, batch_size) if cache else batches()
        tables = []
        for images in kept:
            tables.append(subject.probabilities(images, batch_size))
            progress(len(images))
        table = np.concatenate(tables)
        return _written(folder, setting, examples.ids, examples.labels, table)

    counts = dict.fromkeys(settings, len(examples))
    figures = _figures(_measured(counts, measure, folder, request))
    labels, table = inference.predict_all(subject.predict, clean, len(examples))
    return {
        "num_examples": len(examples),
        "image_size": size,
        "native_size": native_size,
        "provenance": f"made from clean images at {size} pixels, constants of {native_size}",
        "clean_error": 1 - inference.top_k_accuracy(table, labels) / 100,
        **figures,
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
        Figures as `_figures`, the settings that are missing, wholly or in part, the files that are
        none, and which "classes" occur, as of `Subject.classes_among`, where all agree.

    Raises:
        ValueError: none of the 15 test corruptions is there, or naming a class or file at fault.
    """

    def measure(setting: Setting, progress: Progress) -> dict[str, Any]:
        examples = images.examples(*setting, subject.class_names)
        labels, table = subject.predictions(examples, progress, whole=True)
        written = _written(folder, setting, examples.ids, labels, table)
        return written | {"classes": subject.classes_among(labels)}

    tested = [s for s in images.settings if s[0] in robustness.CORRUPTIONS]
    if not tested:
        raise ValueError("none of the 15 test corruptions is there.")
    expected = {setting: images.count(*setting) for setting in tested}
    found = _measured(expected, measure, folder, request)
    figures, classes = _figures(found), {content["classes"] for content in found.values()}
    counts = {name: per_image.count(record) for name, record in figures["by_image"].items()}
    missing = [f"{name} {severity}" for name, severity in images.missing]
    return figures | {
        "num_examples": max(counts.values()),
        "missing": missing + resumable.short_ones(counts),
        "unknown": list(images.unknown),
        "classes": classes.pop() if len(classes) == 1 else None,
    }


def mean_corruption_error(errors: dict[str, dict[str, float]]) -> float | None:
    """MCE of stored ImageNet-C in percent, AlexNet being 100; None where any part is missing."""
    names = robustness.CORRUPTIONS
    if any(len(errors.get(name, {})) != robustness.SEVERITIES for name in names):
        return None
    return robustness.mean_corruption_error(_by_severity(errors))


def relative_mean_corruption_error(
    errors: dict[str, dict[str, float]], clean_error: float
) -> float:
    """Relative mCE of all of stored ImageNet-C in percent, given the error on clean images."""
    return robustness.relative_mean_corruption_error(_by_severity(errors), clean_error)


def _by_severity(errors: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    return {name: [levels[key] for key in sorted(levels)] for name, levels in errors.items()}


def _corrupted(
    clean: Iterable[dict[str, Any]], drawn: np.ndarray, name: str, severity: int, native_size: int
) -> Iterator[np.ndarray]:
    """Batches of corrupted images uint8 [b, S, S, 3], in the order of the examples."""

    def items() -> Iterator[list[tuple[np.ndarray, int]]]:
        for batch in clean:
            index = batch["index"].numpy()
            real = index >= 0
            yield list(zip(batch["images"].numpy()[real], drawn[index[real]], strict=True))

    def corrupt(item: tuple[np.ndarray, int]) -> np.ndarray:
        image, seed = item
        return corruptions.corrupt(image, name, severity, int(seed), native_size)

    return (np.stack(images) for images in made_ahead(corrupt, items()))


def _key(clean: Iterable[dict[str, Any]], drawn: np.ndarray, native_size: int) -> Iterator[bytes]:
    """What corrupted images depend on, besides corruption and severity."""
    yield f"constants of {native_size}".encode()
    yield np.asarray(drawn, "<u8").tobytes()
    for batch in clean:
        yield batch["images"].numpy()[batch["index"].numpy() >= 0].tobytes()


def _seeds(seed: int, ids: np.ndarray) -> np.ndarray:
    """One seed for each image: uint64 [N]."""
    return seeds.hash_ids(np.array([f"{seed}/{name}" for name in ids], object))


def _measured(
    num_images: dict[Setting, int],
    measure: Callable[[Setting, Progress], dict[str, Any]],
    folder: Path,
    request: dict[str, Any],
) -> dict[Setting, dict[str, Any]]:
    """The content of every setting's file, given the number of its images."""
    files = {_file(setting): setting for setting in num_images}
    counts = {_file(setting): count for setting, count in num_images.items()}
    found = resumable.measure_all(
        files, measure, folder, request, what="corruptions", num_images=counts
    )
    return {files[name]: content for name, content in found.items()}


def _file(setting: Setting) -> str:
    return f"{setting[0]}-{setting[1]}"


def _written(
    folder: Path, setting: Setting, ids: np.ndarray, labels: np.ndarray, table: np.ndarray
) -> dict[str, Any]:
    """What the file of a setting says; the predictions are written beside it, for galleries."""
    guesses = table.argmax(1)
    arrays = {"labels": guesses, "confidences": table.max(1)}
    write_arrays(folder / f"{_file(setting)}.npz", **arrays)
    wrong = guesses != labels
    return {"error": float(np.mean(wrong)), "by_image": per_image.record(ids, wrong)}


def _figures(found: dict[Setting, dict[str, Any]]) -> dict[str, Any]:
    """The errors, in percent their mean over severities and corruptions, and image by image."""
    errors: dict[str, dict[str, float]] = {}
    for (name, severity), content in found.items():
        errors.setdefault(name, {})[str(severity)] = content["error"]
    means = [np.mean(list(by_severity.values())) for by_severity in errors.values()]
    return {
        "errors": errors,
        "mean_error": 100 * float(np.mean(means)),
        "by_image": {
            f"{name} {severity}": content["by_image"] for (name, severity), content in found.items()
        },
    }
