"""How often predictions flip while an image changes a little (ImageNet-P; paper, section 3.5).

Either on sequences made here of any clean images, or on the stored videos of a published benchmark.
Every perturbation has a file of its own, so that an interrupted evaluation goes on with the next.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data import perturbations, preprocess, seeds
from data.examples import Examples
from data.robustness_sets import PerturbedVideos
from noisy_student import manifest, robustness
from noisy_student.subject import Subject, made_ahead

_RANKED = 5  # classes that the top-5 distance looks at


def names_at(size: int) -> tuple[str, ...]:
    """The ten sequences that are measured at a model's resolution."""
    return perturbations.SEQUENCES[perturbations.nearest_native_size(size, size)]


def made(
    subject: Subject,
    examples: Examples,
    names: Sequence[str],
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Makes sequences of clean images, and counts the flips.

    Args:
        subject: the model.
        examples: clean images; their labels do not matter.
        names: of perturbations.
        folder: receives a file for each perturbation.
        request: what the result depends on besides; perturbations of another are done anew.

    Returns:
        Figures as `_figures`, and where the sequences come from.
    """
    size = subject.spec.image_size
    native_size = perturbations.nearest_native_size(size, size)

    def videos(name: str) -> Iterator[np.ndarray]:
        def make(index: int) -> np.ndarray:
            return made_sequence(subject, examples, index, name)

        batches = ([index] for index in range(len(examples)))
        return (frames for made in made_ahead(make, batches) for frames in made)

    return {
        "num_examples": len(examples),
        "image_size": size,
        "native_size": native_size,
        "provenance": f"made from clean images, constants of {native_size} pixels",
        **_all(subject, names, videos, len(examples), folder, request),
    }


def made_sequence(subject: Subject, examples: Examples, index: int, name: str) -> np.ndarray:
    """What `made` shows the model of one image: uint8 [F, S, S, 3]."""
    size = subject.spec.image_size
    image = (
        examples.images[index]
        if examples.images is not None
        else preprocess.decode_image(examples.encoded(index)).numpy()
    )
    if subject.spec.small_image:
        image = preprocess.fit_small(image, size)
    seed = (subject.seed, int(seeds.hash_ids(examples.ids[index : index + 1])[0]))
    frames = perturbations.sequence(
        np.asarray(image), name, seed, perturbations.nearest_native_size(size, size)
    )
    return np.stack([subject.at_model_size(frame) for frame in frames])


def stored(
    subject: Subject, sets: PerturbedVideos, folder: Path, request: dict[str, Any]
) -> dict[str, Any]:
    """Measures a published benchmark on what is there of it.

    Returns:
        Figures as `_figures`, the perturbations that are missing and the files that are none.
    """
    opened = {name: sets.videos(name) for name in sets.perturbations}

    def videos(name: str) -> Iterator[np.ndarray]:
        def make(index: int) -> np.ndarray:
            return np.stack([subject.at_model_size(frame) for frame in opened[name][index]])

        batches = ([index] for index in range(len(opened[name])))
        return (frames for made in made_ahead(make, batches) for frames in made)

    count = max(map(len, opened.values()), default=0)
    return {
        "num_examples": count,
        "missing": list(sets.missing),
        "unknown": list(sets.unknown),
        **_all(subject, sets.perturbations, videos, count, folder, request),
    }


def _all(
    subject: Subject,
    names: Iterable[str],
    videos: Callable[[str], Iterator[np.ndarray]],
    count: int,
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Measures the perturbations whose files are not there yet."""
    flips, distances = {}, {}
    for name in names:
        path = folder / f"{name}.json"
        if not path.exists() or manifest.read_json(path)["request"] != request:
            shown = tqdm(videos(name), name, count, unit="video", leave=False, disable=None)
            rankings = _rankings(subject, shown)
            noise = name in perturbations.NOISE
            result = {
                "request": request,
                "flip_probability": robustness.flip_probability(rankings[..., 0], noise),
            }
            if rankings.shape[-1] >= _RANKED:
                result["top5_distance"] = robustness.top5_distance(rankings, noise)
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(path.with_suffix(".npz"), labels=rankings[..., 0])
            manifest.write_json(path, result)
        result = manifest.read_json(path)
        flips[name] = result["flip_probability"]
        if "top5_distance" in result:
            distances[name] = result["top5_distance"]
    return _figures(flips, distances)


def _rankings(subject: Subject, videos: Iterable[np.ndarray]) -> np.ndarray:
    """The best classes of every frame, best first: int32 [videos, F, min(5, C)]."""
    rows, waiting = [], []
    for frames in videos:
        waiting.append(frames)
        if len(waiting) * len(frames) + len(frames) > max(subject.batch_size, len(frames)):
            rows.append(_ranked(subject, waiting))
            waiting = []
    if waiting:
        rows.append(_ranked(subject, waiting))
    return np.concatenate(rows)


def _ranked(subject: Subject, videos: list[np.ndarray]) -> np.ndarray:
    table = subject.probabilities(np.concatenate(videos))
    best = np.argsort(-table, axis=1, kind="stable")[:, :_RANKED].astype(np.int32)
    return best.reshape(len(videos), len(videos[0]), -1)


def _figures(flips: dict[str, float], distances: dict[str, float]) -> dict[str, Any]:
    """Flip probabilities, 0..1, their mean in percent, and top-5 distances where there are five."""
    figures: dict[str, Any] = {
        "flip_probability": flips,
        "mean_flip_probability": 100 * float(np.mean(list(flips.values()))),
    }
    return figures | ({"top5_distance": distances} if distances else {})
