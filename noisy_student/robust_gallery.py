"""Pictures of robustness for the report: what the first model gets wrong and the last one right.

In the paper's style (figures 2 and 3): the image, its true label, the prediction before and after.
The images are made anew as the evaluation made them, from the seed and their ids.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data import corruptions, pipeline, preprocess
from data.examples import Examples
from noisy_student import corrupted, gallery, manifest

_PER_SETTING, _SEVERITY = 2, 3  # pictures of a corruption, at the middle severity if it is there


def write(
    path: Path,
    examples: Examples,
    spec: preprocess.PreprocessSpec,
    names: tuple[str, str],
    seed: int,
) -> None:
    """Writes the pictures, where both models were evaluated on corruptions.

    Args:
        path: the JSON file; beside it lie the evaluations, in a folder for each model.
        examples: the test images.
        spec: the models' preprocessing.
        names: of the first and the last model.
        seed: of the evaluation.
    """
    folders = [path.parent / name / "corruptions" for name in names]
    if not all(folder.exists() for folder in folders):
        return
    images = [
        {
            "benchmark": "corruptions",
            "setting": f"{name} {severity}",
            "id": str(examples.ids[index]),
            "true": examples.class_names[examples.labels[index]],
            "before": examples.class_names[before],
            "after": examples.class_names[after],
            "png_base64": gallery.png(_shown(examples, index, spec, name, severity, seed)),
        }
        for name, severity, index, before, after in _changes(folders, examples.labels)
    ]
    manifest.write_json(path, {"before": names[0], "after": names[1], "images": images})


def _changes(folders: list[Path], truth: np.ndarray) -> Iterator[tuple[str, int, int, int, int]]:
    """Corruption, severity, position and both predictions; the most confident changes first."""
    for name in corruptions.CORRUPTIONS:
        files = [folder / f"{name}-{_SEVERITY}.npz" for folder in folders]
        if not all(file.exists() for file in files):
            continue
        before, after = (np.load(file) for file in files)
        labels = truth[: len(after["labels"])]
        fixed = np.flatnonzero((before["labels"] != labels) & (after["labels"] == labels))
        order = np.argsort(-after["confidences"][fixed], kind="stable")[:_PER_SETTING]
        for index in fixed[order]:
            yield name, _SEVERITY, int(index), before["labels"][index], after["labels"][index]


def _shown(
    examples: Examples,
    index: int,
    spec: preprocess.PreprocessSpec,
    name: str,
    severity: int,
    seed: int,
) -> np.ndarray:
    batches: Any = pipeline.evaluation_batches(examples.take([index]), spec, batch_size=1)
    clean = next(iter(batches))["images"].numpy()[0]
    return corrupted.corrupted_image(clean, str(examples.ids[index]), name, severity, seed)
