"""How often predictions flip while an image changes a little (ImageNet-P; paper, section 3.5).

Either on sequences made here of any clean images, or on the stored videos of a published benchmark.
Every perturbation is a part of its own (`parts`).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import perturbations, preprocess, seeds
from data.examples import Examples
from data.robustness_sets import PerturbedVideos
from noisy_student import robustness
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import resumable
from noisy_student.evaluate.evaluated_model import Subject, at_size, made_ahead
from noisy_student.evaluate.generated_cache import MadeCache
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image

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
    cache_dir: str | None = None,
) -> dict[str, Any]:
    """Makes sequences of clean images, and counts the flips.

    Args:
        subject: the model.
        examples: clean images; their labels do not matter.
        names: of perturbations.
        folder: receives files for each perturbation.
        request: what the result depends on besides; perturbations of another are done anew.
        cache_dir: where sequences are kept for the next model; None: nowhere.

    Returns:
        Figures as `_figures`, and where the sequences come from.
    """
    size = subject.spec.image_size
    native_size = perturbations.nearest_native_size(size, size)
    cache = None
    if cache_dir:
        files = {
            name: (perturbations.num_frames(name, native_size), size, size, 3) for name in names
        }
        key = _key(examples, subject.spec, subject.seed)
        cache = MadeCache(cache_dir, key, len(examples), files)

    def videos(name: str) -> Iterator[np.ndarray]:
        made = _ahead(
            len(examples), lambda i: made_sequence(examples, i, name, subject.spec, subject.seed)
        )
        if cache is None:
            return made
        one_by_one = (frames[np.newaxis] for frames in made)
        return (batch[0] for batch in cache.batches(name, lambda: one_by_one, batch_size=1))

    def measure(name: str, progress: Progress) -> dict[str, Any]:
        return _written(subject, name, examples.ids, videos(name), folder, progress)

    found = resumable.measure_all(
        dict(zip(names, names, strict=True)),
        measure,
        folder,
        request,
        what="perturbations",
        num_images=dict.fromkeys(names, len(examples)),
    )
    return {
        "num_examples": len(examples),
        "image_size": size,
        "native_size": native_size,
        "provenance": f"made from clean images, constants of {native_size} pixels",
        **_figures(found),
    }


def _key(examples: Examples, spec: preprocess.PreprocessSpec, seed: int) -> Iterator[bytes]:
    """What made sequences depend on, besides their names: images of any lengths, ids, and so on."""
    yield "\0".join([f"{spec} {seed}", *examples.ids]).encode()
    if examples.images is not None:
        yield str(examples.images.shape).encode()
    for index in range(len(examples)):
        if examples.images is not None:
            yield examples.images[index].tobytes()
        else:
            encoded = examples.encoded(index)
            yield len(encoded).to_bytes(8, "little") + encoded


def made_sequence(
    examples: Examples, index: int, name: str, spec: preprocess.PreprocessSpec, seed: int
) -> np.ndarray:
    """What `made` shows a model of that spec of one image: uint8 [F, S, S, 3]."""
    size = spec.image_size
    image = (
        examples.images[index]
        if examples.images is not None
        else preprocess.decode_image(examples.encoded(index)).numpy()
    )
    if spec.small_image:
        image = preprocess.fit_small(image, size)
    drawn = (seed, int(seeds.hash_ids(examples.ids[index : index + 1])[0]))
    frames = perturbations.sequence(
        np.asarray(image), name, drawn, perturbations.nearest_native_size(size, size)
    )
    return at_size(frames, spec)


def stored(
    subject: Subject,
    sets: PerturbedVideos,
    names: Sequence[str],
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Measures a published benchmark on what is there of it.

    Args:
        subject: the model.
        sets: the videos.
        names: of the perturbations that are there and belong to the benchmark.
        folder: as `made`.
        request: as `made`.

    Returns:
        Figures as `_figures`, the perturbations that are missing, wholly or in part, and the files
        that are none.
    """
    opened = {name: sets.videos(name) for name in names}
    counts = {name: len(videos) for name, videos in opened.items()}

    def measure(name: str, progress: Progress) -> dict[str, Any]:
        videos = opened[name]
        frames = _ahead(len(videos), lambda i: subject.at_model_size(videos[i]))
        return _written(subject, name, videos.ids, frames, folder, progress)

    found = resumable.measure_all(
        dict(zip(names, names, strict=True)),
        measure,
        folder,
        request,
        what="stored perturbations",
        num_images=counts,
    )
    return _figures(found) | {
        "num_examples": max(counts.values()),
        "missing": [*sets.missing, *resumable.short_ones(counts)],
        "unknown": list(sets.unknown),
    }


def _ahead(count: int, make: Callable[[int], np.ndarray]) -> Iterator[np.ndarray]:
    """Videos one after the other, made in threads."""
    batches = ([index] for index in range(count))
    return (frames for made in made_ahead(make, batches) for frames in made)


def _written(
    subject: Subject,
    name: str,
    ids: np.ndarray,
    videos: Iterable[np.ndarray],
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """What the file of a perturbation says; the predictions are written beside it."""
    rankings = _rankings(subject, videos, progress)
    labels, noise = rankings[..., 0], name in perturbations.NOISE
    write_arrays(folder / f"{name}.npz", labels=labels)
    flips = robustness.flips_by_video(labels, noise)
    content = {
        "flip_probability": robustness.flip_probability(labels, noise),
        "by_image": per_image.record(ids, flips, of=labels.shape[1] - 1),
    }
    if rankings.shape[-1] >= _RANKED:
        content["top5_distance"] = robustness.top5_distance(rankings, noise)
    return content


def _rankings(subject: Subject, videos: Iterable[np.ndarray], progress: Progress) -> np.ndarray:
    """The best classes of every frame, best first: int32 [videos, F, min(5, C)]."""
    videos = iter(videos)
    first = next(videos)
    at_once = max(1, subject.batch_size // len(first))
    videos = itertools.chain([first], videos)
    rows: list[np.ndarray] = []
    while batch := list(itertools.islice(videos, at_once)):
        rows.append(_ranked(subject, batch, len(rows[0]) if rows else len(batch)))
        progress(len(batch))
    return np.concatenate(rows)


def _ranked(subject: Subject, videos: list[np.ndarray], at_once: int) -> np.ndarray:
    num_frames = len(videos[0])
    table = subject.probabilities(np.concatenate(videos), at_once * num_frames)
    best = np.argsort(-table, axis=1, kind="stable")[:, :_RANKED].astype(np.int32)
    return best.reshape(len(videos), num_frames, -1)


def _figures(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Flip probabilities, 0..1, and their mean in percent; of 5 classes, top-5 distances, 0..15."""
    flips = {name: content["flip_probability"] for name, content in found.items()}
    distances = {
        name: content["top5_distance"]
        for name, content in found.items()
        if "top5_distance" in content
    }
    figures: dict[str, Any] = {
        "flip_probability": flips,
        "mean_flip_probability": 100 * float(np.mean(list(flips.values()))),
        "by_image": {name: content["by_image"] for name, content in found.items()},
    }
    if distances:
        figures["top5_distance"] = distances
        figures["mean_top5_distance"] = float(np.mean(list(distances.values())))
    return figures
