"""Published robustness benchmarks as downloaded, from folders or from tensorflow-datasets.

The location of each is the value of its option, such as ``--imagenet_a_dir``: a folder, or
``tfds:NAME`` for a data set that tensorflow-datasets keeps in ``--data_dir``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from data import robustness_sets, sources
from data.examples import Examples
from data.robustness_sets import CorruptedImages, PerturbedVideos, tfds_corrupted
from data.sources import folders
from efficientnet import convert
from noisy_student import config, robustness
from noisy_student.artifacts.files import read_json, write_arrays
from noisy_student.artifacts.json_files import Accuracy
from noisy_student.evaluate import benchmark, corruptions, perturbations, resumable
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.metrics import per_image
from noisy_student.runtime import inference

_TFDS = "tfds:"
_REMADE = "imagenet2012_corrupted"  # by tensorflow-datasets: other crop, rounding and pixelate
# The mean in percent of AlexNet's errors on ImageNet-C; mCE is its name on ImageNet-C alone.
_ALEXNET_MEANS = {"imagenet_c": "mce", _REMADE: "relative_to_alexnet"}
_NUM_CLASSES = {"imagenet_a": 200, "imagenet_r": 200, "imagenet_v2": 1000}
Counts = dict[str, int]


class StoredBenchmark(benchmark.Benchmark):
    """A benchmark that reads its own images.

    Its request names the location and the number of images or videos in each part at this moment:
    a result that was measured during a download does not count as finished afterwards.
    """

    needs_test_images = False

    def __init__(self, name: str):
        """Names the benchmark, and with it the option of its location."""
        self.name = name

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns the location and the number of images or videos in each part.

        Raises:
            ValueError: the location is not given, is missing, or has nothing of the benchmark.
        """
        location = self.location(settings.robustness)
        return {"folder": location, "parts": self.count(location, settings.robustness.data_dir)}

    def location(self, options: config.RobustnessConfig) -> str:
        """Returns the value of the benchmark's option.

        Raises:
            ValueError: it is not given.
        """
        location = options.folders[self.name]
        if location is None:
            raise ValueError(f"--benchmarks={self.name} needs --{self.name}_dir.")
        return location

    def count(self, location: str, data_dir: str | None) -> Counts:
        """Returns part -> number of images or videos."""
        raise NotImplementedError


class LabeledImages(StoredBenchmark):
    """Accuracy on plain labeled images, such as ImageNet-A."""

    def count(self, location: str, data_dir: str | None) -> Counts:
        """Counts the images of a folder; data sets of tensorflow-datasets are always complete."""
        return {} if location.startswith(_TFDS) else {self.name: folders.count_files(location)}

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns the location, the number of images, and a hash of their names and sizes."""
        request = super().request(settings, image_size)
        if request["folder"].startswith(_TFDS):
            return request
        return {**request, "images": folders.sizes_hash(request["folder"])}

    def examples(self, options: config.RobustnessConfig, class_names: Sequence[str]) -> Examples:
        """Returns the images, with labels that refer to the model's `class_names`."""
        location = self.location(options)
        if not location.startswith(_TFDS):
            names = _folder_names(location, class_names)
            examples = sources.load_examples(sources.Folder(location), names)
            return dataclasses.replace(examples, class_names=tuple(class_names))
        name = location.removeprefix(_TFDS)
        source = sources.Tfds(name, labeled_split="test", data_dir=options.data_dir)
        return sources.load_examples(source, class_names)

    def check_images(self, settings: config.EvaluationConfig, class_names: Sequence[str]) -> None:
        """Reads the images, which refuses classes that the model does not know."""
        self.examples(settings.robustness, class_names)

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Measures accuracy among the classes present, as published, and among all classes.

        Warns if classes of the benchmark are absent, because fewer classes make it easier.
        """
        examples = self.examples(task.settings.robustness, model.class_names)
        with resumable.progress_bar(self.name, len(examples)) as bar:
            labels, probabilities = model.predictions(examples, bar.update)
        present, positions = np.unique(labels, return_inverse=True)
        scores = probabilities[:, present]
        predicted, confidences = present[scores.argmax(axis=1)], scores.max(axis=1)
        published = _NUM_CLASSES[self.name]
        if len(present) != published:
            logging.warning(
                "%s: only %d of %d classes are present; published accuracies are over all %d",
                self.location(task.settings.robustness),
                len(present),
                published,
                published,
            )
        path = task.folder / "predictions.npz"
        write_arrays(path, labels=predicted, confidences=confidences)
        return {
            "num_examples": len(examples),
            "num_classes": len(present),
            "num_published_classes": published,
            "top1": 100 * float(np.mean(predicted == labels)),
            "top5": inference.top_k_accuracy(scores, positions, 5),
            "top1_all_classes": inference.top_k_accuracy(probabilities, labels),
            "by_image": {"top1": per_image.record(examples.ids, predicted != labels)},
        }

    def describe(self, result: Result) -> str:
        """Returns the accuracies, and how many classes are absent."""
        classes, published = result["num_classes"], _NUM_CLASSES[self.name]
        absent = "" if classes == published else f" (of {published})"
        top5 = f", top-5 {result['top5']:.2f}%" if "top5" in result else ""
        return (
            f"top-1 {result['top1']:.2f}%{top5} over the {classes} classes present{absent}, "
            f"top-1 {result['top1_all_classes']:.2f}% over all classes "
            f"({result['num_examples']} images)"
        )


def _folder_names(location: str, class_names: Sequence[str]) -> Sequence[str]:
    """Returns what a benchmark's folders call the classes, in the order of the model's.

    As the model does; or by number, as ImageNet-V2 is published ("0" to "999"); or by WordNet id,
    where the model numbers the classes of ImageNet.
    """
    found, count = set(folders.class_folders(Path(location).expanduser())), len(class_names)
    width = min(map(len, found), default=1)
    numbers = [str(number).zfill(width) for number in range(count)]
    wordnet_ids = convert.imagenet_classes()[0] if count == _NUM_CLASSES["imagenet_v2"] else []
    model_numbers = list(class_names) == [str(number) for number in range(count)]
    if found <= set(class_names):
        return class_names
    if found <= set(numbers):
        logging.warning("%s: folder names are numbers and are used as class indices", location)
        return numbers
    return wordnet_ids if model_numbers and found <= set(wordnet_ids) else class_names


class StoredCorruptions(StoredBenchmark):
    """Error rates on a published set of corrupted images; mCE for a complete ImageNet-C.

    The data set imagenet2012_corrupted of tensorflow-datasets is a remake of ImageNet-C, so its
    mean in percent of AlexNet's errors is no mCE.
    """

    describe = staticmethod(corruptions.describe)

    def count(self, location: str, data_dir: str | None) -> Counts:
        """Counts the images of each of the 15 test corruptions at each severity."""
        images = self._open(location, data_dir)
        return {
            f"{name} {severity}": images.count(name, severity)
            for name, severity in images.settings
            if name in robustness.CORRUPTIONS
        }

    def check_images(self, settings: config.EvaluationConfig, class_names: Sequence[str]) -> None:
        """Reads the images of one setting: all have the same classes."""
        options = settings.robustness
        images = self._open(self.location(options), options.data_dir)
        images.examples(*images.settings[0], class_names)

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Measures error rates on the images that are present."""
        location = self.location(task.settings.robustness)
        images = self._open(location, task.settings.robustness.data_dir)
        _warn(location, "unknown", images.unknown)
        result = corruptions.evaluate_stored(model, images, task.folder, task.request)
        _warn(location, "missing", result["missing"])
        if self.name in _ALEXNET_MEANS and not result["missing"]:
            errors = corruptions.errors_by_severity(result["errors"])
            result[_ALEXNET_MEANS[self.name]] = robustness.mean_corruption_error(errors)
        return result

    def complete(self, result: Result, output_dir: Path) -> Result:
        """Adds the relative mCE if the same model was measured on clean images of the same classes.

        Removes an earlier one if the clean images are others now.
        """
        result = {key: value for key, value in result.items() if key != "relative_mce"}
        path = output_dir / "clean.json"
        if "mce" not in result or not path.exists():
            return result
        clean = read_json(path, Accuracy)
        pair = clean["request"], result["request"]
        keys = ("weights", "image_size", "pixels")
        same_model = all(pair[0].get(key) == pair[1].get(key) for key in keys)
        if same_model and clean.get("classes") == result["classes"]:
            result["relative_mce"] = robustness.relative_mean_corruption_error(
                corruptions.errors_by_severity(result["errors"]), 1 - clean["top1"] / 100
            )
        return result

    def _open(self, location: str, data_dir: str | None) -> CorruptedImages:
        remade, flag = self.name == _REMADE, f"--{self.name}_dir={location}"
        if location.startswith(_TFDS) == remade:
            if remade:
                return tfds_corrupted.imagenet_c(location.removeprefix(_TFDS), data_dir)
            return getattr(robustness_sets, self.name)(location)
        if remade:
            raise ValueError(f"{flag} must be tfds:NAME; a folder is for --benchmarks=imagenet_c.")
        hint = f"; --benchmarks={_REMADE} reads it" if self.name == "imagenet_c" else ""
        raise ValueError(f"{flag} must be a folder{hint}.")


class StoredPerturbations(StoredBenchmark):
    """Flip probabilities on a published set of videos; mFR for a complete ImageNet-P."""

    describe = staticmethod(perturbations.describe)

    def __init__(self, name: str, perturbations: Sequence[str], packages: tuple[str, ...] = ()):
        """Names the benchmark, the perturbations that belong to it, and what decodes its videos."""
        super().__init__(name)
        self._perturbations, self.packages = perturbations, packages

    def count(self, location: str, data_dir: str | None) -> Counts:
        """Counts the videos of each perturbation."""
        sets = self._open(location)
        return {name: sets.count(name) for name in self._present(location, sets)}

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Measures flip probabilities on the videos that are present."""
        location = self.location(task.settings.robustness)
        sets = self._open(location)
        _warn(location, "unknown", sets.unknown)
        names = self._present(location, sets)
        result = perturbations.evaluate_stored(model, sets, names, task.folder, task.request)
        _warn(location, "missing", result["missing"])
        if self.name == "imagenet_p" and not result["missing"]:
            result["mfr"] = robustness.mean_flip_rate(result["flip_probability"])
        return result

    def _open(self, location: str) -> PerturbedVideos:
        if location.startswith(_TFDS):
            raise ValueError(f"--{self.name}_dir={location} must be a folder.")
        return getattr(robustness_sets, self.name)(location)

    def _present(self, location: str, sets: PerturbedVideos) -> list[str]:
        present = [name for name in self._perturbations if name in sets.perturbations]
        if not present:
            raise ValueError(
                f"{location} has none of the perturbations {', '.join(self._perturbations)}."
            )
        return present


def _warn(location: str, problem: str, items: Sequence[str]) -> None:
    if items:
        listed = ", ".join(items[:5]) + (", ..." if len(items) > 5 else "")
        logging.warning("%s: %d %s (%s)", location, len(items), problem, listed)


for _name in ("imagenet_a", "imagenet_r", "imagenet_v2"):
    benchmark.register(LabeledImages(_name))
for _name in ("imagenet_c", _REMADE, "cifar10_c"):
    benchmark.register(StoredCorruptions(_name))
benchmark.register(StoredPerturbations("imagenet_p", robustness.PERTURBATIONS, ("av",)))
benchmark.register(StoredPerturbations("cifar10_p", robustness.SMALL_PERTURBATIONS))
