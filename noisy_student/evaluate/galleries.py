"""Pictures for the report: changed predictions and noisy inputs, as JSON with PNG files inside.

Corrupted images and frames of perturbation sequences are generated again from the seed and the ids
of the images, exactly as the evaluation generated them. Images of published sets are read again.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import corruptions as corruption_functions
from data import pipeline
from data.examples import Examples
from data.preprocess import PreprocessSpec
from data.sources import splits
from noisy_student import config
from noisy_student.artifacts import pictures
from noisy_student.artifacts.files import damaged, read_arrays, write_json
from noisy_student.artifacts.json_files import ChangedImage, RobustImage
from noisy_student.config import derived
from noisy_student.evaluate import corruptions, perturbations, stored
from noisy_student.metrics.benchmarks import TEST_SETS, TITLES

_FIXED, _BROKEN = 24, 8  # clean images that became correct or wrong
_NOISY_IMAGES, _NOISY_VIEWS = 8, 5
_PER_PART, _SEVERITY = 2, 3  # images per corruption or perturbation; severity of corruptions
_PER_SET = 12  # images of a published set

_Arrays = dict[str, np.ndarray]  # predictions of one model


@dataclass(frozen=True)
class Comparison:
    """Two models, and the images on which both were evaluated."""

    folder: Path  # folder of the evaluations, with a sub-folder for each model
    models: tuple[str, str]  # names of the first and the last model
    examples: Examples
    spec: PreprocessSpec  # preprocessing of the models

    def has(self, file: str) -> bool:
        """Returns True if both evaluations wrote a file."""
        return all((self.folder / model / file).exists() for model in self.models)

    def read(self, file: str, examples: Examples, *names: str) -> list[_Arrays] | None:
        """Returns "labels" and named arrays of a file of both evaluations; None if one is missing.

        `examples` are the images that the file is about.

        Raises:
            ValueError: a file is damaged; the message names it.
        """
        if not self.has(file):
            return None
        paths = [self.folder / model / file for model in self.models]
        shapes = dict.fromkeys(("labels", *names), (len(examples),))
        found = [read_arrays(path, **shapes) for path in paths]
        for path, arrays in zip(paths, found, strict=True):
            if not np.isin(arrays["labels"], np.arange(len(examples.class_names))).all():
                raise damaged(path, "has labels that are not classes")
        return found

    def write(self, file: str, **content: Any) -> None:
        """Writes a gallery."""
        first, last = self.models
        write_json(self.folder / file, {"before": first, "after": last, **content})


def write_changes(comparison: Comparison) -> None:
    """Writes ``gallery.json``: clean images whose prediction changed, most confident ones first.

    Writes nothing if a model was not evaluated on clean images.
    """
    found = comparison.read("predictions.npz", comparison.examples, "confidences")
    if not found:
        return
    before, after = found
    examples = comparison.examples
    right = [arrays["labels"] == examples.labels for arrays in found]
    changes = {"fixed": ~right[0] & right[1], "broken": right[0] & ~right[1]}
    images: list[ChangedImage] = []
    for kind, count in (("fixed", _FIXED), ("broken", _BROKEN)):
        indices = _most_confident(after, changes[kind])[:count]
        for i, image in zip(indices, _as_seen(examples, indices, comparison.spec), strict=True):
            images.append(
                {
                    "id": str(examples.ids[i]),
                    "kind": kind,
                    "true": examples.class_names[examples.labels[i]],
                    "before": examples.class_names[before["labels"][i]],
                    "after": examples.class_names[after["labels"][i]],
                    "before_confidence": round(float(before["confidences"][i]), 4),
                    "after_confidence": round(float(after["confidences"][i]), 4),
                    "png_base64": pictures.png_base64(image),
                }
            )
    counts = {f"count_{kind}": int(np.sum(changed)) for kind, changed in changes.items()}
    comparison.write("gallery.json", images=images, **counts)


def write_robustness(comparison: Comparison, seed: int, options: config.RobustnessConfig) -> None:
    """Writes ``robust_gallery.json``: images that only the last model classifies correctly.

    As in the paper (Xie et al., arXiv v4, figure 3): the image, its label, and the prediction of
    both models. Writes nothing if there is no such image.
    """
    sampled = splits.sample(comparison.examples, options.examples)
    evaluated = dataclasses.replace(comparison, examples=sampled)
    images = [
        *_corrupted(evaluated, seed),
        *_perturbed(evaluated, seed),
        *_published(comparison, options),
    ]
    if images:
        comparison.write("robust_gallery.json", images=images)


def write_noise(
    path: Path, examples: Examples, spec: PreprocessSpec, noise: config.NoiseConfig, seed: int
) -> None:
    """Writes a few training images with noisy versions of them, as the student sees them.

    The images are taken at even distances; size and noise are those of the student.
    """
    indices = np.unique(np.linspace(0, len(examples) - 1, _NOISY_IMAGES).astype(int)).tolist()
    augmentation = derived.augmentation(noise)
    views = pipeline.noisy_views(examples, indices, spec, augmentation, seed, _NOISY_VIEWS)
    clean = [pictures.png_base64(image) for image in _as_seen(examples, indices, spec)]
    noisy = [[pictures.png_base64(view) for view in row] for row in np.asarray(views)]
    write_json(path, {"clean": clean, "noisy": noisy})


def _corrupted(comparison: Comparison, seed: int) -> Iterator[RobustImage]:
    """Yields the most confident changes under each corruption."""
    examples = comparison.examples
    for name in corruption_functions.CORRUPTIONS:
        found = comparison.read(f"corruptions/{name}-{_SEVERITY}.npz", examples, "confidences")
        if not found:
            continue
        for index in _fixed(found, examples)[:_PER_PART]:
            clean = _as_seen(examples, [index], comparison.spec)[0]
            image = corruptions.corrupted_image(
                clean, str(examples.ids[index]), name, _SEVERITY, seed
            )
            predicted = [arrays["labels"][index] for arrays in found]
            setting = f"{name} {_SEVERITY}"
            yield _tile("corruptions", setting, examples, index, predicted, image)


def _perturbed(comparison: Comparison, seed: int) -> Iterator[RobustImage]:
    """Yields frames at which the first model loses a class that the last one always predicts."""
    examples, spec = comparison.examples, comparison.spec
    truth = examples.labels[:, np.newaxis]
    for name in perturbations.names_at(spec.image_size):
        found = comparison.read(f"perturbations/{name}.npz", examples)
        if not found:
            continue
        before, after = (arrays["labels"] for arrays in found)
        kept = np.all(after == truth, axis=1, keepdims=True)
        lost = (before[:, :1] == truth) & (before != truth) & kept
        for index in np.flatnonzero(lost.any(axis=1))[:_PER_PART].tolist():
            frame = int(lost[index].argmax())
            frames = perturbations.generated_sequence(examples, index, name, spec, seed)
            predicted = before[index, frame], after[index, frame]
            setting = f"{name} frame {frame + 1}"
            yield _tile("perturbations", setting, examples, index, predicted, frames[frame])


def _published(comparison: Comparison, options: config.RobustnessConfig) -> Iterator[RobustImage]:
    """Yields the most confident changes on ImageNet-A and the like."""
    for name in TEST_SETS:
        file = f"{name}/predictions.npz"
        if not options.folders.get(name) or not comparison.has(file):
            continue
        published = stored.LabeledImages(name)
        examples = published.examples(options, comparison.examples.class_names)
        found = comparison.read(file, examples, "confidences") or []
        indices = _fixed(found, examples)[:_PER_SET]
        images = _as_seen(examples, indices, comparison.spec)
        for index, image in zip(indices, images, strict=True):
            predicted = [arrays["labels"][index] for arrays in found]
            yield _tile(name, TITLES[name], examples, index, predicted, image)


def _fixed(found: list[_Arrays], examples: Examples) -> list[int]:
    """Returns images that only the last model classifies correctly, most confident ones first."""
    before, after = (arrays["labels"] == examples.labels for arrays in found)
    return _most_confident(found[1], ~before & after)


def _most_confident(predictions: _Arrays, mask: np.ndarray) -> list[int]:
    indices = np.flatnonzero(mask)
    order = np.argsort(-predictions["confidences"][indices], kind="stable")
    return indices[order].tolist()


def _as_seen(examples: Examples, indices: Sequence[int], spec: PreprocessSpec) -> np.ndarray:
    """Returns images at the model's resolution, uint8 [n, S, S, 3]."""
    if not indices:
        return np.zeros([0, spec.image_size, spec.image_size, 3], np.uint8)
    selected = examples.take(indices)
    batches = pipeline.evaluation_batches(selected, spec, batch_size=len(selected))
    return next(iter(batches))["images"].numpy()


def _tile(
    name: str,
    setting: str,
    examples: Examples,
    index: int,
    predicted: Sequence[int],
    image: np.ndarray,
) -> RobustImage:
    before, after = (examples.class_names[label] for label in predicted)
    return {
        "benchmark": name,
        "setting": setting,
        "id": str(examples.ids[index]),
        "true": examples.class_names[examples.labels[index]],
        "before": before,
        "after": after,
        "png_base64": pictures.png_base64(image),
    }
