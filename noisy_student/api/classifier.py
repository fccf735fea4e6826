"""A saved model in memory: network, classes and preprocessing."""

import functools
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from data.examples import UNKNOWN_LABEL, DecodedExamples, Examples
from data.preprocess import PreprocessSpec
from data.sources import arrays
from noisy_student import predict
from noisy_student.artifacts import model_file
from noisy_student.runtime import inference

StrPath = str | os.PathLike[str]


class Predictions(NamedTuple):
    """The most likely class of each image, and the probabilities of all.

    Attributes:
        class_names: list [N].
        probabilities: float32 [N, C].
    """

    class_names: list[str]
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its classes and preprocessing.

    Attributes:
        model: images [B, S, S, 3], RGB 0..255 -> logits [B, C].
        class_names: the C classes, in the order of the logits.
        preprocess: how images are cropped and resized to the input of `model`.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    preprocess: PreprocessSpec

    def predict(self, images: Any, batch_size: int = 32) -> Predictions:
        """Classifies images.

        Args:
            images: uint8 (0..255) or float (0..1) [N, H, W, 3], or gray; or the path of an image
                file, or several.
            batch_size: images per batch.

        Raises:
            ValueError: an array has an invalid shape, type or range, or a file is not an image.
        """
        table = self.probabilities(as_examples(images), batch_size)
        return Predictions([self.class_names[label] for label in table.argmax(axis=1)], table)

    def probabilities(self, examples: Examples, batch_size: int) -> np.ndarray:
        """Returns the probabilities of all classes, float32 [N, C]."""
        return predict.probabilities(self._step, examples, self.preprocess, batch_size)

    @functools.cached_property
    def _step(self) -> Callable[..., tf.Tensor]:
        return inference.predict_step(self.model)

    def __post_init__(self) -> None:
        _classifiers[self.model] = (self.class_names, self.preprocess)


# Classifiers of the models loaded here: a Keras model does not know its class names.
_Known = tuple[tuple[str, ...], PreprocessSpec]
_classifiers: weakref.WeakKeyDictionary[keras.Model, _Known] = weakref.WeakKeyDictionary()


def load(path: StrPath) -> Classifier:
    """Loads a saved or converted model.

    Args:
        path: a ``.keras`` file with a card, such as ``round2/student/model.keras`` of a run.

    Raises:
        ValueError: the file is missing, damaged or without a card.
    """
    model, card = model_file.load_model(path)
    return Classifier(model, card["class_names"], card["preprocess"])


def is_known(model: keras.Model) -> bool:
    """Returns True for a Keras model that was loaded by `load`, so that its classes are known."""
    return model in _classifiers


def as_classifier(model: Any) -> Classifier:
    """Returns a `Classifier` from a classifier, a path, or a Keras model loaded by `load`.

    Raises:
        ValueError: the classes of a Keras model are not known, or see `load`.
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, str | os.PathLike):
        return load(model)
    if isinstance(model, keras.Model) and is_known(model):
        return Classifier(model, *_classifiers[model])
    raise ValueError(
        f"{type(model).__name__}: the classes and the preprocessing of this object are not known. "
        "Give the path of a saved model, ns.load(path), or the student of a run."
    )


def as_examples(images: Any) -> Examples:
    """Returns images without labels, from an array or from paths.

    Raises:
        ValueError: see `Classifier.predict`.
    """
    if isinstance(images, str | os.PathLike):
        images = [images]
    if _are_paths(images):
        for path in images:
            predict.check_file(path)
        return predict.image_files([os.fspath(path) for path in images])
    images = arrays.rgb(images, "images")
    ids = np.array([f"images/{number}" for number in range(len(images))], object)
    return DecodedExamples(ids, np.full(len(images), UNKNOWN_LABEL, np.int32), (), images)


def _are_paths(images: Any) -> bool:
    is_list = isinstance(images, Sequence) and len(images) > 0
    return is_list and all(isinstance(image, str | os.PathLike) for image in images)
