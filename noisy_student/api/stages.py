"""Single stages from Python: labeling, selection, and evaluation of a model."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from absl import logging

from data import sources
from data.examples import Examples
from noisy_student import config, selection
from noisy_student.api import classifier, process
from noisy_student.api.images import Data, StrPath
from noisy_student.artifacts import foreign, model_file
from noisy_student.config import derived, option, schema
from noisy_student.evaluate import runner
from noisy_student.runtime.devices import make_devices
from noisy_student.selection import rule

_Model = Any  # a path, a Classifier, or a Keras model loaded by `load`
_DEFAULTS = option.options_of(schema.SelectionConfig)


class PseudoLabels(NamedTuple):
    """Pseudo labels of a teacher.

    Attributes:
        labels: int32 [N], the most likely classes.
        confidences: float32 [N], their probabilities.
        probabilities: float32 [N, C], the soft labels.
    """

    labels: np.ndarray
    confidences: np.ndarray
    probabilities: np.ndarray


def pseudo_label(model: _Model, images: Any, batch_size: int = 250) -> PseudoLabels:
    """Labels images like the stage: clean images, no noise in the network.

    Args:
        model: The teacher: path of a saved model, result of `load`, or student of a run.
        images: As in `Classifier.predict`, or `Data`, whose unlabeled images are labeled.
        batch_size: Images per batch.

    Raises:
        ValueError: The model or an image is invalid, or there are no unlabeled images.
    """
    teacher = classifier.as_classifier(model)
    if isinstance(images, Data):
        options = config.Config(**images.options)
        examples = derived.load_splits(options.data, source=images.source).unlabeled
        if not len(examples):
            raise ValueError(f"{images!r} has no unlabeled images.")
    else:
        examples = classifier.as_examples(images)
    table = teacher.probabilities(examples, batch_size)
    return PseudoLabels(table.argmax(axis=1).astype(np.int32), table.max(axis=1), table)


def select(
    labels: np.ndarray,
    confidences: np.ndarray,
    num_classes: int | None = None,
    *,
    images_per_class: int | str = _DEFAULTS["images_per_class"].default,
    min_confidence: float = _DEFAULTS["min_confidence"].default,
    max_copies: int | None = None,
) -> np.ndarray:
    """Filters and balances pseudo labels, with the same defaults as the stage.

    Args:
        labels: int [N], such as `PseudoLabels.labels`.
        confidences: float [N], 0..1.
        num_classes: C; None: one more than the largest label.
        images_per_class: Target for each class; "auto": the size of the largest class; "none": use
            each image that reaches `min_confidence` once.
        min_confidence: 0..1; images below it are dropped.
        max_copies: Maximum number of copies of an image; None: no limit.

    Returns:
        Number of copies of each image in the training set of the student, int32 [N]; 0: dropped.

    Raises:
        ValueError: A label, confidence or option is out of range.
    """
    labels = np.asarray(labels)
    if num_classes is None:
        num_classes = int(labels.max(initial=0)) + 1
    ids = np.arange(len(labels), dtype=np.uint64)
    statistics = selection.ClassStatistics(num_classes, min_confidence)
    statistics.update(labels, confidences, ids)
    decision = rule.decide(statistics, images_per_class, max_copies)
    return selection.copies_for(labels, confidences, ids, decision)


def evaluate(
    model: _Model,
    data: Data | tuple[Any, Any],
    benchmarks: Sequence[str] | str = ("clean",),
    output_dir: StrPath | None = None,
    **flags: Any,
) -> dict[str, dict[str, Any]]:
    """Evaluates a model.

    Args:
        model: Path of a saved model, result of `load`, or student of a run. Also any other Keras
            model or its path, described by `flags`: ``class_names``, ``image_size``,
            ``input_range``, ``outputs``, ``interpolation``, ``crop_padding``.
        data: The test images: `Data`, or arrays (images, labels) with labels that are class indices
            of the model.
        benchmarks: Names, such as "clean", "corruptions", "perturbations", "fgsm" and "pgd".
        output_dir: Directory that stores the results and resumes from them; None: store nothing.
        **flags: Evaluation options by name, such as ``epsilons=(2, 8)``.

    Returns:
        Benchmark -> its result, such as {"clean": {"top1": 93.1, "num_examples": 1000, ...}};
        accuracies in percent.

    Raises:
        ValueError: The model, an image, a class or an option is invalid.
    """
    options = data.options if isinstance(data, Data) else {"dataset": "arrays"}
    options = {"crop_padding": 0} | options | {"benchmarks": benchmarks} | flags
    settings = config.Config(**options)
    with process.errors_for_callers(), process.kept(), tempfile.TemporaryDirectory() as scratch:
        devices = make_devices(**dataclasses.asdict(settings.device))
        path = _file(model, Path(scratch))
        opened = None if foreign.has_card(path) else _opened(path, settings)
        card = opened.card if opened else model_file.read_card(path)
        examples = _test_images(data, settings, card["class_names"])
        evaluation, size = settings.evaluation, card["preprocess"].image_size
        runner.check(evaluation, [size], examples, card["class_names"])
        place = Path(output_dir or scratch)
        return runner.run(path, "model", examples, place, evaluation, devices, opened)


def _opened(path: StrPath, settings: config.Config) -> foreign.Opened:
    """Opens a model without a card, as described by the options."""
    given = settings.group(schema.ForeignModelConfig)
    description = foreign.Description(given, settings.group(schema.FramingConfig))
    return foreign.open_model(path, description)


def _test_images(
    data: Data | tuple[Any, Any], settings: config.Config, class_names: tuple[str, ...]
) -> Examples:
    """Returns the test images; for folders and records, nothing else is read."""
    if not isinstance(data, Data):
        _warn_of_numbers(class_names)
        return sources.from_arrays(data, class_names=class_names).labeled
    if data.source is not None:
        held_out = data.source.read_held_out(data.source.read_labeled().class_names)
        if "test" not in held_out:
            raise ValueError(f"{data!r} has no test images: give test=(images, labels).")
        return held_out["test"]
    if settings.data.dataset in sources.ON_DISK:
        return sources.load_examples(derived.test_source(settings), class_names)
    return derived.load_splits(settings.data).test


def _warn_of_numbers(class_names: tuple[str, ...]) -> None:
    """Warns if the names of classes are numbers, but not the labels that arrays give them."""
    pairs = [(label, name) for label, name in enumerate(class_names) if name != str(label)]
    if pairs and all(map(str.isdecimal, class_names)):
        label, name = pairs[0]
        logging.warning(
            f"labels count the model's classes in their order: label {label} is class {name!r}."
        )


def _file(model: _Model, scratch: Path) -> Path:
    """Returns the file of a model; writes it first if the model is only in memory."""
    if isinstance(model, str | os.PathLike):
        return Path(model)
    path = scratch / "model.keras"
    if isinstance(model, keras.Model) and not classifier.is_known(model):
        model.save(path)
    else:
        known = classifier.as_classifier(model)
        model_file.save_model(known.model, path, known.class_names, known.preprocess)
    return path
