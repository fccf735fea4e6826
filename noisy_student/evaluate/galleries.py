"""Pictures for the report, as JSON with PNGs inside."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data import pipeline, preprocess, sources
from noisy_student import config
from noisy_student.artifacts import pictures
from noisy_student.artifacts.files import write_json


def write_changes(
    path: Path,
    examples: sources.Examples,
    spec: preprocess.PreprocessSpec,
    names: list[str],
    prediction_files: list[Path],
    num_fixed: int = 24,
    num_broken: int = 8,
) -> None:
    """Test images on which the first and the last model differ, the most confident changes first.

    Args:
        path: the JSON file to write.
        examples: test images, in the order of the predictions.
        spec: how the model sees them.
        names: of the models; the first and the last are compared.
        prediction_files: ``predictions.npz`` of these two.
        num_fixed: pictures of images that became right.
        num_broken: pictures of images that became wrong.
    """
    before, after = (np.load(file) for file in prediction_files)
    truth = examples.labels
    fixed = np.flatnonzero((before["labels"] != truth) & (after["labels"] == truth))
    broken = np.flatnonzero((before["labels"] == truth) & (after["labels"] != truth))
    images: list[dict[str, Any]] = []
    for kind, indices, count in (("fixed", fixed, num_fixed), ("broken", broken, num_broken)):
        order = np.argsort(-after["confidences"][indices], kind="stable")[:count]
        for i in indices[order]:
            picture = _as_seen(examples.take(np.array([i])), spec)[0]
            images.append(
                {
                    "id": str(examples.ids[i]),
                    "kind": kind,
                    "true": examples.class_names[truth[i]],
                    "before": examples.class_names[before["labels"][i]],
                    "after": examples.class_names[after["labels"][i]],
                    "before_confidence": round(float(before["confidences"][i]), 4),
                    "after_confidence": round(float(after["confidences"][i]), 4),
                    "png_base64": pictures.png_base64(picture),
                }
            )
    content = {
        "before": names[0],
        "after": names[-1],
        "count_fixed": len(fixed),
        "count_broken": len(broken),
        "images": images,
    }
    write_json(path, content)


def write_noise(
    path: Path,
    examples: sources.Examples,
    spec: preprocess.PreprocessSpec,
    noise: config.NoiseConfig,
    seed: int,
    num_images: int = 8,
    num_views: int = 5,
) -> None:
    """A few training images, evenly through the set, beside what the student sees of them."""
    indices = np.unique(np.linspace(0, len(examples) - 1, num_images).astype(int))
    augmentation = pipeline.Augmentation(**dataclasses.asdict(noise))
    views = pipeline.noisy_views(examples, indices, spec, augmentation, seed, num_views)
    content = {
        "clean": [pictures.png_base64(image) for image in _as_seen(examples.take(indices), spec)],
        "noisy": [[pictures.png_base64(view) for view in row] for row in np.asarray(views)],
    }
    write_json(path, content)


def _as_seen(examples: sources.Examples, spec: preprocess.PreprocessSpec) -> np.ndarray:
    """Clean images at the model's resolution, uint8 [N, S, S, 3]."""
    batches = pipeline.evaluation_batches(examples, spec, batch_size=len(examples))
    return next(iter(batches))["images"].numpy()
