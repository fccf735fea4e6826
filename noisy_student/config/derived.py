"""Resolves options against data sets and networks.

Apart from the options themselves, so that reading flags needs neither TensorFlow nor images.
"""

import dataclasses
import os

import efficientnet
from data import pipeline, sources
from data.preprocess import PreprocessSpec
from efficientnet.cost import Cost, cost
from noisy_student.config.schema import DataConfig, ModelConfig, NoiseConfig


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
    return PreprocessSpec(image_size=size, small_image=model.small_image)
