"""Accuracy and calibration on clean test images."""

from collections.abc import Mapping
from typing import Any

from noisy_student import config
from noisy_student.artifacts.files import write_arrays
from noisy_student.evaluate import benchmark, resumable
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.metrics import by_class, calibration, per_image
from noisy_student.runtime import inference


class Clean(benchmark.Benchmark):
    """Top-1 and top-5 accuracy in percent, and expected calibration error in points."""

    name = "clean"

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns nothing more: weights, resolution and images decide the result."""
        return {}

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Measures the model; writes ``predictions.npz``, which the gallery shows."""
        examples = task.examples
        with resumable.progress_bar(self.name, len(examples)) as bar:
            labels, probabilities = model.predictions(examples, bar.update)
        predicted, confidences = probabilities.argmax(1), probabilities.max(1)
        path = task.folder.parent / "predictions.npz"
        write_arrays(path, labels=predicted, confidences=confidences)
        error = calibration.expected_calibration_error(confidences, predicted == labels)
        return {
            "num_examples": len(examples),
            "classes": model.hash_classes(labels),
            "top1": inference.top_k_accuracy(probabilities, labels, 1),
            "top5": inference.top_k_accuracy(probabilities, labels, 5),
            "calibration_error": 100 * error,
            "by_class": by_class.count(labels, predicted, model.class_names),
            "by_image": {"top1": per_image.record(examples.ids, predicted != labels)},
        }

    def describe(self, result: Result) -> str:
        """Returns both accuracies; top-1 alone for five classes or fewer."""
        accuracies = f"top-1 {result['top1']:.2f}%"
        if len(result.get("by_class", {}).get("names", range(6))) > 5:
            accuracies += f", top-5 {result['top5']:.2f}%"
        return f"{accuracies} ({result['num_examples']} images)"


benchmark.register(Clean())
