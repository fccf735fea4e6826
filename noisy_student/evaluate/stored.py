"""Published robustness benchmarks as downloaded, from folders or from tensorflow-datasets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from data import robustness_sets, sources
from data.examples import Examples
from data.robustness_sets import CorruptedImages, PerturbedVideos, tfds_corrupted
from data.sources import folders
from noisy_student import robustness
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import corruptions, perturbations, resumable
from noisy_student.evaluate.evaluated_model import Subject
from noisy_student.metrics import per_image
from noisy_student.runtime import inference

_TFDS = "tfds:"
_PERTURBATIONS = {
    "imagenet_p": robustness.PERTURBATIONS,
    "cifar10_p": robustness.SMALL_PERTURBATIONS,
}


def parts_of(benchmark: str, place: str, data_dir: str | None) -> dict[str, int]:
    """What is measured of a benchmark as of now: the number of images or videos of every part.

    A result that was measured of fewer answers another question. Plain labeled images are one part;
    those of tensorflow-datasets are not counted, since they are prepared as a whole or not at all.

    Args:
        benchmark: of `noisy_student.config.flags.STORED_BENCHMARKS`.
        place: a folder, or "tfds:NAME".
        data_dir: where tensorflow-datasets keeps its data; None: its default.

    Raises:
        ValueError: naming a folder that does not exist or has nothing of the benchmark.
    """
    sets = _opened(benchmark, place, data_dir)
    if isinstance(sets, CorruptedImages):
        return {
            f"{name} {level}": sets.count(name, level)
            for name, level in sets.settings
            if name in robustness.CORRUPTIONS
        }
    if sets:
        return {name: sets.count(name) for name in _tested(benchmark, sets)}
    return {} if place.startswith(_TFDS) else {benchmark: folders.count_files(place)}


def measure(
    benchmark: str,
    subject: Subject,
    place: str,
    data_dir: str | None,
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """The figures of a benchmark; mCE and mFR where all of ImageNet-C or -P is there.

    Args:
        benchmark: as for `parts_of`.
        subject: the model.
        place: as for `parts_of`.
        data_dir: as for `parts_of`.
        folder: receives a file for each part.
        request: what the parts depend on.

    Raises:
        ValueError: naming a class, file or folder that is not as it has to be.
    """
    sets = _opened(benchmark, place, data_dir)
    if sets is None:
        return _labeled(benchmark, subject, place, data_dir, folder)
    _warn(place, "unknown", sets.unknown)
    if isinstance(sets, CorruptedImages):
        figures = corruptions.stored(subject, sets, folder, request)
        _warn(place, "missing", figures["missing"])
        if benchmark == "imagenet_c" and not figures["missing"]:
            figures["mce"] = corruptions.mean_corruption_error(figures["errors"])
        return figures
    names = _tested(benchmark, sets)
    if not names:
        raise ValueError(f"{place} has none of {', '.join(_PERTURBATIONS[benchmark])}.")
    figures = perturbations.stored(subject, sets, names, folder, request)
    _warn(place, "missing", figures["missing"])
    if benchmark == "imagenet_p" and not figures["missing"]:
        figures["mfr"] = robustness.mean_flip_rate(figures["flip_probability"])
    return figures


def _opened(
    benchmark: str, place: str, data_dir: str | None
) -> CorruptedImages | PerturbedVideos | None:
    if benchmark not in ("imagenet_c", "imagenet_p", "cifar10_c", "cifar10_p"):
        return None
    if not place.startswith(_TFDS):
        return getattr(robustness_sets, benchmark)(place)
    if benchmark != "imagenet_c":
        raise ValueError(f"--{benchmark}_dir={place} must be a folder.")
    return tfds_corrupted.imagenet_c(place.removeprefix(_TFDS), data_dir)


def _tested(benchmark: str, sets: PerturbedVideos) -> list[str]:
    """The perturbations that are there and count."""
    return [name for name in _PERTURBATIONS[benchmark] if name in sets.perturbations]


def labeled_images(place: str, data_dir: str | None, class_names: Sequence[str]) -> Examples:
    """The images of a benchmark that is plain labeled images.

    Args:
        place: as for `parts_of`.
        data_dir: likewise.
        class_names: the model's, to which those of the images are matched.
    """
    if place.startswith(_TFDS):
        where = {"dataset": place, "data_dir": data_dir, "split": "test"}
    else:
        where = {"dataset": "folder", "folder": place}
    return sources.load_examples(**where, class_names=class_names)


def _labeled(
    benchmark: str, subject: Subject, place: str, data_dir: str | None, folder: Path
) -> dict[str, Any]:
    """Top-1 among the classes that are present, as published, and among all of the model's."""
    examples = labeled_images(place, data_dir, subject.class_names)
    with resumable.bar(benchmark, len(examples)) as bar:
        labels, table = subject.predictions(examples, bar.update)
    present = np.unique(labels)
    among = present[table[:, present].argmax(axis=1)]
    confidences = table[:, present].max(axis=1)
    write_arrays(folder / "predictions.npz", labels=among, confidences=confidences)
    return {
        "num_examples": len(examples),
        "num_classes": len(present),
        "top1": 100 * float(np.mean(among == labels)),
        "top1_all_classes": inference.top_k_accuracy(table, labels),
        "by_image": {"top1": per_image.record(examples.ids, among != labels)},
    }


def _warn(place: str, what: str, items: Sequence[str]) -> None:
    if items:
        listed = ", ".join(items[:5]) + (", ..." if len(items) > 5 else "")
        logging.warning("%s: %d %s (%s)", place, len(items), what, listed)
