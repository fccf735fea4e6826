"""Resolves options against data sets and networks.

Apart from the options themselves, so that reading flags needs neither TensorFlow nor images.
"""

import dataclasses
import functools
import io
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import PIL.Image
from absl import logging

from data import pipeline, sources
from data.preprocess import PreprocessSpec
from efficientnet.cost import Cost, cost
from noisy_student import networks
from noisy_student.config.schema import DataConfig, ModelConfig, NoiseConfig, TrainConfig
from noisy_student.config.settings import Config

_MUCH = 0.5  # of the pixels


def load_splits(
    data: DataConfig,
    splits_file: str | os.PathLike[str] | None = None,
    source: sources.Source | None = None,
) -> sources.Splits:
    """Loads the images that `data` names.

    Args:
        data: the data set and how to split it.
        splits_file: JSON file that stores the drawn splits and fixes them on later calls.
        source: images that no option names, such as arrays; None: those that `data` names.

    Returns:
        Labeled, validation, unlabeled and test images.

    Raises:
        ValueError: names the flag, folder or file at fault.
    """
    source, draw = sources.from_options(dataclasses.asdict(data), source)
    return sources.load_splits(source, draw, splits_file)


def test_source(settings: Config) -> sources.Source:
    """Returns the folder or records of ``--test_dir``, of which nothing else is read.

    Raises:
        ValueError: no ``--test_dir``, or a flag that does not apply.
    """
    data = dataclasses.asdict(DataConfig())
    place, offset = settings.required("test_dir"), settings.data.label_offset
    data |= {"dataset": settings.data.dataset, "labeled_dir": place, "label_offset": offset}
    return sources.from_options(data)[0]


def augmentation(noise: NoiseConfig) -> pipeline.Augmentation:
    """Returns the image noise as the input pipeline takes it."""
    return pipeline.Augmentation(**dataclasses.asdict(noise))


def unlabeled_augmentation(settings: TrainConfig) -> pipeline.Augmentation:
    """Returns the image noise of a student's unlabeled images."""
    noise, kind = settings.noise, settings.unlabeled_noise.kind
    if kind is not None:
        # Published: cutout belongs to RandAugment.
        noise = dataclasses.replace(noise, kind=kind, cutout=noise.cutout and kind != "crop")
    return augmentation(noise)


def model_cost(model: ModelConfig, num_classes: int) -> Cost:
    """Returns parameters, operations and activations of a network for one image."""
    if networks.get(model.name).is_foreign:
        return _foreign_cost(model, num_classes)
    return cost(
        model.name,
        preprocess_spec(model).image_size,
        num_classes,
        width=model.width,
        depth=model.depth,
        strides=model.strides,
        small_image=model.small_image,
    )


@functools.cache
def _foreign_cost(model: ModelConfig, num_classes: int) -> Cost:
    return networks.cost(build(model, num_classes))


def preprocess_spec(model: ModelConfig) -> PreprocessSpec:
    """Returns the resolution and crop of the model's images.

    Raises:
        ValueError: there is no network of that name, or it has no default size.
    """
    network = networks.get(model.name)
    size = model.image_size or (32 if model.small_image else network.resolution)
    if size is None:
        raise ValueError(f"{model.name} accepts images of any size: give --image_size.")
    return PreprocessSpec(
        size, model.small_image, crop_padding=model.crop_padding, enlarge=model.enlarge
    )


def build(model: ModelConfig, num_classes: int) -> keras.Model:
    """Returns a new model of a network: RGB 0..255 [B, H, W, 3] -> logits [B, num_classes].

    Raises:
        ValueError: there is no such network, or it does not fit the images or the classes.
    """
    size = preprocess_spec(model).image_size
    return networks.get(model.name).build(num_classes, size, network(model))


def network(model: ModelConfig) -> dict[str, Any]:
    """Returns the arguments of `efficientnet.build_model`, for any size and number of classes."""
    arguments = dataclasses.asdict(model)
    for name in ("image_size", "crop_padding", "enlarge"):
        del arguments[name]
    return arguments


def describe(model: ModelConfig) -> dict[str, Any]:
    """Returns the network as the cards of its models have it."""
    arguments = network(model)
    if networks.get(model.name).is_foreign:
        arguments = {"name": model.name}
    return {**arguments, "image_size": model.image_size}


def identity(model: ModelConfig, num_classes: int) -> str:
    """Returns a name for a network and, for a file or a function, its content."""
    return networks.get(model.name).identity(lambda: build(model, num_classes))


def settings_hash(model: ModelConfig, num_classes: int) -> str | None:
    """Returns a hash of a network's layers where its name and `identity` do not tell them all."""
    return networks.get(model.name).settings_hash(lambda: build(model, num_classes))


def warn_of_unused(given: Iterable[str], trainings: Iterable[TrainConfig]) -> None:
    """Warns about given options that have no effect on a foreign network."""
    found = {}
    for training in trainings:
        name, role = training.model.name, "teacher" if training.role == "teacher" else "student"
        unused = networks.get(name).unused
        flags = [f"{role}_{n}" if n in ("width", "depth") else n for n in unused]
        found[name, role] = [f"--{flag}" for flag in flags if flag in given]
    for (name, role), flags in found.items():
        if flags:
            logging.warning(f"{', '.join(flags)}: no effect on {name} ({role}).")


def warn_of_ranges(trainings: Iterable[TrainConfig]) -> None:
    """Warns of model files that get pixels in 0..255 although nothing in them says so."""
    for name in dict.fromkeys(training.model.name for training in trainings):
        network = networks.get(name)
        if isinstance(network, networks.ModelFile) and network.assumes_range:
            logging.warning(
                f"{name} has no rescaling layer, so it gets pixels in 0..255. If it expects "
                "others, write its card first: noisy-student card --input_range=..."
            )


def warn_of_framing(trainings: Iterable[TrainConfig], examples: sources.Examples) -> None:
    """Warns if models will see less than half of each image, or mostly black images."""
    for spec in dict.fromkeys(preprocess_spec(training.model) for training in trainings):
        size = spec.image_size
        seen = (size / (size + spec.crop_padding)) ** 2
        if not spec.small_image and seen < _MUCH:
            logging.warning(
                f"evaluation only uses the central {seen:.0%} of each image: --crop_padding="
                f"{spec.crop_padding} is large for --image_size={size}. --crop_padding=0 uses the "
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
                "--enlarge_small_image enlarges them instead."
            )


def sides(examples: sources.Examples, count: int) -> tuple[int, int]:
    """Returns the median and the smallest shorter side of at most `count` images, in pixels."""
    places = np.linspace(0, len(examples) - 1, min(len(examples), count)).astype(int)
    found = []
    for place in places:
        with PIL.Image.open(io.BytesIO(examples.encoded(place))) as image:
            found.append(min(image.size))
    return int(np.median(found)), min(found)
