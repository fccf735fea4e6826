"""Errors under common corruptions (Hendrycks and Dietterich 2019; Xie et al., arXiv v4, 3.3).

The benchmark ``corruptions`` generates the images from the test images. `stored` evaluates the
published ones. Each part, a corruption at one severity, has its own result file.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data import corruptions, seeds
from data.examples import Examples
from data.robustness_sets import CorruptedImages
from data.sources import splits
from noisy_student import config, robustness
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import benchmark, resumable
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.evaluated_model import EvaluatedModel, map_ahead
from noisy_student.evaluate.generated_cache import GeneratedCache
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image
from noisy_student.runtime import inference

Key = tuple[str, int]  # corruption, severity


class GeneratedCorruptions(benchmark.Benchmark):
    """Error rates on corruptions of the test images at the model's resolution."""

    name = "corruptions"
    packages = ("cv2", "torch_uncertainty_assets")

    def select(self, test_images: Examples, settings: config.EvaluationConfig) -> Examples:
        """Returns ``--robustness_examples`` of the test images."""
        return splits.sample(test_images, settings.robustness.examples)

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns corruptions, severities, number of images and seed."""
        robust, known = settings.robustness, corruptions.CORRUPTIONS
        if image_size < corruptions.MIN_SIDE:
            raise ValueError(
                f"--benchmarks=corruptions needs images of at least {corruptions.MIN_SIDE} pixels, "
                f"not {image_size}: a larger --image_size or --test_image_size."
            )
        return {
            "names": benchmark.select_names(
                "corruptions", robust.corruptions, known, corruptions.TEST_CORRUPTIONS
            ),
            "severities": sorted(set(robust.severities)),
            "count": robust.examples,
            "seed": settings.seed,
        }

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Corrupts the images and counts errors; writes predictions for the gallery."""
        examples, size = task.examples, model.spec.image_size
        native_size = corruptions.nearest_native_size(size, size)
        clean = model.clean_batches(examples, model.spec.in_bytes())
        drawn = _seeds(model.seed, examples.ids)
        batch_size = min(model.batch_size, len(examples))
        parts = {
            _part((name, severity)): (name, severity)
            for name in task.request["names"]
            for severity in task.request["severities"]
        }
        cache = GeneratedCache(
            task.settings.robustness.corruption_cache,
            "corruptions",
            _key(clean, drawn, native_size),
            len(examples),
            dict.fromkeys(parts, (size, size, 3)),
        )

        def measure(part: str, progress: Progress) -> dict[str, Any]:
            def generate() -> Iterator[np.ndarray]:
                return _generate(clean, drawn, *parts[part], native_size)

            probabilities = []
            for images in cache.batches(part, generate, batch_size):
                probabilities.append(model.probabilities(images, batch_size))
                progress(len(images))
            return _measured(task.folder, part, examples, np.concatenate(probabilities))

        counts = dict.fromkeys(parts, len(examples))
        found = resumable.measure_parts(counts, measure, task.folder, task.request)
        labels, probabilities = inference.predict_all(model.predict, clean, len(examples))
        return {
            "num_examples": len(examples),
            "image_size": size,
            "native_size": native_size,
            "provenance": f"made from clean images at {size} pixels, constants of {native_size}",
            "clean_error": 1 - inference.top_k_accuracy(probabilities, labels) / 100,
            **_metrics({parts[part]: content for part, content in found.items()}),
        }

    def describe(self, result: Result) -> str:
        """Returns the mean error."""
        return describe(result)


def corrupted_image(
    image: np.ndarray, example_id: str, name: str, severity: int, seed: int
) -> np.ndarray:
    """Generates the image that the benchmark shows the model for one clean image.

    Both are uint8 [S, S, 3], at the model's resolution. The seed is that of the evaluation.
    """
    native_size = corruptions.nearest_native_size(*image.shape[:2])
    drawn = int(_seeds(seed, np.array([example_id], object))[0])
    return corruptions.corrupt(image, name, severity, drawn, native_size)


def evaluate_stored(
    model: EvaluatedModel, images: CorruptedImages, folder: Path, request: Mapping[str, Any]
) -> Result:
    """Measures errors on all available images of a published benchmark.

    Images are resized to the model's resolution, not cropped.

    Returns:
        Error rates, the ``missing`` parts (absent or incomplete), ``unknown`` files, and a hash
        of the ``classes`` that occur if it is the same for all parts.

    Raises:
        ValueError: none of the 15 test corruptions is present, or a class or file is invalid.
    """
    parts = {_part(key): key for key in images.settings if key[0] in robustness.CORRUPTIONS}
    if not parts:
        raise ValueError(f"{request['folder']} has none of the 15 corruptions of ImageNet-C.")

    def measure(part: str, progress: Progress) -> dict[str, Any]:
        examples = images.examples(*parts[part], model.class_names)
        _, probabilities = model.predictions(examples, progress, cropped=True)
        content = _measured(folder, part, examples, probabilities)
        return content | {"classes": model.hash_classes(examples.labels)}

    expected = {part: images.count(*key) for part, key in parts.items()}
    found = resumable.measure_parts(expected, measure, folder, request)
    metrics = _metrics({parts[part]: content for part, content in found.items()})
    classes = {content["classes"] for content in found.values()}
    counts = {name: per_image.count(record) for name, record in metrics["by_image"].items()}
    missing = [f"{name} {severity}" for name, severity in images.missing]
    return metrics | {
        "num_examples": max(counts.values()),
        "missing": missing + resumable.incomplete_parts(counts),
        "unknown": list(images.unknown),
        "classes": classes.pop() if len(classes) == 1 else None,
    }


def describe(result: Result) -> str:
    """Returns the mean error, and mCE, relative mCE or similar measures if known."""
    text = f"mean error {result['mean_error']:.2f}%"
    if "mce" in result:
        text += f", mCE {result['mce']:.1f}"
    if "relative_to_alexnet" in result:
        text += f", {result['relative_to_alexnet']:.1f}% of AlexNet's on ImageNet-C (not mCE)"
    if "relative_mce" in result:
        text += f", relative mCE {result['relative_mce']:.1f}"
    return f"{text} ({resumable.describe_coverage(result)})"


def errors_by_severity(errors: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """Returns corruption -> error rates in the order of the severities.

    Takes corruption -> severity as text -> error rate, as in a result file.
    """
    return {name: [rates[key] for key in sorted(rates)] for name, rates in errors.items()}


def _seeds(seed: int, ids: np.ndarray) -> np.ndarray:
    """Returns a seed for each image: uint64 [N]."""
    return seeds.hash_ids(np.array([f"{seed}/{name}" for name in ids], object))


def _key(clean: Iterable[dict[str, Any]], drawn: np.ndarray, native_size: int) -> Iterator[bytes]:
    """Yields what corrupted images depend on besides corruption and severity."""
    yield f"constants of {native_size}".encode()
    yield np.asarray(drawn, "<u8").tobytes()
    for batch in clean:
        yield batch["images"].numpy()[batch["index"].numpy() >= 0].tobytes()


def _generate(
    clean: Iterable[dict[str, Any]], drawn: np.ndarray, name: str, severity: int, native_size: int
) -> Iterator[np.ndarray]:
    """Yields batches of corrupted images uint8 [b, S, S, 3] in the order of the examples."""

    def items() -> Iterator[list[tuple[np.ndarray, int]]]:
        for batch in clean:
            index = batch["index"].numpy()
            real = index >= 0
            yield list(zip(batch["images"].numpy()[real], drawn[index[real]], strict=True))

    def corrupt(item: tuple[np.ndarray, int]) -> np.ndarray:
        image, seed = item
        return corruptions.corrupt(image, name, severity, int(seed), native_size)

    return (np.stack(images) for images in map_ahead(corrupt, items()))


def _part(key: Key) -> str:
    """Returns the name of a part's files."""
    return f"{key[0]}-{key[1]}"


def _measured(
    folder: Path, part: str, examples: Examples, probabilities: np.ndarray
) -> dict[str, Any]:
    """Returns the content of a part's file and writes its predictions for the gallery."""
    predicted = probabilities.argmax(1)
    path = folder / f"{part}.npz"
    write_arrays(path, labels=predicted, confidences=probabilities.max(1))
    wrong = predicted != examples.labels
    return {"error": float(np.mean(wrong)), "by_image": per_image.record(examples.ids, wrong)}


def _metrics(found: Mapping[Key, dict[str, Any]]) -> dict[str, Any]:
    """Returns error rates 0..1, their mean in percent, and errors per image.

    The mean is over severities first, then over corruptions.
    """
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


benchmark.register(GeneratedCorruptions())
