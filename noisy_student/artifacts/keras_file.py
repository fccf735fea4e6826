"""Reads `.keras` files of any origin."""

import json
import math
import os
import zipfile
import zlib
from typing import Any

import keras

from efficientnet import archive

_FREE_WEIGHTS = 2**27  # of a layer, whatever the size of the file
_SIZES = {
    *("units", "filters", "input_dim", "output_dim", "kernel_size", "size", "padding", "n"),
    *("target_shape", "num_heads", "key_dim", "depth_multiplier", "batch_shape"),
}


def load(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a Keras model unchanged, with or without a card.

    Raises:
        ValueError: the file is missing, damaged or no Keras model with one input and one output.
    """
    _refuse_excess(path)
    try:
        model = keras.saving.load_model(path, compile=False)
        sides = [*model.input_shape, *model.output_shape]
    except Exception as error:  # whatever a damaged or foreign configuration leads to
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if "`Lambda` layer" in reason:  # Keras recommends an option that no command has
            reason = "Python code in a Lambda layer is not loaded: use a registered layer"
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason[:300]}") from error
    if not all(side is None or isinstance(side, int) for side in sides):
        raise ValueError(f"{path} must have one input and one output, but has {sides}.")
    return model


def _refuse_excess(path: str | os.PathLike[str]) -> None:
    """Refuses a model whose layers would be far larger than the weights in the file.

    Keras would allocate them before it compares them with the file.

    Raises:
        ValueError: names the file, and the layers' sizes.
    """
    sizes: list[float] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if key in _SIZES:
                values = value if isinstance(value, list) else [value]
                sizes.extend(n for n in values if isinstance(n, int | float))

    try:
        with zipfile.ZipFile(path) as file:
            stored = sum(info.file_size for info in file.infolist())
            json.loads(file.read("config.json"), object_pairs_hook=collect)
    except FileNotFoundError:
        raise archive.no_file(path) from None
    except (KeyError, ValueError, RecursionError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or not a Keras model: {error}") from None
    largest = sorted(sizes)[-2:]
    if math.prod(largest) > max(_FREE_WEIGHTS, 16 * stored):
        raise ValueError(
            f"{path} has layers of sizes {largest}, but the file has only {stored} bytes"
        )
