"""Flips of predictions in perturbation sequences (ImageNet-P; Xie et al., arXiv v4, section 3.3).

The benchmark ``perturbations`` generates the sequences from the test images. `stored` evaluates the
published videos. Each perturbation is a part with its own result file.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import perturbations, preprocess, seeds
from data.examples import DecodedExamples, Examples
from data.preprocess import PreprocessSpec
from data.robustness_sets import PerturbedVideos
from data.sources import splits
from noisy_student import config, robustness
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import benchmark, resumable
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.evaluated_model import EvaluatedModel, map_ahead, resize_whole
from noisy_student.evaluate.generated_cache import GeneratedCache
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image

_TOP = 5  # classes that the top-5 distance compares


class GeneratedPerturbations(benchmark.Benchmark):
    """Flip probabilities on perturbation sequences of the test images; labels do not matter."""

    name = "perturbations"
    packages = ("cv2",)

    def select(self, test_images: Examples, settings: config.EvaluationConfig) -> Examples:
        """Returns ``--robustness_examples`` of the test images."""
        return splits.sample(test_images, settings.robustness.examples)

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns perturbations, number of images and seed."""
        robust, known = settings.robustness, names_at(image_size)
        return {
            "names": benchmark.select_names("perturbations", robust.perturbations, known, known),
            "count": robust.examples,
            "seed": settings.seed,
        }

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Generates the sequences and counts flips; writes predictions for the gallery."""
        examples, size = task.examples, model.spec.image_size
        native_size = perturbations.nearest_native_size(size, size)
        names = task.request["names"]
        cache = GeneratedCache(
            task.settings.robustness.corruption_cache,
            "perturbations",
            _key(examples, model.spec, model.seed),
            len(examples),
            {name: (perturbations.num_frames(name, native_size), size, size, 3) for name in names},
        )

        def measure(name: str, progress: Progress) -> dict[str, Any]:
            def generate(index: int) -> np.ndarray:
                return generated_sequence(examples, index, name, model.spec, model.seed)

            videos = cache.batches(name, lambda: _ahead(len(examples), generate), batch_size=1)
            return _measured(task.folder, name, examples.ids, _ranked(model, videos, progress))

        counts = dict.fromkeys(names, len(examples))
        found = resumable.measure_parts(counts, measure, task.folder, task.request)
        return {
            "num_examples": len(examples),
            "image_size": size,
            "native_size": native_size,
            "provenance": f"made from clean images, constants of {native_size} pixels",
            **_metrics(found),
        }

    def describe(self, result: Result) -> str:
        """Returns the mean flip probability."""
        return describe(result)


def names_at(image_size: int) -> tuple[str, ...]:
    """Returns the ten perturbations to measure at a model's resolution."""
    return perturbations.SEQUENCES[perturbations.nearest_native_size(image_size, image_size)]


def generated_sequence(
    examples: Examples, index: int, name: str, spec: PreprocessSpec, seed: int
) -> np.ndarray:
    """Generates the sequence that the benchmark shows a model for the image `index`.

    Returns uint8 [F, S, S, 3], at the model's resolution. The seed is that of the evaluation.
    """
    size = spec.image_size
    if isinstance(examples, DecodedExamples):
        image = examples.images[index]
    else:
        image = preprocess.decode_named(examples.encoded(index), examples.ids[index]).numpy()
    if spec.small_image:
        image = preprocess.fit_small(image, size, spec.enlarge)
    drawn = (seed, int(seeds.hash_ids(examples.ids[index : index + 1])[0]))
    native_size = perturbations.nearest_native_size(size, size)
    frames = perturbations.sequence(np.asarray(image), name, drawn, native_size)
    return resize_whole(frames, spec.in_bytes())


def evaluate_stored(
    model: EvaluatedModel,
    sets: PerturbedVideos,
    names: Sequence[str],
    folder: Path,
    request: Mapping[str, Any],
) -> Result:
    """Measures flips on all available videos of those perturbations that a benchmark has.

    Frames are resized to the model's resolution, not cropped.

    Returns:
        Flip probabilities, the ``missing`` perturbations (absent or incomplete) and ``unknown``
        files.
    """
    opened = {name: sets.videos(name) for name in names}
    counts = {name: len(videos) for name, videos in opened.items()}

    def measure(name: str, progress: Progress) -> dict[str, Any]:
        videos = opened[name]
        resized = _ahead(len(videos), lambda i: resize_whole(videos[i], model.spec))
        return _measured(folder, name, videos.ids, _ranked(model, resized, progress))

    found = resumable.measure_parts(counts, measure, folder, request)
    return _metrics(found) | {
        "num_examples": max(counts.values()),
        "missing": [*sets.missing, *resumable.incomplete_parts(counts)],
        "unknown": list(sets.unknown),
    }


def describe(result: Result) -> str:
    """Returns mean flip probability, and mFR and mean top-5 distance if known."""
    text = f"mean flip probability {result['mean_flip_probability']:.2f}%"
    if "mfr" in result:
        text += f", mFR {result['mfr']:.1f}"
    if "mean_top5_distance" in result:
        text += f", mean top-5 distance {result['mean_top5_distance']:.2f} of 15"
    return f"{text} ({resumable.describe_coverage(result)})"


def _key(examples: Examples, spec: PreprocessSpec, seed: int) -> Iterator[bytes]:
    """Yields what generated sequences depend on besides their names."""
    yield "\0".join([f"{spec} {seed}", *examples.ids]).encode()
    if isinstance(examples, DecodedExamples):
        yield str(examples.images.shape).encode()
    for index in range(len(examples)):
        if isinstance(examples, DecodedExamples):
            yield examples.images[index].tobytes()
        else:
            encoded = examples.encoded(index)
            yield len(encoded).to_bytes(8, "little") + encoded


def _ahead(count: int, generate: Callable[[int], np.ndarray]) -> Iterator[np.ndarray]:
    """Yields videos uint8 [1, F, S, S, 3] one after another, generated in threads."""
    batches = ([index] for index in range(count))
    return (frames[np.newaxis] for (frames,) in map_ahead(generate, batches))


def _measured(folder: Path, name: str, ids: np.ndarray, rankings: np.ndarray) -> dict[str, Any]:
    """Returns the content of a perturbation's file and writes its predictions for the gallery."""
    labels, noise = rankings[..., 0], name in perturbations.NOISE
    write_arrays(folder / f"{name}.npz", labels=labels)
    flips = robustness.flips_by_video(labels, noise)
    content = {
        "flip_probability": robustness.flip_probability(labels, noise),
        "by_image": per_image.record(ids, flips, of=labels.shape[1] - 1),
    }
    if rankings.shape[-1] >= _TOP:
        content["top5_distance"] = robustness.top5_distance(rankings, noise)
    return content


def _ranked(model: EvaluatedModel, videos: Iterable[np.ndarray], progress: Progress) -> np.ndarray:
    """Returns the top classes of each frame, best first: int32 [videos, F, min(5, C)].

    Each of `videos` is uint8 [1, F, S, S, 3].
    """
    videos = iter(videos)
    first = next(videos)
    # The first batch is the largest. Later ones are padded to its size.
    per_batch = max(1, model.batch_size // first.shape[1])
    videos = itertools.chain([first], videos)
    rows: list[np.ndarray] = []
    while batch := list(itertools.islice(videos, per_batch)):
        frames = np.concatenate(batch)
        padded = (len(rows[0]) if rows else len(frames)) * frames.shape[1]
        probabilities = model.probabilities(frames.reshape(-1, *frames.shape[2:]), padded)
        top = np.argsort(-probabilities, axis=1, kind="stable")[:, :_TOP].astype(np.int32)
        rows.append(top.reshape(*frames.shape[:2], -1))
        progress(len(frames))
    return np.concatenate(rows)


def _metrics(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns flip probabilities 0..1, top-5 distances 0..15, their means, and flips per video.

    The mean flip probability is in percent. There are no distances with fewer than five classes.
    """
    flips = {name: content["flip_probability"] for name, content in found.items()}
    distances = {
        name: content["top5_distance"]
        for name, content in found.items()
        if "top5_distance" in content
    }
    metrics: dict[str, Any] = {
        "flip_probability": flips,
        "mean_flip_probability": 100 * float(np.mean(list(flips.values()))),
        "by_image": {name: content["by_image"] for name, content in found.items()},
    }
    if distances:
        metrics["top5_distance"] = distances
        metrics["mean_top5_distance"] = float(np.mean(list(distances.values())))
    return metrics


benchmark.register(GeneratedPerturbations())
