"""A confident small model to export, and photographs for it."""

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import export
from noisy_student.artifacts import model_file
from tests.helpers.marks import slow_param

CLASSES = ("ant", "bee", "cat")


def formats(*fast: str) -> pytest.MarkDecorator:
    """Parametrizes a test by all formats of export; those not named are slow."""
    slow = [slow_param(name) for name in export.FORMATS if name not in fast]
    return pytest.mark.parametrize("export_format", [*fast, *slow])


def save_model(folder: Path) -> Path:
    """Writes a model of random weights whose probabilities are not all alike."""
    keras.utils.set_random_seed(0)
    model = efficientnet.build_model("efficientnet-b0", 3, width=0.25, depth=0.3)
    for variable in model.get_layer("head_dense").weights:
        variable.assign(variable * 100)  # confident
    path = folder / "model.keras"
    model_file.save_model(model, path, CLASSES, PreprocessSpec(image_size=64))
    return path


def save_photos(folder: Path, names: Iterable[str]) -> Path:
    """Writes smooth random images, 120x90; returns the folder."""
    rng = np.random.default_rng(0)
    for name in names:
        small = PIL.Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        small.resize((120, 90)).save(folder / name)
    return folder
