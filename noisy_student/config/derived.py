"""Resolves options against data sets and networks.

Apart from the options themselves, so that reading flags needs neither TensorFlow nor images.
"""

import dataclasses
import io
import os
from collections.abc import Iterable
from typing import Any

import PIL.Image
from absl import logging

import efficientnet
from data import pipeline, sources
from data.preprocess import PreprocessSpec
from efficientnet.cost import Cost, cost
from noisy_student.config.schema import DataConfig, ModelConfig, NoiseConfig, TrainConfig

_MUCH = 0.5  # of the pixels


def load_splits(
    data: DataConfig, splits_file: str | os.PathLike[str] | None = None
) -> sources.Splits:
    """Loads the images that `data` names.

    Args:
        data: the data set and how to split it.
        splits_file: JSON file that stores the drawn splits and fixes them on later calls.

    Returns:
        Labeled, validation, unlabeled and test images.

    Raises:
        ValueError: names the flag, folder or file at fault.
    """
    source, draw = sources.from_options(dataclasses.asdict(data))
    return sources.load_splits(source, draw, splits_file)


def augmentation(noise: NoiseConfig) -> pipeline.Augmentation:
    """Returns the image noise as the input pipeline takes it."""
    return pipeline.Augmentation(**dataclasses.asdict(noise))


def model_cost(model: ModelConfig, num_classes: int) -> Cost:
    """Returns parameters, operations and activations of a network for one image."""
    return cost(
        model.name,
        preprocess_spec(model).image_size,
        num_classes,
        width=model.width,
        depth=model.depth,
        strides=model.strides,
        small_image=model.small_image,
    )


def preprocess_spec(model: ModelConfig) -> PreprocessSpec:
    """Returns the resolution and crop of the model's images.

    Raises:
        ValueError: there is no network of that name.
    """
    if model.name not in efficientnet.CONFIGS:
        raise ValueError(
            f"there is no network {model.name}: --teacher_name and --student_name must be of "
            f"{', '.join(efficientnet.CONFIGS)}."
        )
    size = model.image_size
    if size is None:
        size = 32 if model.small_image else efficientnet.CONFIGS[model.name].resolution
    return PreprocessSpec(
        size, model.small_image, crop_padding=model.crop_padding, enlarge=model.enlarge
    )


def network(model: ModelConfig) -> dict[str, Any]:
    """Returns the arguments of `efficientnet.build_model`, for any size and number of classes."""
    arguments = dataclasses.asdict(model)
    for name in ("image_size", "crop_padding", "enlarge"):
        del arguments[name]
    return arguments


def warn_of_framing(trainings: Iterable[TrainConfig], examples: sources.Examples) -> None:
    """Warns if models will see less than half of an image, or images that are mostly black."""
    for spec in dict.fromkeys(preprocess_spec(training.model) for training in trainings):
        size = spec.image_size
        seen = (size / (size + spec.crop_padding)) ** 2
        if not spec.small_image and seen < _MUCH:
            logging.warning(
                f"models are evaluated on the central {seen:.0%} of each image: --crop_padding="
                f"{spec.crop_padding} is much of --image_size={size}. --crop_padding=0 shows the "
                "largest square."
            )
        if not spec.small_image or spec.enlarge or not len(examples):
            continue
        with PIL.Image.open(io.BytesIO(examples.encoded(0))) as image:
            width, height = image.size
        filled = width * height / size**2
        if max(width, height) <= size and filled < _MUCH:
            logging.warning(
                f"{1 - filled:.0%} of the models' input is black: --small_image pads images of "
                f"{width}x{height} pixels ({examples.ids[0]}) to --image_size={size}. "
                "--enlarge_small_image resizes them."
            )
