"""Pictures of robustness for the report: what the first model gets wrong and the last one right.

In the paper's style (figures 2 and 3): the image, its true label, the prediction before and after.
Corrupted images and frames of perturbation sequences are made anew as the evaluation made them,
from the seed and their ids; ImageNet-A and the like are read where they lie.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data import corruptions, pipeline, preprocess
from data.examples import Examples
from data.sources import splits
from noisy_student import config
from noisy_student.artifacts import pictures
from noisy_student.artifacts.files import write_json
from noisy_student.evaluate import corruptions as corrupted
from noisy_student.evaluate import perturbations, stored
from noisy_student.metrics.benchmarks import TEST_SETS, TITLES

_PER_SETTING, _SEVERITY = 2, 3  # pictures of a corruption, at the middle severity if it is there
_PER_SET = 12  # pictures of a set of other images


def write(
    path: Path,
    examples: Examples,
    spec: preprocess.PreprocessSpec,
    names: tuple[str, str],
    seed: int,
    robust: config.RobustnessConfig,
) -> None:
    """Writes the pictures of what both models were evaluated on, if there is any.

    Args:
        path: the JSON file; beside it lie the evaluations, in a folder for each model.
        examples: the test images.
        spec: the models' preprocessing.
        names: of the first and the last model.
        seed: of the evaluation.
        robust: how many images were measured, and where stored benchmarks lie.
    """
    folders = [path.parent / name for name in names]
    measured = splits.sample(examples, robust.examples)
    images = [
        *_corrupted(folders, measured, spec, seed),
        *_perturbed(folders, measured, spec, seed),
        *_others(folders, examples, spec, robust),
    ]
    if images:
        write_json(path, {"before": names[0], "after": names[1], "images": images})


def _read(folders: list[Path], file: str) -> list[dict[str, np.ndarray]] | None:
    """The arrays that both models left in a file, or None."""
    paths = [folder / file for folder in folders]
    return [dict(np.load(path)) for path in paths] if all(p.exists() for p in paths) else None


def _corrupted(
    folders: list[Path], examples: Examples, spec: preprocess.PreprocessSpec, seed: int
) -> Iterator[dict[str, Any]]:
    """Of each corruption, the most confident changes."""
    for name in corruptions.CORRUPTIONS:
        found = _read(folders, f"corruptions/{name}-{_SEVERITY}.npz")
        for index in _fixed(found, examples)[:_PER_SETTING] if found else ():
            shown = corrupted.corrupted_image(
                _clean(examples, index, spec), str(examples.ids[index]), name, _SEVERITY, seed
            )
            guesses = [arrays["labels"][index] for arrays in found]
            setting = f"{name} {_SEVERITY}"
            yield _tile("corruptions", setting, examples, index, guesses, shown)


def _perturbed(
    folders: list[Path], examples: Examples, spec: preprocess.PreprocessSpec, seed: int
) -> Iterator[dict[str, Any]]:
    """Frames at which the first model loses a class that the last one keeps to the end."""
    for name in perturbations.names_at(spec.image_size):
        found = _read(folders, f"perturbations/{name}.npz")
        if not found:
            continue
        before, after = (arrays["labels"] for arrays in found)
        truth = examples.labels[:, np.newaxis]
        kept = np.all(after == truth, axis=1, keepdims=True)
        lost = (before[:, :1] == truth) & (before != truth) & kept
        for index in np.flatnonzero(lost.any(axis=1))[:_PER_SETTING]:
            frame = int(lost[index].argmax())
            shown = perturbations.made_sequence(examples, int(index), name, spec, seed)[frame]
            guesses = [before[index, frame], after[index, frame]]
            setting = f"{name} frame {frame + 1}"
            yield _tile("perturbations", setting, examples, int(index), guesses, shown)


def _others(
    folders: list[Path],
    examples: Examples,
    spec: preprocess.PreprocessSpec,
    robust: config.RobustnessConfig,
) -> Iterator[dict[str, Any]]:
    """Of ImageNet-A and other sets of plain images, the most confident changes."""
    for benchmark in TEST_SETS:
        found = _read(folders, f"{benchmark}/predictions.npz")
        place = robust.folders.get(benchmark)
        if not found or place is None:
            continue
        images = stored.labeled_images(place, robust.data_dir, examples.class_names)
        for index in _fixed(found, images)[:_PER_SET]:
            guesses = [arrays["labels"][index] for arrays in found]
            shown = _clean(images, index, spec)
            yield _tile(benchmark, TITLES[benchmark], images, index, guesses, shown)


def _fixed(found: list[dict[str, np.ndarray]], examples: Examples) -> list[int]:
    """Images that the first model gets wrong and the last one right, the surest first."""
    before, after = found
    truth = examples.labels
    fixed = np.flatnonzero((before["labels"] != truth) & (after["labels"] == truth))
    return fixed[np.argsort(-after["confidences"][fixed], kind="stable")].tolist()


def _clean(examples: Examples, index: int, spec: preprocess.PreprocessSpec) -> np.ndarray:
    """An image as the model sees it, uint8 [S, S, 3]."""
    batches: Any = pipeline.evaluation_batches(examples.take([index]), spec, batch_size=1)
    return next(iter(batches))["images"].numpy()[0]


def _tile(
    benchmark: str,
    setting: str,
    examples: Examples,
    index: int,
    guesses: list[int],
    shown: np.ndarray,
) -> dict[str, Any]:
    before, after = (examples.class_names[guess] for guess in guesses)
    return {
        "benchmark": benchmark,
        "setting": setting,
        "id": str(examples.ids[index]),
        "true": examples.class_names[examples.labels[index]],
        "before": before,
        "after": after,
        "png_base64": pictures.png_base64(shown),
    }
